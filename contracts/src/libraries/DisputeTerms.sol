// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "../interfaces/IDisputes.sol";

/// @title What bounds the parameters of disputes.
library DisputeTerms {
    uint16 internal constant COMPENSATION_BP_CAP = 8_000;
    uint16 internal constant BOUNTY_BP_CAP = 1_500;
    uint32 internal constant VETO_WINDOW_MIN = 1 seconds;
    uint32 internal constant VETO_WINDOW_MAX = 30 days;

    uint16 private constant BP = 10_000;

    /// @notice Refuses parameters outside of the bounds.
    function requireSound(IDisputes.Parameters memory p) internal pure {
        uint16[6] memory shares = [
            p.equivocationBp,
            p.overdraftBp,
            p.refutationBp,
            p.breachBp,
            p.compensationBp,
            p.bountyBp
        ];
        uint16[6] memory caps = [BP, BP, BP, BP, COMPENSATION_BP_CAP, BOUNTY_BP_CAP];
        for (uint256 i; i < shares.length; ++i) {
            if (shares[i] > caps[i]) revert IDisputes.ShareTooHigh(shares[i], caps[i]);
        }
        if (p.vetoWindow < VETO_WINDOW_MIN || p.vetoWindow > VETO_WINDOW_MAX) {
            revert IDisputes.WindowOutOfBounds(p.vetoWindow, VETO_WINDOW_MIN, VETO_WINDOW_MAX);
        }
    }
}
