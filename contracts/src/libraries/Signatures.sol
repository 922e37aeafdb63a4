// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title Who signed.
library Signatures {
    /// @dev Of every signature the twin with the larger `s` is refused.
    uint256 private constant HALF_ORDER =
        0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Whether an account signed a digest.
    /// @dev What OpenZeppelin's `ECDSA` checks of 65 bytes, without copying them.
    function signedBy(address signer, bytes32 digest, bytes calldata signature)
        internal
        view
        returns (bool valid)
    {
        if (signature.length != 65 || signer == address(0)) return false;
        uint256 halfOrder = HALF_ORDER;
        assembly ("memory-safe") {
            let s := calldataload(add(signature.offset, 0x20))
            if iszero(gt(s, halfOrder)) {
                // The four words reach into two that the compiler keeps: they are put back.
                let free := mload(0x40)
                mstore(0x00, digest)
                mstore(0x20, byte(0, calldataload(add(signature.offset, 0x40))))
                mstore(0x40, calldataload(signature.offset))
                mstore(0x60, s)
                let answered := staticcall(gas(), 1, 0x00, 0x80, 0x00, 0x20)
                // Nothing is returned for what is no signature.
                answered := and(answered, eq(returndatasize(), 0x20))
                valid := and(answered, eq(mload(0x00), shr(96, shl(96, signer))))
                mstore(0x40, free)
                mstore(0x60, 0)
            }
        }
    }
}
