// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IBonds} from "../interfaces/IBonds.sol";
import {IRegistry} from "../interfaces/IRegistry.sol";
import {LenderChoice, LoanBook, Loans} from "../libraries/Loans.sol";

/// @title What suppliers agree to, and what {IBonds} says of loans.
/// @dev Keeps nothing: the book is the registry's, in its namespace.
abstract contract Lending is IBonds {
    using Loans for LoanBook;

    uint16 private constant BP = 10_000;

    /// @inheritdoc IBonds
    function setLender(address lender, uint16 shareBp) external {
        _requireShare(shareBp);
        _loans().choices[msg.sender] = LenderChoice(lender, shareBp);
        emit LenderChosen(msg.sender, lender, shareBp);
    }

    /// @inheritdoc IBonds
    function lenderChoice(address supplier) external view returns (address lender, uint16 shareBp) {
        LenderChoice storage choice = _loans().choices[supplier];
        return (choice.lender, choice.shareBp);
    }

    /// @inheritdoc IBonds
    function lenderOf(address supplier) external view returns (address) {
        return _loans().lenderOf(supplier);
    }

    /// @inheritdoc IBonds
    function lentTo(address lender, address supplier) external view returns (uint256) {
        return _loans().lentTo(lender, supplier);
    }

    /// @inheritdoc IBonds
    function lentBy(address lender) external view returns (uint256) {
        return _loans().lent[lender].all;
    }

    /// @inheritdoc IBonds
    function thawing(address lender, address supplier) external view returns (uint256) {
        return _loans().thawing(lender, supplier);
    }

    /// @inheritdoc IBonds
    function thawingBy(address lender) external view returns (uint256) {
        return _loans().lent[lender].thawing;
    }

    /// @dev The book of all loans.
    function _loans() internal view virtual returns (LoanBook storage);

    /// @dev No share is more than the whole.
    function _requireShare(uint16 bp) internal pure {
        if (bp > BP) revert IRegistry.AboveWhole(bp);
    }
}
