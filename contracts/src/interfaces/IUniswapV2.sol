// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What is used of Uniswap v2's factory.
interface IUniswapV2Factory {
    /// @notice The pair of two tokens; zero where there is none.
    function getPair(address a, address b) external view returns (address);
}

/// @title What is used of a Uniswap v2 pair.
interface IUniswapV2Pair {
    /// @notice The reserves, and when they last changed, in seconds modulo 2^32.
    function getReserves()
        external
        view
        returns (uint112 reserve0, uint112 reserve1, uint32 blockTimestampLast);

    /// @notice The token with the smaller address.
    function token0() external view returns (address);

    /// @notice The sum of (token 1 for a token 0, as a number of 112 binary places) times seconds.
    function price0CumulativeLast() external view returns (uint256);

    /// @notice The same for (token 0 for a token 1).
    function price1CumulativeLast() external view returns (uint256);
}

/// @title What is used of Uniswap v2's router, `IUniswapV2Router02`.
interface IUniswapV2Router {
    /// @notice Where pairs are found.
    function factory() external view returns (address);

    /// @notice What a trade along a path would give.
    function getAmountsOut(uint256 amountIn, address[] calldata path)
        external
        view
        returns (uint256[] memory amounts);

    /// @notice Gives a token of the caller for another.
    function swapExactTokensForTokens(
        uint256 amountIn,
        uint256 amountOutMin,
        address[] calldata path,
        address to,
        uint256 deadline
    ) external returns (uint256[] memory amounts);
}
