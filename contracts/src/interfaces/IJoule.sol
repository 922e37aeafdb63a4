// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title JOULE, the settlement unit of the grid.
/// @notice An ERC-20 with permit and votes. New units come from its owner alone and only within a
/// yearly share of the supply that the code caps.
interface IJoule is IERC20 {
    /// @notice The owner minted within the year's emission.
    /// @param to Who received the units.
    /// @param amount How many, in wei.
    /// @param year The year of emission, counted from the first issue.
    event Emitted(address indexed to, uint256 amount, uint256 indexed year);

    /// @notice The yearly emission changed.
    /// @param yearlyEmissionBp The new share of the supply in basis points.
    event YearlyEmissionChanged(uint16 yearlyEmissionBp);

    /// @notice Minting `requested` would exceed what is left of this year's emission.
    error EmissionExceeded(uint256 requested, uint256 left);

    /// @notice A yearly emission above the cap in the code.
    error YearlyEmissionTooHigh(uint16 requested, uint16 cap);

    /// @notice Mints within the year's emission. Only the owner.
    /// @param to Who receives the units.
    /// @param amount How many, in wei.
    function mint(address to, uint256 amount) external;

    /// @notice Destroys units of the caller.
    /// @param amount How many, in wei.
    function burn(uint256 amount) external;

    /// @notice Sets the yearly emission, from the next year on. Only the owner.
    /// @param yearlyEmissionBp A share of the supply in basis points.
    function setYearlyEmission(uint16 yearlyEmissionBp) external;

    /// @notice The share of the supply, in basis points, that a year may add from the next year on.
    function yearlyEmissionBp() external view returns (uint16);

    /// @notice What may still be minted this year, in wei.
    function emissionLeft() external view returns (uint256);
}
