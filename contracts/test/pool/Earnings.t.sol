// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IStakePool} from "../../src/interfaces/IStakePool.sol";
import {PoolFixture} from "../utils/PoolFixture.sol";

contract EarningsTest is PoolFixture {
    function testFuzz_aBorrowerPaysAndGrows(uint256 amount) public {
        uint256 shares = _invest(investor, DEPOSIT);
        _borrow(supplier, DEPOSIT / 4);
        amount = bound(amount, 1, DEPOSIT);
        _earn(supplier, amount);
        uint256 toPool = amount / 10;
        uint256 toStake = amount / 5;
        assertEq(pool.totalAssets(), DEPOSIT + toPool, "assets");
        assertEq(registry.ownStake(supplier), toStake, "own stake");
        assertEq(joule.balanceOf(supplier), amount - toPool - toStake, "supplier");
        assertTrue(pool.convertToAssets(shares) + 1 >= DEPOSIT + toPool, "the investor's");
    }

    function test_theOwnStakeGrowsUpToTheLoan() public {
        _invest(investor, DEPOSIT);
        _borrow(supplier, 1_000);
        _earn(supplier, 4_000);
        assertEq(registry.ownStake(supplier), 800, "growing");
        _earn(supplier, 4_000);
        assertEq(registry.ownStake(supplier), 1_000, "grown");
        _earn(supplier, 4_000);
        assertEq(registry.ownStake(supplier), 1_000, "no further");
        assertEq(pool.totalAssets(), DEPOSIT + 1_200, "the pool goes on earning");
    }

    function testFuzz_withoutALoanAllIsTheSuppliers(uint256 amount) public {
        _invest(investor, DEPOSIT);
        amount = bound(amount, 1, DEPOSIT);
        _earn(supplier, amount);
        assertEq(joule.balanceOf(supplier), amount, "supplier");
        assertEq(pool.totalAssets(), DEPOSIT, "assets");
    }

    function test_nothingIsShared() public {
        vm.startPrank(stranger);
        vm.expectRevert(IStakePool.ZeroAmount.selector);
        pool.shareEarnings(supplier, 0);
        vm.expectRevert(IStakePool.ZeroAddress.selector);
        pool.shareEarnings(address(0), 1);
    }

    function test_aSupplierPaysBackAndIsFree() public {
        _invest(investor, DEPOSIT);
        _borrow(supplier, 1_000);
        _earn(supplier, 10_000);
        vm.prank(supplier);
        pool.recall(supplier, 1_000);
        vm.warp(START + 7 days);
        assertEq(pool.reclaim(supplier), 1_000, "back");
        uint256 before = joule.balanceOf(supplier);
        _earn(supplier, 100);
        assertEq(joule.balanceOf(supplier), before + 100, "all of it");
        assertEq(registry.ownStake(supplier), 1_000, "on a stake of its own");
    }
}
