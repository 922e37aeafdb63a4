// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAudits} from "../interfaces/IAudits.sol";

/// @title What a panel found.
library Verdicts {
    /// @notice The finding that a quorum revealed. The quorum is more than half of the panel, so
    /// that one finding at most has it.
    /// @return decided Whether there is one.
    /// @return finding What it is.
    function tally(
        address[] memory panel,
        mapping(address auditor => IAudits.Vote) storage votes,
        uint256 quorum
    ) internal view returns (bool decided, bytes32 finding) {
        for (uint256 i; i < panel.length; ++i) {
            IAudits.Vote storage vote = votes[panel[i]];
            if (!vote.revealed) continue;
            uint256 same = 1;
            for (uint256 j = i + 1; j < panel.length; ++j) {
                IAudits.Vote storage other = votes[panel[j]];
                if (other.revealed && other.finding == vote.finding) ++same;
            }
            if (same >= quorum) return (true, vote.finding);
        }
    }
}
