// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IExchange} from "./interfaces/IExchange.sol";
import {IMarket} from "./interfaces/IMarket.sol";
import {IUniswapV2Factory, IUniswapV2Pair, IUniswapV2Router} from "./interfaces/IUniswapV2.sol";
import {PairHistories, PairHistory} from "./libraries/PairHistory.sol";

/// @title UniswapV2Market
/// @notice {IMarket} over a pair of Uniswap v2, or of whatever has its router's interface. It holds
/// nothing between calls and has no owner: what it is made with, it keeps.
///
/// The price is the pair's own time-weighted one over at least the window, and at most two. It needs
/// {poke} now and then; every trade pokes. A trade must give what the trader accepts, and besides no
/// less than the time-weighted price does, less `slipBp`: a pair that somebody has just moved is
/// refused, however little the trader asked for.
/// @dev What came is read from the balance, and a trade inside a trade would count for both: hence the
/// guard.
contract UniswapV2Market is ReentrancyGuardTransient, IMarket {
    using SafeERC20 for IERC20;
    using PairHistories for PairHistory;

    /// @notice The loosest bound on how far a trade may be from the time-weighted price.
    uint16 public constant SLIP_BP_MAX = 2_000;
    /// @notice The shortest window, in seconds.
    uint32 public constant WINDOW_MIN = 10 seconds;
    /// @notice The longest window, in seconds.
    uint32 public constant WINDOW_MAX = 1 days;

    uint256 private constant BP = 10_000;
    uint256 private constant JOULE = 1e18;

    /// @notice The router that trades.
    IUniswapV2Router public immutable router;
    /// @notice The pair whose price counts.
    IUniswapV2Pair public immutable pair;
    /// @inheritdoc IMarket
    IERC20 public immutable usd;
    /// @inheritdoc IMarket
    IERC20 public immutable joule;
    /// @notice The window of the time-weighted price, in seconds.
    uint32 public immutable window;
    /// @notice How far a trade may be from the time-weighted price, in basis points, fees included.
    uint16 public immutable slipBp;
    /// @dev Atto-USD in the smallest unit of the stablecoin.
    uint256 private immutable _usdUnit;
    bool private immutable _jouleIsToken0;

    PairHistory private _history;

    /// @notice There is no pair of these tokens.
    error NoPair();

    /// @param router_ The router.
    /// @param usd_ The stablecoin, of at most 18 decimals.
    /// @param joule_ JOULE.
    /// @param window_ The window of the time-weighted price, in seconds.
    /// @param slipBp_ How far a trade may be from it, in basis points.
    constructor(
        IUniswapV2Router router_,
        IERC20Metadata usd_,
        IERC20 joule_,
        uint32 window_,
        uint16 slipBp_
    ) {
        if (window_ < WINDOW_MIN || window_ > WINDOW_MAX) {
            revert IExchange.OutOfBounds(window_, WINDOW_MIN, WINDOW_MAX);
        }
        if (slipBp_ == 0 || slipBp_ > SLIP_BP_MAX) {
            revert IExchange.OutOfBounds(slipBp_, 1, SLIP_BP_MAX);
        }
        router = router_;
        usd = usd_;
        joule = joule_;
        window = window_;
        slipBp = slipBp_;
        _usdUnit = 10 ** (18 - usd_.decimals());
        pair = IUniswapV2Pair(
            IUniswapV2Factory(router_.factory()).getPair(address(usd_), address(joule_))
        );
        if (address(pair) == address(0)) revert NoPair();
        _jouleIsToken0 = pair.token0() == address(joule_);
        _history.note(PairHistories.cumulativeOf(pair, _jouleIsToken0), window_);
    }

    /// @inheritdoc IMarket
    function buy(uint256 usdIn, uint256 minOut, address to, uint256 deadline)
        external
        nonReentrant
        returns (uint256)
    {
        uint256 fair = Math.mulDiv(usdIn * _usdUnit, JOULE, price());
        return _trade(usd, joule, usdIn, fair, minOut, to, deadline);
    }

    /// @inheritdoc IMarket
    function sell(uint256 jouleIn, uint256 minOut, address to, uint256 deadline)
        external
        nonReentrant
        returns (uint256)
    {
        uint256 fair = Math.mulDiv(jouleIn, price(), JOULE) / _usdUnit;
        return _trade(joule, usd, jouleIn, fair, minOut, to, deadline);
    }

    /// @inheritdoc IMarket
    function poke() public {
        _history.note(PairHistories.cumulativeOf(pair, _jouleIsToken0), window);
    }

    /// @inheritdoc IMarket
    function price() public view returns (uint256) {
        (bool known, uint256 mean) =
            _history.average(PairHistories.cumulativeOf(pair, _jouleIsToken0), window);
        if (!known) revert IExchange.TooYoung(_history.points[_history.head].time + window);
        return _atto(mean, 1 << 112);
    }

    /// @inheritdoc IMarket
    function spot() external view returns (uint256) {
        (uint112 reserve0, uint112 reserve1,) = pair.getReserves();
        if (reserve0 == 0) revert IExchange.NotOpen();
        return _jouleIsToken0 ? _atto(reserve1, reserve0) : _atto(reserve0, reserve1);
    }

    /// @inheritdoc IMarket
    function quoteBuy(uint256 usdIn) external view returns (uint256) {
        return router.getAmountsOut(usdIn, _path(usd, joule))[1];
    }

    /// @inheritdoc IMarket
    function quoteSell(uint256 jouleIn) external view returns (uint256) {
        return router.getAmountsOut(jouleIn, _path(joule, usd))[1];
    }

    function _trade(
        IERC20 from,
        IERC20 into,
        uint256 amount,
        uint256 fair,
        uint256 minOut,
        address to,
        uint256 deadline
    ) private returns (uint256 out) {
        if (block.timestamp > deadline) revert IExchange.Expired(deadline);
        if (to == address(0)) revert IExchange.ZeroAddress();
        uint256 least = Math.mulDiv(fair, BP - slipBp, BP, Math.Rounding.Ceil);
        if (least < minOut) least = minOut;
        if (least == 0) revert IExchange.ZeroAmount();
        poke();
        uint256 before = into.balanceOf(to);
        from.safeTransferFrom(msg.sender, address(this), amount);
        from.forceApprove(address(router), amount);
        // The balance says what came, whatever the router says.
        // slither-disable-next-line unused-return
        router.swapExactTokensForTokens(amount, 0, _path(from, into), to, deadline);
        out = into.balanceOf(to) - before;
        if (out < least) revert IExchange.Slippage(out, least);
        if (address(from) == address(usd)) emit IExchange.Bought(msg.sender, to, amount, out);
        else emit IExchange.Sold(msg.sender, to, amount, out);
    }

    /// @dev Smallest units of the stablecoin for one of JOULE, as atto-USD for a JOULE.
    function _atto(uint256 numerator, uint256 denominator) private view returns (uint256) {
        return Math.mulDiv(numerator, _usdUnit * JOULE, denominator);
    }

    function _path(IERC20 from, IERC20 into) private pure returns (address[] memory path) {
        path = new address[](2);
        (path[0], path[1]) = (address(from), address(into));
    }
}
