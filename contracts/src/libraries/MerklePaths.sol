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
    /// the proof.
    ///
    /// One comparison at the end stands for all others. With `c` claims and `p` hashes in the proof
    /// there are `c + p - 1` steps. That all of the proof was used and no more means that `p` flags
    /// were not set and `c - 1` were. Before step `i`, with `t` flags set so far, `i + t` hashes were
    /// taken of the `c + i` in the queue: at least one is left, and two where this step's flag is set
    /// as well. What is read on the way through a proof that is refused does not matter.
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
            for {
                let claim := claims.offset
                let end := add(claim, shl(5, claims.length))
            } lt(claim, end) { claim := add(claim, 0x20) } {
                mstore(0, calldataload(claim))
                mstore(tail, keccak256(0, 0x20))
                tail := add(tail, 0x20)
            }
            let beside := proof.offset
            let flag := flags.offset
            for { let end := add(tail, shl(5, steps)) } lt(tail, end) {} {
                // What lies behind the flags is read along and never used.
                let bits := calldataload(flag)
                flag := add(flag, 0x20)
                let pause := add(tail, 0x2000)
                if gt(pause, end) { pause := end }
                for {} lt(tail, pause) { tail := add(tail, 0x20) } {
                    let one := mload(head)
                    head := add(head, 0x20)
                    let other
                    switch slt(bits, 0)
                    case 0 {
                        other := calldataload(beside)
                        beside := add(beside, 0x20)
                    }
                    default {
                        other := mload(head)
                        head := add(head, 0x20)
                    }
                    bits := shl(1, bits)
                    let place := shl(5, gt(one, other))
                    mstore(place, one)
                    mstore(xor(place, 0x20), other)
                    mstore(tail, keccak256(0, 0x40))
                }
            }
            if eq(beside, add(proof.offset, shl(5, proof.length))) {
                root := mload(sub(tail, 0x20))
            }
        }
    }
}
