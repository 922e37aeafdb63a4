// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title The DAO's purse.
/// @notice Holds the protocol's fees and reserves in any ERC-20 and pays what its owner, the
/// timelock, orders. It approves nobody, and its JOULE is delegated to nobody.
interface ITreasury {
    /// @notice The treasury paid.
    event Paid(IERC20 indexed token, address indexed to, uint256 amount);

    /// @notice The zero address.
    error ZeroAddress();

    /// @notice An amount of zero.
    error ZeroAmount();

    /// @notice Pays from the treasury. Only the owner.
    /// @param token Which token.
    /// @param to Who receives it.
    /// @param amount How much, in the token's smallest unit.
    function pay(IERC20 token, address to, uint256 amount) external;
}
