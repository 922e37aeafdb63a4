// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title What is paid, and how it is divided: the arithmetic alone, so that it can be proven.
library Payouts {
    uint256 private constant BP = 10_000;

    /// @notice The most of `owed` that `balance` pays together with the fee on it.
    /// @param owed What is owed.
    /// @param balance What there is.
    /// @param bp The fee in basis points, on top of what is paid.
    function affordable(uint256 owed, uint256 balance, uint256 bp)
        internal
        pure
        returns (uint256 paid, uint256 fee)
    {
        paid = owed;
        fee = paid * bp / BP;
        if (paid + fee > balance) {
            paid = balance * BP / (BP + bp);
            fee = paid * bp / BP;
        }
    }

    /// @notice Divides earnings of a borrower.
    /// @param amount What was earned.
    /// @param earningsBp The lender's share in basis points.
    /// @param growthBp The share that becomes own stake, in basis points.
    /// @param missing What the own stake lacks to equal the loan.
    function divide(uint256 amount, uint256 earningsBp, uint256 growthBp, uint256 missing)
        internal
        pure
        returns (uint256 toLender, uint256 toStake, uint256 toSupplier)
    {
        toLender = amount * earningsBp / BP;
        toStake = Math.min(amount * growthBp / BP, missing);
        toSupplier = amount - toLender - toStake;
    }
}
