// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "./Test.sol";

/// @notice The cheatcodes of forge for the block number.
interface BlockVm {
    function roll(uint256 number) external;
    function getBlockNumber() external view returns (uint256);
    function getBlockTimestamp() external view returns (uint256);
}

/// @title Blocks that come at a steady pace.
abstract contract Blocks is Test {
    uint256 internal constant BLOCK_SECONDS = 2;

    /// @dev `count` blocks later. The clock is read through forge, since the compiler may read the
    /// opcode once for a whole function.
    function _mine(uint256 count) internal {
        BlockVm cheats = BlockVm(address(vm));
        cheats.roll(cheats.getBlockNumber() + count);
        vm.warp(cheats.getBlockTimestamp() + count * BLOCK_SECONDS);
    }

    /// @dev `time` seconds later, in as many blocks as that takes.
    function _wait(uint256 time) internal {
        _mine((time + BLOCK_SECONDS - 1) / BLOCK_SECONDS);
    }

    function _now() internal view returns (uint256) {
        return BlockVm(address(vm)).getBlockTimestamp();
    }
}
