// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Where USD and JOULE are exchanged, whatever is behind it.
/// @notice What a desk needs: the functions of {IExchange} under the same selectors, without those
/// of its owner. {Exchange} is one, {UniswapV2Market} another.
///
/// Prices are in atto-USD (1e-18) for one JOULE; amounts in the smallest unit of each token.
interface IMarket {
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

    /// @notice Notes the price for the time-weighted one. Anyone may.
    function poke() external;

    /// @notice The time-weighted price.
    function price() external view returns (uint256);

    /// @notice The price of this moment, which a trade in this block may have moved: for display.
    function spot() external view returns (uint256);

    /// @notice What {buy} would give now.
    function quoteBuy(uint256 usdIn) external view returns (uint256 jouleOut);

    /// @notice What {sell} would give now.
    function quoteSell(uint256 jouleIn) external view returns (uint256 usdOut);

    /// @notice The stablecoin.
    function usd() external view returns (IERC20);

    /// @notice JOULE.
    function joule() external view returns (IERC20);
}
