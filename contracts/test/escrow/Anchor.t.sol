// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {Fixture} from "../utils/Fixture.sol";

/// @dev Roots that lie on the chain.
contract AnchorTest is Fixture {
    PaymentRoot private root;
    bytes private signature;
    bytes32[] private proof;

    function setUp() public override {
        super.setUp();
        _deposit(1_000);
        (root, signature, proof) = _tick(5, 50, 5);
    }

    function test_anAnchoredRootNeedsNoSignature() public {
        vm.prank(stranger);
        vm.expectEmit();
        emit IPaymentEscrow.Anchored(utility, SERIES, 5, root.root, 55);
        escrow.anchor(root, signature);
        (bytes32 digest, uint64 tick) = escrow.anchored(utility, SERIES);
        assertEq(digest, escrow.rootDigest(root), "digest");
        assertEq(tick, 5, "tick");
        assertEq(escrow.redeem(root, "", supplier, 50, proof), 50, "paid");
    }

    function test_withoutAnAnchorItDoes() public {
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(root, "", supplier, 50, proof);
    }

    function testFuzz_anAnchorIsBoundToAllOfTheRoot(uint8 field, uint64 change) public {
        change = uint64(bound(change, 1, type(uint64).max));
        escrow.anchor(root, signature);
        PaymentRoot memory wrong = root;
        field %= 5;
        if (field == 0) wrong.utility = address(uint160(wrong.utility) ^ change);
        if (field == 1) wrong.series ^= change;
        if (field == 2) wrong.tick ^= change;
        if (field == 3) wrong.root ^= bytes32(uint256(change));
        if (field == 4) wrong.total += change;
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(wrong, "", supplier, 50, proof);
    }

    function test_onlyWhatTheUtilitySigned() public {
        bytes memory forged = _sign(SUPPLIER_KEY, escrow.rootDigest(root));
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.anchor(root, forged);
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.anchor(root, "");
    }

    function test_anAnchorIsNotRolledBack() public {
        escrow.anchor(root, signature);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.NotNewer.selector, 5, 5));
        escrow.anchor(root, signature);
        (PaymentRoot memory older, bytes memory signed,) = _tick(4, 40, 5);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.NotNewer.selector, 4, 5));
        escrow.anchor(older, signed);
    }

    function test_theNextReplacesIt() public {
        escrow.anchor(root, signature);
        (PaymentRoot memory next, bytes memory signed, bytes32[] memory path) = _tick(6, 80, 5);
        escrow.anchor(next, signed);
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        escrow.redeem(root, "", supplier, 50, proof);
        assertEq(escrow.redeem(root, signature, supplier, 50, proof), 50, "by its signature still");
        assertEq(escrow.redeem(next, "", supplier, 80, path), 30, "by the anchor");
    }

    function test_aTickOfZeroIsAnchoredToo() public {
        (PaymentRoot memory first, bytes memory signed, bytes32[] memory path) = _tick(0, 50, 5);
        escrow.anchor(first, signed);
        assertEq(escrow.redeem(first, "", supplier, 50, path), 50, "paid");
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.NotNewer.selector, 0, 0));
        escrow.anchor(first, signed);
    }
}
