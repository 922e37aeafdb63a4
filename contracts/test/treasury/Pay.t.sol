// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {Treasury} from "../../src/Treasury.sol";
import {ITreasury} from "../../src/interfaces/ITreasury.sol";
import {GovernanceFixture} from "../utils/GovernanceFixture.sol";

contract PayTest is GovernanceFixture {
    function testFuzz_itPaysWhatTheOwnerOrders(uint256 amount) public {
        uint256 before = joule.balanceOf(treasury);
        amount = bound(amount, 1, before);
        vm.prank(owner);
        vm.expectEmit();
        emit ITreasury.Paid(joule, stranger, amount);
        Treasury(treasury).pay(joule, stranger, amount);
        assertEq(joule.balanceOf(stranger), amount, "paid");
        assertEq(joule.balanceOf(treasury), before - amount, "left");
    }

    function testFuzz_nobodyElseOrders(address caller) public {
        vm.assume(caller != owner);
        vm.startPrank(caller);
        bytes memory refusal =
            abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, caller);
        vm.expectRevert(refusal);
        Treasury(treasury).pay(joule, caller, 1);
        vm.expectRevert(refusal);
        Treasury(treasury).upgradeToAndCall(address(1), "");
    }

    function test_neitherToNobodyNorNothing() public {
        vm.startPrank(owner);
        vm.expectRevert(ITreasury.ZeroAddress.selector);
        Treasury(treasury).pay(joule, address(0), 1);
        vm.expectRevert(ITreasury.ZeroAmount.selector);
        Treasury(treasury).pay(joule, stranger, 0);
    }
}
