// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IPaymentEscrow} from "../interfaces/IPaymentEscrow.sol";
import {PaymentRoot} from "./PaymentRoots.sol";
import {Payouts} from "./Payouts.sol";

/// @title Many claims of one root, against one balance. Moves no tokens.
/// @notice A claim is a payment's leaf before it is hashed: the supplier's 160 bits and the 96 of what
/// it has earned in all.
library Redemptions {
    /// @notice Books what claims are paid, as far as the balance goes.
    /// @param redeemed What each supplier had so far.
    /// @param balance What there is.
    /// @param bp The fee in basis points, on top of what is paid.
    /// @return amounts What each claim is paid.
    /// @return paid Their sum.
    /// @return left What is left of the balance.
    function bookMany(
        PaymentRoot calldata root,
        bytes32[] calldata claims,
        mapping(address supplier => uint256) storage redeemed,
        uint256 balance,
        uint256 bp
    ) internal returns (uint256[] memory amounts, uint256 paid, uint256 left) {
        amounts = new uint256[](claims.length);
        left = balance;
        for (uint256 i; i < claims.length && left > 0; ++i) {
            (uint256 amount, uint256 fee) = _bookOne(root, claimAt(claims, i), redeemed, left, bp);
            assembly ("memory-safe") {
                mstore(add(add(amounts, 0x20), shl(5, i)), amount)
            }
            // Never below zero: {Payouts} affords no more than there is.
            unchecked {
                left -= amount + fee;
                paid += amount;
            }
        }
        if (paid == 0) {
            if (left == 0) revert IPaymentEscrow.EscrowEmpty();
            revert IPaymentEscrow.NothingToRedeem(0);
        }
    }

    /// @notice Emits {IPaymentEscrow-Redeemed}.
    function tell(
        PaymentRoot calldata root,
        address supplier,
        address to,
        uint256 paid,
        uint256 fee,
        uint256 redeemed
    ) internal {
        bytes32 selector = IPaymentEscrow.Redeemed.selector;
        (address utility, uint256 series, uint256 tick) = (root.utility, root.series, root.tick);
        assembly ("memory-safe") {
            let words := mload(0x40)
            mstore(words, to)
            mstore(add(words, 0x20), tick)
            mstore(add(words, 0x40), paid)
            mstore(add(words, 0x60), fee)
            mstore(add(words, 0x80), redeemed)
            log4(words, 0xa0, selector, utility, series, supplier)
        }
    }

    /// @notice A claim by its place, which is below their number.
    function claimAt(bytes32[] calldata claims, uint256 place)
        internal
        pure
        returns (bytes32 claim)
    {
        assembly ("memory-safe") {
            claim := calldataload(add(claims.offset, shl(5, place)))
        }
    }

    function _bookOne(
        PaymentRoot calldata root,
        bytes32 claim,
        mapping(address supplier => uint256) storage redeemed,
        uint256 balance,
        uint256 bp
    ) private returns (uint256 paid, uint256 fee) {
        address supplier = address(bytes20(claim));
        uint256 cumulative = uint96(uint256(claim));
        if (cumulative > root.total) revert IPaymentEscrow.AboveTotal(cumulative, root.total);
        uint256 before = redeemed[supplier];
        if (cumulative <= before) return (0, 0);
        (paid, fee) = Payouts.affordable(cumulative - before, balance, bp);
        if (paid == 0) return (0, 0);
        unchecked {
            before += paid;
        }
        redeemed[supplier] = before;
        tell(root, supplier, supplier, paid, fee, before);
    }
}
