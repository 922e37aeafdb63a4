// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";

import {IExchange} from "./interfaces/IExchange.sol";
import {PriceHistories, PriceHistory} from "./libraries/PriceHistory.sol";

/// @title Exchange
/// @notice See {IExchange}.
/// @dev Reserves are booked, not read from balances: a token sent here moves no price. They are
/// written before tokens move.
contract Exchange is Initializable, Ownable2StepUpgradeable, UUPSUpgradeable, IExchange {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;
    using PriceHistories for PriceHistory;

    /// @notice The trading fee never exceeds this, in basis points.
    uint16 public constant FEE_BP_CAP = 100;
    /// @notice The tightest bound on a block's move, in basis points.
    uint16 public constant MOVE_BP_MIN = 10;
    /// @notice The loosest bound on a block's move, in basis points.
    uint16 public constant MOVE_BP_MAX = 2_000;
    /// @notice The shortest window, in seconds: for a development chain.
    uint32 public constant WINDOW_MIN = 10 seconds;
    /// @notice The longest window, in seconds.
    uint32 public constant WINDOW_MAX = 1 days;
    /// @notice The most that is taken out at a time, in basis points: the reserves never run empty.
    uint16 public constant REMOVE_BP_MAX = 9_000;

    uint256 private constant BP = 10_000;
    uint256 private constant JOULE = 1e18;

    /// @custom:storage-location erc7201:kinesis.storage.Exchange
    struct ExchangeStorage {
        uint128 usdReserve;
        uint96 jouleReserve;
        uint16 feeBp;
        uint16 moveBp;
        address treasury;
        uint32 window;
        /// The last block that touched the reserves, and the price it began with.
        uint64 blockNumber;
        uint128 opening;
        PriceHistory history;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.Exchange")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0x468c8a1a24e397227e6b829a1b21f77172b69bc41612e02c079bf19e82fcf800;

    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _usd;
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _joule;
    /// @dev Atto-USD in the smallest unit of the stablecoin.
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    uint256 private immutable _usdUnit;

    /// @param usd_ The stablecoin, of at most 18 decimals, fixed for this implementation.
    /// @param joule_ JOULE, fixed for this implementation.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor(IERC20Metadata usd_, IERC20 joule_) {
        _usd = usd_;
        _joule = joule_;
        _usdUnit = 10 ** (18 - usd_.decimals());
        _disableInitializers();
    }

    /// @notice Opens the exchange, without liquidity.
    /// @param owner_ Who moves liquidity, sets the parameters and upgrades.
    /// @param treasury_ Where liquidity goes that is taken out.
    /// @param feeBp_ The trading fee in basis points.
    /// @param moveBp_ By how much one block may move the price, in basis points.
    /// @param window_ The window of the time-weighted price, in seconds.
    function initialize(
        address owner_,
        address treasury_,
        uint16 feeBp_,
        uint16 moveBp_,
        uint32 window_
    ) external initializer {
        __Ownable_init(owner_);
        __Ownable2Step_init();
        _setTreasury(treasury_);
        _setFee(feeBp_);
        _setMove(moveBp_);
        _setWindow(window_);
    }

    /// @inheritdoc IExchange
    function buy(uint256 usdIn, uint256 minOut, address to, uint256 deadline)
        external
        returns (uint256 jouleOut)
    {
        _begin(to, deadline);
        jouleOut = quoteBuy(usdIn);
        if (jouleOut == 0) revert ZeroAmount();
        if (jouleOut < minOut) revert Slippage(jouleOut, minOut);
        ExchangeStorage storage $ = _exchange();
        $.usdReserve += usdIn.toUint128();
        $.jouleReserve -= uint96(jouleOut);
        _requireWithinMove();
        _receive(_usd, usdIn);
        _joule.safeTransfer(to, jouleOut);
        emit Bought(msg.sender, to, usdIn, jouleOut);
    }

    /// @inheritdoc IExchange
    function sell(uint256 jouleIn, uint256 minOut, address to, uint256 deadline)
        external
        returns (uint256 usdOut)
    {
        _begin(to, deadline);
        usdOut = quoteSell(jouleIn);
        if (usdOut == 0) revert ZeroAmount();
        if (usdOut < minOut) revert Slippage(usdOut, minOut);
        ExchangeStorage storage $ = _exchange();
        $.jouleReserve += jouleIn.toUint96();
        $.usdReserve -= uint128(usdOut);
        _requireWithinMove();
        _receive(_joule, jouleIn);
        _usd.safeTransfer(to, usdOut);
        emit Sold(msg.sender, to, jouleIn, usdOut);
    }

    /// @inheritdoc IExchange
    function poke() external {
        _touch();
    }

    /// @inheritdoc IExchange
    function addLiquidity(uint256 usd_, uint256 joule_)
        external
        onlyOwner
        returns (uint256 usdAdded, uint256 jouleAdded)
    {
        ExchangeStorage storage $ = _exchange();
        (uint256 usdReserve, uint256 jouleReserve) = ($.usdReserve, $.jouleReserve);
        (usdAdded, jouleAdded) = (usd_, joule_);
        if (usdReserve > 0) {
            _touch();
            jouleAdded = Math.mulDiv(usd_, jouleReserve, usdReserve);
            if (jouleAdded > joule_) {
                jouleAdded = joule_;
                usdAdded = Math.mulDiv(joule_, usdReserve, jouleReserve);
            }
        }
        if (usdAdded == 0 || jouleAdded == 0) revert ZeroAmount();
        _requireFunded(_usd, usdAdded, usdReserve);
        _requireFunded(_joule, jouleAdded, jouleReserve);
        $.usdReserve = (usdReserve + usdAdded).toUint128();
        $.jouleReserve = (jouleReserve + jouleAdded).toUint96();
        if (usdReserve == 0) {
            $.history.open();
            $.blockNumber = uint64(block.number);
            $.opening = _spot();
        }
        emit LiquidityAdded(usdAdded, jouleAdded);
    }

    /// @inheritdoc IExchange
    function removeLiquidity(uint16 shareBp) external onlyOwner {
        if (shareBp == 0 || shareBp > REMOVE_BP_MAX) revert OutOfBounds(shareBp, 1, REMOVE_BP_MAX);
        _touch();
        ExchangeStorage storage $ = _exchange();
        uint256 usdOut = $.usdReserve * uint256(shareBp) / BP;
        uint256 jouleOut = $.jouleReserve * uint256(shareBp) / BP;
        $.usdReserve -= uint128(usdOut);
        $.jouleReserve -= uint96(jouleOut);
        _usd.safeTransfer($.treasury, usdOut);
        _joule.safeTransfer($.treasury, jouleOut);
        emit LiquidityRemoved($.treasury, usdOut, jouleOut);
    }

    /// @inheritdoc IExchange
    function sweep() external onlyOwner {
        ExchangeStorage storage $ = _exchange();
        uint256 usdOut = _usd.balanceOf(address(this)) - $.usdReserve;
        uint256 jouleOut = _joule.balanceOf(address(this)) - $.jouleReserve;
        if (usdOut > 0) _usd.safeTransfer($.treasury, usdOut);
        if (jouleOut > 0) _joule.safeTransfer($.treasury, jouleOut);
        emit Swept($.treasury, usdOut, jouleOut);
    }

    /// @inheritdoc IExchange
    function setFee(uint16 feeBp_) external onlyOwner {
        _setFee(feeBp_);
    }

    /// @inheritdoc IExchange
    function setMove(uint16 moveBp_) external onlyOwner {
        _setMove(moveBp_);
    }

    /// @inheritdoc IExchange
    function setWindow(uint32 window_) external onlyOwner {
        _setWindow(window_);
    }

    /// @inheritdoc IExchange
    function setTreasury(address treasury_) external onlyOwner {
        _setTreasury(treasury_);
    }

    /// @inheritdoc IExchange
    function price() external view returns (uint256) {
        ExchangeStorage storage $ = _exchange();
        (bool known, uint256 mean) = $.history.average(_spot(), $.window);
        if (!known) revert TooYoung($.history.oldest() + $.window);
        return mean;
    }

    /// @inheritdoc IExchange
    function spot() external view returns (uint256) {
        return _spot();
    }

    /// @inheritdoc IExchange
    function reserves() external view returns (uint256, uint256) {
        return (_exchange().usdReserve, _exchange().jouleReserve);
    }

    /// @inheritdoc IExchange
    function usd() external view returns (IERC20) {
        return _usd;
    }

    /// @inheritdoc IExchange
    function joule() external view returns (IERC20) {
        return _joule;
    }

    /// @inheritdoc IExchange
    function feeBp() external view returns (uint16) {
        return _exchange().feeBp;
    }

    /// @inheritdoc IExchange
    function moveBp() external view returns (uint16) {
        return _exchange().moveBp;
    }

    /// @inheritdoc IExchange
    function window() external view returns (uint32) {
        return _exchange().window;
    }

    /// @inheritdoc IExchange
    function treasury() external view returns (address) {
        return _exchange().treasury;
    }

    /// @inheritdoc IExchange
    function quoteBuy(uint256 usdIn) public view returns (uint256) {
        ExchangeStorage storage $ = _exchange();
        return _quote(usdIn, $.usdReserve, $.jouleReserve, $.feeBp);
    }

    /// @inheritdoc IExchange
    function quoteSell(uint256 jouleIn) public view returns (uint256) {
        ExchangeStorage storage $ = _exchange();
        return _quote(jouleIn, $.jouleReserve, $.usdReserve, $.feeBp);
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    function _begin(address to, uint256 deadline) private {
        if (block.timestamp > deadline) revert Expired(deadline);
        if (to == address(0)) revert ZeroAddress();
        _touch();
    }

    /// @dev Before any change of the reserves: counts the price that has held, and notes what this
    /// block began with.
    function _touch() private {
        ExchangeStorage storage $ = _exchange();
        uint128 price_ = _spot();
        $.history.note(price_, $.window);
        if ($.blockNumber != block.number) {
            $.blockNumber = uint64(block.number);
            $.opening = price_;
        }
    }

    function _receive(IERC20 token, uint256 amount) private {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 received = token.balanceOf(address(this)) - before;
        if (received != amount) revert NotReceived(received, amount);
    }

    function _requireWithinMove() private view {
        ExchangeStorage storage $ = _exchange();
        (uint256 opening, uint256 price_) = ($.opening, _spot());
        uint256 moved = price_ > opening ? price_ - opening : opening - price_;
        if (moved * BP > opening * $.moveBp) revert MovesTooFar(opening, price_);
    }

    function _requireFunded(IERC20 token, uint256 amount, uint256 reserve) private view {
        uint256 available = token.balanceOf(address(this)) - reserve;
        if (amount > available) revert Unfunded(amount, available);
    }

    function _spot() private view returns (uint128) {
        ExchangeStorage storage $ = _exchange();
        if ($.jouleReserve == 0) revert NotOpen();
        return Math.mulDiv($.usdReserve * _usdUnit, JOULE, $.jouleReserve).toUint128();
    }

    /// @dev Rounded down, as the fee is rounded up: the product of the reserves never falls.
    function _quote(uint256 amountIn, uint256 reserveIn, uint256 reserveOut, uint256 bp)
        private
        pure
        returns (uint256)
    {
        if (reserveIn == 0) revert NotOpen();
        uint256 net = amountIn - Math.mulDiv(amountIn, bp, BP, Math.Rounding.Ceil);
        return Math.mulDiv(reserveOut, net, reserveIn + net);
    }

    function _setFee(uint16 feeBp_) private {
        if (feeBp_ > FEE_BP_CAP) revert FeeTooHigh(feeBp_, FEE_BP_CAP);
        _exchange().feeBp = feeBp_;
        emit FeeChanged(feeBp_);
    }

    function _setMove(uint16 moveBp_) private {
        if (moveBp_ < MOVE_BP_MIN || moveBp_ > MOVE_BP_MAX) {
            revert OutOfBounds(moveBp_, MOVE_BP_MIN, MOVE_BP_MAX);
        }
        _exchange().moveBp = moveBp_;
        emit MoveChanged(moveBp_);
    }

    function _setWindow(uint32 window_) private {
        if (window_ < WINDOW_MIN || window_ > WINDOW_MAX) {
            revert OutOfBounds(window_, WINDOW_MIN, WINDOW_MAX);
        }
        _exchange().window = window_;
        emit WindowChanged(window_);
    }

    function _setTreasury(address treasury_) private {
        if (treasury_ == address(0)) revert ZeroAddress();
        _exchange().treasury = treasury_;
        emit TreasuryChanged(treasury_);
    }

    function _exchange() private pure returns (ExchangeStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
