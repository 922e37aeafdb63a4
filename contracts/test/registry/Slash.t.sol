// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract SlashTest is TrustFixture {
    function testFuzz_thawingStakeGoesFirst(uint256 thawing, uint256 amount) public {
        thawing = bound(thawing, 0, STAKE);
        amount = bound(amount, 0, 2 * STAKE);
        vm.prank(utility);
        registry.requestUnbonding(thawing);
        uint256 taken = amount < STAKE ? amount : STAKE;
        uint256 fromThawing = taken < thawing ? taken : thawing;
        vm.prank(address(disputes));
        vm.expectEmit();
        emit IRegistry.Slashed(utility, stranger, taken, fromThawing);
        assertEq(registry.slash(utility, amount, stranger), taken, "taken");
        IRegistry.Bond memory stake = registry.bondOf(utility);
        assertEq(stake.thawing, thawing - fromThawing, "thawing");
        assertEq(stake.active + stake.thawing, STAKE - taken, "bonded");
        assertEq(joule.balanceOf(stranger), taken, "tokens");
        assertTrue((stake.thawing == 0) == (stake.thawedAt == 0), "a thaw of nothing is none");
    }

    function test_stakeThatHasThawedButNotLeftIsSlashed() public {
        vm.prank(utility);
        registry.requestUnbonding(STAKE);
        vm.warp(block.timestamp + 10 * THAW);
        vm.prank(address(disputes));
        assertEq(registry.slash(utility, STAKE, stranger), STAKE, "all of it");
    }

    function testFuzz_nobodyElseSlashesOrLocks(address caller) public {
        vm.assume(caller != address(disputes));
        vm.startPrank(caller);
        vm.expectRevert(IRegistry.OnlySlasher.selector);
        registry.slash(utility, 1, caller);
        vm.expectRevert(IRegistry.OnlySlasher.selector);
        registry.lock(utility);
        vm.expectRevert(IRegistry.OnlySlasher.selector);
        registry.unlock(utility);
    }

    function test_locksAreCounted() public {
        vm.startPrank(address(disputes));
        registry.lock(utility);
        registry.lock(utility);
        registry.unlock(utility);
        assertEq(registry.locks(utility), 1, "one left");
        registry.unlock(utility);
        vm.expectRevert(IRegistry.NotLocked.selector);
        registry.unlock(utility);
    }

    function test_theLocksOfAnEarlierSlasherEndWithIt() public {
        vm.prank(address(disputes));
        registry.lock(utility);
        vm.prank(owner);
        registry.setSlasher(stranger);
        assertEq(registry.locks(utility), 0, "none");
        vm.prank(address(disputes));
        vm.expectRevert(IRegistry.OnlySlasher.selector);
        registry.slash(utility, 1, stranger);
    }

    function test_anOfferThatLostItsCoverCanBeEvicted() public {
        _offer();
        vm.expectRevert(
            abi.encodeWithSelector(IRegistry.StillCovered.selector, UTILITY_BOND, STAKE)
        );
        registry.evictOffer(utility);
        vm.prank(address(disputes));
        registry.slash(utility, STAKE, stranger);
        registry.evictOffer(utility);
        assertEq(registry.utilities(0, 10).length, 0, "utilities");
    }
}
