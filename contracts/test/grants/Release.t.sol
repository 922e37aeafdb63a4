// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IGrants} from "../../src/interfaces/IGrants.sol";
import {GrantsFixture} from "../utils/GrantsFixture.sol";

contract ReleaseTest is GrantsFixture {
    function testFuzz_itPaysWhatHasVested(uint96 amount, uint32 first, uint32 second) public {
        amount = uint96(bound(amount, 1, 1_000_000e18));
        first = uint32(bound(first, 0, 200 days));
        second = uint32(bound(second, first, 200 days));
        uint256 id = _award(amount);
        vm.warp(uint256(START) + first);
        assertEq(grants.release(id), _expected(amount, first), "first");
        vm.warp(uint256(START) + second);
        grants.release(id);
        assertEq(joule.balanceOf(grantee), _expected(amount, second), "in all");
        assertEq(grants.committed(), amount - joule.balanceOf(grantee), "still owed");
    }

    function test_oneGrantDoesNotPayAnother() public {
        _award(100);
        uint256 id = _award(1_000);
        vm.warp(START + 100 days);
        assertEq(grants.release(id), 1_000, "its own");
        assertEq(grants.release(id), 0, "once");
        assertEq(grants.committed(), 100, "the other's");
    }

    function test_theGranteeMoves() public {
        uint256 id = _award(100);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IGrants.NotGrantee.selector, stranger));
        grants.setGrantee(id, stranger);
        vm.prank(grantee);
        grants.setGrantee(id, other);
        vm.warp(START + 100 days);
        grants.release(id);
        assertEq(joule.balanceOf(other), 100, "paid elsewhere");
    }

    function test_anUnknownGrant() public {
        vm.expectRevert(abi.encodeWithSelector(IGrants.UnknownGrant.selector, 0));
        grants.release(0);
    }

    function _expected(uint256 amount, uint256 time) private pure returns (uint256) {
        if (time < 10 days) return 0;
        if (time >= 100 days) return amount;
        return amount * time / 100 days;
    }
}
