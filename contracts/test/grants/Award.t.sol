// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {IGrants} from "../../src/interfaces/IGrants.sol";
import {GrantsFixture} from "../utils/GrantsFixture.sol";

contract AwardTest is GrantsFixture {
    function test_awarded() public {
        _fund(1_000);
        vm.prank(owner);
        vm.expectEmit();
        emit IGrants.Awarded(0, grantee, 400, START, START + 10, START + 100);
        assertEq(grants.award(grantee, 400, START, START + 10, START + 100), 0, "number");
        assertEq(grants.count(), 1, "count");
        assertEq(grants.committed(), 400, "committed");
        assertEq(grants.available(), 600, "available");
    }

    function testFuzz_noMoreThanIsHere(uint96 funded, uint96 first, uint96 second) public {
        funded = uint96(bound(funded, 1, 1_000_000e18));
        first = uint96(bound(first, 1, funded));
        second = uint96(bound(second, uint256(funded) - first + 1, type(uint96).max));
        _fund(funded);
        vm.startPrank(owner);
        grants.award(grantee, first, START, START, START + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IGrants.Unfunded.selector, second, uint256(funded) - first)
        );
        grants.award(grantee, second, START, START, START + 1);
    }

    function testFuzz_aScheduleRunsForwards(uint64 start, uint64 cliff, uint64 end) public {
        _fund(1);
        vm.prank(owner);
        if (start >= end || cliff < start || cliff > end) {
            vm.expectRevert(
                abi.encodeWithSelector(IGrants.InvalidSchedule.selector, start, cliff, end)
            );
        }
        grants.award(grantee, 1, start, cliff, end);
    }

    function test_neitherToNobodyNorNothing() public {
        _fund(1);
        vm.startPrank(owner);
        vm.expectRevert(IGrants.ZeroAddress.selector);
        grants.award(address(0), 1, START, START, START + 1);
        vm.expectRevert(IGrants.ZeroAmount.selector);
        grants.award(grantee, 0, START, START, START + 1);
    }

    function testFuzz_nobodyElseAwards(address caller) public {
        vm.assume(caller != owner);
        _fund(1);
        vm.prank(caller);
        vm.expectRevert(
            abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, caller)
        );
        grants.award(caller, 1, START, START, START + 1);
    }
}
