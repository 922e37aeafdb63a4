// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title What the tools deploy, call and listen to.
contract Counter {
    /// @notice More was asked for at once than is added.
    error TooMuch(uint256 asked, uint256 most);

    /// @notice Something was added.
    event Added(address indexed by, uint256 value, uint256 total);

    /// @notice All that was added.
    uint256 public total;

    constructor(uint256 start) {
        total = start;
    }

    /// @notice Adds at most a hundred.
    function add(uint256 value) external {
        if (value > 100) revert TooMuch(value, 100);
        total += value;
        emit Added(msg.sender, value, total);
    }

    /// @notice The block that the call sees.
    function seen() external view returns (uint256 number, uint256 time) {
        return (block.number, block.timestamp);
    }
}
