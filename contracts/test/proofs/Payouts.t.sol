// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Payouts} from "../../src/libraries/Payouts.sol";
import {Slashes} from "../../src/libraries/Slashes.sol";

/// @notice What halmos is to prove of the arithmetic of money, for every input there is: amounts of up to
/// 96 bits, which the supply fits. Shares in basis points are those named, since solvers do not multiply
/// or divide by an unknown.
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

    /// @dev Earnings are divided to the last wei, at the default shares and at the code's caps.
    function check_earningsAreDividedToTheLastWei(uint96 amount, uint96 missing) public pure {
        _divided(amount, 1_000, 1_000, missing);
    }

    function check_earningsAreDividedToTheLastWei_caps(uint96 amount, uint96 missing) public pure {
        _divided(amount, 2_500, 2_500, missing);
    }

    /// @dev A slash is shared out to the last wei, the victims never get more than their damage, and
    /// nothing that was lent is paid out but costs within their cap: at the default shares and at the
    /// code's caps.
    function check_aSlashIsSharedOutToTheLastWei(
        uint96 taken,
        uint96 own,
        uint96 damage,
        uint96 costs
    ) public pure {
        _sharedOut(taken, own, damage, 7_000, 1_000, costs);
    }

    function check_aSlashIsSharedOutToTheLastWei_caps(
        uint96 taken,
        uint96 own,
        uint96 damage,
        uint96 costs
    ) public pure {
        _sharedOut(taken, own, damage, 8_000, 1_500, costs);
    }

    /// @dev Who convicts itself, as victim and challenger in one, gets less than it loses, even at
    /// the caps.
    function check_convictingOneselfNeverPays(uint96 taken, uint96 own, uint96 damage) public pure {
        uint256 lost = own < taken ? own : taken;
        (uint256 compensation, uint256 bounty,) = Slashes.share(taken, own, damage, 8_000, 1_500, 0);
        assert(compensation + bounty <= lost);
        if (lost > 0) assert(compensation + bounty < lost);
    }

    function _divided(uint256 amount, uint256 earningsBp, uint256 growthBp, uint256 missing)
        private
        pure
    {
        (uint256 toLender, uint256 toStake, uint256 toSupplier) =
            Payouts.divide(amount, earningsBp, growthBp, missing);
        assert(toLender + toStake + toSupplier == amount);
        assert(toStake <= missing);
    }

    function _sharedOut(
        uint256 taken,
        uint256 own,
        uint256 damage,
        uint256 compensationBp,
        uint256 bountyBp,
        uint256 costs
    ) private pure {
        (uint256 compensation, uint256 bounty, uint256 rest) =
            Slashes.share(taken, own, damage, compensationBp, bountyBp, costs);
        assert(compensation + bounty + rest == taken);
        assert(compensation <= damage);
        if (own == 0) assert(compensation == 0 && bounty <= taken * 400 / 10_000);
    }

    function _neverMore(uint256 owed, uint256 balance, uint256 bp) private pure {
        (uint256 paid, uint256 fee) = Payouts.affordable(owed, balance, bp);
        assert(paid + fee <= balance);
        assert(paid <= owed);
        assert(fee == paid * bp / 10_000);
    }
}
