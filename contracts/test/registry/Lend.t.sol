// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IBonds} from "../../src/interfaces/IBonds.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {Fixture} from "../utils/Fixture.sol";

/// @dev What lenders put beside a supplier's own stake.
contract LendTest is Fixture {
    uint256 private constant LOAN = 1_000e18;

    address private slasher = address(0x0777);
    address private lender = address(0x0888);

    function setUp() public override {
        super.setUp();
        vm.startPrank(owner);
        registry.setSlasher(slasher);
        joule.transfer(lender, 10 * LOAN);
        joule.transfer(other, 10 * LOAN);
        vm.stopPrank();
        vm.prank(lender);
        joule.approve(address(registry), type(uint256).max);
        vm.prank(other);
        joule.approve(address(registry), type(uint256).max);
        _choose(lender);
    }

    function test_onlyWhomTheSupplierChose() public {
        vm.expectEmit();
        emit IBonds.LenderChosen(supplier, lender, 3_000);
        _choose(lender);
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(IBonds.NotTheLender.selector, other));
        registry.lend(supplier, 1);
        vm.expectEmit();
        emit IBonds.LoanMade(lender, supplier, LOAN);
        _lend(LOAN);
        (address chosen, uint16 share) = registry.lenderChoice(supplier);
        assertEq(chosen, lender, "choice");
        assertEq(share, 3_000, "share");
        assertEq(registry.lenderOf(supplier), lender, "lender");
        assertEq(joule.balanceOf(address(registry)), LOAN, "tokens");
    }

    function test_aShareIsNoMoreThanAll() public {
        vm.prank(supplier);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AboveWhole.selector, 10_001));
        registry.setLender(lender, 10_001);
        vm.prank(supplier);
        registry.setLender(lender, 10_000);
        (, uint16 share) = registry.lenderChoice(supplier);
        assertEq(share, 10_000, "all");
    }

    function test_oneLenderAtATime() public {
        _lend(LOAN);
        _choose(other);
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(IBonds.NotTheLender.selector, other));
        registry.lend(supplier, 1);
        vm.prank(lender);
        vm.expectRevert(abi.encodeWithSelector(IBonds.NotTheLender.selector, lender));
        registry.lend(supplier, 1);
        _recall(LOAN);
        vm.warp(block.timestamp + THAW);
        vm.prank(lender);
        assertEq(registry.reclaim(supplier), LOAN, "paid back");
        assertEq(registry.lenderOf(supplier), address(0), "nobody");
        vm.prank(other);
        registry.lend(supplier, 5);
        assertEq(registry.lenderOf(supplier), other, "the next");
        assertEq(registry.lentTo(lender, supplier), 0, "nothing of the first");
        assertEq(registry.lentTo(other, supplier), 5, "all of the second");
    }

    function test_aLoanBacksPromises() public {
        bytes32 node = keccak256("node");
        _lend(NODE_BOND);
        _claim(node);
        assertEq(registry.bondOf(supplier).active, NODE_BOND, "active");
        _recall(1);
        assertEq(registry.bondOf(supplier).active, NODE_BOND - 1, "what thaws does not");
        assertEq(registry.bondOf(supplier).thawing, 1, "thawing");
        registry.evictNode(node, supplier);
    }

    function test_aLoanCoversForOwnStakeThatLeavesLater() public {
        _bond(NODE_BOND);
        _lend(NODE_BOND);
        _claim(keccak256("node"));
        vm.startPrank(supplier);
        registry.requestUnbonding(NODE_BOND);
        vm.warp(block.timestamp + THAW);
        vm.expectRevert(abi.encodeWithSelector(IBonds.LoanStands.selector, NODE_BOND));
        registry.unbond(supplier);
    }

    function test_recallingMoreHoldsUpNothing() public {
        _lend(LOAN);
        uint256 start = block.timestamp;
        _recall(100);
        for (uint256 day = 1; day <= 6; ++day) {
            vm.warp(start + day * 1 days);
            _recall(1);
        }
        vm.warp(start + THAW);
        assertEq(_reclaim(), 100, "the first");
        assertEq(registry.thawing(lender, supplier), 6, "the rest thaws");
        for (uint256 day = 7; day <= 12; ++day) {
            vm.warp(start + day * 1 days);
            assertEq(_reclaim(), 0, "not yet");
            _recall(1);
        }
        vm.warp(start + 6 days + THAW);
        assertEq(_reclaim(), 6, "the second");
        assertEq(registry.thawing(lender, supplier), 6, "and so on");
        vm.warp(start + 30 days);
        assertEq(_reclaim(), 6, "all of it");
        assertEq(registry.lentTo(lender, supplier), LOAN - 112, "left");
    }

    function test_bothHeapsComeBackAtOnce() public {
        _lend(LOAN);
        _recall(100);
        _recall(LOAN - 100);
        vm.warp(block.timestamp + THAW);
        uint256 before = joule.balanceOf(lender);
        assertEq(_reclaim(), LOAN, "both");
        assertEq(joule.balanceOf(lender), before + LOAN, "to the lender");
        assertEq(registry.lentBy(lender), 0, "nothing lent");
        assertEq(registry.thawingBy(lender), 0, "nothing thaws");
    }

    function test_noMoreThanIsLeft() public {
        _lend(LOAN);
        _recall(600);
        vm.prank(lender);
        vm.expectRevert(abi.encodeWithSelector(IBonds.AboveLoan.selector, LOAN - 599, LOAN - 600));
        registry.recall(supplier, LOAN - 599);
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(IBonds.AboveLoan.selector, 1, 0));
        registry.recall(supplier, 1);
        vm.prank(other);
        assertEq(registry.reclaim(supplier), 0, "nothing of another's");
    }

    function test_anOpenCaseHoldsTheLoanAndAdmitsNoOther() public {
        _lend(LOAN);
        _recall(LOAN);
        vm.prank(slasher);
        registry.lock(supplier);
        assertEq(registry.lockedBy(lender), LOAN, "locked");
        vm.warp(block.timestamp + THAW);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.BondLocked.selector, 1);
        vm.startPrank(lender);
        vm.expectRevert(refusal);
        registry.reclaim(supplier);
        vm.expectRevert(refusal);
        registry.lend(supplier, 1);
        vm.stopPrank();
        vm.prank(slasher);
        registry.unlock(supplier);
        assertEq(registry.lockedBy(lender), 0, "free");
        assertEq(_reclaim(), LOAN, "back");
    }

    /// @dev What is locked of a lender is what it lent to the accused, whoever else is slashed.
    function test_aSlashWithoutACaseFreesNoOthersLock() public {
        _lend(LOAN);
        vm.prank(stranger);
        registry.setLender(lender, 3_000);
        vm.prank(lender);
        registry.lend(stranger, LOAN);
        vm.startPrank(slasher);
        registry.lock(supplier);
        assertEq(registry.slash(stranger, LOAN / 2, treasury), LOAN / 2, "of the other");
        assertEq(registry.lockedBy(lender), LOAN, "locked as before");
    }

    /// @dev The own stake first, then the loan; the books agree to the last wei.
    function testFuzz_theOwnStakeIsSlashedBeforeTheLoan(
        uint256 own,
        uint256 lent,
        uint256[2] memory recalled,
        uint256 slashed,
        uint8 cases
    ) public {
        own = bound(own, 1, LOAN);
        lent = bound(lent, 2, LOAN);
        recalled[0] = bound(recalled[0], 1, lent - 1);
        recalled[1] = bound(recalled[1], 1, lent - recalled[0]);
        slashed = bound(slashed, 0, 3 * LOAN);
        _bond(own);
        _lend(lent);
        _recall(recalled[0]);
        _recall(recalled[1]);
        vm.startPrank(slasher);
        for (uint8 i; i < cases % 3; ++i) {
            registry.lock(supplier);
        }
        uint256 taken = registry.slash(supplier, slashed, treasury);
        uint256 fromOwn = slashed < own ? slashed : own;
        uint256 fromLoan = slashed - fromOwn < lent ? slashed - fromOwn : lent;
        uint256 left = lent - fromLoan;
        uint256 thaws = recalled[0] + recalled[1];
        thaws = thaws < left ? thaws : left;
        assertEq(taken, fromOwn + fromLoan, "taken");
        assertEq(joule.balanceOf(treasury), taken, "tokens taken");
        assertEq(registry.ownStake(supplier), own - fromOwn, "own stake");
        assertEq(registry.lentTo(lender, supplier), left, "loan");
        assertEq(registry.lentBy(lender), left, "all loans");
        assertEq(registry.thawing(lender, supplier), thaws, "thaws");
        assertEq(registry.thawingBy(lender), thaws, "thaws of all");
        assertEq(registry.lockedBy(lender), cases % 3 == 0 ? 0 : left, "locked");
        IRegistry.Bond memory stake = registry.bondOf(supplier);
        assertEq(stake.active + stake.thawing, own + lent - taken, "the bond is both");
        assertEq(joule.balanceOf(address(registry)), own + lent - taken, "tokens");
        for (uint8 i; i < cases % 3; ++i) {
            registry.unlock(supplier);
        }
        assertEq(registry.lockedBy(lender), 0, "unlocked");
        vm.stopPrank();
        vm.warp(block.timestamp + THAW);
        assertEq(_reclaim(), thaws, "what thawed");
    }

    function _choose(address who) private {
        vm.prank(supplier);
        registry.setLender(who, 3_000);
    }

    function _bond(uint256 amount) private {
        vm.prank(other);
        registry.bond(supplier, amount);
    }

    function _lend(uint256 amount) private {
        vm.prank(lender);
        registry.lend(supplier, amount);
    }

    function _recall(uint256 amount) private {
        vm.prank(lender);
        registry.recall(supplier, amount);
    }

    function _reclaim() private returns (uint256) {
        vm.prank(lender);
        return registry.reclaim(supplier);
    }

    function _claim(bytes32 node) private {
        uint64 deadline = uint64(block.timestamp);
        bytes32 digest = registry.claimDigest(supplier, node, 1, deadline);
        registry.claimNode(
            supplier, node, 1, deadline, _sign(SUPPLIER_KEY, digest), [digest, digest]
        );
    }
}
