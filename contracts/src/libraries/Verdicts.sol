// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAudits} from "../interfaces/IAudits.sol";

/// @title What a panel found, and what each on it gets or loses for that.
library Verdicts {
    /// @notice Judges a claim, and books on the auditors' bonds what it means for them: a fee for who
    /// was with the quorum or, where there was none, for who revealed at all; the others lose a
    /// little.
    /// @return decided Whether there is a quorum.
    /// @return finding What it found.
    /// @return fees What the auditors got.
    /// @return penalties What they lost.
    function judge(
        uint256 id,
        address[] memory panel,
        mapping(address auditor => IAudits.Vote) storage votes,
        mapping(address auditor => IAudits.Auditor) storage auditors,
        IAudits.Parameters storage terms
    ) internal returns (bool decided, bytes32 finding, uint256 fees, uint256 penalties) {
        (decided, finding) = tally(panel, votes, terms.quorum);
        (uint96 fee, uint96 penalty) = (terms.fee, terms.penalty);
        for (uint256 i; i < panel.length; ++i) {
            IAudits.Auditor storage auditor = auditors[panel[i]];
            IAudits.Vote storage vote = votes[panel[i]];
            --auditor.duties;
            auditor.atStake -= penalty;
            if (vote.revealed && (!decided || vote.finding == finding)) {
                auditor.bond += fee;
                fees += fee;
            } else {
                // It is there: what is at stake never exceeds the bond.
                auditor.bond -= penalty;
                penalties += penalty;
                emit IAudits.Penalised(id, panel[i], penalty);
            }
        }
    }

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
