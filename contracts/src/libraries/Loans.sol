// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IBonds} from "../interfaces/IBonds.sol";

/// @notice What a supplier agreed to.
struct LenderChoice {
    address lender;
    uint16 shareBp;
}

/// @notice A loan. What thaws is in two heaps: a recall joins the second while the first thaws, so
/// that recalling more never holds up what was recalled before.
struct Loan {
    address lender;
    uint96 lent;
    uint96 first;
    uint64 firstAt;
    uint96 second;
    uint64 secondAt;
}

/// @notice The sums over all loans of a lender.
struct Lent {
    uint128 all;
    uint128 thawing;
}

/// @notice All loans.
struct LoanBook {
    mapping(address supplier => LenderChoice) choices;
    mapping(address supplier => Loan) loans;
    mapping(address lender => Lent) lent;
    mapping(address slasher => mapping(address lender => uint256)) locked;
}

/// @title The books of what lenders put beside suppliers' stakes. Moves no tokens.
library Loans {
    using SafeCast for uint256;

    function lend(LoanBook storage book, address lender, address supplier, uint256 amount)
        internal
    {
        Loan storage loan = book.loans[supplier];
        if (book.choices[supplier].lender != lender) revert IBonds.NotTheLender(lender);
        if (loan.lender != lender) {
            if (loan.lent > 0) revert IBonds.NotTheLender(lender);
            loan.lender = lender;
        }
        loan.lent += amount.toUint96();
        book.lent[lender].all += uint128(amount);
        emit IBonds.LoanMade(lender, supplier, amount);
    }

    function recall(
        LoanBook storage book,
        address lender,
        address supplier,
        uint256 amount,
        uint256 thawedAt
    ) internal {
        Loan storage loan = book.loans[supplier];
        uint256 left = lentTo(book, lender, supplier) - thawing(book, lender, supplier);
        if (amount > left) revert IBonds.AboveLoan(amount, left);
        // Both fit: they are within what was lent.
        if (loan.first == 0) {
            loan.first = uint96(amount);
            loan.firstAt = uint64(thawedAt);
        } else {
            loan.second += uint96(amount);
            loan.secondAt = uint64(thawedAt);
        }
        book.lent[lender].thawing += uint128(amount);
        emit IBonds.LoanRecalled(lender, supplier, amount, thawedAt);
    }

    function reclaim(LoanBook storage book, address lender, address supplier)
        internal
        returns (uint256 amount)
    {
        Loan storage loan = book.loans[supplier];
        if (loan.lender != lender) return 0;
        // The second heap never thaws before the first.
        for (uint256 heap; heap < 2 && loan.first > 0 && block.timestamp >= loan.firstAt; ++heap) {
            amount += loan.first;
            (loan.first, loan.firstAt) = (loan.second, loan.secondAt);
            (loan.second, loan.secondAt) = (0, 0);
        }
        if (amount == 0) return 0;
        loan.lent -= uint96(amount);
        book.lent[lender].all -= uint128(amount);
        book.lent[lender].thawing -= uint128(amount);
        emit IBonds.LoanReclaimed(lender, supplier, amount);
    }

    /// @dev Takes up to `amount` of the loan behind a supplier: first what was not recalled, then
    /// what was recalled last, so that what the lender waits for is lost last.
    function slash(LoanBook storage book, address supplier, uint256 amount, address lockedFor)
        internal
        returns (uint256 taken)
    {
        Loan storage loan = book.loans[supplier];
        taken = Math.min(amount, loan.lent);
        if (taken == 0) return 0;
        address lender = loan.lender;
        uint256 left = loan.lent - taken;
        uint256 before = uint256(loan.first) + loan.second;
        uint256 first = Math.min(loan.first, left);
        uint256 second = Math.min(loan.second, left - first);
        loan.lent = uint96(left);
        if (first + second < before) {
            (loan.first, loan.second) = (uint96(first), uint96(second));
            // A heap of nothing would keep its time for the next recall.
            if (second == 0) loan.secondAt = 0;
            if (first == 0) loan.firstAt = 0;
            book.lent[lender].thawing -= uint128(before - first - second);
        }
        book.lent[lender].all -= uint128(taken);
        if (lockedFor != address(0)) _unlock(book, lockedFor, lender, taken);
        emit IBonds.LoanSlashed(lender, supplier, taken);
    }

    /// @dev A first case against a supplier was opened.
    function lock(LoanBook storage book, address slasher, address supplier) internal {
        Loan storage loan = book.loans[supplier];
        if (loan.lent > 0) book.locked[slasher][loan.lender] += loan.lent;
    }

    /// @dev The last case against a supplier was closed.
    function unlock(LoanBook storage book, address slasher, address supplier) internal {
        Loan storage loan = book.loans[supplier];
        if (loan.lent > 0) _unlock(book, slasher, loan.lender, loan.lent);
    }

    /// @dev Active and thawing, of the loan behind a supplier.
    function behind(LoanBook storage book, address supplier)
        internal
        view
        returns (uint256 active, uint256 thawing_)
    {
        Loan storage loan = book.loans[supplier];
        thawing_ = uint256(loan.first) + loan.second;
        active = loan.lent - thawing_;
    }

    function lenderOf(LoanBook storage book, address supplier) internal view returns (address) {
        Loan storage loan = book.loans[supplier];
        return loan.lent == 0 ? address(0) : loan.lender;
    }

    function lentTo(LoanBook storage book, address lender, address supplier)
        internal
        view
        returns (uint256)
    {
        Loan storage loan = book.loans[supplier];
        return loan.lender == lender ? loan.lent : 0;
    }

    function thawing(LoanBook storage book, address lender, address supplier)
        internal
        view
        returns (uint256)
    {
        Loan storage loan = book.loans[supplier];
        return loan.lender == lender ? uint256(loan.first) + loan.second : 0;
    }

    /// @dev A slasher that the DAO took away and put back may find other loans than it locked.
    function _unlock(LoanBook storage book, address slasher, address lender, uint256 amount)
        private
    {
        mapping(address lender => uint256) storage locked = book.locked[slasher];
        locked[lender] = Math.saturatingSub(locked[lender], amount);
    }
}
