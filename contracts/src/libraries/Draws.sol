// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Blockhash} from "@openzeppelin/contracts/utils/Blockhash.sol";

/// @title Drawing places without putting any back.
/// @notice The first steps of a Fisher-Yates shuffle of [0, n), of which only what was swapped is
/// kept: `candidates` distinct numbers, in the order in which they are drawn.
library Draws {
    /// @notice Draws distinct numbers below `n`.
    /// @param seed What decides.
    /// @param n How many there are.
    /// @param candidates How many are drawn, at most `n`.
    function distinct(bytes32 seed, uint256 n, uint256 candidates)
        internal
        pure
        returns (uint256[] memory drawn)
    {
        drawn = new uint256[](candidates);
        uint256[] memory moved = new uint256[](candidates);
        for (uint256 i; i < candidates; ++i) {
            uint256 pick = i + uint256(keccak256(abi.encode(seed, i))) % (n - i);
            // What stands at `pick` was drawn; what stood at `i` takes its place.
            drawn[i] = _valueAt(moved, i, pick);
            moved[i] = pick;
        }
    }

    /// @notice Whether a block has passed, and its hash where that is known still.
    function hashOf(uint256 number) internal view returns (bool there, bytes32 hash) {
        there = block.number > number;
        hash = Blockhash.blockHash(number);
    }

    /// @dev The number at a position after `steps` swaps. The swap of step k put the number that
    /// stood at k to `moved[k]`, and nothing below k is asked for any more.
    function _valueAt(uint256[] memory moved, uint256 steps, uint256 position)
        private
        pure
        returns (uint256)
    {
        for (uint256 k = steps; k > 0; --k) {
            if (moved[k - 1] == position) position = k - 1;
        }
        return position;
    }
}
