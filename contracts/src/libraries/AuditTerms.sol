// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAudits} from "../interfaces/IAudits.sol";

/// @title What bounds the parameters of audits.
library AuditTerms {
    /// @notice The largest panel.
    uint256 internal constant PANEL_MAX = 15;
    /// @notice An auditor never loses more than this share of a place's bond at a time, in basis
    /// points.
    uint256 internal constant PENALTY_BP_CAP = 1_000;
    /// @notice The longest of the windows and periods.
    uint256 internal constant PERIOD_MAX = 90 days;
    /// @notice The longest wait for the block that draws.
    uint256 internal constant DRAW_BLOCKS_MAX = 200;

    /// @notice Refuses parameters outside of the bounds.
    function requireSound(IAudits.Parameters memory p) internal pure {
        if (
            p.panel == 0 || p.panel > PANEL_MAX || p.quorum > p.panel
                || uint256(p.quorum) * 2 <= p.panel || p.drawBlocks == 0
                || p.drawBlocks > DRAW_BLOCKS_MAX || p.commitWindow == 0
                || p.commitWindow > PERIOD_MAX || p.revealWindow == 0 || p.revealWindow > PERIOD_MAX
                || p.claimPeriod > PERIOD_MAX || p.maturity > PERIOD_MAX || p.seatBond == 0
                || uint256(p.penalty) * 10_000 > uint256(p.seatBond) * PENALTY_BP_CAP
                || uint256(p.fee) * p.panel > p.claimStake
        ) revert IAudits.InvalidParameters();
    }

    /// @notice Copies the three words that parameters are, which is much less code than member by
    /// member.
    function keep(IAudits.Parameters storage from, IAudits.Parameters storage into) internal {
        assembly {
            for { let i := 0 } lt(i, 3) { i := add(i, 1) } {
                sstore(add(into.slot, i), sload(add(from.slot, i)))
            }
        }
    }
}
