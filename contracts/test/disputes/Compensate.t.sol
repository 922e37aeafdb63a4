// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {PaymentRoot, PaymentRoots} from "../../src/libraries/PaymentRoots.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract CompensateTest is TrustFixture {
    uint96 private constant OWED = 4_000e18;

    function test_theEscrowPaysFirstAndTheStakeTheRest() public {
        _deposit(1_010e18);
        uint256 id = _overdraw(1, OWED, 0);
        _execute(id);
        (PaymentRoot memory root, bytes memory signed, bytes32[] memory proof) = _tick(1, OWED, 0);
        vm.prank(stranger);
        vm.expectEmit();
        emit IDisputes.Compensated(id, supplier, 3_000e18);
        uint256 paid = disputes.compensate(id, root, signed, supplier, OWED, proof);
        assertEq(paid, 3_000e18, "what the escrow could not");
        assertEq(joule.balanceOf(supplier), OWED, "all of it");
        assertEq(escrow.redeemed(utility, SERIES, supplier), 1_000e18, "of the escrow");
        assertEq(disputes.compensatedOf(utility, SERIES, supplier), 3_000e18, "of the stake");
        _refused(abi.encodeWithSelector(IDisputes.NothingToCompensate.selector), id, 1, OWED, 0);
    }

    function testFuzz_aSmallStakeIsSharedOutByWhatIsUnpaid(uint96 mine, uint96 others) public {
        mine = uint96(bound(mine, 1e18, 1_000_000e18));
        others = uint96(bound(others, 1e18, 1_000_000e18));
        uint256 id = _overdraw(1, mine, others);
        _execute(id);
        uint256 pot = disputes.caseOf(id).compensation;
        uint256 paid = _compensate(id, 1, mine, others);
        assertEq(paid, mine * pot / (uint256(mine) + others), "its part");
        _refused(
            abi.encodeWithSelector(IDisputes.NothingToCompensate.selector), id, 1, mine, others
        );
        (PaymentRoot memory root, bytes memory signed,) = _tick(1, mine, others);
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = PaymentRoots.leaf(supplier, mine);
        uint256 rest = disputes.compensate(id, root, signed, other, others, proof);
        assertTrue(paid + rest <= pot && paid + rest + 2 > pot, "and the rest to the other");
    }

    function test_onlyOncePerCaseEvenThoughSomeStaysUnpaid() public {
        uint256 id = _overdraw(1, 100_000e18, 0);
        _execute(id);
        assertEq(_compensate(id, 1, 100_000e18, 0), 7_000e18, "all there is");
        _bond(utility, STAKE);
        _refused(
            abi.encodeWithSelector(IDisputes.NothingToCompensate.selector), id, 1, 100_000e18, 0
        );
        uint256 again = _overdraw(1, 100_000e18, 0);
        _execute(again);
        // 93,000 of the 100,000 are unpaid, and 7,000 are there for them.
        assertEq(_compensate(again, 1, 100_000e18, 0), 6_510e18, "the next case pays on");
    }

    function test_bothRootsOfAnEquivocationCountAndTogetherPayOnce() public {
        uint256 id = _equivocate(1, 1_000e18, 2_000e18);
        _execute(id);
        assertEq(_compensate(id, 1, 1_000e18, 0), 1_000e18, "by the one");
        assertEq(_compensate(id, 1, 2_000e18, 0), 1_000e18, "the difference by the other");
        assertEq(joule.balanceOf(supplier), 2_000e18, "once");
    }

    function test_whoWasPaidIsNoVictim() public {
        _deposit(10_000e18);
        _redeem(1, 1_000e18);
        uint256 id = _overdraw(2, 1_000e18, 20_000e18);
        _execute(id);
        _refused(
            abi.encodeWithSelector(IDisputes.NothingToCompensate.selector),
            id,
            2,
            1_000e18,
            20_000e18
        );
    }

    function test_dustInTheEscrowDoesNotStandInTheWay() public {
        uint256 id = _overdraw(1, OWED, 0);
        _execute(id);
        _deposit(1);
        assertEq(_compensate(id, 1, OWED, 0), OWED, "paid");
    }

    /// @dev A caller that leaves too little gas for the redemption inside would have the stake pay
    /// what the escrow still can.
    function testFuzz_aStarvedCallPaysNothing(uint32 gas) public {
        _deposit(1_010e18);
        uint256 id = _overdraw(1, OWED, 0);
        _execute(id);
        (PaymentRoot memory root, bytes memory signed, bytes32[] memory proof) = _tick(1, OWED, 0);
        bytes memory call =
            abi.encodeCall(disputes.compensate, (id, root, signed, supplier, OWED, proof));
        (bool ok,) = address(disputes).call{gas: bound(gas, 30_000, 400_000)}(call);
        assertEq(joule.balanceOf(supplier), ok ? OWED : 0, "all or nothing");
    }

    function test_onlyRootsOfTheCaseCount() public {
        uint256 id = _overdraw(1, OWED, 0);
        _execute(id);
        _refused(abi.encodeWithSelector(IDisputes.NotOfThisCase.selector), id, 2, OWED, 0);
        _refused(abi.encodeWithSelector(IDisputes.NotOfThisCase.selector), id, 1, OWED + 1, 0);
    }

    function testFuzz_onlyLeavesOfTheRootCount(address payee, uint96 cumulative) public {
        vm.assume(payee != supplier || cumulative != 50);
        cumulative = uint96(bound(cumulative, 0, 55));
        vm.assume(payee != supplier || cumulative != 50);
        uint256 id = _overdraw(1, 50, 5);
        _execute(id);
        (PaymentRoot memory root, bytes memory signed, bytes32[] memory proof) = _tick(1, 50, 5);
        vm.expectRevert(IDisputes.InvalidProof.selector);
        disputes.compensate(id, root, signed, payee, cumulative, proof);
    }

    function test_aLeafAboveTheTotalDoesNotCount() public {
        (PaymentRoot memory root,, bytes32[] memory proof) = _tick(1, 50, 5);
        root.total = 49;
        bytes memory signed = _sign(UTILITY_KEY, escrow.rootDigest(root));
        uint256 id = disputes.accuseOverdraft(root, signed);
        _execute(id);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.AboveTotal.selector, 50, 49));
        disputes.compensate(id, root, signed, supplier, 50, proof);
    }

    function test_aTreeThatHoldsMoreThanItsTotalTakesNoMoreThanThePot() public {
        (PaymentRoot memory root,, bytes32[] memory proof) = _tick(1, 50, 50);
        root.total = 60;
        bytes memory signed = _sign(UTILITY_KEY, escrow.rootDigest(root));
        uint256 id = disputes.accuseOverdraft(root, signed);
        _execute(id);
        assertEq(disputes.compensate(id, root, signed, supplier, 50, proof), 50, "the first");
        proof[0] = PaymentRoots.leaf(supplier, 50);
        assertEq(disputes.compensate(id, root, signed, other, 50, proof), 10, "what is left");
    }

    function test_notBeforeExecutionNorForANeverOpenedCase() public {
        uint256 id = _overdraw(1, OWED, 0);
        _refused(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Open),
            id,
            1,
            OWED,
            0
        );
        _refused(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.None),
            id + 1,
            1,
            OWED,
            0
        );
    }

    function test_whatNobodyCollectedIsTheTreasurysInTheEnd() public {
        uint256 id = _overdraw(1, 1_000e18, 1_000e18);
        _execute(id);
        _compensate(id, 1, 1_000e18, 1_000e18);
        uint256 ends = disputes.caseOf(id).compensationEnds;
        vm.warp(ends);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.CompensationOpen.selector, ends));
        disputes.sweep(id);
        vm.warp(ends + 1);
        _refused(
            abi.encodeWithSelector(IDisputes.CompensationOver.selector, ends),
            id,
            1,
            1_000e18,
            1_000e18
        );
        uint256 before = joule.balanceOf(treasury);
        vm.expectEmit();
        emit IDisputes.Swept(id, 1_000e18);
        assertEq(disputes.sweep(id), 1_000e18, "the other's");
        assertEq(joule.balanceOf(treasury) - before, 1_000e18, "treasury");
        assertEq(disputes.sweep(id), 0, "once");
        assertEq(joule.balanceOf(address(disputes)), 0, "nothing stays");
    }

    function _refused(
        bytes memory refusal,
        uint256 id,
        uint64 tick,
        uint96 cumulative,
        uint96 others
    ) private {
        (PaymentRoot memory root, bytes memory signed, bytes32[] memory proof) =
            _tick(tick, cumulative, others);
        vm.expectRevert(refusal);
        disputes.compensate(id, root, signed, supplier, cumulative, proof);
    }
}
