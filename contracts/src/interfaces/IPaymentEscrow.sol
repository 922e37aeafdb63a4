// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {PaymentRoot} from "../libraries/PaymentRoots.sol";
import {IBonds} from "./IBonds.sol";

/// @title The escrow that utilities fund and suppliers redeem from.
/// @notice A utility deposits JOULE into an account for each of its series. Every tick it signs a
/// payment root over the cumulative earnings of its suppliers; whoever holds a root and a proof can
/// have the difference to what was paid before sent to the supplier, at any time, without the
/// utility's help. The protocol fee comes on top, from the same account. What a utility takes back
/// thaws first, and redemptions draw on it while it does.
///
/// A root can be anchored here. Wherever a root's signature is asked for, an empty one stands for
/// "this is the root that is anchored".
///
/// A supplier whose bond is borrowed (see {IBonds}) pays for it out of every redemption: the lender's
/// share waits here for the lender, the growth of the supplier's own stake is bonded at once, and the
/// rest is the supplier's. Nothing of the lender's is called, so that no lender holds up a payment.
interface IPaymentEscrow {
    /// @notice The account of one series of one utility. All amounts in wei of JOULE.
    /// @param balance What is there now, thawing or not.
    /// @param deposited Everything that was ever deposited.
    /// @param redeemed Everything that was ever paid to suppliers, without fees.
    /// @param withdrawn Everything the utility ever took back.
    /// @param thawing What the utility has asked to take back.
    /// @param thawedAt From when it may, in seconds since 1970; zero without a request.
    struct Account {
        uint256 balance;
        uint256 deposited;
        uint256 redeemed;
        uint256 withdrawn;
        uint256 thawing;
        uint256 thawedAt;
    }

    /// @notice What a supplier with a loan pays for it.
    /// @param lender Who gets the share; zero without a lien.
    /// @param earningsBp The lender's share of what is redeemed, in basis points.
    /// @param growthBp How much of it becomes the supplier's own stake, until that equals the loan.
    struct Lien {
        address lender;
        uint16 earningsBp;
        uint16 growthBp;
    }

    /// @notice JOULE was put into an account.
    event Deposited(
        address indexed utility, uint64 indexed series, address indexed from, uint256 amount
    );

    /// @notice A supplier was paid.
    /// @param utility Whose account paid.
    /// @param series Which of its accounts.
    /// @param supplier Whose earnings they were.
    /// @param to Who received them.
    /// @param tick The tick of the root that was shown.
    /// @param paid The amount, without the fee.
    /// @param fee The protocol fee on top.
    /// @param redeemed Everything this supplier was ever paid from this account.
    event Redeemed(
        address indexed utility,
        uint64 indexed series,
        address indexed supplier,
        address to,
        uint64 tick,
        uint256 paid,
        uint256 fee,
        uint256 redeemed
    );

    /// @notice A root was anchored; an earlier one of its series is not anchored any more.
    event Anchored(
        address indexed utility, uint64 indexed series, uint64 tick, bytes32 root, uint256 total
    );

    /// @notice A supplier pays for a loan from now on.
    event LienSet(
        address indexed supplier, address indexed lender, uint16 earningsBp, uint16 growthBp
    );

    /// @notice A supplier's loan is gone, and so is what it paid for it.
    event LienEnded(address indexed supplier, address indexed lender);

    /// @notice A part of what was redeemed went to a lender and into the supplier's own stake.
    event EarningsShared(
        address indexed supplier, address indexed lender, uint256 toLender, uint256 toStake
    );

    /// @notice A lender took its share of earnings.
    event EarningsTaken(address indexed lender, uint256 amount);

    /// @notice A utility asked to take JOULE back; zero cancels an earlier request.
    event WithdrawalRequested(
        address indexed utility, uint64 indexed series, uint256 amount, uint256 thawedAt
    );

    /// @notice A utility took JOULE back.
    event Withdrawn(address indexed utility, uint64 indexed series, address to, uint256 amount);

    /// @notice The protocol's fees went to the treasury.
    event FeesCollected(address indexed treasury, uint256 amount);

    /// @notice The protocol fee changed.
    event FeeChanged(uint16 feeBp);

    /// @notice The treasury changed.
    event TreasuryChanged(address treasury);

    /// @notice The thaw of withdrawals changed; requests that were made before keep theirs.
    event WithdrawalDelayChanged(uint32 withdrawalDelay);

    /// @notice The root was not signed by the utility it names.
    error InvalidRootSignature();

    /// @notice A root that is not newer than the one that is anchored.
    error NotNewer(uint64 tick, uint64 anchored);

    /// @notice Someone whose loan does not stand behind the supplier.
    error NotTheLender(address caller);

    /// @notice More of the earnings than the supplier agreed to, or than the code allows.
    error AboveAgreedShare(uint256 shareBp, uint256 agreedBp);

    /// @notice The proof does not lead from the supplier's leaf to the root.
    error InvalidProof();

    /// @notice A leaf above the total that was signed.
    error AboveTotal(uint256 cumulative, uint256 total);

    /// @notice Everything up to this amount has been paid already.
    error NothingToRedeem(uint256 redeemed);

    /// @notice The account is empty.
    error EscrowEmpty();

    /// @notice The supplier's consent to be paid elsewhere does not hold.
    error InvalidSupplierSignature();

    /// @notice The supplier's consent is too old.
    error Expired(uint256 deadline);

    /// @notice An amount of zero.
    error ZeroAmount();

    /// @notice The zero address.
    error ZeroAddress();

    /// @notice More than the account holds.
    error InsufficientBalance(uint256 requested, uint256 balance);

    /// @notice No withdrawal was requested.
    error NoWithdrawal();

    /// @notice The withdrawal thaws until `thawedAt`.
    error StillThawing(uint256 thawedAt);

    /// @notice A fee above the cap in the code.
    error FeeTooHigh(uint16 requested, uint16 cap);

    /// @notice A thaw outside of the bounds in the code.
    error DelayOutOfBounds(uint32 requested, uint32 min, uint32 max);

    /// @notice Puts JOULE of the caller into an account. Anyone may.
    function deposit(address utility, uint64 series, uint256 amount) external;

    /// @notice {deposit} with an ERC-2612 permit in place of an approval.
    function depositWithPermit(
        address utility,
        uint64 series,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Pays a supplier what it has not had yet. Anyone may call it; the money goes to the
    /// supplier. Where the account cannot pay all of it, it pays what it can.
    /// @param root The utility's root.
    /// @param signature The utility's signature over the root.
    /// @param supplier The supplier.
    /// @param cumulative Everything the supplier ever earned in this series, by this root.
    /// @param proof The way from the supplier's leaf to the root.
    /// @return paid What the supplier received.
    function redeem(
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof
    ) external returns (uint256 paid);

    /// @notice {redeem} to another address, with the supplier's consent.
    /// @param to Who receives the money.
    /// @param deadline Until when the consent holds, in seconds since 1970.
    /// @param supplierSignature The supplier's EIP-712 signature over
    /// `RedeemTo(utility, series, supplier, cumulative, to, deadline)`.
    function redeemTo(
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof,
        address to,
        uint256 deadline,
        bytes calldata supplierSignature
    ) external returns (uint256 paid);

    /// @notice {redeem} for many suppliers of one root by one multiproof. Who has had everything
    /// already is passed over. Where the account cannot pay all, it pays in the order of the claims.
    /// @param claims A word for each supplier: its address, and behind it the 96 bits of `cumulative`;
    /// in the order of the leaves in OpenZeppelin's multiproof.
    /// @param proof The hashes beside the way, in the order in which they are used.
    /// @param flags A bit for each hash on the way, from the most significant of the first byte on:
    /// whether both halves are known, or one is the next of the proof.
    /// @return paid What the suppliers received in all.
    function redeemMany(
        PaymentRoot calldata root,
        bytes calldata signature,
        bytes32[] calldata claims,
        bytes32[] calldata proof,
        bytes calldata flags
    ) external returns (uint256 paid);

    /// @notice Anchors a root, newer than the one of its series that is anchored. Anyone may.
    /// @param signature The utility's signature over the root.
    function anchor(PaymentRoot calldata root, bytes calldata signature) external;

    /// @notice As the lender of a supplier's bond: sets what the supplier pays for it, within what it
    /// agreed to in {IBonds-setLender}. It ends with the loan.
    function setLien(address supplier, uint16 earningsBp, uint16 growthBp) external;

    /// @notice As a lender: takes what redemptions have put aside for it.
    /// @return amount What was taken.
    function takeEarnings() external returns (uint256 amount);

    /// @notice As a utility: starts the thaw of a withdrawal. Replaces an earlier request; zero
    /// cancels it.
    function requestWithdrawal(uint64 series, uint256 amount) external;

    /// @notice As a utility: takes what has thawed, or what redemptions left of it.
    /// @return amount What was taken.
    function withdraw(uint64 series, address to) external returns (uint256 amount);

    /// @notice Sends the gathered fees to the treasury. Anyone may.
    /// @return amount What was sent.
    function collectFees() external returns (uint256 amount);

    /// @notice Sets the protocol fee. Only the owner.
    function setFee(uint16 feeBp) external;

    /// @notice Sets the treasury. Only the owner.
    function setTreasury(address treasury) external;

    /// @notice Sets the thaw of withdrawals, in seconds. Only the owner.
    function setWithdrawalDelay(uint32 withdrawalDelay) external;

    /// @notice The account of a series.
    function account(address utility, uint64 series) external view returns (Account memory);

    /// @notice Everything a supplier was ever paid from an account.
    function redeemed(address utility, uint64 series, address supplier)
        external
        view
        returns (uint256);

    /// @notice The hash of the root that is anchored for a series, and its tick; zero without one.
    function anchored(address utility, uint64 series)
        external
        view
        returns (bytes32 digest, uint64 tick);

    /// @notice What a supplier pays for a loan.
    function lienOf(address supplier) external view returns (Lien memory);

    /// @notice What waits here for a lender.
    function earningsOf(address lender) external view returns (uint256);

    /// @notice The hash that a utility signs for a root.
    function rootDigest(PaymentRoot calldata root) external view returns (bytes32);

    /// @notice The hash that a supplier signs to be paid elsewhere.
    function redeemToDigest(
        PaymentRoot calldata root,
        address supplier,
        uint96 cumulative,
        address to,
        uint256 deadline
    ) external view returns (bytes32);

    /// @notice Who keeps the suppliers' bonds.
    function bonds() external view returns (IBonds);

    /// @notice The token.
    function joule() external view returns (IERC20);

    /// @notice The protocol fee on top of each payment, in basis points.
    function feeBp() external view returns (uint16);

    /// @notice Where the fees go.
    function treasury() external view returns (address);

    /// @notice How long a withdrawal thaws, in seconds.
    function withdrawalDelay() external view returns (uint32);

    /// @notice The fees that wait for {collectFees}.
    function feesGathered() external view returns (uint256);
}
