// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

/// @title What a stake pool needs of whoever keeps the suppliers' bonds.
/// @notice A bond has two parts: the supplier's own stake and what lenders put beside it. Misconduct
/// takes the own stake first and only then the loans. While a loan stands, the own stake before it
/// does not leave. A loan that is recalled thaws, and can be slashed until it has been reclaimed.
/// All amounts in wei of JOULE; a loan is counted net of what was slashed.
interface IBonds {
    /// @notice Adds JOULE of the caller to a supplier's own stake.
    function bond(address supplier, uint256 amount) external;

    /// @notice Adds JOULE of the caller to a supplier's bond, as a loan of the caller.
    function lend(address supplier, uint256 amount) external;

    /// @notice As the lender: starts the thaw of a part of a loan, beside what thaws already.
    function recall(address supplier, uint256 amount) external;

    /// @notice As the lender: takes what has thawed, or what slashing left of it.
    /// @return amount What the lender received, zero when nothing had thawed.
    function reclaim(address supplier) external returns (uint256 amount);

    /// @notice A supplier's own stake.
    function ownStake(address supplier) external view returns (uint256);

    /// @notice What is left of a loan, thawing or not.
    function lentTo(address lender, address supplier) external view returns (uint256);

    /// @notice What is left of all loans of a lender, thawing or not.
    function lentBy(address lender) external view returns (uint256);

    /// @notice What thaws of a loan.
    function thawing(address lender, address supplier) external view returns (uint256);

    /// @notice What thaws of all loans of a lender.
    function thawingBy(address lender) external view returns (uint256);
}
