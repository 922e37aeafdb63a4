// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "./IDisputes.sol";

/// @title The court of leases: a supplier that fell silent without notice.
/// @notice Supplier and utility both sign what was agreed: {LeaseTerms}. While the supplier keeps
/// it, the utility signs acknowledgements, {Ack}, each of which says: up to this time, all was well.
/// An acknowledgement counts for everything before it, as payments do, so that the newest one is all
/// that a supplier keeps.
///
/// A utility that accuses says from when on it acknowledged nothing, and stakes JOULE on that. The
/// case is open with {IDisputes} at once, and its window is also the accused's: any acknowledgement
/// of a later time dismisses it, and the stake is the accused's. Unanswered, it is executed: the
/// penalty that both signed, within the parameters.
///
/// **Neither side can fabricate or withhold alone.** A lease without the supplier's signature binds
/// nobody, and an acknowledgement needs the utility's. A utility can withhold acknowledgements, and
/// a supplier can do nothing against that but leave: it gives notice here, before the silence is as
/// long as the interval, and is free from then on. So the promise that is enforced is *serve, or say
/// in time that you do not*. A supplier that died cannot give notice; one that lives can.
///
/// **What is not provable here.** Whether a supplier that gave notice had served well and was not
/// acknowledged, or had not served: the chain saw neither. Whether the service that was acknowledged
/// was any good. Whether a utility that accuses ever used the machine. And a supplier may promise
/// one stake to many leases: a utility looks at what is bonded before it relies on a penalty.
///
/// A utility that no longer wants a lease signs an acknowledgement up to its end. Times are the
/// signers' own, in seconds, to be compared with the chain's: intervals are to be much longer than
/// clocks differ and blocks take.
interface ILeases {
    /// @notice What both sign.
    /// @param supplier Whose stake answers.
    /// @param utility Who may accuse and is compensated.
    /// @param lease The lease's id, hashed: the parties' business.
    /// @param from From when the promise holds, in seconds since 1970.
    /// @param to Until when.
    /// @param ackInterval The longest that may pass without an acknowledgement, in seconds.
    /// @param penalty What silence without notice costs, once, in wei of JOULE.
    struct LeaseTerms {
        address supplier;
        address utility;
        bytes32 lease;
        uint64 from;
        uint64 to;
        uint32 ackInterval;
        uint96 penalty;
    }

    /// @notice What the utility signs while all is well.
    /// @param terms The hash of the terms: {termsDigest}.
    /// @param upTo Up to when all was well, in seconds since 1970.
    struct Ack {
        bytes32 terms;
        uint64 upTo;
    }

    /// @notice What happened to a lease here.
    /// @param noticeAt When the supplier gave notice, in seconds since 1970; zero where it did not.
    /// @param answeredTo Up to when no more accusation is heard.
    /// @param since From when on nothing was acknowledged, as the utility says.
    /// @param silentBy By when it should have been.
    /// @param stake What the utility staked on the accusation that is open.
    /// @param caseId The case that is open with {IDisputes}; zero without one.
    /// @param supplier Whom an answer pays.
    /// @param utility Whose acknowledgements count.
    /// @param broken Whether the penalty was taken: it is taken once.
    struct Record {
        uint64 noticeAt;
        uint64 answeredTo;
        uint64 since;
        uint64 silentBy;
        bool broken;
        uint96 stake;
        address supplier;
        address utility;
        uint256 caseId;
    }

    /// @notice A supplier gave notice.
    event NoticeGiven(bytes32 indexed terms, address indexed supplier, uint256 noticeAt);

    /// @notice A utility accused a supplier of silence.
    /// @param terms The hash of the terms.
    /// @param supplier The accused.
    /// @param utility The accuser.
    /// @param caseId The case with {IDisputes}.
    /// @param since From when on nothing was acknowledged.
    /// @param silentBy By when it should have been.
    event SilenceAccused(
        bytes32 indexed terms,
        address indexed supplier,
        address indexed utility,
        uint256 caseId,
        uint256 since,
        uint256 silentBy
    );

    /// @notice An acknowledgement dismissed an accusation.
    event Answered(bytes32 indexed terms, uint256 indexed caseId, uint256 upTo, uint256 stake);

    /// @notice A case ended, by execution or veto, and the stake went back.
    event Closed(bytes32 indexed terms, uint256 indexed caseId, bool broken);

    /// @notice The stake on accusations changed; open ones keep theirs.
    event AccusationStakeChanged(uint96 accusationStake);

    /// @notice The terms are not signed by both.
    error InvalidTermsSignature();

    /// @notice The acknowledgement is not signed by the utility.
    error InvalidAckSignature();

    /// @notice Times that make no sense, or an interval outside of the bounds in the code.
    error InvalidTerms();

    /// @notice The caller is not the utility of the terms.
    error OnlyUtility();

    /// @notice The caller is not the supplier of the terms.
    error OnlySupplier();

    /// @notice Notice was given before.
    error NoticeGivenAlready(uint256 noticeAt);

    /// @notice Silence that begins before the lease, or before what has been answered.
    error BeginsTooEarly(uint256 since, uint256 earliest);

    /// @notice The silence is not over the interval, or goes beyond the lease.
    error NotSilentYet(uint256 silentBy);

    /// @notice The lease ended too long ago.
    error TooOld(uint256 until);

    /// @notice The supplier gave notice in time.
    error NoticeInTime(uint256 noticeAt, uint256 silentBy);

    /// @notice An accusation is open, or the penalty was taken.
    error AlreadyAccused();

    /// @notice No accusation is open.
    error NotAccused();

    /// @notice The acknowledgement is of no later time than the accusation allows for.
    error AckTooEarly(uint256 upTo, uint256 since);

    /// @notice The case has not ended.
    error StillOpen(uint256 caseId);

    /// @notice As a supplier: leaves a lease. Nothing of it can be accused of silence from then on.
    function giveNotice(LeaseTerms calldata terms) external;

    /// @notice As a utility: accuses a supplier of silence, and stakes JOULE on it.
    /// @param terms The terms.
    /// @param supplierSignature The supplier's signature over {termsDigest}.
    /// @param utilitySignature The utility's.
    /// @param since From when on nothing was acknowledged, in seconds since 1970.
    /// @return caseId The case with {IDisputes}.
    function accuse(
        LeaseTerms calldata terms,
        bytes calldata supplierSignature,
        bytes calldata utilitySignature,
        uint64 since
    ) external returns (uint256 caseId);

    /// @notice Dismisses an accusation by an acknowledgement of a later time, until the case is
    /// executed. Anyone may; the stake goes to the accused.
    function answer(Ack calldata ack, bytes calldata signature) external;

    /// @notice Gives the stake back once the case was executed or vetoed. Anyone may.
    function close(bytes32 terms) external;

    /// @notice Sets the stake on accusations. Only the owner.
    function setAccusationStake(uint96 accusationStake) external;

    /// @notice What happened to a lease here.
    function recordOf(bytes32 terms) external view returns (Record memory);

    /// @notice The stake on accusations, in wei.
    function accusationStake() external view returns (uint96);

    /// @notice The hash that both sign: EIP-712, domain `Kinesis Leases`, version `1`,
    /// `LeaseTerms(address supplier,address utility,bytes32 lease,uint64 from,uint64 to,uint32 ackInterval,uint96 penalty)`.
    function termsDigest(LeaseTerms calldata terms) external view returns (bytes32);

    /// @notice The hash that the utility signs: `Ack(bytes32 terms,uint64 upTo)`, same domain.
    function ackDigest(Ack calldata ack) external view returns (bytes32);

    /// @notice Where cases are filed.
    function disputes() external view returns (IDisputes);
}
