// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {Fixture} from "../utils/Fixture.sol";

contract WithdrawTest is Fixture {
    function setUp() public override {
        super.setUp();
        _deposit(1_000);
        vm.startPrank(utility);
    }

    function test_whatThawedComesBack() public {
        vm.expectEmit();
        emit IPaymentEscrow.WithdrawalRequested(utility, SERIES, 400, block.timestamp + DELAY);
        escrow.requestWithdrawal(SERIES, 400);
        vm.warp(block.timestamp + DELAY);
        assertEq(escrow.withdraw(SERIES, stranger), 400, "amount");
        assertEq(joule.balanceOf(stranger), 400, "tokens");
        IPaymentEscrow.Account memory account = escrow.account(utility, SERIES);
        assertEq(account.balance, 600, "balance");
        assertEq(account.withdrawn, 400, "withdrawn");
        assertEq(account.thawing, 0, "thawing");
        assertEq(account.thawedAt, 0, "until when");
    }

    function testFuzz_notBeforeItThawed(uint256 early) public {
        escrow.requestWithdrawal(SERIES, 400);
        uint256 thawedAt = block.timestamp + DELAY;
        vm.warp(bound(early, block.timestamp, thawedAt - 1));
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.StillThawing.selector, thawedAt));
        escrow.withdraw(SERIES, utility);
    }

    function test_aNewRequestThawsAnew() public {
        escrow.requestWithdrawal(SERIES, 400);
        vm.warp(block.timestamp + DELAY - 1);
        escrow.requestWithdrawal(SERIES, 401);
        vm.warp(block.timestamp + 1);
        vm.expectRevert();
        escrow.withdraw(SERIES, utility);
    }

    function test_zeroCancels() public {
        escrow.requestWithdrawal(SERIES, 400);
        escrow.requestWithdrawal(SERIES, 0);
        vm.warp(block.timestamp + DELAY);
        vm.expectRevert(IPaymentEscrow.NoWithdrawal.selector);
        escrow.withdraw(SERIES, utility);
    }

    function test_redemptionsGoFirst() public {
        escrow.requestWithdrawal(SERIES, 1_000);
        vm.stopPrank();
        _redeem(1, 500);
        vm.warp(block.timestamp + DELAY);
        vm.prank(utility);
        assertEq(escrow.withdraw(SERIES, utility), 1_000 - 500 - 5, "what is left");
    }

    function test_noMoreThanThereIs() public {
        vm.expectRevert(
            abi.encodeWithSelector(IPaymentEscrow.InsufficientBalance.selector, 1_001, 1_000)
        );
        escrow.requestWithdrawal(SERIES, 1_001);
    }

    function test_onlyOnesOwn() public {
        escrow.requestWithdrawal(SERIES, 400);
        vm.stopPrank();
        vm.warp(block.timestamp + DELAY);
        vm.prank(stranger);
        vm.expectRevert(IPaymentEscrow.NoWithdrawal.selector);
        escrow.withdraw(SERIES, stranger);
    }

    function test_aLongerDelayDoesNotReachBack() public {
        escrow.requestWithdrawal(SERIES, 400);
        vm.stopPrank();
        vm.prank(owner);
        escrow.setWithdrawalDelay(90 days);
        vm.warp(block.timestamp + DELAY);
        vm.startPrank(utility);
        vm.expectRevert(IPaymentEscrow.ZeroAddress.selector);
        escrow.withdraw(SERIES, address(0));
        assertEq(escrow.withdraw(SERIES, utility), 400, "amount");
    }
}
