// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title The way from leaves to a root, cheaply.
/// @notice The same trees and orders as OpenZeppelin's `MerkleProof` with its default hash (pairs
/// sorted, keccak256 of 64 bytes), which the tests compare these with. A payment's leaf is the hash
/// of 32 bytes, so that it cannot be taken for an inner node.
library MerklePaths {
    /// @notice The root that a proof leads to from a leaf.
    function climb(bytes32[] calldata proof, bytes32 leaf) internal pure returns (bytes32 root) {
        root = leaf;
        assembly ("memory-safe") {
            let end := add(proof.offset, shl(5, proof.length))
            for { let at := proof.offset } lt(at, end) { at := add(at, 0x20) } {
                let sibling := calldataload(at)
                // The smaller of the two comes first.
                let place := shl(5, gt(root, sibling))
                mstore(place, root)
                mstore(xor(place, 0x20), sibling)
                root := keccak256(0, 0x40)
            }
        }
    }

    /// @notice The root that a multiproof leads to from the hashes of `claims`; zero where it is not
    /// well formed.
    /// @dev As OpenZeppelin's `processMultiProof`: hashes queue up behind the leaves; each step takes
    /// the first of the queue and, where its flag is set, the next of the queue, or else the next of
    /// the proof. Beyond that nothing is ever read from the queue that has not been put there. All of
    /// the proof is used, and hence, by their numbers, all leaves.
    /// @param claims What is hashed to the leaves, in the order of the tree's leaves.
    /// @param proof The hashes beside the way.
    /// @param flags A bit for each step, from the most significant of the first byte on.
    function climbMany(bytes32[] calldata claims, bytes32[] calldata proof, bytes calldata flags)
        internal
        pure
        returns (bytes32 root)
    {
        if (claims.length == 0) return 0;
        uint256 steps = claims.length + proof.length - 1;
        if (flags.length != (steps + 7) / 8) return 0;
        assembly ("memory-safe") {
            // The queue lies in memory that nothing else uses and that is free again afterwards.
            let head := mload(0x40)
            let tail := head
            let end := add(claims.offset, shl(5, claims.length))
            for { let at := claims.offset } lt(at, end) { at := add(at, 0x20) } {
                mstore(0, calldataload(at))
                mstore(tail, keccak256(0, 0x20))
                tail := add(tail, 0x20)
            }
            let beside := proof.offset
            end := add(beside, shl(5, proof.length))
            let valid := 1
            let bits := 0
            for { let step := 0 } lt(step, steps) { step := add(step, 1) } {
                // What lies behind the flags is read along and never used.
                if iszero(and(step, 0xff)) { bits := calldataload(add(flags.offset, shr(3, step))) }
                if iszero(lt(head, tail)) {
                    valid := 0
                    break
                }
                let one := mload(head)
                head := add(head, 0x20)
                let other
                switch shr(255, bits)
                case 0 {
                    if iszero(lt(beside, end)) {
                        valid := 0
                        break
                    }
                    other := calldataload(beside)
                    beside := add(beside, 0x20)
                }
                default {
                    if iszero(lt(head, tail)) {
                        valid := 0
                        break
                    }
                    other := mload(head)
                    head := add(head, 0x20)
                }
                bits := shl(1, bits)
                let place := shl(5, gt(one, other))
                mstore(place, one)
                mstore(xor(place, 0x20), other)
                mstore(tail, keccak256(0, 0x40))
                tail := add(tail, 0x20)
            }
            if and(valid, eq(beside, end)) { root := mload(sub(tail, 0x20)) }
        }
    }
}
