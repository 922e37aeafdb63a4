// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

/// @title Who gets what of a slash.
library Slashes {
    /// @notice Of a slash, the costs of proceedings never take more than this, in basis points:
    /// whoever bears them may be the accused.
    uint256 internal constant COSTS_BP_CAP = 400;

    uint256 private constant BP = 10_000;

    /// @notice Shares a slash out. Only what was the accused's own pays victims and bounty, and the
    /// treasury keeps a part in any case, so that nobody gains by convicting itself.
    /// @param taken What was slashed.
    /// @param own The accused's own stake before, which answers before what others lent.
    /// @param damage What the victims lack.
    /// @param compensationBp The most of the own part that goes to victims.
    /// @param bountyBp What of the own part goes to the challenger.
    /// @param costs What the proceedings cost the challenger.
    /// @return compensation For the victims.
    /// @return bounty For the challenger, costs included.
    /// @return rest For the treasury.
    function share(
        uint256 taken,
        uint256 own,
        uint256 damage,
        uint256 compensationBp,
        uint256 bountyBp,
        uint256 costs
    ) internal pure returns (uint256 compensation, uint256 bounty, uint256 rest) {
        own = Math.min(own, taken);
        compensation = Math.min(damage, own * compensationBp / BP);
        bounty = own * bountyBp / BP + Math.min(costs, taken * COSTS_BP_CAP / BP);
        // The caps of the three shares leave something, so that this cannot be negative.
        rest = taken - compensation - bounty;
    }
}
