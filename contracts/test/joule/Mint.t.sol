// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {IJoule} from "../../src/interfaces/IJoule.sol";
import {Fixture} from "../utils/Fixture.sol";

contract MintTest is Fixture {
    uint256 private constant YEARLY = SUPPLY * 200 / 10_000;

    function testFuzz_noYearExceedsItsEmission(uint256 first, uint256 second) public {
        first = bound(first, 0, YEARLY);
        second = bound(second, YEARLY - first + 1, type(uint256).max);
        vm.startPrank(owner);
        joule.mint(stranger, first);
        vm.expectRevert(
            abi.encodeWithSelector(IJoule.EmissionExceeded.selector, second, YEARLY - first)
        );
        joule.mint(stranger, second);
        assertEq(joule.totalSupply(), SUPPLY + first, "supply");
    }

    function test_aNewYearEmitsAnewAndNothingIsSavedUp() public {
        vm.warp(block.timestamp + 5 * 365 days);
        assertEq(joule.emissionLeft(), YEARLY, "of one year");
        vm.startPrank(owner);
        joule.mint(stranger, YEARLY);
        vm.expectRevert();
        joule.mint(stranger, 1);
        vm.warp(block.timestamp + 365 days);
        assertEq(joule.emissionLeft(), (SUPPLY + YEARLY) * 200 / 10_000, "of the larger supply");
    }

    function test_aRaiseCountsFromTheNextYear() public {
        vm.startPrank(owner);
        joule.setYearlyEmission(1_000);
        assertEq(joule.emissionLeft(), YEARLY, "this year");
        vm.warp(block.timestamp + 365 days);
        assertEq(joule.emissionLeft(), SUPPLY / 10, "the next");
    }

    function test_aRaiseInAYearWithoutMintsDoesNotReachBack() public {
        vm.warp(block.timestamp + 400 days);
        vm.startPrank(owner);
        joule.setYearlyEmission(1_000);
        assertEq(joule.emissionLeft(), YEARLY, "this year");
    }

    function test_theRateIsCapped() public {
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IJoule.YearlyEmissionTooHigh.selector, 1_001, 1_000));
        joule.setYearlyEmission(1_001);
    }

    function testFuzz_nobodyElseMints(address caller) public {
        vm.assume(caller != owner);
        vm.prank(caller);
        vm.expectRevert(
            abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, caller)
        );
        joule.mint(caller, 1);
    }

    function test_votesFollowTheTokens() public {
        vm.prank(utility);
        joule.delegate(utility);
        vm.warp(block.timestamp + 1);
        assertEq(joule.getVotes(utility), SUPPLY / 2, "votes");
        vm.prank(utility);
        joule.transfer(stranger, 1);
        assertEq(joule.getVotes(utility), SUPPLY / 2 - 1, "after a transfer");
    }

    function test_burnt() public {
        vm.prank(utility);
        joule.burn(5);
        assertEq(joule.totalSupply(), SUPPLY - 5, "supply");
    }

    function test_onlyTheOwnerUpgrades() public {
        vm.prank(stranger);
        vm.expectRevert();
        joule.upgradeToAndCall(address(1), "");
    }
}
