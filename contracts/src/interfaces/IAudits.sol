// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IDisputes} from "./IDisputes.sol";

/// @title The court of results: auditors run a job again and say what came out.
/// @notice A supplier signs what came out of a deterministic job: {Result}. Whoever doubts it stakes
/// JOULE on that. Auditors, who have bonded for it, are drawn by the hash of a block that is yet to
/// come; each runs the job and commits to what it found, then reveals it. Where a quorum found one
/// and the same other thing, the result is refuted, and a case is confirmed with {IDisputes}: there
/// it waits for the DAO's veto and is executed. Auditors who each found something else refute
/// nothing, so that a job that was not deterministic costs its supplier nothing.
///
/// **States of a claim.**
///
/// ```
///          claim             draw             settle
///  (none) -------> drawing -------> voting ----------> refuted | upheld | unavailable | undecided
///                     | \_ draw, too few auditors ---> void
///                     \___ lapse, nobody drew -------> lapsed
/// ```
///
/// | ends | the quorum found | the challenger's stake, after the auditors' fees |
/// | --- | --- | --- |
/// | refuted | another outcome | comes back; bounty and fees come out of the slash |
/// | upheld | what was signed | goes to the supplier |
/// | unavailable | nothing: the job could not be had or run | goes to the treasury |
/// | undecided | there was no quorum | comes back |
/// | void | too few could be drawn | comes back |
/// | lapsed | nobody drew while the block's hash was known | goes to the treasury |
///
/// What ended refuted or upheld is judged for good; all else may be claimed again, for as long as at
/// first: a supplier cannot use its own claim up, and pays for trying.
///
/// **Auditors.** Each bonds the same for one place, and whoever has two places has bonded twice. A
/// place is taken some time after bonding, so that nobody buys a panel for a claim that is already
/// in mind. While a draw is due, no place changes: nobody dodges a draw or slips into one after the
/// hash is known. An auditor that does not reveal loses a little, and so does one that found
/// something else than the quorum; the treasury gets it, not the quorum. Parties sit on no panel
/// under their own addresses.
///
/// **What is not provable here.** Who makes the blocks can choose among hashes. Auditors may tell
/// each other what they found; where a quorum of a panel lies together, the lie is the verdict, and
/// only the DAO's veto stands against it. That an auditor ran the job, and did not repeat what was
/// signed, cannot be seen either. Inputs have to reach the auditors; whether they are those of
/// {Result.job} they check themselves.
interface IAudits {
    /// @notice What a supplier signs of a deterministic job.
    /// @param supplier Whose stake answers.
    /// @param utility Who ordered the job and is compensated.
    /// @param lease The lease it ran under, hashed: the utility's business.
    /// @param job The hash of what was to be run: component, arguments, inputs, seed, limits, engine.
    /// @param output The hash of what came out.
    /// @param fuel What it used, exact in deterministic mode.
    /// @param finishedAt When, in seconds since 1970: from then on it may be claimed for a while.
    /// @param price What the utility pays for it, in wei of JOULE: the most it is compensated with.
    struct Result {
        address supplier;
        address utility;
        bytes32 lease;
        bytes32 job;
        bytes32 output;
        uint64 fuel;
        uint64 finishedAt;
        uint96 price;
    }

    /// @notice The parameters. A claim keeps those it was made with.
    /// @param panel How many auditors are drawn.
    /// @param quorum How many must have found the same; more than half of the panel.
    /// @param drawBlocks The hash of the how-manieth block after the claim draws.
    /// @param commitWindow How long auditors have to run and commit, in seconds.
    /// @param revealWindow How long they then have to reveal, in seconds.
    /// @param claimPeriod How long after it was finished a result may be claimed, in seconds.
    /// @param maturity How long after bonding a place may be taken, in seconds.
    /// @param seatBond What a place costs, in wei.
    /// @param penalty What an auditor loses that does not reveal or is against the quorum, in wei.
    /// @param fee What an auditor gets that is with it, in wei.
    /// @param claimStake What a challenger stakes, in wei; covers the fees of a panel.
    struct Parameters {
        uint8 panel;
        uint8 quorum;
        uint16 drawBlocks;
        uint32 commitWindow;
        uint32 revealWindow;
        uint32 claimPeriod;
        uint32 maturity;
        uint96 seatBond;
        uint96 penalty;
        uint96 fee;
        uint96 claimStake;
    }

    /// @notice Where a claim stands.
    enum Status {
        None,
        Drawing,
        Voting,
        Refuted,
        Upheld,
        Unavailable,
        Undecided,
        Void,
        Lapsed
    }

    /// @notice A claim.
    /// @param status Where it stands.
    /// @param seats How many places there were: what is drawn from.
    /// @param drawBlock The block whose hash draws.
    /// @param commitEnds Until when auditors commit, in seconds since 1970; zero before the draw.
    /// @param challenger Who made it.
    /// @param revealEnds Until when they reveal.
    /// @param revealed How many have.
    /// @param supplier Whose result it is.
    /// @param utility Who ordered it.
    /// @param result The hash that the supplier signed.
    /// @param finding What the supplier says it found: {findingOf} its output and fuel.
    /// @param caseId The case with {IDisputes}.
    /// @param terms The parameters it was made with.
    struct Claim {
        Status status;
        uint32 seats;
        uint64 drawBlock;
        uint64 commitEnds;
        address challenger;
        uint64 revealEnds;
        uint8 revealed;
        address supplier;
        address utility;
        bytes32 result;
        bytes32 finding;
        uint256 caseId;
        Parameters terms;
    }

    /// @notice An auditor.
    /// @param bond What it has bonded, fees included.
    /// @param atStake What of it answers for the panels it sits on.
    /// @param enrolledAt When it last bonded without a place, in seconds since 1970.
    /// @param duties How many panels it sits on.
    /// @param place Its place, counted from one; zero without one.
    struct Auditor {
        uint96 bond;
        uint96 atStake;
        uint64 enrolledAt;
        uint32 duties;
        uint32 place;
    }

    /// @notice What an auditor said in a claim.
    /// @param drawn Whether it sits on the panel.
    /// @param revealed Whether it has revealed.
    /// @param commitment What it committed to.
    /// @param finding What it revealed.
    struct Vote {
        bool drawn;
        bool revealed;
        bytes32 commitment;
        bytes32 finding;
    }

    /// @notice An auditor bonded, for the first time or more.
    event Enrolled(address indexed auditor, uint256 amount, uint256 bond);

    /// @notice An auditor took a place.
    event Seated(address indexed auditor, uint256 seats);

    /// @notice An auditor's place ended.
    event Unseated(address indexed auditor, uint256 seats);

    /// @notice An auditor took its bond back.
    event Left(address indexed auditor, uint256 amount);

    /// @notice A result was claimed to be wrong.
    /// @param id The claim.
    /// @param supplier Whose result it is.
    /// @param challenger Who says so.
    /// @param result The hash that the supplier signed.
    /// @param what The result.
    /// @param drawBlock The block whose hash draws.
    /// @param locator Where the challenger says the job's component and inputs are.
    event Claimed(
        uint256 indexed id,
        address indexed supplier,
        address indexed challenger,
        bytes32 result,
        Result what,
        uint256 drawBlock,
        string locator
    );

    /// @notice A panel was drawn.
    event Drawn(uint256 indexed id, address[] panel, uint256 commitEnds, uint256 revealEnds);

    /// @notice An auditor committed.
    event Committed(uint256 indexed id, address indexed auditor, bytes32 commitment);

    /// @notice An auditor revealed.
    event Revealed(uint256 indexed id, address indexed auditor, bytes32 finding);

    /// @notice An auditor lost a part of its bond.
    event Penalised(uint256 indexed id, address indexed auditor, uint256 amount);

    /// @notice A claim ended.
    /// @param id The claim.
    /// @param status How.
    /// @param finding What the quorum found; zero without one.
    /// @param fees What auditors got.
    /// @param penalties What auditors lost.
    event Settled(
        uint256 indexed id, Status status, bytes32 finding, uint256 fees, uint256 penalties
    );

    /// @notice The parameters changed; claims keep theirs.
    event ParametersChanged(Parameters parameters);

    /// @notice The supplier's signature over the result does not hold.
    error InvalidSupplierSignature();

    /// @notice The result is too old to be claimed.
    error TooOld(uint256 until);

    /// @notice The result is being judged, or was.
    error AlreadyClaimed();

    /// @notice Fewer places are taken than a panel and its parties need.
    error TooFewSeats(uint256 seats, uint256 needed);

    /// @notice A locator longer than the code allows.
    error LocatorTooLong(uint256 length, uint256 max);

    /// @notice The claim is not in the state that this needs.
    error WrongStatus(Status status);

    /// @notice The block that draws is not there yet.
    error TooEarly(uint256 drawBlock);

    /// @notice The hash of the block that draws is not known any more.
    error TooLate(uint256 drawBlock);

    /// @notice The panel can still be drawn.
    error StillDrawable(uint256 drawBlock);

    /// @notice The time for this is not, or no longer.
    error OutOfTime(uint256 from, uint256 until);

    /// @notice The caller does not sit on the panel.
    error NotDrawn();

    /// @notice The caller has committed, or revealed, already.
    error AlreadyDone();

    /// @notice What is revealed is not what was committed to.
    error NotAsCommitted();

    /// @notice A commitment of zero.
    error ZeroCommitment();

    /// @notice The bond does not cover a place.
    error BondTooSmall(uint256 bond, uint256 needed);

    /// @notice The bond still covers a place.
    error StillCovered(uint256 bond, uint256 needed);

    /// @notice The place may be taken from `from`, in seconds since 1970.
    error NotMature(uint256 from);

    /// @notice The auditor has a place already.
    error AlreadySeated();

    /// @notice The auditor has no place.
    error NotSeated();

    /// @notice The auditor sits on panels that have not ended.
    error OnDuty(uint256 duties);

    /// @notice A draw is due: no place changes before it is done.
    error DrawPending(uint256 draws);

    /// @notice An amount of zero.
    error ZeroAmount();

    /// @notice Parameters outside of the bounds in the code.
    error InvalidParameters();

    /// @notice Bonds JOULE of the caller as an auditor, or adds to its bond. Without a place, all of
    /// it matures from now.
    function enrol(uint256 amount) external;

    /// @notice As an auditor: takes a place, once its bond covers one and is mature.
    function sit() external;

    /// @notice As an auditor: gives its place up and takes the whole bond back. Not while it sits on
    /// a panel, and with a place not while a draw is due.
    /// @return amount What was taken.
    function quit() external returns (uint256 amount);

    /// @notice Ends the place of an auditor whose bond has fallen below half of what a place costs.
    /// Anyone may, while no draw is due.
    function unseat(address auditor) external;

    /// @notice Claims that a result is wrong, and stakes JOULE of the caller on it. The supplier's
    /// stake is held from now on.
    /// @param result The result.
    /// @param signature The supplier's signature over {resultDigest}.
    /// @param locator Where the job's component and inputs are, for the auditors.
    /// @return id The claim.
    function claim(Result calldata result, bytes calldata signature, string calldata locator)
        external
        returns (uint256 id);

    /// @notice Draws the panel, once the block is there and while its hash is known. Anyone may.
    function draw(uint256 id) external;

    /// @notice Ends a claim whose panel nobody drew in time. Anyone may.
    function lapse(uint256 id) external;

    /// @notice As an auditor on the panel: commits to a finding. Once.
    /// @param id The claim.
    /// @param commitment {commitmentOf} what it found.
    function commit(uint256 id, bytes32 commitment) external;

    /// @notice As an auditor on the panel: reveals its finding.
    /// @param id The claim.
    /// @param finding {findingOf} what came out; zero where the job could not be had or run.
    /// @param salt The salt of the commitment.
    function reveal(uint256 id, bytes32 finding, bytes32 salt) external;

    /// @notice Ends a claim, once all have revealed or the time for it has passed. Anyone may.
    function settle(uint256 id) external;

    /// @notice Sets the parameters. Only the owner.
    function setParameters(Parameters calldata parameters) external;

    /// @notice A claim.
    function claimOf(uint256 id) external view returns (Claim memory);

    /// @notice How many claims there are; the first is 1.
    function claimCount() external view returns (uint256);

    /// @notice The panel of a claim.
    function panelOf(uint256 id) external view returns (address[] memory);

    /// @notice What an auditor said in a claim.
    function voteOf(uint256 id, address auditor) external view returns (Vote memory);

    /// @notice An auditor.
    function auditorOf(address auditor) external view returns (Auditor memory);

    /// @notice The auditors with places, `from` the how-manieth up to before `to`.
    function seats(uint256 from, uint256 to) external view returns (address[] memory);

    /// @notice How many places are taken.
    function seatCount() external view returns (uint256);

    /// @notice How many draws are due.
    function pendingDraws() external view returns (uint256);

    /// @notice Whether a result is being judged, or was for good.
    function isJudged(bytes32 result) external view returns (bool);

    /// @notice The parameters.
    function parameters() external view returns (Parameters memory);

    /// @notice The hash that a supplier signs: EIP-712, domain `Kinesis Audits`, version `1`,
    /// `Result(address supplier,address utility,bytes32 lease,bytes32 job,bytes32 output,uint64 fuel,uint64 finishedAt,uint96 price)`.
    function resultDigest(Result calldata result) external view returns (bytes32);

    /// @notice What was found: `keccak256(abi.encode(bytes32 output, uint64 fuel))`.
    function findingOf(bytes32 output, uint64 fuel) external pure returns (bytes32);

    /// @notice What an auditor commits to: `keccak256(abi.encode(uint256 id, address auditor,
    /// bytes32 finding, bytes32 salt))`. The auditor is in it, so that a copy is worth nothing.
    function commitmentOf(uint256 id, address auditor, bytes32 finding, bytes32 salt)
        external
        pure
        returns (bytes32);

    /// @notice Where verdicts are filed.
    function disputes() external view returns (IDisputes);

    /// @notice The token.
    function joule() external view returns (IERC20);
}
