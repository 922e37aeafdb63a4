// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PayoutsProofs} from "./Payouts.t.sol";
import {SharesProofs} from "./Shares.t.sol";

/// @notice The same assertions with values that forge draws: what a solver has not settled is tried.
contract FuzzedProofsTest is PayoutsProofs, SharesProofs {
    function testFuzz_redemptions(uint96 owed, uint96 balance, uint16 bp) public pure {
        check_redeemNeverPaysMoreThanThereIs_noFee(owed, balance);
        check_redeemNeverPaysMoreThanThereIs_1(owed, balance);
        check_redeemNeverPaysMoreThanThereIs_100(owed, balance);
        check_redeemNeverPaysMoreThanThereIs_1000(owed, balance);
        check_redeemPaysAllWhereItCan(owed, balance, bp % 1_001);
        check_redeemLeavesNothingToSpeakOf(owed, balance);
    }

    function testFuzz_earnings(uint96 amount, uint96 missing) public pure {
        check_earningsAreDividedToTheLastWei(amount, missing);
        check_earningsAreDividedToTheLastWei_caps(amount, missing);
    }

    function testFuzz_slashes(uint96 taken, uint96 own, uint96 damage, uint96 costs) public pure {
        check_aSlashIsSharedOutToTheLastWei(taken, own, damage, costs);
        check_aSlashIsSharedOutToTheLastWei(taken, 0, damage, costs);
        check_aSlashIsSharedOutToTheLastWei_caps(taken, own, damage, costs);
        check_convictingOneselfNeverPays(taken, own, damage);
    }

    function testFuzz_shares(uint8 mine, uint8 assets, uint8 supply, uint8 total) public pure {
        check_sharesAreNeverWorthMoreThanTheyCost(assets, supply, total);
        check_allSharesAreWithinTheAssets(supply, total);
        check_aDepositDilutesNobody(mine, assets, supply, total);
    }
}
