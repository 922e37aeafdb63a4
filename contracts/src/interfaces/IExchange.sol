// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title The exchange of a USD stablecoin and JOULE.
/// @notice A constant product of two reserves that the protocol owns: there are no liquidity tokens,
/// and the fees stay in the reserves. A trade names the least it accepts and the latest it may run;
/// besides, all trades of one block together move the price by a bounded share at most. Whoever needs
/// a price takes the time-weighted one: what a block does to the reserves counts there only for the
/// seconds that it then lasts.
///
/// Prices are in atto-USD (1e-18) for one JOULE; amounts in the smallest unit of each token.
interface IExchange {
    /// @notice USD became JOULE.
    event Bought(address indexed by, address indexed to, uint256 usdIn, uint256 jouleOut);

    /// @notice JOULE became USD.
    event Sold(address indexed by, address indexed to, uint256 jouleIn, uint256 usdOut);

    /// @notice The protocol put liquidity in.
    event LiquidityAdded(uint256 usd, uint256 joule);

    /// @notice The protocol took liquidity out, to the treasury.
    event LiquidityRemoved(address indexed treasury, uint256 usd, uint256 joule);

    /// @notice What was here beside the reserves went to the treasury.
    event Swept(address indexed treasury, uint256 usd, uint256 joule);

    /// @notice The trading fee changed.
    event FeeChanged(uint16 feeBp);

    /// @notice The bound on a block's move changed.
    event MoveChanged(uint16 moveBp);

    /// @notice The window of the time-weighted price changed.
    event WindowChanged(uint32 window);

    /// @notice The treasury changed.
    event TreasuryChanged(address treasury);

    /// @notice There is no liquidity yet.
    error NotOpen();

    /// @notice The window of the price is not filled before `from`, in seconds since 1970.
    error TooYoung(uint256 from);

    /// @notice The trade gives less than the trader accepts.
    error Slippage(uint256 out, uint256 min);

    /// @notice The trade came too late.
    error Expired(uint256 deadline);

    /// @notice This block would move the price from `opening` to `price`, more than it may.
    error MovesTooFar(uint256 opening, uint256 price);

    /// @notice Liquidity above what was sent here for it.
    error Unfunded(uint256 requested, uint256 available);

    /// @notice The token did not arrive in full.
    error NotReceived(uint256 received, uint256 expected);

    /// @notice An amount of zero, or one that comes to zero.
    error ZeroAmount();

    /// @notice The zero address.
    error ZeroAddress();

    /// @notice A fee above the cap in the code.
    error FeeTooHigh(uint16 requested, uint16 cap);

    /// @notice A parameter outside of the bounds in the code.
    error OutOfBounds(uint256 requested, uint256 min, uint256 max);

    /// @notice Gives USD of the caller for JOULE.
    /// @param usdIn What is given.
    /// @param minOut The least JOULE that is accepted.
    /// @param to Who receives it.
    /// @param deadline The latest time, in seconds since 1970.
    /// @return jouleOut What `to` received.
    function buy(uint256 usdIn, uint256 minOut, address to, uint256 deadline)
        external
        returns (uint256 jouleOut);

    /// @notice Gives JOULE of the caller for USD.
    /// @param jouleIn What is given.
    /// @param minOut The least USD that is accepted.
    /// @param to Who receives it.
    /// @param deadline The latest time, in seconds since 1970.
    /// @return usdOut What `to` received.
    function sell(uint256 jouleIn, uint256 minOut, address to, uint256 deadline)
        external
        returns (uint256 usdOut);

    /// @notice Notes the price for the time-weighted one, as every trade does. Anyone may.
    function poke() external;

    /// @notice Puts tokens that were sent here before into the reserves: the first time as they are,
    /// which sets the price, and after that as much of both as keeps it. Only the owner.
    /// @param usd The most USD.
    /// @param joule The most JOULE.
    /// @return usdAdded What went in.
    /// @return jouleAdded What went in.
    function addLiquidity(uint256 usd, uint256 joule)
        external
        returns (uint256 usdAdded, uint256 jouleAdded);

    /// @notice Takes a share of both reserves out, to the treasury. Only the owner.
    /// @param shareBp The share in basis points, at most nine tenths at a time.
    function removeLiquidity(uint16 shareBp) external;

    /// @notice Sends what is here beside the reserves to the treasury. Only the owner.
    function sweep() external;

    /// @notice Sets the trading fee. Only the owner.
    function setFee(uint16 feeBp) external;

    /// @notice Sets by how much one block may move the price. Only the owner.
    function setMove(uint16 moveBp) external;

    /// @notice Sets the window of the time-weighted price, in seconds. Where the past does not reach
    /// that far, the price is refused until it does. Only the owner.
    function setWindow(uint32 window) external;

    /// @notice Sets where liquidity goes that is taken out. Only the owner.
    function setTreasury(address treasury) external;

    /// @notice The time-weighted price over the window that ends now.
    function price() external view returns (uint256);

    /// @notice The price of this moment, which a trade in this block may have moved: for display.
    function spot() external view returns (uint256);

    /// @notice What {buy} would give now.
    function quoteBuy(uint256 usdIn) external view returns (uint256 jouleOut);

    /// @notice What {sell} would give now.
    function quoteSell(uint256 jouleIn) external view returns (uint256 usdOut);

    /// @notice The reserves.
    function reserves() external view returns (uint256 usd, uint256 joule);

    /// @notice The stablecoin.
    function usd() external view returns (IERC20);

    /// @notice JOULE.
    function joule() external view returns (IERC20);

    /// @notice The trading fee in basis points.
    function feeBp() external view returns (uint16);

    /// @notice By how much one block may move the price, in basis points.
    function moveBp() external view returns (uint16);

    /// @notice The window of the time-weighted price, in seconds.
    function window() external view returns (uint32);

    /// @notice Where liquidity goes that is taken out.
    function treasury() external view returns (address);
}
