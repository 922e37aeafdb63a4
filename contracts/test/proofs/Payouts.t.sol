// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Payouts} from "../../src/libraries/Payouts.sol";
import {Slashes} from "../../src/libraries/Slashes.sol";

/// @notice What halmos proves of the arithmetic of money, for every input there is: amounts of up to
/// 96 bits, which the supply fits, and all that the code's caps allow. The fee is proven at the values
/// named, since solvers do not divide by an unknown.
/// @dev Run by `halmos --function check_`. Forge does not look at functions of this name.
contract PayoutsProofs {
    /// @dev Paid and fee are never more than there is, and paid never more than is owed.
    function check_redeemNeverPaysMoreThanThereIs_noFee(uint96 owed, uint96 balance) public pure {
        _neverMore(owed, balance, 0);
    }

    function check_redeemNeverPaysMoreThanThereIs_1(uint96 owed, uint96 balance) public pure {
        _neverMore(owed, balance, 1);
    }

    function check_redeemNeverPaysMoreThanThereIs_100(uint96 owed, uint96 balance) public pure {
        _neverMore(owed, balance, 100);
    }

    function check_redeemNeverPaysMoreThanThereIs_1000(uint96 owed, uint96 balance) public pure {
        _neverMore(owed, balance, 1_000);
    }

    /// @dev Where there is enough, everything is paid, and the fee is its share rounded down.
    function check_redeemPaysAllWhereItCan(uint96 owed, uint96 balance, uint16 bp) public pure {
        if (bp > 1_000) return;
        uint256 fee = uint256(owed) * bp / 10_000;
        if (owed + fee > balance) return;
        (uint256 paid, uint256 taken) = Payouts.affordable(owed, balance, bp);
        assert(paid == owed && taken == fee);
    }

    /// @dev Where there is not, less than a wei's worth and its fee is left.
    function check_redeemLeavesNothingToSpeakOf(uint96 owed, uint96 balance) public pure {
        (uint256 paid, uint256 fee) = Payouts.affordable(owed, balance, 100);
        if (paid == owed) return;
        assert(balance - paid - fee <= 2);
    }

    /// @dev Earnings are divided to the last wei, and the supplier keeps what the caps leave it.
    function check_earningsAreDividedToTheLastWei(
        uint96 amount,
        uint16 earningsBp,
        uint16 growthBp,
        uint96 missing
    ) public pure {
        if (uint256(earningsBp) + growthBp > 10_000) return;
        (uint256 toLender, uint256 toStake, uint256 toSupplier) =
            Payouts.divide(amount, earningsBp, growthBp, missing);
        assert(toLender + toStake + toSupplier == amount);
        assert(toStake <= missing);
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
        if (compensationBp > 8_000 || bountyBp > 1_500) return;
        (uint256 compensation, uint256 bounty, uint256 rest) =
            Slashes.share(taken, own, damage, compensationBp, bountyBp, costs);
        assert(compensation + bounty + rest == taken);
        assert(compensation <= damage);
        if (own == 0) assert(compensation == 0 && bounty <= uint256(taken) * 400 / 10_000);
    }

    /// @dev Who convicts itself, as victim and challenger in one, gets less than it loses.
    function check_convictingOneselfNeverPays(
        uint96 taken,
        uint96 own,
        uint16 compensationBp,
        uint16 bountyBp
    ) public pure {
        if (compensationBp > 8_000 || bountyBp > 1_500) return;
        uint256 lost = own < taken ? own : taken;
        (uint256 compensation, uint256 bounty,) =
            Slashes.share(taken, own, type(uint96).max, compensationBp, bountyBp, 0);
        assert(compensation + bounty <= lost);
        if (lost > 0) assert(compensation + bounty < lost);
    }

    function _neverMore(uint256 owed, uint256 balance, uint256 bp) private pure {
        (uint256 paid, uint256 fee) = Payouts.affordable(owed, balance, bp);
        assert(paid + fee <= balance);
        assert(paid <= owed);
        assert(fee == paid * bp / 10_000);
    }
}
