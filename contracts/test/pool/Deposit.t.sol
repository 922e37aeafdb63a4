// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PoolFixture} from "../utils/PoolFixture.sol";

contract DepositTest is PoolFixture {
    function testFuzz_sharesAreWorthWhatWasPaid(uint256 first, uint256 next) public {
        first = bound(first, 1, DEPOSIT);
        next = bound(next, 1, DEPOSIT);
        uint256 a = _invest(investor, first);
        uint256 b = _invest(second, next);
        assertEq(pool.convertToAssets(a), first, "first");
        assertEq(pool.convertToAssets(b), next, "second");
        assertEq(pool.totalAssets(), first + next, "assets");
        assertEq(pool.cash(), first + next, "cash");
    }

    /// @dev The first depositor gives the pool money to make the next one's shares round to nothing.
    function testFuzz_theFirstDepositorDoesNotTakeFromTheNext(uint256 given, uint256 next) public {
        given = bound(given, 0, DEPOSIT);
        next = bound(next, 1e6, DEPOSIT);
        uint256 mine = _invest(stranger, 1);
        vm.prank(stranger);
        joule.transfer(address(pool), given);
        uint256 theirs = _invest(investor, next);
        assertEq(pool.convertToAssets(theirs), next, "the next keeps all of it");
        assertEq(pool.convertToAssets(mine), 1, "the gift bought nothing");
    }

    /// @dev Earnings are a gift that is booked. They cost the giver, and the next one's rounding is
    /// within a millionth of them.
    function testFuzz_norByEarnings(uint256 given, uint256 next) public {
        given = bound(given, 1e18, DEPOSIT);
        next = bound(next, 1e18, DEPOSIT);
        uint256 mine = _invest(stranger, 4);
        _borrow(supplier, 1);
        (uint256 toPool,,) = pool.split(supplier, given);
        _earn(supplier, given);
        uint256 theirs = _invest(second, next);
        uint256 lost = next - pool.convertToAssets(theirs);
        assertTrue(lost <= toPool / 1e6 + 1, "at most a millionth of the gift");
        assertTrue(pool.convertToAssets(mine) < toPool, "at a loss to whoever gave");
    }

    function test_sharesLeaveThroughTheQueueOnly() public {
        uint256 shares = _invest(investor, DEPOSIT);
        assertEq(pool.maxWithdraw(investor), 0, "withdraw");
        assertEq(pool.maxRedeem(investor), 0, "redeem");
        vm.startPrank(investor);
        vm.expectRevert();
        pool.redeem(shares, investor, investor);
        vm.expectRevert();
        pool.withdraw(1, investor, investor);
    }
}
