// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {PaymentRoot, PaymentRoots} from "../../src/libraries/PaymentRoots.sol";
import {Fixture} from "../utils/Fixture.sol";

contract RedeemTest is Fixture {
    function testFuzz_paysTheDifferenceAndTheFeeOnTop(uint96 first, uint96 second) public {
        first = uint96(bound(first, 1, 1_000e18));
        second = uint96(bound(second, uint256(first) + 1, 2_000e18));
        _deposit(10_000e18);
        assertEq(_redeem(1, first), first, "first");
        assertEq(_redeem(2, second), second - first, "the difference");
        assertEq(joule.balanceOf(supplier), second, "tokens");
        assertEq(escrow.redeemed(utility, SERIES, supplier), second, "redeemed");
        uint256 fees = _fee(first) + _fee(second - first);
        assertEq(escrow.feesGathered(), fees, "fees");
        IPaymentEscrow.Account memory account = escrow.account(utility, SERIES);
        assertEq(account.balance, 10_000e18 - second - fees, "balance");
        assertEq(account.redeemed, second, "of the account");
    }

    function test_anyoneMaySendItAndTheSupplierIsPaid() public {
        _deposit(100);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) = _tick(9, 50, 5);
        vm.prank(stranger);
        vm.expectEmit();
        emit IPaymentEscrow.Redeemed(utility, SERIES, supplier, supplier, 9, 50, 0, 50);
        escrow.redeem(root, signature, supplier, 50, proof);
        assertEq(joule.balanceOf(supplier), 50, "supplier");
        assertEq(joule.balanceOf(stranger), 0, "stranger");
    }

    function test_theSameProofPaysOnce() public {
        _deposit(1_000);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) = _tick(1, 50, 5);
        escrow.redeem(root, signature, supplier, 50, proof);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.NothingToRedeem.selector, 50));
        escrow.redeem(root, signature, supplier, 50, proof);
    }

    function test_anOlderRootPaysNoMore() public {
        _deposit(1_000);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) = _tick(1, 50, 5);
        _redeem(2, 80);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.NothingToRedeem.selector, 80));
        escrow.redeem(root, signature, supplier, 50, proof);
    }

    function testFuzz_aShortEscrowPaysWhatItCanAndTheRestLater(uint96 owed, uint96 there) public {
        owed = uint96(bound(owed, 2, 1_000_000e18));
        there = uint96(bound(there, 2, 1_000_000e18));
        _deposit(there);
        uint256 paid = _redeem(1, owed);
        assertTrue(paid <= owed, "never more than owed");
        assertTrue(paid + _fee(paid) <= there, "never more than there is");
        // At most one wei, for which the fee was rounded, was left over.
        if (paid < owed) {
            assertTrue(paid + 1 + _fee(paid + 1) > there - 1, "all of it was used");
            _deposit(2_000_000e18);
            assertEq(_redeem(1, owed), owed - paid, "the rest");
        }
        assertEq(joule.balanceOf(supplier), owed, "all in the end");
    }

    function test_anEmptyEscrowIsNamed() public {
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) = _tick(1, 50, 5);
        vm.expectRevert(IPaymentEscrow.EscrowEmpty.selector);
        escrow.redeem(root, signature, supplier, 50, proof);
    }

    function testFuzz_anotherAmountOrPayeeIsNoLeaf(uint96 cumulative, address payee) public {
        vm.assume(cumulative != 50 || payee != supplier);
        _deposit(1_000);
        (PaymentRoot memory root,, bytes32[] memory proof) = _tick(1, 50, 5);
        root.total = type(uint256).max;
        bytes memory signature = _sign(UTILITY_KEY, escrow.rootDigest(root));
        vm.expectRevert(IPaymentEscrow.InvalidProof.selector);
        escrow.redeem(root, signature, payee, cumulative, proof);
    }

    function testFuzz_onlyTheUtilitySigns(uint256 key) public {
        key = bound(key, 1, 2 ** 200);
        vm.assume(key != UTILITY_KEY);
        _deposit(1_000);
        (PaymentRoot memory root,, bytes32[] memory proof) = _tick(1, 50, 5);
        bytes memory signature = _sign(key, escrow.rootDigest(root));
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(root, signature, supplier, 50, proof);
    }

    function testFuzz_aRootIsBoundToAllOfItsFields(uint8 field, uint64 change) public {
        change = uint64(bound(change, 1, type(uint64).max));
        _deposit(1_000);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) = _tick(1, 50, 5);
        field %= 5;
        if (field == 0) root.utility = address(uint160(root.utility) ^ change);
        if (field == 1) root.series ^= change;
        if (field == 2) root.tick ^= change;
        if (field == 3) root.root ^= bytes32(uint256(change));
        if (field == 4) root.total += change;
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(root, signature, supplier, 50, proof);
    }

    function test_aRootOfAnotherChainIsRefused() public {
        _deposit(1_000);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) = _tick(1, 50, 5);
        vm.chainId(1);
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(root, signature, supplier, 50, proof);
    }

    function test_theHighTwinOfASignatureIsRefused() public {
        _deposit(1_000);
        (PaymentRoot memory root,, bytes32[] memory proof) = _tick(1, 50, 5);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(UTILITY_KEY, escrow.rootDigest(root));
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        bytes memory twin = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? 28 : 27);
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(root, twin, supplier, 50, proof);
    }

    function testFuzz_nonsenseIsNoSignature(bytes calldata signature) public {
        _deposit(1_000);
        (PaymentRoot memory root,, bytes32[] memory proof) = _tick(1, 50, 5);
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(root, signature, supplier, 50, proof);
    }

    function test_theZeroUtilityHasNoSignature() public {
        (PaymentRoot memory root,, bytes32[] memory proof) = _tick(1, 50, 5);
        root.utility = address(0);
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(root, new bytes(65), supplier, 50, proof);
    }

    function test_aLeafAboveTheSignedTotalIsRefused() public {
        _deposit(1_000);
        (PaymentRoot memory root,, bytes32[] memory proof) = _tick(1, 50, 5);
        root.total = 49;
        bytes memory signature = _sign(UTILITY_KEY, escrow.rootDigest(root));
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.AboveTotal.selector, 50, 49));
        escrow.redeem(root, signature, supplier, 50, proof);
    }

    function test_anInnerNodeIsNoLeaf() public {
        _deposit(1_000);
        // A tree of four; the node above the first two is shown as if it were a leaf's sibling path.
        bytes32 a = PaymentRoots.leaf(supplier, 1);
        bytes32 b = PaymentRoots.leaf(other, 2);
        bytes32 c = PaymentRoots.leaf(stranger, 3);
        bytes32 d = PaymentRoots.leaf(owner, 4);
        bytes32 node = _pair(a, b);
        PaymentRoot memory root = PaymentRoot(utility, SERIES, 1, _pair(node, _pair(c, d)), 1e30);
        bytes memory signature = _sign(UTILITY_KEY, escrow.rootDigest(root));
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = _pair(c, d);
        // The halves of the 64 bytes below an inner node, read as payee and amount.
        vm.expectRevert(IPaymentEscrow.InvalidProof.selector);
        escrow.redeem(root, signature, address(bytes20(a)), uint96(uint256(a)), proof);
    }

    function test_aSingleLeafNeedsNoProof() public {
        _deposit(1_000);
        PaymentRoot memory root =
            PaymentRoot(utility, SERIES, 1, PaymentRoots.leaf(supplier, 50), 50);
        bytes memory signature = _sign(UTILITY_KEY, escrow.rootDigest(root));
        assertEq(escrow.redeem(root, signature, supplier, 50, new bytes32[](0)), 50, "paid");
    }

    /// @dev The vector that the Rust side checks too (`vectors` in `crates/chain/src/contracts.rs`).
    function test_leafAndTypehashVectors() public pure {
        assertEq(
            PaymentRoots.leaf(address(0x1111111111111111111111111111111111111111), 1e18),
            keccak256(hex"1111111111111111111111111111111111111111000000000de0b6b3a7640000"),
            "leaf"
        );
        assertEq(
            PaymentRoots.TYPEHASH,
            keccak256(
                "PaymentRoot(address utility,uint64 series,uint64 tick,bytes32 root,uint256 total)"
            ),
            "typehash"
        );
    }
}
