// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {IBonds} from "../interfaces/IBonds.sol";
import {IPaymentEscrow} from "../interfaces/IPaymentEscrow.sol";
import {Payouts} from "./Payouts.sol";

/// @title What a loan costs a supplier of its earnings. Moves no tokens.
library Liens {
    /// @notice What a lien takes of earnings never exceeds this, in basis points.
    uint16 internal constant BP_CAP = 5_000;

    /// @notice Sets a supplier's lien, as its lender and within what it agreed to.
    function set(
        mapping(address supplier => IPaymentEscrow.Lien) storage liens,
        IBonds bonds,
        address supplier,
        uint16 earningsBp,
        uint16 growthBp
    ) internal {
        if (bonds.lenderOf(supplier) != msg.sender) {
            revert IPaymentEscrow.NotTheLender(msg.sender);
        }
        (address lender, uint256 agreedBp) = bonds.lenderChoice(supplier);
        if (lender != msg.sender) agreedBp = 0;
        agreedBp = Math.min(agreedBp, BP_CAP);
        uint256 shareBp = uint256(earningsBp) + growthBp;
        if (shareBp > agreedBp) revert IPaymentEscrow.AboveAgreedShare(shareBp, agreedBp);
        liens[supplier] = IPaymentEscrow.Lien(msg.sender, earningsBp, growthBp);
        emit IPaymentEscrow.LienSet(supplier, msg.sender, earningsBp, growthBp);
    }

    /// @notice Shares out earnings of a supplier with a lien, or ends the lien with its loan.
    function share(
        mapping(address supplier => IPaymentEscrow.Lien) storage liens,
        IBonds bonds,
        address supplier,
        uint256 paid
    ) internal returns (address lender, uint256 toLender, uint256 toStake) {
        IPaymentEscrow.Lien memory lien = liens[supplier];
        lender = lien.lender;
        if (bonds.lenderOf(supplier) != lender) {
            delete liens[supplier];
            emit IPaymentEscrow.LienEnded(supplier, lender);
            return (lender, 0, 0);
        }
        uint256 missing =
            Math.saturatingSub(bonds.lentTo(lender, supplier), bonds.ownStake(supplier));
        (toLender, toStake,) = Payouts.divide(paid, lien.earningsBp, lien.growthBp, missing);
        emit IPaymentEscrow.EarningsShared(supplier, lender, toLender, toStake);
    }
}
