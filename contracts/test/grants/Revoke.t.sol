// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {IGrants} from "../../src/interfaces/IGrants.sol";
import {GrantsFixture} from "../utils/GrantsFixture.sol";

contract RevokeTest is GrantsFixture {
    function testFuzz_whatHasVestedStaysTheGrantees(uint96 amount, uint32 paidAt, uint32 endedAt)
        public
    {
        amount = uint96(bound(amount, 1_000, 1_000_000e18));
        endedAt = uint32(bound(endedAt, 0, 99 days));
        paidAt = uint32(bound(paidAt, 0, endedAt));
        uint256 id = _award(amount);
        vm.warp(uint256(START) + paidAt);
        grants.release(id);
        vm.warp(uint256(START) + endedAt);
        uint256 vested = grants.vested(id, START + endedAt);
        vm.prank(owner);
        assertEq(grants.revoke(id, treasury), amount - vested, "taken back");
        assertEq(joule.balanceOf(treasury), amount - vested, "treasury");
        vm.warp(START + 200 days);
        grants.release(id);
        assertEq(joule.balanceOf(grantee), vested, "kept");
        assertEq(grants.committed(), 0, "nothing is owed");
        assertEq(joule.balanceOf(address(grants)), 0, "nothing is left");
    }

    function test_onceOnlyAndNotAfterTheEnd() public {
        uint256 id = _award(1_000);
        uint256 later = _award(1_000);
        vm.warp(START + 50 days);
        vm.startPrank(owner);
        grants.revoke(id, treasury);
        vm.expectRevert(abi.encodeWithSelector(IGrants.NothingToRevoke.selector, id));
        grants.revoke(id, treasury);
        vm.warp(START + 100 days);
        vm.expectRevert(abi.encodeWithSelector(IGrants.NothingToRevoke.selector, later));
        grants.revoke(later, treasury);
    }

    function test_onlyTheOwner() public {
        uint256 id = _award(1_000);
        vm.prank(grantee);
        vm.expectRevert(
            abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, grantee)
        );
        grants.revoke(id, grantee);
    }
}
