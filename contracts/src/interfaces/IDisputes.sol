// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PaymentRoot} from "../libraries/PaymentRoots.sol";
import {IPaymentEscrow} from "./IPaymentEscrow.sol";
import {IRegistry} from "./IRegistry.sol";

/// @title Where a utility's own signatures answer for it.
/// @notice Anyone may accuse a utility with what it signed, and nothing else counts:
///
/// - *equivocation*: two different roots for one tick of one series. Each root is evidence of one
///   equivocation; a third root is a second.
/// - *overdraft*: a root whose total is above everything the utility put into that series' escrow
///   and has not asked back. Fees and redemptions do not lower that sum, so no act of anyone but
///   the utility makes it guilty; an honest one signs no more than it deposited and asks back no
///   more than it does not owe. One case at a time; it may be accused again for as long as it
///   leaves the total uncovered.
///
/// What this contract cannot judge by itself, a *court* that the DAO has admitted files: a supplier's
/// result that auditors refuted, a lease that went silent. A case that a court filed is pending, and
/// holds the stake, until the court confirms it, which starts the window, or withdraws it, which it
/// may until the case is executed.
///
/// An accusation holds the accused's stake, so that it cannot leave, until the DAO's window to veto
/// has passed. Then anyone executes it. A slash is a share of the stake at that time, so that
/// accusing oneself while there is little of it saves nothing, and is capped per case. Of it,
/// the suppliers that the escrow leaves unpaid come first, up to a share; then the challenger's
/// bounty; the rest is the treasury's. The shares leave the treasury a part in any case: a utility
/// that accuses itself, and pays suppliers it made up, still loses. What lenders put beside a stake
/// is lost with it, but pays neither victims nor bounties, since a borrower would otherwise rob its
/// pool by convicting itself: it is the treasury's, less what the court's proceedings cost.
///
/// **States of a case.**
///
/// ```
///            accuse             execute, after the window
///  (none) ----------> open ---------------------------------> executed
///    |                 ^ \____ veto, within the window ____> vetoed
///    | file            | confirm
///    \----> pending ---/
///
///  pending, open ---- withdraw, by the court that filed ---> withdrawn
/// ```
///
/// While an executed case holds compensation, suppliers collect it by their proofs; what is left
/// after {COMPENSATION_PERIOD} is the treasury's. Who is unpaid, and how much, is what the accused
/// signed: a utility that signed leaves for itself takes a part of the compensation, though never of
/// the treasury's, and one that signed an absurd total thins everyone's part out.
interface IDisputes {
    /// @notice What a case is about.
    enum Offence {
        Equivocation,
        Overdraft,
        Refutation,
        Breach
    }

    /// @notice Where a case stands.
    enum Status {
        None,
        Open,
        Vetoed,
        Executed,
        Pending,
        Withdrawn
    }

    /// @notice A case. Amounts in wei of JOULE.
    /// @param status Where it stands.
    /// @param offence What it is about.
    /// @param compensationBp The most of the slash that goes to unpaid suppliers, as it was when
    /// the case was opened.
    /// @param bountyBp What of the slash goes to the challenger, likewise.
    /// @param slashBp What share of the stake it costs, likewise.
    /// @param slashCap The most that it costs, likewise.
    /// @param windowEnds Until when the DAO may veto, in seconds since 1970; zero while pending.
    /// @param compensationEnds Until when suppliers may collect; zero before execution.
    /// @param accused The utility, or in a court's case whoever it is.
    /// @param series Which of its series; zero in a court's case.
    /// @param tick The tick; of an overdraft, that of the root that was shown; zero in a court's case.
    /// @param challenger Who showed the evidence.
    /// @param amount What was slashed; zero before execution.
    /// @param compensation What of it is kept for unpaid suppliers, or went to the victim.
    /// @param compensated What of that they have collected.
    /// @param court Who filed the case; zero where it was accused here.
    /// @param costs What the proceedings cost the challenger, by the court's word.
    /// @param victim Whom a court's case is to compensate.
    /// @param total The larger total that was signed; in a court's case the victim's damage.
    /// @param shortfall What the escrow could not pay of it when the case was executed.
    /// @param digests The EIP-712 hashes of the roots that were shown; of an overdraft, the same
    /// one twice, and so of what a court files.
    struct Case {
        Status status;
        Offence offence;
        uint16 compensationBp;
        uint16 bountyBp;
        uint16 slashBp;
        uint64 windowEnds;
        uint64 compensationEnds;
        address accused;
        uint64 series;
        address challenger;
        uint64 tick;
        uint96 slashCap;
        uint96 amount;
        uint96 compensation;
        uint96 compensated;
        address court;
        uint96 costs;
        address victim;
        uint256 total;
        uint256 shortfall;
        bytes32[2] digests;
    }

    /// @notice What a court files.
    /// @param offence {Offence.Refutation} or {Offence.Breach}.
    /// @param accused Whose stake answers.
    /// @param challenger Who gets the bounty.
    /// @param victim Who is compensated; zero for nobody.
    /// @param damage The most the victim is compensated with, in wei.
    /// @param most The most the accused loses, beside the parameters, in wei.
    /// @param evidence The hash that was signed.
    struct Filing {
        Offence offence;
        address accused;
        address challenger;
        address victim;
        uint96 damage;
        uint96 most;
        bytes32 evidence;
    }

    /// @notice The parameters. A case keeps those it was opened with.
    /// @param equivocationBp The share of the stake that an equivocation costs, in basis points.
    /// @param overdraftBp The share that an overdraft costs.
    /// @param compensationBp The most of a slash that goes to unpaid suppliers.
    /// @param bountyBp The share of a slash that goes to the challenger.
    /// @param vetoWindow How long the DAO may veto, in seconds.
    /// @param slashCap The most that one case costs, in wei.
    /// @param refutationBp The share of the stake that a refuted result costs.
    /// @param breachBp The most of the stake that a broken lease costs.
    struct Parameters {
        uint16 equivocationBp;
        uint16 overdraftBp;
        uint16 compensationBp;
        uint16 bountyBp;
        uint32 vetoWindow;
        uint96 slashCap;
        uint16 refutationBp;
        uint16 breachBp;
    }

    /// @notice A utility was accused.
    event Accused(
        uint256 indexed id,
        address indexed accused,
        address indexed challenger,
        Offence offence,
        uint64 series,
        uint64 tick,
        uint256 windowEnds
    );

    /// @notice A court filed a case, which is pending.
    event Filed(
        uint256 indexed id,
        address indexed accused,
        address indexed challenger,
        Offence offence,
        address court,
        address victim,
        uint256 damage,
        bytes32 evidence
    );

    /// @notice A court confirmed a case, which is open now.
    event Confirmed(uint256 indexed id, uint256 costs, uint256 windowEnds);

    /// @notice A court withdrew a case.
    event Withdrawn(uint256 indexed id);

    /// @notice A court was admitted, or is one no longer.
    event CourtChanged(address indexed court, bool admitted);

    /// @notice The DAO stopped a case.
    event Vetoed(uint256 indexed id);

    /// @notice A case was executed.
    /// @param id The case.
    /// @param amount What was slashed.
    /// @param compensation What of it is kept for unpaid suppliers, or went to the victim.
    /// @param bounty What of it went to the challenger, with its costs.
    /// @param rest What of it went to the treasury.
    event Executed(
        uint256 indexed id, uint256 amount, uint256 compensation, uint256 bounty, uint256 rest
    );

    /// @notice A supplier was compensated.
    event Compensated(uint256 indexed id, address indexed supplier, uint256 amount);

    /// @notice What no supplier collected went to the treasury.
    event Swept(uint256 indexed id, uint256 amount);

    /// @notice The parameters changed; open cases keep theirs.
    event ParametersChanged(Parameters parameters);

    /// @notice The guardian changed.
    event GuardianChanged(address guardian);

    /// @notice The root was not signed by the utility it names.
    error InvalidRootSignature();

    /// @notice Two roots that are not of one utility, series and tick.
    error NotOneTick();

    /// @notice Two roots that say the same.
    error SameRoot();

    /// @notice A total within what the utility put into escrow and has not asked back.
    error Covered(uint256 total, uint256 cover);

    /// @notice These roots were evidence before; or an overdraft of this series is open, or was
    /// vetoed up to this total.
    error AlreadyAccused();

    /// @notice The utility has no stake to lose.
    error NothingBonded();

    /// @notice The case is not in the state that this needs.
    error WrongStatus(Status status);

    /// @notice The DAO may still veto.
    error WindowOpen(uint256 windowEnds);

    /// @notice The DAO may no longer veto.
    error WindowClosed(uint256 windowEnds);

    /// @notice The caller may not veto.
    error OnlyGuardian();

    /// @notice The caller is not an admitted court, or not the one that filed the case.
    error OnlyCourt();

    /// @notice An offence that is proven here and not filed.
    error NotForCourts(Offence offence);

    /// @notice The root is not one that the case is about.
    error NotOfThisCase();

    /// @notice The proof does not lead from the supplier's leaf to the root.
    error InvalidProof();

    /// @notice A leaf above the total that was signed.
    error AboveTotal(uint256 cumulative, uint256 total);

    /// @notice There is nothing for this supplier, or nothing more.
    error NothingToCompensate();

    /// @notice Suppliers may no longer collect.
    error CompensationOver(uint256 compensationEnds);

    /// @notice Suppliers may still collect.
    error CompensationOpen(uint256 compensationEnds);

    /// @notice A share above what the code allows.
    error ShareTooHigh(uint16 requested, uint16 cap);

    /// @notice A window outside of the bounds in the code.
    error WindowOutOfBounds(uint32 requested, uint32 min, uint32 max);

    /// @notice Accuses a utility of two roots for one tick. Anyone may.
    /// @return id The case.
    function accuseEquivocation(
        PaymentRoot calldata first,
        bytes calldata firstSignature,
        PaymentRoot calldata second,
        bytes calldata secondSignature
    ) external returns (uint256 id);

    /// @notice Accuses a utility of a total above its deposits. Anyone may.
    /// @return id The case.
    function accuseOverdraft(PaymentRoot calldata root, bytes calldata signature)
        external
        returns (uint256 id);

    /// @notice Opens a pending case, and holds the stake of the accused. Only an admitted court.
    /// @return id The case.
    function file(Filing calldata filing) external returns (uint256 id);

    /// @notice Starts the window of a pending case. Only the court that filed it, admitted still or
    /// not.
    /// @param id The case.
    /// @param costs What the proceedings cost the challenger, in wei: comes back with the bounty, as
    /// far as a share of the slash goes that is bounded in the code.
    function confirm(uint256 id, uint96 costs) external;

    /// @notice Ends a pending or open case without a slash. Only the court that filed it.
    function withdraw(uint256 id) external;

    /// @notice Stops a case within its window. Only the guardian or the owner. The evidence is used
    /// up; of an overdraft, so is every root up to its total.
    function veto(uint256 id) external;

    /// @notice Slashes, once the window has passed without a veto. Anyone may.
    function execute(uint256 id) external;

    /// @notice Pays a supplier its part of the compensation of an executed case. Anyone may call
    /// it; the money goes to the supplier. What the escrow can still pay, it pays first; what
    /// remains unpaid is compensated at the rate of compensation to shortfall, once.
    /// @param id The case.
    /// @param root One of its roots.
    /// @param signature The utility's signature over the root.
    /// @param supplier The supplier.
    /// @param cumulative Everything the supplier ever earned in this series, by this root.
    /// @param proof The way from the supplier's leaf to the root.
    /// @return paid What the supplier received, besides what the escrow paid.
    function compensate(
        uint256 id,
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof
    ) external returns (uint256 paid);

    /// @notice Sends what no supplier collected to the treasury, once they no longer may. Anyone
    /// may.
    /// @return amount What was sent.
    function sweep(uint256 id) external returns (uint256 amount);

    /// @notice Sets the parameters. Only the owner.
    function setParameters(Parameters calldata parameters) external;

    /// @notice Sets who else than the owner may veto. Only the owner.
    function setGuardian(address guardian) external;

    /// @notice Admits a court, or takes that back; what it filed already stands. Only the owner.
    function setCourt(address court, bool admitted) external;

    /// @notice A case.
    function caseOf(uint256 id) external view returns (Case memory);

    /// @notice How many cases there are; the first is 1.
    function caseCount() external view returns (uint256);

    /// @notice What a supplier has collected of a series' cases.
    function compensatedOf(address utility, uint64 series, address supplier)
        external
        view
        returns (uint256);

    /// @notice The parameters.
    function parameters() external view returns (Parameters memory);

    /// @notice Who else than the owner may veto.
    function guardian() external view returns (address);

    /// @notice Whether a court may file.
    function isCourt(address court) external view returns (bool);

    /// @notice The escrow whose roots are judged here. Slashes go to its treasury.
    function escrow() external view returns (IPaymentEscrow);

    /// @notice The registry whose stakes are slashed.
    function registry() external view returns (IRegistry);
}
