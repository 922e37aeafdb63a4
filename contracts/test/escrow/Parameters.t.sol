// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {PaymentEscrow} from "../../src/PaymentEscrow.sol";
import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {Fixture} from "../utils/Fixture.sol";

/// @dev What an upgrade would put in place.
contract NextEscrow is PaymentEscrow {
    constructor(PaymentEscrow current) PaymentEscrow(current.joule(), current.bonds()) {}

    function version() external pure returns (uint256) {
        return 2;
    }
}

contract ParametersTest is Fixture {
    function testFuzz_theFeeIsCapped(uint16 fee) public {
        vm.prank(owner);
        if (fee > 1_000) {
            vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.FeeTooHigh.selector, fee, 1_000));
            escrow.setFee(fee);
        } else {
            escrow.setFee(fee);
            assertEq(escrow.feeBp(), fee, "fee");
        }
    }

    function testFuzz_theThawIsBounded(uint32 delay) public {
        vm.prank(owner);
        if (delay < 1 minutes || delay > 90 days) vm.expectRevert();
        escrow.setWithdrawalDelay(delay);
    }

    function test_onlyTheOwnerSetsThem() public {
        bytes memory refusal = abi.encodeWithSelector(
            OwnableUpgradeable.OwnableUnauthorizedAccount.selector, stranger
        );
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        escrow.setFee(1);
        vm.expectRevert(refusal);
        escrow.setTreasury(stranger);
        vm.expectRevert(refusal);
        escrow.setWithdrawalDelay(1 days);
        vm.expectRevert(refusal);
        escrow.upgradeToAndCall(address(1), "");
    }

    function test_feesGoToTheTreasury() public {
        _deposit(10_000);
        _redeem(1, 5_000);
        vm.prank(stranger);
        vm.expectEmit();
        emit IPaymentEscrow.FeesCollected(treasury, 50);
        escrow.collectFees();
        assertEq(joule.balanceOf(treasury), 50, "treasury");
        assertEq(escrow.feesGathered(), 0, "gathered");
        assertEq(escrow.collectFees(), 0, "again");
    }

    function test_theTreasuryIsNeverZero() public {
        vm.startPrank(owner);
        vm.expectRevert(IPaymentEscrow.ZeroAddress.selector);
        escrow.setTreasury(address(0));
        escrow.setTreasury(other);
        assertEq(escrow.treasury(), other, "treasury");
    }

    function test_itIsInitializedOnce() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        escrow.initialize(stranger, stranger, 0, 1 days);
        PaymentEscrow bare = new PaymentEscrow(joule, registry);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        bare.initialize(stranger, stranger, 0, 1 days);
    }

    function test_anUpgradeKeepsTheBooks() public {
        _deposit(10_000);
        _redeem(1, 5_000);
        NextEscrow next = new NextEscrow(escrow);
        vm.prank(owner);
        escrow.upgradeToAndCall(address(next), "");
        assertEq(NextEscrow(address(escrow)).version(), 2, "version");
        assertEq(escrow.account(utility, SERIES).balance, 10_000 - 5_050, "balance");
        assertEq(_redeem(2, 5_100), 100, "goes on");
    }

    function test_ownershipNeedsAcceptance() public {
        vm.prank(owner);
        escrow.transferOwnership(stranger);
        assertEq(escrow.owner(), owner, "not yet");
        vm.prank(stranger);
        escrow.acceptOwnership();
        assertEq(escrow.owner(), stranger, "now");
    }
}
