// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IStakePool} from "../../src/interfaces/IStakePool.sol";
import {PoolFixture} from "../utils/PoolFixture.sol";

contract BorrowTest is PoolFixture {
    function testFuzz_theMoneyGoesToTheBonds(uint256 amount) public {
        _invest(investor, DEPOSIT);
        amount = bound(amount, 1, DEPOSIT / 4);
        _borrow(supplier, amount);
        assertEq(joule.balanceOf(supplier), 0, "none to the supplier");
        assertEq(registry.lentTo(address(pool), supplier), amount, "bond");
        assertEq(pool.totalAssets(), DEPOSIT, "assets");
        assertEq(pool.cash(), DEPOSIT - amount, "cash");
    }

    function test_noMoreThanTheCredit() public {
        _invest(investor, DEPOSIT);
        vm.prank(underwriter);
        pool.setCredit(supplier, 100);
        _borrow(supplier, 60);
        vm.prank(supplier);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.AboveCredit.selector, 101, 100));
        pool.borrow(41);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.AboveCredit.selector, 1, 0));
        pool.borrow(1);
    }

    function test_noMoreThanASupplierMayHave() public {
        _invest(investor, DEPOSIT);
        uint256 cap = DEPOSIT / 4;
        _borrow(supplier, cap);
        vm.prank(supplier);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.AboveSupplierCap.selector, cap + 1, cap));
        pool.borrow(1);
    }

    function test_noMoreThanThePoolMayLend() public {
        _invest(investor, 1_000);
        for (uint160 i = 1; i <= 3; ++i) {
            _borrowAs(address(0xf000 + i), 250);
        }
        address last = address(0xf004);
        vm.prank(underwriter);
        pool.setCredit(last, 250);
        vm.prank(last);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.AbovePoolCap.selector, 801, 800));
        pool.borrow(51);
        _borrow(last, 50);
    }

    function test_notWhatTheQueueNeeds() public {
        uint256 shares = _invest(investor, 1_000e18);
        _request(investor, shares * 9 / 10);
        vm.prank(supplier);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.NeededForQueue.selector, 101e18, 100e18));
        pool.borrow(101e18);
        _borrow(supplier, 100e18);
    }

    function test_onlyTheUnderwriterGivesCredit() public {
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IStakePool.NotUnderwriter.selector, stranger));
        pool.setCredit(stranger, 1);
        vm.prank(owner);
        pool.setCredit(stranger, 1);
        assertEq(pool.creditOf(stranger), 1, "credit");
    }

    function _borrowAs(address who, uint256 amount) private {
        vm.prank(underwriter);
        pool.setCredit(who, amount);
        _borrow(who, amount);
    }
}
