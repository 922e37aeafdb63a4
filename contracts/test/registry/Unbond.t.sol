// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract UnbondTest is TrustFixture {
    function test_whatThawedComesBack() public {
        vm.startPrank(utility);
        vm.expectEmit();
        emit IRegistry.UnbondingRequested(utility, 400, block.timestamp + THAW);
        registry.requestUnbonding(400);
        assertEq(registry.bondOf(utility).active, STAKE - 400, "backs nothing from now on");
        vm.warp(block.timestamp + THAW);
        vm.expectEmit();
        emit IRegistry.Unbonded(utility, stranger, 400);
        assertEq(registry.unbond(stranger), 400, "amount");
        assertEq(joule.balanceOf(stranger), 400, "tokens");
        assertEq(_bonded(utility), STAKE - 400, "bonded");
        vm.expectRevert(IRegistry.NoUnbonding.selector);
        registry.unbond(stranger);
    }

    function testFuzz_notBeforeItThawed(uint256 early) public {
        vm.startPrank(utility);
        registry.requestUnbonding(400);
        uint256 thawedAt = block.timestamp + THAW;
        vm.warp(bound(early, block.timestamp, thawedAt - 1));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.StillThawing.selector, thawedAt));
        registry.unbond(utility);
    }

    function testFuzz_neverMoreThanIsBonded(uint256 amount) public {
        amount = bound(amount, STAKE + 1, type(uint256).max);
        vm.prank(utility);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.InsufficientBond.selector, amount, STAKE));
        registry.requestUnbonding(amount);
    }

    function test_aNewRequestThawsAnewAndZeroCancels() public {
        vm.startPrank(utility);
        registry.requestUnbonding(400);
        vm.warp(block.timestamp + THAW - 1);
        registry.requestUnbonding(401);
        vm.warp(block.timestamp + 1);
        vm.expectRevert();
        registry.unbond(utility);
        registry.requestUnbonding(0);
        vm.expectRevert(IRegistry.NoUnbonding.selector);
        registry.unbond(utility);
        assertEq(registry.bondOf(utility).active, STAKE, "active again");
    }

    function test_whatClaimsAndAnOfferOccupyStays() public {
        _offer();
        vm.startPrank(utility);
        vm.expectRevert(
            abi.encodeWithSelector(IRegistry.BondRequired.selector, UTILITY_BOND, UTILITY_BOND - 1)
        );
        registry.requestUnbonding(STAKE - UTILITY_BOND + 1);
        registry.requestUnbonding(STAKE - UTILITY_BOND);
        registry.retireOffer();
        registry.requestUnbonding(STAKE);
    }

    function test_aLongerThawDoesNotReachBack() public {
        vm.prank(utility);
        registry.requestUnbonding(400);
        vm.prank(owner);
        registry.setThaw(90 days);
        vm.warp(block.timestamp + THAW);
        vm.startPrank(utility);
        vm.expectRevert(IRegistry.ZeroAddress.selector);
        registry.unbond(address(0));
        assertEq(registry.unbond(utility), 400, "amount");
    }

    function test_anOpenCaseHoldsIt() public {
        vm.prank(utility);
        registry.requestUnbonding(400);
        _equivocate(1, 5, 6);
        vm.warp(block.timestamp + THAW);
        vm.prank(utility);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BondLocked.selector, 1));
        registry.unbond(utility);
    }
}
