// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PayoutsProofs} from "./Payouts.t.sol";
import {SharesProofs} from "./Shares.t.sol";

/// @notice The same assertions with values that forge draws, so that a change that breaks one is seen
/// where no solver is.
contract FuzzedProofsTest is PayoutsProofs, SharesProofs {
    function testFuzz_redemptions(uint96 owed, uint96 balance, uint16 bp) public pure {
        bp %= 1_001;
        check_redeemNeverPaysMoreThanThereIs(owed, balance, bp);
        check_theFeeIsItsShare(owed, balance, bp);
        check_redeemPaysAllWhereItCan(owed, balance, bp);
        check_redeemLeavesNothingToSpeakOf(owed, balance, bp);
    }

    /// @dev What is owed and its fee, to the wei, which a draw hardly ever meets.
    function testFuzz_redemptionsOfAllThereIs(uint96 owed, uint16 bp) public pure {
        owed /= 2;
        bp %= 1_001;
        uint256 balance = owed + uint256(owed) * bp / 10_000;
        check_redeemPaysAllWhereItCan(owed, uint96(balance), bp);
        check_redeemPaysAllWhereItCan(1, 1, bp);
        if (balance > 0) check_redeemNeverPaysMoreThanThereIs(owed, uint96(balance - 1), bp);
    }

    function testFuzz_earnings(uint96 amount, uint16 earningsBp, uint16 growthBp, uint96 missing)
        public
        pure
    {
        earningsBp %= 5_001;
        growthBp %= 5_001 - earningsBp;
        check_earningsAreDividedToTheLastWei(amount, earningsBp, growthBp, missing);
    }

    function testFuzz_slashes(
        uint96 taken,
        uint96 own,
        uint96 damage,
        uint16 compensationBp,
        uint16 bountyBp,
        uint96 costs
    ) public pure {
        compensationBp %= 8_001;
        bountyBp %= 1_501;
        check_aSlashIsSharedOutToTheLastWei(taken, own, damage, compensationBp, bountyBp, costs);
        check_aSlashIsSharedOutToTheLastWei(taken, 0, damage, compensationBp, bountyBp, costs);
        check_convictingOneselfNeverPays(taken, own, damage, compensationBp, bountyBp);
    }

    function testFuzz_shares(
        uint128 mine,
        uint128 theirs,
        uint96 assets,
        uint128 supply,
        uint96 total
    ) public pure {
        check_sharesAreNeverWorthMoreThanTheyCost(assets, supply, total);
        check_allSharesAreWithinTheAssets(supply, total);
        if (supply > 0) (mine, theirs) = (mine % supply, theirs % (supply - mine % supply));
        check_aDepositDilutesNobody(mine, assets, supply, total);
        check_aWithdrawalDilutesNobody(mine, theirs, supply, total);
    }
}
