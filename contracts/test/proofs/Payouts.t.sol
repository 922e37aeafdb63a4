// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Payouts} from "../../src/libraries/Payouts.sol";
import {Slashes} from "../../src/libraries/Slashes.sol";

/// @notice What halmos is to prove of the arithmetic of money, for every input there is. Amounts have
/// 96 bits, as the books keep balances, fees, loans and stakes, and as JOULE's supply fits; a
/// redemption of one leaf pays no more than the leaf's 96 bits. Shares are any basis points that the
/// code lets the DAO set.
/// @dev Run by `npm run proofs`. Forge does not look at functions of this name.
contract PayoutsProofs {
    /// @dev {PaymentEscrow.FEE_BP_CAP}.
    uint256 private constant FEE_BP_CAP = 1_000;
    /// @dev {StakePool.EARNINGS_BP_CAP} and {Liens.BP_CAP}.
    uint256 private constant EARNINGS_BP_CAP = 5_000;
    /// @dev {DisputeTerms}.
    uint256 private constant COMPENSATION_BP_CAP = 8_000;
    uint256 private constant BOUNTY_BP_CAP = 1_500;

    uint256 private constant BP = 10_000;

    /// @dev Paid and fee are never more than there is, and paid never more than is owed: what the
    /// escrow subtracts without looking.
    function check_redeemNeverPaysMoreThanThereIs(uint96 owed, uint96 balance, uint16 bp)
        public
        pure
    {
        if (bp > FEE_BP_CAP) return;
        (uint256 paid, uint256 fee) = Payouts.affordable(owed, balance, bp);
        assert(paid + fee <= balance);
        assert(paid <= owed);
    }

    /// @dev The fee is its share of what is paid, rounded down.
    function check_theFeeIsItsShare(uint96 owed, uint96 balance, uint16 bp) public pure {
        if (bp > FEE_BP_CAP) return;
        (uint256 paid, uint256 fee) = Payouts.affordable(owed, balance, bp);
        assert(fee * BP <= paid * bp);
        assert(paid * bp < (fee + 1) * BP);
    }

    /// @dev Where there is enough, everything is paid, and the fee is its share rounded down.
    function check_redeemPaysAllWhereItCan(uint96 owed, uint96 balance, uint16 bp) public pure {
        if (bp > FEE_BP_CAP) return;
        uint256 fee = uint256(owed) * bp / BP;
        if (owed + fee > balance) return;
        (uint256 paid, uint256 taken) = Payouts.affordable(owed, balance, bp);
        assert(paid == owed && taken == fee);
    }

    /// @dev Where there is not, less than a wei's worth and its fee is left.
    function check_redeemLeavesNothingToSpeakOf(uint96 owed, uint96 balance, uint16 bp)
        public
        pure
    {
        if (bp > FEE_BP_CAP) return;
        (uint256 paid, uint256 fee) = Payouts.affordable(owed, balance, bp);
        if (paid == owed) return;
        assert(balance - paid - fee <= 2);
    }

    /// @dev Earnings are divided to the last wei, everybody gets its share rounded down, and the own
    /// stake never grows beyond what it lacks.
    function check_earningsAreDividedToTheLastWei(
        uint96 amount,
        uint16 earningsBp,
        uint16 growthBp,
        uint96 missing
    ) public pure {
        if (uint256(earningsBp) + growthBp > EARNINGS_BP_CAP) return;
        (uint256 toLender, uint256 toStake, uint256 toSupplier) =
            Payouts.divide(amount, earningsBp, growthBp, missing);
        assert(toLender + toStake + toSupplier == amount);
        assert(toLender * BP <= uint256(amount) * earningsBp);
        assert((toLender + 1) * BP > uint256(amount) * earningsBp);
        assert(toStake * BP <= uint256(amount) * growthBp);
        assert(toStake <= missing);
        if (toStake < missing) assert((toStake + 1) * BP > uint256(amount) * growthBp);
        assert(toSupplier * 2 >= amount);
    }

    /// @dev A slash is shared out to the last wei, the victims never get more than their damage, and
    /// nothing that was lent is paid out but costs within their cap.
    function check_aSlashIsSharedOutToTheLastWei(
        uint96 taken,
        uint96 own,
        uint96 damage,
        uint16 compensationBp,
        uint16 bountyBp,
        uint96 costs
    ) public pure {
        if (compensationBp > COMPENSATION_BP_CAP || bountyBp > BOUNTY_BP_CAP) return;
        (uint256 compensation, uint256 bounty, uint256 rest) =
            Slashes.share(taken, own, damage, compensationBp, bountyBp, costs);
        assert(compensation + bounty + rest == taken);
        assert(compensation <= damage);
        if (own == 0) {
            assert(compensation == 0);
            assert(bounty * BP <= uint256(taken) * Slashes.COSTS_BP_CAP);
        }
    }

    /// @dev Who convicts itself, as victim and challenger in one, gets less than it loses, at any
    /// shares.
    function check_convictingOneselfNeverPays(
        uint96 taken,
        uint96 own,
        uint96 damage,
        uint16 compensationBp,
        uint16 bountyBp
    ) public pure {
        if (compensationBp > COMPENSATION_BP_CAP || bountyBp > BOUNTY_BP_CAP) return;
        uint256 lost = own < taken ? own : taken;
        (uint256 compensation, uint256 bounty,) =
            Slashes.share(taken, own, damage, compensationBp, bountyBp, 0);
        if (lost == 0) assert(compensation + bounty == 0);
        else assert(compensation + bounty < lost);
    }
}
