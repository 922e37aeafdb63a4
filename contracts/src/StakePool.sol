// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC4626} from "@openzeppelin/contracts/interfaces/IERC4626.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    ERC4626Upgradeable
} from "@openzeppelin/contracts-upgradeable/token/ERC20/extensions/ERC4626Upgradeable.sol";

import {IBonds} from "./interfaces/IBonds.sol";
import {IPaymentEscrow} from "./interfaces/IPaymentEscrow.sol";
import {IStakePool} from "./interfaces/IStakePool.sol";
import {Payouts} from "./libraries/Payouts.sol";

/// @title StakePool
/// @notice See {IStakePool}.
/// @dev Cash is booked, not read from the balance, and a million virtual shares stand beside one
/// virtual wei: a token sent here moves no price. The token is JOULE, which calls nobody back, and the
/// bonds are the protocol's.
contract StakePool is
    Initializable,
    ERC4626Upgradeable,
    Ownable2StepUpgradeable,
    UUPSUpgradeable,
    IStakePool
{
    using SafeERC20 for IERC20;
    using Math for uint256;

    /// @notice The shortest wait in the queue, where bonds do not thaw longer.
    uint32 public constant DELAY_MIN = 1 seconds;
    /// @notice The longest wait in the queue.
    uint32 public constant DELAY_MAX = 90 days;
    /// @notice What the pool and the growing stake take of earnings together never exceeds this, in
    /// basis points: a supplier always earns.
    uint16 public constant EARNINGS_BP_CAP = 5_000;
    /// @notice The least that takes a place in the queue, in wei: places cost whoever pays them out.
    uint256 public constant REQUEST_MIN = 1e18;

    /// @dev Cases against borrowers of no more than this part of the assets hold up nobody, or a loan
    /// of dust could.
    uint256 private constant HELD_BP = 10;
    uint256 private constant BP = 10_000;

    /// @custom:storage-location erc7201:kinesis.storage.StakePool
    struct PoolStorage {
        Terms terms;
        address underwriter;
        uint32 delay;
        uint256 cash;
        uint256 queuedShares;
        uint256 head;
        Request[] requests;
        mapping(address supplier => uint256) credit;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.StakePool")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0xc3caeba1f17156444519dbd58cf33fe7c9d43b7479667de7667e33c8c196f800;

    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _joule;
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IBonds private immutable _bonds;
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IPaymentEscrow private immutable _escrow;

    /// @param joule_ The token, fixed for this implementation.
    /// @param bonds_ Who keeps the bonds, fixed for this implementation.
    /// @param escrow_ Who pays the suppliers, fixed for this implementation.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor(IERC20 joule_, IBonds bonds_, IPaymentEscrow escrow_) {
        _joule = joule_;
        _bonds = bonds_;
        _escrow = escrow_;
        _disableInitializers();
    }

    /// @notice Opens the pool.
    /// @param owner_ Who sets the terms and upgrades.
    /// @param underwriter_ Who gives credit beside the owner.
    /// @param terms_ What bounds the risk and shares the earnings.
    /// @param delay_ How long a request waits, in seconds.
    function initialize(address owner_, address underwriter_, Terms calldata terms_, uint32 delay_)
        external
        initializer
    {
        __ERC20_init("Kinesis Stake Pool", "kJOULE");
        __ERC4626_init(_joule);
        __Ownable_init(owner_);
        __Ownable2Step_init();
        _setUnderwriter(underwriter_);
        _setTerms(terms_);
        _setDelay(delay_);
    }

    /// @inheritdoc IStakePool
    function requestRedeem(uint256 shares, address receiver) external returns (uint256 id) {
        if (receiver == address(0)) revert ZeroAddress();
        uint256 assets = convertToAssets(shares);
        if (assets < REQUEST_MIN) revert RequestTooSmall(assets, REQUEST_MIN);
        PoolStorage storage $ = _pool();
        uint64 readyAt = uint64(block.timestamp + Math.max($.delay, _bonds.thaw()));
        id = $.requests.length;
        $.requests.push(Request(msg.sender, receiver, readyAt, shares));
        $.queuedShares += shares;
        _transfer(msg.sender, address(this), shares);
        emit RedeemRequested(id, msg.sender, receiver, shares, readyAt);
    }

    /// @inheritdoc IStakePool
    function settle(uint256 max) external returns (uint256 paid) {
        uint256 locked = _bonds.lockedBy(address(this));
        if (locked * BP > totalAssets() * HELD_BP) revert CasesOpen(locked);
        _collect();
        PoolStorage storage $ = _pool();
        uint256 head = $.head;
        uint256 tail = $.requests.length;
        for (; max > 0 && head < tail && $.requests[head].readyAt <= block.timestamp; --max) {
            Request storage place = $.requests[head];
            (uint256 assets, uint256 shares) = _affordable(place.shares, $.cash);
            if (shares == 0) break;
            place.shares -= shares;
            $.queuedShares -= shares;
            $.cash -= assets;
            paid += assets;
            _burn(address(this), shares);
            _joule.safeTransfer(place.receiver, assets);
            emit RequestPaid(head, place.receiver, assets, shares);
            emit Withdraw(msg.sender, place.receiver, place.owner, assets, shares);
            if (place.shares > 0) break;
            ++head;
        }
        $.head = head;
    }

    /// @inheritdoc IStakePool
    function borrow(uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        _collect();
        PoolStorage storage $ = _pool();
        uint256 assets = totalAssets();
        uint256 toSupplier = _bonds.lentTo(address(this), msg.sender) + amount;
        uint256 toAll = _bonds.lentBy(address(this)) + amount;
        uint256 supplierCap = assets * $.terms.supplierCapBp / BP;
        uint256 poolCap = assets * $.terms.poolCapBp / BP;
        if (toSupplier > $.credit[msg.sender]) {
            revert AboveCredit(toSupplier, $.credit[msg.sender]);
        }
        if (toSupplier > supplierCap) revert AboveSupplierCap(toSupplier, supplierCap);
        if (toAll > poolCap) revert AbovePoolCap(toAll, poolCap);
        uint256 free = $.cash.saturatingSub(convertToAssets($.queuedShares));
        if (amount > free) revert NeededForQueue(amount, free);
        $.cash -= amount;
        _joule.forceApprove(address(_bonds), amount);
        _bonds.lend(msg.sender, amount);
        _escrow.setLien(msg.sender, $.terms.earningsBp, $.terms.growthBp);
        emit Lent(msg.sender, amount);
    }

    /// @inheritdoc IStakePool
    function collect() external returns (uint256) {
        return _collect();
    }

    /// @inheritdoc IStakePool
    function recall(address supplier, uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        uint256 allowed =
            _bonds.lentTo(address(this), supplier) - _bonds.thawing(address(this), supplier);
        if (msg.sender != supplier && !_underwrites(msg.sender)) {
            allowed = Math.min(allowed, _queueLacks());
        }
        if (amount > allowed) revert NotRecallable(amount, allowed);
        _bonds.recall(supplier, amount);
        emit Recalled(supplier, msg.sender, amount);
    }

    /// @inheritdoc IStakePool
    function reclaim(address supplier) external returns (uint256 amount) {
        amount = _bonds.reclaim(supplier);
        _pool().cash += amount;
        emit Reclaimed(supplier, amount);
    }

    /// @inheritdoc IStakePool
    function shareEarnings(address supplier, uint256 amount) external {
        if (supplier == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        (uint256 toPool, uint256 toStake, uint256 toSupplier) = split(supplier, amount);
        _pool().cash += toPool;
        _joule.safeTransferFrom(msg.sender, address(this), amount);
        if (toStake > 0) {
            _joule.forceApprove(address(_bonds), toStake);
            _bonds.bond(supplier, toStake);
        }
        _joule.safeTransfer(supplier, toSupplier);
        emit EarningsShared(supplier, toPool, toStake, toSupplier);
    }

    /// @inheritdoc IStakePool
    function setCredit(address supplier, uint256 credit) external {
        if (!_underwrites(msg.sender)) revert NotUnderwriter(msg.sender);
        _pool().credit[supplier] = credit;
        emit CreditChanged(supplier, credit);
    }

    /// @inheritdoc IStakePool
    function setTerms(Terms calldata terms_) external onlyOwner {
        _setTerms(terms_);
    }

    /// @inheritdoc IStakePool
    function setDelay(uint32 delay_) external onlyOwner {
        _setDelay(delay_);
    }

    /// @inheritdoc IStakePool
    function setUnderwriter(address underwriter_) external onlyOwner {
        _setUnderwriter(underwriter_);
    }

    /// @inheritdoc IStakePool
    function request(uint256 id) external view returns (Request memory) {
        return _pool().requests[id];
    }

    /// @inheritdoc IStakePool
    function queue() external view returns (uint256 head, uint256 tail) {
        return (_pool().head, _pool().requests.length);
    }

    /// @inheritdoc IStakePool
    function queuedShares() external view returns (uint256) {
        return _pool().queuedShares;
    }

    /// @inheritdoc IStakePool
    function cash() external view returns (uint256) {
        return _pool().cash;
    }

    /// @inheritdoc IStakePool
    function creditOf(address supplier) external view returns (uint256) {
        return _pool().credit[supplier];
    }

    /// @inheritdoc IStakePool
    function terms() external view returns (Terms memory) {
        return _pool().terms;
    }

    /// @inheritdoc IStakePool
    function delay() external view returns (uint32) {
        return _pool().delay;
    }

    /// @inheritdoc IStakePool
    function underwriter() external view returns (address) {
        return _pool().underwriter;
    }

    /// @inheritdoc IStakePool
    function bonds() external view returns (IBonds) {
        return _bonds;
    }

    /// @inheritdoc IStakePool
    function escrow() external view returns (IPaymentEscrow) {
        return _escrow;
    }

    /// @inheritdoc IStakePool
    function split(address supplier, uint256 amount)
        public
        view
        returns (uint256 toPool, uint256 toStake, uint256 toSupplier)
    {
        uint256 lent = _bonds.lentTo(address(this), supplier);
        if (lent == 0) return (0, 0, amount);
        Terms storage terms_ = _pool().terms;
        uint256 missing = lent.saturatingSub(_bonds.ownStake(supplier));
        return Payouts.divide(amount, terms_.earningsBp, terms_.growthBp, missing);
    }

    /// @notice What is here, what the escrow has put aside and what is left of the loans, in wei.
    function totalAssets() public view override(ERC4626Upgradeable, IERC4626) returns (uint256) {
        return _pool().cash + _escrow.earningsOf(address(this)) + _bonds.lentBy(address(this));
    }

    /// @notice Zero: shares leave through the queue.
    function maxWithdraw(address)
        public
        pure
        override(ERC4626Upgradeable, IERC4626)
        returns (uint256)
    {
        return 0;
    }

    /// @notice Zero: shares leave through the queue.
    function maxRedeem(address)
        public
        pure
        override(ERC4626Upgradeable, IERC4626)
        returns (uint256)
    {
        return 0;
    }

    function _transferIn(address from, uint256 assets) internal override {
        _pool().cash += assets;
        super._transferIn(from, assets);
    }

    function _decimalsOffset() internal pure override returns (uint8) {
        return 6;
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    function _collect() private returns (uint256 amount) {
        amount = _escrow.takeEarnings();
        if (amount == 0) return 0;
        _pool().cash += amount;
        emit EarningsCollected(amount);
    }

    /// @dev The most of `wanted` shares that the cash pays for, and what they are worth.
    function _affordable(uint256 wanted, uint256 cash_)
        private
        view
        returns (uint256 assets, uint256 shares)
    {
        shares = wanted;
        assets = convertToAssets(shares);
        if (assets > cash_) {
            shares = wanted.mulDiv(cash_, assets);
            assets = convertToAssets(shares);
        }
    }

    /// @dev What the queue needs beside the cash and what thaws already, once its first is ready.
    function _queueLacks() private view returns (uint256) {
        PoolStorage storage $ = _pool();
        if ($.head == $.requests.length || $.requests[$.head].readyAt > block.timestamp) return 0;
        uint256 coming = _escrow.earningsOf(address(this)) + _bonds.thawingBy(address(this));
        return convertToAssets($.queuedShares).saturatingSub($.cash + coming);
    }

    function _underwrites(address account) private view returns (bool) {
        return account == _pool().underwriter || account == owner();
    }

    function _setTerms(Terms calldata terms_) private {
        if (
            terms_.poolCapBp > BP || terms_.supplierCapBp > terms_.poolCapBp
                || uint256(terms_.earningsBp) + terms_.growthBp > EARNINGS_BP_CAP
        ) revert InvalidTerms();
        _pool().terms = terms_;
        emit TermsChanged(terms_);
    }

    function _setDelay(uint32 delay_) private {
        if (delay_ < DELAY_MIN || delay_ > DELAY_MAX) {
            revert DelayOutOfBounds(delay_, DELAY_MIN, DELAY_MAX);
        }
        _pool().delay = delay_;
        emit DelayChanged(delay_);
    }

    function _setUnderwriter(address underwriter_) private {
        if (underwriter_ == address(0)) revert ZeroAddress();
        _pool().underwriter = underwriter_;
        emit UnderwriterChanged(underwriter_);
    }

    function _pool() private pure returns (PoolStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
