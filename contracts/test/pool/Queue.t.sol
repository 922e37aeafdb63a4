// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IStakePool} from "../../src/interfaces/IStakePool.sol";
import {PoolFixture} from "../utils/PoolFixture.sol";

/// @dev The way out of the pool.
contract QueueTest is PoolFixture {
    function testFuzz_paidAfterTheDelay(uint256 amount) public {
        uint256 all = _invest(investor, DEPOSIT);
        uint256 shares = bound(amount, all / 1e5, all);
        uint256 worth = pool.convertToAssets(shares);
        uint256 before = joule.balanceOf(investor);
        _request(investor, shares);
        vm.warp(START + QUEUE_DELAY - 1);
        assertEq(pool.settle(10), 0, "not yet");
        vm.warp(START + QUEUE_DELAY);
        vm.prank(stranger);
        assertEq(pool.settle(10), worth, "now");
        assertEq(joule.balanceOf(investor), before + worth, "paid");
        assertEq(pool.queuedShares(), 0, "queue");
    }

    /// @dev One investor sees the misconduct and asks to leave before the slash; the other does not.
    function testFuzz_aLossIsNotEscapedByLeavingFirst(uint256 loss, uint32 after_) public {
        uint256 mine = _invest(investor, DEPOSIT);
        uint256 theirs = _invest(second, DEPOSIT);
        _borrow(supplier, DEPOSIT / 2);
        loss = bound(loss, 1, DEPOSIT / 2);
        uint256 before = joule.balanceOf(investor);
        _request(investor, mine);
        vm.warp(START + bound(after_, 0, QUEUE_DELAY));
        _slash(supplier, loss);
        vm.warp(START + QUEUE_DELAY);
        pool.settle(1);
        uint256 paid = joule.balanceOf(investor) - before;
        assertTrue(paid <= DEPOSIT - loss / 2, "half of the loss is theirs");
        assertTrue(paid + 2 >= DEPOSIT - loss / 2, "and no more than half");
        assertTrue(pool.convertToAssets(theirs) + 2 >= DEPOSIT - (loss + 1) / 2, "the other half");
    }

    /// @dev Misconduct has as long to come to light as a bond thaws, however short the pool's delay.
    function test_noRequestWaitsLessThanABondThaws() public {
        uint256 shares = _invest(investor, DEPOSIT);
        vm.prank(owner);
        pool.setDelay(1 seconds);
        _request(investor, shares / 2);
        assertEq(pool.request(0).readyAt, START + THAW, "the thaw");
        vm.prank(owner);
        registry.setThaw(30 days);
        _request(investor, shares / 2);
        assertEq(pool.request(1).readyAt, START + 30 days, "the longer thaw");
    }

    /// @dev The loss has been caused and accused, and is not known yet: nobody leaves before it is.
    function test_anOpenCaseHoldsThePayments() public {
        uint256 mine = _invest(investor, DEPOSIT);
        _invest(second, DEPOSIT);
        _borrow(supplier, DEPOSIT / 2);
        _request(investor, mine);
        vm.prank(slasher);
        registry.lock(supplier);
        vm.warp(START + QUEUE_DELAY);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.CasesOpen.selector, DEPOSIT / 2));
        pool.settle(1);
        vm.startPrank(slasher);
        registry.unlock(supplier);
        registry.slash(supplier, DEPOSIT / 4, treasury);
        vm.stopPrank();
        uint256 before = joule.balanceOf(investor);
        pool.settle(1);
        uint256 paid = joule.balanceOf(investor) - before;
        assertTrue(paid <= DEPOSIT - DEPOSIT / 8, "half of the loss is theirs");
        assertTrue(paid + 2 >= DEPOSIT - DEPOSIT / 8, "and no more");
    }

    function test_aCaseAgainstDustHoldsNothing() public {
        uint256 shares = _invest(investor, DEPOSIT);
        _borrow(supplier, DEPOSIT / 1_000);
        _borrow(other, 1);
        _request(investor, shares / 2);
        vm.warp(START + QUEUE_DELAY);
        vm.startPrank(slasher);
        registry.lock(supplier);
        registry.lock(other);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.CasesOpen.selector, DEPOSIT / 1_000 + 1));
        pool.settle(1);
        registry.unlock(other);
        assertEq(registry.lockedBy(address(pool)), DEPOSIT / 1_000, "a thousandth");
        assertTrue(pool.settle(1) > 0, "is paid");
    }

    function test_requestsArePaidInOrder() public {
        uint256 shares = _invest(investor, 1_000e18);
        _invest(second, 1_000e18);
        _lendOut(1_600e18);
        _request(investor, shares);
        _request(second, shares / 2);
        vm.warp(START + QUEUE_DELAY);
        uint256 before = joule.balanceOf(investor);
        assertEq(pool.settle(10), 400e18, "what there is");
        assertEq(joule.balanceOf(investor), before + 400e18, "to the first");
        (uint256 head, uint256 tail) = pool.queue();
        assertEq(head, 0, "who is still the first");
        assertEq(tail, 2, "of two");
        // New money pays the queue before it is lent.
        _invest(stranger, 700e18);
        assertEq(pool.settle(10), 700e18, "all of it");
        assertEq(joule.balanceOf(investor), before + 1_000e18, "the first has everything");
        assertEq(pool.convertToAssets(pool.queuedShares()), 400e18, "left of the second");
    }

    function test_noMoreRequestsArePaidThanAreAskedFor() public {
        uint256 shares = _invest(investor, 1_000e18);
        for (uint256 i; i < 3; ++i) {
            _request(investor, shares / 4);
        }
        vm.warp(START + QUEUE_DELAY);
        assertEq(pool.settle(0), 0, "none");
        assertEq(pool.settle(2), 500e18, "two");
        (uint256 head,) = pool.queue();
        assertEq(head, 2, "the third is next");
    }

    function test_anyoneRecallsWhatTheQueueLacksAndNotMore() public {
        uint256 shares = _invest(investor, 1_000e18);
        _borrow(supplier, 250e18);
        _request(investor, shares);
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.NotRecallable.selector, 1, 0));
        pool.recall(supplier, 1);
        vm.warp(START + QUEUE_DELAY);
        pool.settle(1);
        pool.recall(supplier, 150e18);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.NotRecallable.selector, 101e18, 100e18));
        pool.recall(supplier, 101e18);
        pool.recall(supplier, 100e18);
        assertEq(pool.reclaim(supplier), 0, "it thaws");
        vm.warp(START + QUEUE_DELAY + 7 days);
        assertEq(pool.reclaim(supplier), 250e18, "it has thawed");
        assertEq(pool.settle(1), 250e18, "the queue is paid");
        assertEq(pool.totalSupply(), 0, "shares");
    }

    function test_whatThawsElsewhereIsNotRecalledTwice() public {
        uint256 shares = _invest(investor, 1_000e18);
        _invest(second, 1_000e18);
        _borrow(supplier, 250e18);
        _borrow(other, 250e18);
        _request(investor, shares);
        _request(second, shares * 6 / 10);
        vm.warp(START + QUEUE_DELAY);
        vm.startPrank(stranger);
        pool.recall(supplier, 100e18);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.NotRecallable.selector, 1, 0));
        pool.recall(other, 1);
        vm.stopPrank();
        vm.prank(underwriter);
        pool.recall(other, 250e18);
    }

    function test_dustTakesNoPlace() public {
        _invest(investor, 1_000e18);
        vm.prank(investor);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.RequestTooSmall.selector, 1e18 - 1, 1e18));
        pool.requestRedeem(1e24 - 1, investor);
    }

    function test_noMoreThanOneHas() public {
        uint256 shares = _invest(investor, DEPOSIT);
        _invest(second, DEPOSIT);
        vm.prank(investor);
        vm.expectRevert();
        pool.requestRedeem(shares + 1, investor);
    }

    /// @dev Lends to as many suppliers as the caps need.
    function _lendOut(uint256 amount) private {
        uint256 each = amount / 4;
        for (uint160 i = 1; i <= 4; ++i) {
            address who = address(0xf000 + i);
            vm.prank(underwriter);
            pool.setCredit(who, each);
            _borrow(who, each);
        }
    }
}
