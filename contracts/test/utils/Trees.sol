// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Payment trees for tests: as OpenZeppelin's JavaScript lays them out, and ones of which only
/// a few ways are known.
library Trees {
    /// @notice What {IPaymentEscrow-redeemMany} takes.
    struct Batch {
        bytes32 root;
        bytes32[] claims;
        bytes32[] proof;
        bool[] steps;
    }

    function claim(address supplier, uint96 cumulative) internal pure returns (bytes32) {
        return bytes32(bytes20(supplier)) | bytes32(uint256(cumulative));
    }

    /// @notice A tree over all `claims` and a multiproof of those that are `chosen`.
    function some(bytes32[] memory claims, bool[] memory chosen)
        internal
        pure
        returns (Batch memory batch)
    {
        uint256 n = claims.length;
        bytes32[] memory tree = new bytes32[](2 * n - 1);
        for (uint256 i; i < n; ++i) {
            tree[2 * n - 2 - i] = keccak256(abi.encode(claims[i]));
        }
        for (uint256 i = n - 1; i > 0; --i) {
            tree[i - 1] = pair(tree[2 * i - 1], tree[2 * i]);
        }
        uint256[] memory queue = new uint256[](4 * n);
        uint256 tail;
        batch.claims = new bytes32[](n);
        for (uint256 i; i < n; ++i) {
            if (!chosen[i]) continue;
            batch.claims[tail] = claims[i];
            queue[tail++] = 2 * n - 2 - i;
        }
        _shorten(batch.claims, tail);
        batch.root = tree[0];
        batch.proof = new bytes32[](2 * n);
        batch.steps = new bool[](2 * n);
        uint256 proofs;
        uint256 steps;
        for (uint256 head; head < tail && queue[head] > 0; ++head) {
            uint256 spot = queue[head];
            uint256 sibling = spot % 2 == 0 ? spot - 1 : spot + 1;
            if (head + 1 < tail && queue[head + 1] == sibling) {
                batch.steps[steps++] = true;
                ++head;
            } else {
                ++steps;
                batch.proof[proofs++] = tree[sibling];
            }
            queue[tail++] = (spot - 1) / 2;
        }
        _shorten(batch.proof, proofs);
        _shorten(batch.steps, steps);
    }

    /// @notice A multiproof of leaves at ascending `places` of a full tree of which nothing else is
    /// known: the other hashes are made up.
    function sparse(bytes32[] memory claims, uint256[] memory places, uint256 depth)
        internal
        pure
        returns (Batch memory batch)
    {
        uint256 n = claims.length;
        bytes32[] memory row = new bytes32[](n);
        uint256[] memory spots = new uint256[](n);
        for (uint256 i; i < n; ++i) {
            (row[i], spots[i]) = (keccak256(abi.encode(claims[i])), places[i]);
        }
        batch.claims = claims;
        batch.proof = new bytes32[](n * depth);
        batch.steps = new bool[](n * depth);
        uint256 proofs;
        uint256 steps;
        for (uint256 level; level < depth; ++level) {
            uint256 above;
            for (uint256 i; i < n; ++i) {
                bytes32 sibling;
                uint256 parent = spots[i] / 2;
                if (i + 1 < n && spots[i + 1] / 2 == parent) {
                    batch.steps[steps] = true;
                    sibling = row[i + 1];
                    row[above] = pair(row[i], sibling);
                    ++i;
                } else {
                    sibling = keccak256(abi.encode("beside", level, spots[i]));
                    batch.proof[proofs++] = sibling;
                    row[above] = pair(row[i], sibling);
                }
                ++steps;
                spots[above++] = parent;
            }
            n = above;
        }
        batch.root = row[0];
        _shorten(batch.proof, proofs);
        _shorten(batch.steps, steps);
    }

    /// @notice The steps as bits.
    function flags(bool[] memory steps) internal pure returns (bytes memory packed) {
        packed = new bytes((steps.length + 7) / 8);
        for (uint256 i; i < steps.length; ++i) {
            if (steps[i]) packed[i / 8] |= bytes1(uint8(0x80 >> (i % 8)));
        }
    }

    function pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    function _shorten(bytes32[] memory list, uint256 length) private pure {
        assembly ("memory-safe") {
            mstore(list, length)
        }
    }

    function _shorten(bool[] memory list, uint256 length) private pure {
        assembly ("memory-safe") {
            mstore(list, length)
        }
    }
}
