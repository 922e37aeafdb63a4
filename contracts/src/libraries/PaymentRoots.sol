// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";

/// @notice What a utility signs every tick: the whole of what it owes, in one hash.
/// @param utility The utility whose escrow pays.
/// @param series Which of the utility's trees: each has an escrow account of its own.
/// @param tick The number of this root within its series. Never signed twice with other content.
/// @param root The root of the payment tree.
/// @param total The sum of all amounts in the tree, in wei of JOULE.
struct PaymentRoot {
    address utility;
    uint64 series;
    uint64 tick;
    bytes32 root;
    uint256 total;
}

/// @title The hashes of payment roots and of the leaves below them.
library PaymentRoots {
    bytes32 internal constant TYPEHASH = keccak256(
        "PaymentRoot(address utility,uint64 series,uint64 tick,bytes32 root,uint256 total)"
    );

    bytes32 internal constant REDEEM_TO_TYPEHASH = keccak256(
        "RedeemTo(address utility,uint64 series,address supplier,uint256 cumulative,address to,uint256 deadline)"
    );

    bytes32 private constant DOMAIN_TYPEHASH = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );
    bytes32 private constant NAME_HASH = keccak256("Kinesis PaymentEscrow");
    bytes32 private constant VERSION_HASH = keccak256("1");

    /// @notice What is signed of a struct hash in the domain of the escrow that asks.
    /// @dev Name and version are constants, so that no storage is read for them.
    function typed(bytes32 structHash) internal view returns (bytes32) {
        return MessageHashUtils.toTypedDataHash(
            keccak256(
                abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, address(this))
            ),
            structHash
        );
    }

    /// @notice The EIP-712 struct hash of a root.
    /// @dev The five words as they came: whoever reads the fields refuses what does not fit them.
    function hash(PaymentRoot calldata root) internal pure returns (bytes32 result) {
        bytes32 typehash = TYPEHASH;
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, typehash)
            calldatacopy(add(words, 0x20), root, 0xa0)
            result := keccak256(words, 0xc0)
        }
    }

    /// @notice The EIP-712 struct hash of a supplier's consent to be paid elsewhere.
    function hashRedeemTo(
        PaymentRoot calldata root,
        address supplier,
        uint256 cumulative,
        address to,
        uint256 deadline
    ) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                REDEEM_TO_TYPEHASH, root.utility, root.series, supplier, cumulative, to, deadline
            )
        );
    }

    /// @notice The leaf of a payee: 32 bytes are hashed, where an inner node hashes 64, so that
    /// neither can be taken for the other.
    function leaf(address supplier, uint96 cumulative) internal pure returns (bytes32 result) {
        assembly ("memory-safe") {
            mstore(0, or(shl(96, supplier), shr(160, shl(160, cumulative))))
            result := keccak256(0, 0x20)
        }
    }
}
