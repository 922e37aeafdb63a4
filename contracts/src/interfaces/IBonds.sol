// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What a stake pool needs of whoever keeps the suppliers' bonds.
/// @notice A bond has two parts: the supplier's own stake and what a lender put beside it. Both back
/// the supplier's promises. Misconduct takes the own stake first and only then the loan. While a loan
/// stands, the own stake before it does not leave. A loan that is recalled thaws, and can be slashed
/// until it has been reclaimed. All amounts in wei of JOULE; a loan is counted net of what was
/// slashed.
///
/// A supplier has one lender at a time, and only one that it chose: whoever pleases cannot hold its
/// stake by lending it dust. It changes lenders by paying the loan back first.
interface IBonds {
    /// @notice A supplier chose whose loans it takes and how much of its earnings they may cost.
    event LenderChosen(address indexed supplier, address indexed lender, uint16 shareBp);

    /// @notice A lender put bond beside a supplier's.
    event LoanMade(address indexed lender, address indexed supplier, uint256 amount);

    /// @notice A part of a loan began to thaw.
    event LoanRecalled(
        address indexed lender, address indexed supplier, uint256 amount, uint256 thawedAt
    );

    /// @notice A part of a loan left.
    event LoanReclaimed(address indexed lender, address indexed supplier, uint256 amount);

    /// @notice A part of a loan was lost by misconduct of the supplier.
    event LoanSlashed(address indexed lender, address indexed supplier, uint256 amount);

    /// @notice The supplier did not choose this lender, or has a loan of another.
    error NotTheLender(address lender);

    /// @notice More than what is left of the loan and does not thaw yet.
    error AboveLoan(uint256 requested, uint256 left);

    /// @notice A loan stands behind the stake.
    error LoanStands(uint256 lent);

    /// @notice Adds JOULE of the caller to a supplier's own stake.
    function bond(address supplier, uint256 amount) external;

    /// @notice As a supplier: chooses whose loans it takes, in place of an earlier choice, and
    /// agrees to what they cost. A loan that stands stays as it is.
    /// @param lender The lender; zero for none.
    /// @param shareBp The most of its earnings that the lender and the growth of its stake may take
    /// together, in basis points.
    function setLender(address lender, uint16 shareBp) external;

    /// @notice Adds JOULE of the caller to a supplier's bond, as a loan of the caller. Not while a
    /// case against the supplier is open.
    function lend(address supplier, uint256 amount) external;

    /// @notice As the lender: starts the thaw of a part of a loan, beside what thaws already. What
    /// was recalled leaves at the latest after two thaws, whatever is recalled after it.
    function recall(address supplier, uint256 amount) external;

    /// @notice As the lender: takes what has thawed, or what slashing left of it, unless a case
    /// against the supplier is open.
    /// @return amount What the lender received, zero when nothing had thawed.
    function reclaim(address supplier) external returns (uint256 amount);

    /// @notice A supplier's own stake, thawing or not.
    function ownStake(address supplier) external view returns (uint256);

    /// @notice What a supplier agreed to by {setLender}.
    function lenderChoice(address supplier) external view returns (address lender, uint16 shareBp);

    /// @notice Whose loan stands behind a supplier; zero for nobody's.
    function lenderOf(address supplier) external view returns (address);

    /// @notice What is left of a loan, thawing or not.
    function lentTo(address lender, address supplier) external view returns (uint256);

    /// @notice What is left of all loans of a lender, thawing or not.
    function lentBy(address lender) external view returns (uint256);

    /// @notice What thaws of a loan.
    function thawing(address lender, address supplier) external view returns (uint256);

    /// @notice What thaws of all loans of a lender.
    function thawingBy(address lender) external view returns (uint256);

    /// @notice What is left of all loans of a lender to suppliers against whom a case is open.
    function lockedBy(address lender) external view returns (uint256);

    /// @notice How long stake and loans thaw, in seconds.
    function thaw() external view returns (uint32);
}
