// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract AccuseOverdraftTest is TrustFixture {
    function testFuzz_aTotalAboveTheDepositsIsACase(uint96 deposited, uint96 total) public {
        deposited = uint96(bound(deposited, 1, 1_000_000e18));
        _deposit(deposited);
        (PaymentRoot memory root, bytes memory signed,) = _tick(1, total, 0);
        if (total <= deposited) {
            vm.expectRevert(abi.encodeWithSelector(IDisputes.Covered.selector, total, deposited));
            disputes.accuseOverdraft(root, signed);
        } else {
            disputes.accuseOverdraft(root, signed);
            assertEq(registry.locks(utility), 1, "held");
        }
    }

    function testFuzz_redemptionsAndFeesMakeNobodyGuilty(uint96 total, uint96 paid) public {
        total = uint96(bound(total, 2, 1_000_000e18));
        _deposit(total);
        vm.prank(owner);
        escrow.setFee(1_000);
        _redeem(1, uint96(bound(paid, 1, total)));
        (PaymentRoot memory root, bytes memory signed,) = _tick(2, total, 0);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.Covered.selector, total, total));
        disputes.accuseOverdraft(root, signed);
    }

    function test_whatIsAskedBackCoversNothing() public {
        _deposit(1_000);
        (PaymentRoot memory root, bytes memory signed,) = _tick(1, 1_000, 0);
        vm.prank(utility);
        escrow.requestWithdrawal(SERIES, 1);
        disputes.accuseOverdraft(root, signed);
    }

    function test_takingBackMoreThanIsOwedNotIsOverdraftToo() public {
        _deposit(1_000);
        (PaymentRoot memory root, bytes memory signed,) = _tick(1, 600, 0);
        vm.startPrank(utility);
        escrow.requestWithdrawal(SERIES, 401);
        vm.warp(block.timestamp + DELAY);
        escrow.withdraw(SERIES, utility);
        vm.stopPrank();
        disputes.accuseOverdraft(root, signed);
    }

    function test_aStandingRequestCannotCoverForAMoment() public {
        // The request has thawed and the escrow was emptied: a deposit could leave at once.
        _deposit(1_000);
        vm.prank(utility);
        escrow.requestWithdrawal(SERIES, 1_000);
        _redeem(1, 900);
        vm.warp(block.timestamp + DELAY);
        _deposit(2_000);
        (PaymentRoot memory root, bytes memory signed,) = _tick(2, 2_900, 0);
        disputes.accuseOverdraft(root, signed);
    }

    function test_oneCaseAtATimeAndAgainWhileUncovered() public {
        _deposit(10);
        _overdraw(1, 11, 0);
        (PaymentRoot memory root, bytes memory signed,) = _tick(2, 12, 0);
        vm.expectRevert(IDisputes.AlreadyAccused.selector);
        disputes.accuseOverdraft(root, signed);
        _execute(1);
        vm.expectRevert(IDisputes.NothingBonded.selector);
        disputes.accuseOverdraft(root, signed);
        _bond(utility, 1);
        assertEq(disputes.accuseOverdraft(root, signed), 2, "it did not mend it");
        _execute(2);
        _bond(utility, 1);
        _deposit(2);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.Covered.selector, 12, 12));
        disputes.accuseOverdraft(root, signed);
    }

    function test_anotherSeriesIsAnotherCase() public {
        _overdraw(1, 11, 0);
        (PaymentRoot memory root,,) = _tick(1, 11, 0);
        root.series += 1;
        assertEq(
            disputes.accuseOverdraft(root, _sign(UTILITY_KEY, escrow.rootDigest(root))), 2, "case"
        );
    }

    function testFuzz_onlyTheUtilitysSignatureCounts(uint256 key) public {
        key = bound(key, 1, 2 ** 200);
        vm.assume(key != UTILITY_KEY);
        (PaymentRoot memory root,,) = _tick(1, 11, 0);
        bytes memory forged = _sign(key, escrow.rootDigest(root));
        vm.expectRevert(IDisputes.InvalidRootSignature.selector);
        disputes.accuseOverdraft(root, forged);
    }

    function testFuzz_theEvidenceIsBoundToAllOfItsFields(uint8 field, uint64 change) public {
        change = uint64(bound(change, 1, type(uint64).max));
        (PaymentRoot memory root, bytes memory signed,) = _tick(1, 11, 5);
        field %= 5;
        if (field == 0) root.utility = address(uint160(root.utility) ^ change);
        if (field == 1) root.series ^= change;
        if (field == 2) root.tick ^= change;
        if (field == 3) root.root ^= bytes32(uint256(change));
        if (field == 4) root.total += change;
        vm.expectRevert(IDisputes.InvalidRootSignature.selector);
        disputes.accuseOverdraft(root, signed);
    }

    function test_anAbsurdTotalIsEvidenceToo() public {
        (PaymentRoot memory root,,) = _tick(1, 11, 0);
        root.total = type(uint256).max;
        disputes.accuseOverdraft(root, _sign(UTILITY_KEY, escrow.rootDigest(root)));
        _execute(1);
        assertEq(disputes.caseOf(1).amount, STAKE, "slashed");
    }
}
