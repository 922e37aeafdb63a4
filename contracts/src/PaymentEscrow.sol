// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    EIP712Upgradeable
} from "@openzeppelin/contracts-upgradeable/utils/cryptography/EIP712Upgradeable.sol";

import {IBonds} from "./interfaces/IBonds.sol";
import {IPaymentEscrow} from "./interfaces/IPaymentEscrow.sol";
import {Liens} from "./libraries/Liens.sol";
import {MerklePaths} from "./libraries/MerklePaths.sol";
import {PaymentRoot, PaymentRoots} from "./libraries/PaymentRoots.sol";
import {Payouts} from "./libraries/Payouts.sol";
import {Redemptions} from "./libraries/Redemptions.sol";
import {Signatures} from "./libraries/Signatures.sol";

/// @title PaymentEscrow
/// @notice See {IPaymentEscrow}.
/// @dev Balances are written before tokens move, and nothing is called but JOULE and the protocol's
/// bonds, which call nobody back.
contract PaymentEscrow is
    Initializable,
    EIP712Upgradeable,
    Ownable2StepUpgradeable,
    UUPSUpgradeable,
    IPaymentEscrow
{
    using SafeERC20 for IERC20;
    using SafeCast for uint256;
    using PaymentRoots for PaymentRoot;
    using MerklePaths for bytes32[];
    using Liens for mapping(address supplier => Lien);

    /// @notice The protocol fee never exceeds this, in basis points.
    uint16 public constant FEE_BP_CAP = 1_000;
    /// @notice The shortest thaw: long enough for a supplier to redeem what it holds.
    uint32 public constant WITHDRAWAL_DELAY_MIN = 1 minutes;
    /// @notice The longest thaw.
    uint32 public constant WITHDRAWAL_DELAY_MAX = 90 days;

    /// @notice What a lien takes of earnings never exceeds this, in basis points: a supplier always
    /// earns.
    uint16 public constant LIEN_BP_CAP = Liens.BP_CAP;

    /// @dev What a redemption touches shares a slot. The supply of JOULE fits 96 bits, and so does
    /// every balance; the cumulative sums do not, since the same unit can pass many times.
    struct Books {
        uint96 balance;
        uint160 redeemed;
        // The next slot is for deposits and withdrawals only.
        uint128 deposited;
        uint128 withdrawn;
        // The next one for what thaws.
        uint96 thawing;
        uint64 thawedAt;
    }

    /// @dev The newest root of a series that was put on the chain.
    struct Anchor {
        bytes32 digest;
        uint64 tick;
    }

    /// @custom:storage-location erc7201:kinesis.storage.PaymentEscrow
    struct EscrowStorage {
        /// What every redemption reads, and the fees it adds to, in one slot.
        uint16 feeBp;
        uint32 withdrawalDelay;
        uint96 fees;
        address treasury;
        mapping(address utility => mapping(uint64 series => Books)) books;
        mapping(
            address utility => mapping(uint64 series => mapping(address supplier => uint256))
        ) redeemed;
        mapping(address supplier => Lien) liens;
        mapping(address lender => uint256) earnings;
        mapping(address utility => mapping(uint64 series => Anchor)) anchors;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.PaymentEscrow")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0xcb28f2f977e9f2d556fe5a88ebde772fcdf905aeca1efd1f00a4d35dbfa58c00;

    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _joule;
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IBonds private immutable _bonds;

    /// @param joule_ The token, fixed for this implementation.
    /// @param bonds_ Who keeps the suppliers' bonds, fixed likewise.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor(IERC20 joule_, IBonds bonds_) {
        _joule = joule_;
        _bonds = bonds_;
        _disableInitializers();
    }

    /// @notice Opens the escrow.
    /// @param owner_ Who sets the parameters and upgrades.
    /// @param treasury_ Where the fees go.
    /// @param feeBp_ The protocol fee in basis points.
    /// @param withdrawalDelay_ How long a withdrawal thaws, in seconds.
    function initialize(address owner_, address treasury_, uint16 feeBp_, uint32 withdrawalDelay_)
        external
        initializer
    {
        __EIP712_init("Kinesis PaymentEscrow", "1");
        __Ownable_init(owner_);
        __Ownable2Step_init();
        _setTreasury(treasury_);
        _setFee(feeBp_);
        _setWithdrawalDelay(withdrawalDelay_);
    }

    /// @inheritdoc IPaymentEscrow
    function deposit(address utility, uint64 series, uint256 amount) external {
        _deposit(utility, series, amount);
    }

    /// @inheritdoc IPaymentEscrow
    function depositWithPermit(
        address utility,
        uint64 series,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // Whoever saw the permit first may have used it: then the allowance is there already.
        try IERC20Permit(address(_joule))
            .permit(msg.sender, address(this), amount, deadline, v, r, s) {}
            catch {}
        _deposit(utility, series, amount);
    }

    /// @inheritdoc IPaymentEscrow
    function redeem(
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof
    ) external returns (uint256) {
        _verify(root, signature, supplier, cumulative, proof);
        return _pay(root, supplier, cumulative, supplier);
    }

    /// @inheritdoc IPaymentEscrow
    function redeemTo(
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof,
        address to,
        uint256 deadline,
        bytes calldata supplierSignature
    ) external returns (uint256) {
        if (block.timestamp > deadline) revert Expired(deadline);
        bytes32 digest = redeemToDigest(root, supplier, cumulative, to, deadline);
        if (!Signatures.signedBy(supplier, digest, supplierSignature)) {
            revert InvalidSupplierSignature();
        }
        _verify(root, signature, supplier, cumulative, proof);
        return _pay(root, supplier, cumulative, to);
    }

    /// @inheritdoc IPaymentEscrow
    function redeemMany(
        PaymentRoot calldata root,
        bytes calldata signature,
        bytes32[] calldata claims,
        bytes32[] calldata proof,
        bytes calldata flags
    ) external returns (uint256 paid) {
        _verifyRoot(root, signature);
        if (claims.climbMany(proof, flags) != root.root) revert InvalidProof();
        uint256[] memory amounts;
        (amounts, paid) = _bookMany(root, claims);
        for (uint256 i; i < claims.length; ++i) {
            address supplier = address(bytes20(Redemptions.claimAt(claims, i)));
            uint256 amount;
            // There are as many amounts as claims.
            assembly ("memory-safe") {
                amount := mload(add(add(amounts, 0x20), shl(5, i)))
            }
            if (amount > 0) _send(supplier, supplier, amount);
        }
    }

    /// @inheritdoc IPaymentEscrow
    function anchor(PaymentRoot calldata root, bytes calldata signature) external {
        bytes32 digest = rootDigest(root);
        if (!Signatures.signedBy(root.utility, digest, signature)) revert InvalidRootSignature();
        Anchor storage anchor_ = _escrow().anchors[root.utility][root.series];
        if (anchor_.digest != 0 && root.tick <= anchor_.tick) {
            revert NotNewer(root.tick, anchor_.tick);
        }
        anchor_.digest = digest;
        anchor_.tick = root.tick;
        emit Anchored(root.utility, root.series, root.tick, root.root, root.total);
    }

    /// @inheritdoc IPaymentEscrow
    function setLien(address supplier, uint16 earningsBp, uint16 growthBp) external {
        _escrow().liens.set(_bonds, supplier, earningsBp, growthBp);
    }

    /// @inheritdoc IPaymentEscrow
    function takeEarnings() external returns (uint256 amount) {
        EscrowStorage storage $ = _escrow();
        amount = $.earnings[msg.sender];
        if (amount == 0) return 0;
        $.earnings[msg.sender] = 0;
        _joule.safeTransfer(msg.sender, amount);
        emit EarningsTaken(msg.sender, amount);
    }

    /// @inheritdoc IPaymentEscrow
    function requestWithdrawal(uint64 series, uint256 amount) external {
        EscrowStorage storage $ = _escrow();
        Books storage books = $.books[msg.sender][series];
        if (amount > books.balance) revert InsufficientBalance(amount, books.balance);
        uint64 thawedAt = amount == 0 ? 0 : uint64(block.timestamp + $.withdrawalDelay);
        books.thawing = amount.toUint96();
        books.thawedAt = thawedAt;
        emit WithdrawalRequested(msg.sender, series, amount, thawedAt);
    }

    /// @inheritdoc IPaymentEscrow
    function withdraw(uint64 series, address to) external returns (uint256 amount) {
        Books storage books = _escrow().books[msg.sender][series];
        if (to == address(0)) revert ZeroAddress();
        if (books.thawing == 0) revert NoWithdrawal();
        if (block.timestamp < books.thawedAt) revert StillThawing(books.thawedAt);
        amount = books.thawing < books.balance ? books.thawing : books.balance;
        books.thawing = 0;
        books.thawedAt = 0;
        books.balance -= uint96(amount);
        books.withdrawn += uint128(amount);
        _joule.safeTransfer(to, amount);
        emit Withdrawn(msg.sender, series, to, amount);
    }

    /// @inheritdoc IPaymentEscrow
    function collectFees() external returns (uint256 amount) {
        EscrowStorage storage $ = _escrow();
        amount = $.fees;
        $.fees = 0;
        _joule.safeTransfer($.treasury, amount);
        emit FeesCollected($.treasury, amount);
    }

    /// @inheritdoc IPaymentEscrow
    function setFee(uint16 feeBp_) external onlyOwner {
        _setFee(feeBp_);
    }

    /// @inheritdoc IPaymentEscrow
    function setTreasury(address treasury_) external onlyOwner {
        _setTreasury(treasury_);
    }

    /// @inheritdoc IPaymentEscrow
    function setWithdrawalDelay(uint32 withdrawalDelay_) external onlyOwner {
        _setWithdrawalDelay(withdrawalDelay_);
    }

    /// @inheritdoc IPaymentEscrow
    function account(address utility, uint64 series) external view returns (Account memory) {
        Books storage books = _escrow().books[utility][series];
        return Account({
            balance: books.balance,
            deposited: books.deposited,
            redeemed: books.redeemed,
            withdrawn: books.withdrawn,
            thawing: books.thawing,
            thawedAt: books.thawedAt
        });
    }

    /// @inheritdoc IPaymentEscrow
    function redeemed(address utility, uint64 series, address supplier)
        external
        view
        returns (uint256)
    {
        return _escrow().redeemed[utility][series][supplier];
    }

    /// @inheritdoc IPaymentEscrow
    function anchored(address utility, uint64 series)
        external
        view
        returns (bytes32 digest, uint64 tick)
    {
        Anchor storage anchor_ = _escrow().anchors[utility][series];
        return (anchor_.digest, anchor_.tick);
    }

    /// @inheritdoc IPaymentEscrow
    function lienOf(address supplier) external view returns (Lien memory) {
        return _escrow().liens[supplier];
    }

    /// @inheritdoc IPaymentEscrow
    function earningsOf(address lender) external view returns (uint256) {
        return _escrow().earnings[lender];
    }

    /// @inheritdoc IPaymentEscrow
    function bonds() external view returns (IBonds) {
        return _bonds;
    }

    /// @inheritdoc IPaymentEscrow
    function joule() external view returns (IERC20) {
        return _joule;
    }

    /// @inheritdoc IPaymentEscrow
    function feeBp() external view returns (uint16) {
        return _escrow().feeBp;
    }

    /// @inheritdoc IPaymentEscrow
    function treasury() external view returns (address) {
        return _escrow().treasury;
    }

    /// @inheritdoc IPaymentEscrow
    function withdrawalDelay() external view returns (uint32) {
        return _escrow().withdrawalDelay;
    }

    /// @inheritdoc IPaymentEscrow
    function feesGathered() external view returns (uint256) {
        return _escrow().fees;
    }

    /// @inheritdoc IPaymentEscrow
    function rootDigest(PaymentRoot calldata root) public view returns (bytes32) {
        return PaymentRoots.typed(root.hash());
    }

    /// @inheritdoc IPaymentEscrow
    function redeemToDigest(
        PaymentRoot calldata root,
        address supplier,
        uint96 cumulative,
        address to,
        uint256 deadline
    ) public view returns (bytes32) {
        return PaymentRoots.typed(root.hashRedeemTo(supplier, cumulative, to, deadline));
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    function _deposit(address utility, uint64 series, uint256 amount) private {
        if (utility == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        Books storage books = _escrow().books[utility][series];
        books.balance += amount.toUint96();
        books.deposited += amount.toUint96();
        _joule.safeTransferFrom(msg.sender, address(this), amount);
        emit Deposited(utility, series, msg.sender, amount);
    }

    function _verify(
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof
    ) private view {
        if (cumulative > root.total) revert AboveTotal(cumulative, root.total);
        _verifyRoot(root, signature);
        if (proof.climb(PaymentRoots.leaf(supplier, cumulative)) != root.root) {
            revert InvalidProof();
        }
    }

    function _verifyRoot(PaymentRoot calldata root, bytes calldata signature) private view {
        bytes32 digest = rootDigest(root);
        bool valid = signature.length == 0
            ? _escrow().anchors[root.utility][root.series].digest == digest
            : Signatures.signedBy(root.utility, digest, signature);
        if (!valid) revert InvalidRootSignature();
    }

    function _pay(PaymentRoot calldata root, address supplier, uint96 cumulative, address to)
        private
        returns (uint256 paid)
    {
        EscrowStorage storage $ = _escrow();
        Books storage books = $.books[root.utility][root.series];
        mapping(address supplier => uint256) storage redeemed_ =
            $.redeemed[root.utility][root.series];
        uint256 before = redeemed_[supplier];
        if (cumulative <= before) revert NothingToRedeem(before);
        uint256 balance = books.balance;
        uint256 fee;
        (paid, fee) = Payouts.affordable(cumulative - before, balance, $.feeBp);
        if (paid == 0) revert EscrowEmpty();
        // Never below zero: {Payouts} affords no more than there is.
        unchecked {
            before += paid;
            balance -= paid + fee;
        }
        redeemed_[supplier] = before;
        _book(books, balance, paid, fee);
        Redemptions.tell(root, supplier, to, paid, fee, before);
        _send(supplier, to, paid);
    }

    /// @dev Books what the claims of one root are paid, as far as the balance goes.
    function _bookMany(PaymentRoot calldata root, bytes32[] calldata claims)
        private
        returns (uint256[] memory amounts, uint256 paid)
    {
        EscrowStorage storage $ = _escrow();
        Books storage books = $.books[root.utility][root.series];
        uint256 balance = books.balance;
        uint256 left;
        (amounts, paid, left) = Redemptions.bookMany(
            root, claims, $.redeemed[root.utility][root.series], balance, $.feeBp
        );
        _book(books, left, paid, balance - left - paid);
    }

    /// @dev Each slot is read and written once. All of it fits: all balances and fees together are
    /// within the supply, and 160 bits hold 2^64 times the supply.
    function _book(Books storage books, uint256 left, uint256 paid, uint256 fee) private {
        assembly ("memory-safe") {
            // The sum that was redeemed stands above the 96 bits of the balance.
            let redeemed_ := add(shr(96, sload(books.slot)), paid)
            sstore(books.slot, or(left, shl(96, redeemed_)))
            // The fees stand above the 16 bits of their rate and the 32 of the delay.
            if fee { sstore(STORAGE_LOCATION, add(sload(STORAGE_LOCATION), shl(48, fee))) }
        }
    }

    /// @dev Sends what a supplier is paid, less what its loan costs. The lien is one slot, and all
    /// that a supplier without a loan pays for there being loans.
    function _send(address supplier, address to, uint256 paid) private {
        if (_escrow().liens[supplier].lender != address(0)) paid -= _share(supplier, paid);
        _joule.safeTransfer(to, paid);
    }

    function _share(address supplier, uint256 paid) private returns (uint256 shared) {
        EscrowStorage storage $ = _escrow();
        (address lender, uint256 toLender, uint256 toStake) = $.liens.share(_bonds, supplier, paid);
        $.earnings[lender] += toLender;
        if (toStake > 0) {
            _joule.forceApprove(address(_bonds), toStake);
            _bonds.bond(supplier, toStake);
        }
        return toLender + toStake;
    }

    function _setFee(uint16 feeBp_) private {
        if (feeBp_ > FEE_BP_CAP) revert FeeTooHigh(feeBp_, FEE_BP_CAP);
        _escrow().feeBp = feeBp_;
        emit FeeChanged(feeBp_);
    }

    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0)) revert ZeroAddress();
        _escrow().treasury = treasury_;
        emit TreasuryChanged(treasury_);
    }

    function _setWithdrawalDelay(uint32 withdrawalDelay_) private {
        if (withdrawalDelay_ < WITHDRAWAL_DELAY_MIN || withdrawalDelay_ > WITHDRAWAL_DELAY_MAX) {
            revert DelayOutOfBounds(withdrawalDelay_, WITHDRAWAL_DELAY_MIN, WITHDRAWAL_DELAY_MAX);
        }
        _escrow().withdrawalDelay = withdrawalDelay_;
        emit WithdrawalDelayChanged(withdrawalDelay_);
    }

    function _escrow() private pure returns (EscrowStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
