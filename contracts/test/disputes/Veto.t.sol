// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract VetoTest is TrustFixture {
    function test_aVetoFreesTheStake() public {
        uint256 id = _equivocate(1, 5, 6);
        vm.prank(guardian);
        vm.expectEmit();
        emit IDisputes.Vetoed(id);
        disputes.veto(id);
        assertEq(registry.locks(utility), 0, "free");
        vm.warp(block.timestamp + WINDOW + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Vetoed)
        );
        disputes.execute(id);
        assertEq(_bonded(utility), STAKE, "nothing slashed");
    }

    function test_theOwnerVetoesToo() public {
        uint256 id = _equivocate(1, 5, 6);
        vm.prank(owner);
        disputes.veto(id);
        assertTrue(disputes.caseOf(id).status == IDisputes.Status.Vetoed, "vetoed");
    }

    function testFuzz_nobodyElseVetoes(address caller) public {
        vm.assume(caller != owner && caller != guardian);
        uint256 id = _equivocate(1, 5, 6);
        vm.prank(caller);
        vm.expectRevert(IDisputes.OnlyGuardian.selector);
        disputes.veto(id);
    }

    function testFuzz_onlyWithinTheWindow(uint32 later) public {
        uint256 id = _equivocate(1, 5, 6);
        uint256 ends = block.timestamp + WINDOW;
        vm.warp(block.timestamp + later);
        vm.prank(guardian);
        if (later > WINDOW) {
            vm.expectRevert(abi.encodeWithSelector(IDisputes.WindowClosed.selector, ends));
        }
        disputes.veto(id);
    }

    function test_whatIsNoCaseCannotBeVetoed() public {
        vm.prank(guardian);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.None)
        );
        disputes.veto(1);
    }

    function test_aVetoedOverdraftIsLetPassUpToItsTotal() public {
        uint256 id = _overdraw(2, 11, 0);
        vm.prank(guardian);
        disputes.veto(id);
        (PaymentRoot memory root, bytes memory signed,) = _tick(1, 10, 0);
        vm.expectRevert(IDisputes.AlreadyAccused.selector);
        disputes.accuseOverdraft(root, signed);
        assertEq(_overdraw(3, 12, 0), 2, "a larger one is another");
    }
}
