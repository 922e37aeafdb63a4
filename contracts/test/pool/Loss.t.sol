// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IBonds} from "../../src/interfaces/IBonds.sol";
import {PoolFixture} from "../utils/PoolFixture.sol";

/// @dev Who loses what when a supplier is slashed.
contract LossTest is PoolFixture {
    function testFuzz_theOwnStakeIsLostFirst(uint256 own, uint256 slashed) public {
        _invest(investor, DEPOSIT);
        uint256 lent = DEPOSIT / 4;
        _borrow(supplier, lent);
        own = bound(own, 1, DEPOSIT);
        slashed = bound(slashed, 1, own + lent);
        vm.startPrank(stranger);
        joule.approve(address(registry), own);
        registry.bond(supplier, own);
        vm.stopPrank();
        _slash(supplier, slashed);
        uint256 loss = slashed > own ? slashed - own : 0;
        assertEq(pool.totalAssets(), DEPOSIT - loss, "assets");
        assertEq(registry.ownStake(supplier), slashed > own ? 0 : own - slashed, "own stake");
    }

    function testFuzz_aLossIsSharedByShares(uint256 first, uint256 next, uint256 loss) public {
        first = bound(first, 1e18, DEPOSIT);
        next = bound(next, 1e18, DEPOSIT);
        uint256 a = _invest(investor, first);
        uint256 b = _invest(second, next);
        uint256 all = first + next;
        uint256 lent = all / 4;
        _borrow(supplier, lent);
        loss = bound(loss, 1, lent);
        _slash(supplier, loss);
        assertTrue(_near(pool.convertToAssets(a), first * (all - loss) / all), "first");
        assertTrue(_near(pool.convertToAssets(b), next * (all - loss) / all), "second");
    }

    function test_whatThawsIsStillSlashed() public {
        _invest(investor, DEPOSIT);
        _borrow(supplier, 1_000);
        vm.prank(supplier);
        pool.recall(supplier, 600);
        _slash(supplier, 700);
        assertEq(pool.totalAssets(), DEPOSIT - 700, "assets");
        vm.warp(START + 7 days);
        assertEq(pool.reclaim(supplier), 300, "what is left");
        assertEq(pool.cash(), DEPOSIT - 700, "cash");
    }

    function test_theOwnStakeStaysBeforeTheLoan() public {
        _invest(investor, DEPOSIT);
        _borrow(supplier, 1_000);
        _earn(supplier, 1_000);
        vm.startPrank(supplier);
        registry.requestUnbonding(200);
        pool.recall(supplier, 1_000);
        vm.warp(START + 7 days);
        vm.expectRevert(abi.encodeWithSelector(IBonds.LoanStands.selector, 1_000));
        registry.unbond(supplier);
        pool.reclaim(supplier);
        assertEq(registry.unbond(supplier), 200, "free");
    }

    /// @dev A newcomer after a loss neither bears it nor gains by it.
    function testFuzz_aNewcomerAfterALoss(uint256 loss, uint256 amount) public {
        uint256 old = _invest(investor, DEPOSIT);
        _borrow(supplier, DEPOSIT / 4);
        _slash(supplier, bound(loss, 1, DEPOSIT / 4));
        uint256 worth = pool.convertToAssets(old);
        amount = bound(amount, 1e18, DEPOSIT);
        uint256 shares = _invest(second, amount);
        assertTrue(_near(pool.convertToAssets(shares), amount), "the newcomer's");
        assertTrue(_near(pool.convertToAssets(old), worth), "the others'");
    }

    function _near(uint256 a, uint256 b) private pure returns (bool) {
        return (a > b ? a - b : b - a) <= 2;
    }
}
