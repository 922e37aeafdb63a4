// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {Fixture} from "../utils/Fixture.sol";

contract RedeemToTest is Fixture {
    PaymentRoot private root;
    bytes private signature;
    bytes32[] private proof;

    function setUp() public override {
        super.setUp();
        _deposit(1_000);
        (root, signature, proof) = _tick(1, 50, 5);
    }

    function test_paysWhereTheSupplierSaid() public {
        bytes memory consent = _consent(SUPPLIER_KEY, 50, stranger, block.timestamp);
        escrow.redeemTo(root, signature, supplier, 50, proof, stranger, block.timestamp, consent);
        assertEq(joule.balanceOf(stranger), 50, "stranger");
        assertEq(joule.balanceOf(supplier), 0, "supplier");
        assertEq(escrow.redeemed(utility, SERIES, supplier), 50, "redeemed");
    }

    function testFuzz_theConsentIsBoundToAllItSays(address to, uint256 deadline, uint96 amount)
        public
    {
        deadline = bound(deadline, block.timestamp, type(uint256).max);
        vm.assume(to != stranger || deadline != block.timestamp || amount != 50);
        bytes memory consent = _consent(SUPPLIER_KEY, amount, to, deadline);
        vm.expectRevert(IPaymentEscrow.InvalidSupplierSignature.selector);
        escrow.redeemTo(root, signature, supplier, 50, proof, stranger, block.timestamp, consent);
    }

    function test_nobodyElseConsents() public {
        bytes memory consent = _consent(UTILITY_KEY, 50, stranger, block.timestamp);
        vm.expectRevert(IPaymentEscrow.InvalidSupplierSignature.selector);
        escrow.redeemTo(root, signature, supplier, 50, proof, stranger, block.timestamp, consent);
    }

    function test_aConsentExpires() public {
        bytes memory consent = _consent(SUPPLIER_KEY, 50, stranger, block.timestamp - 1);
        vm.expectRevert(
            abi.encodeWithSelector(IPaymentEscrow.Expired.selector, block.timestamp - 1)
        );
        escrow.redeemTo(
            root, signature, supplier, 50, proof, stranger, block.timestamp - 1, consent
        );
    }

    function test_aConsentIsUsedOnce() public {
        bytes memory consent = _consent(SUPPLIER_KEY, 50, stranger, block.timestamp);
        escrow.redeemTo(root, signature, supplier, 50, proof, stranger, block.timestamp, consent);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.NothingToRedeem.selector, 50));
        escrow.redeemTo(root, signature, supplier, 50, proof, stranger, block.timestamp, consent);
    }

    function test_aConsentDoesNotReplaceTheProof() public {
        bytes memory consent = _consent(SUPPLIER_KEY, 55, stranger, block.timestamp);
        vm.expectRevert(IPaymentEscrow.InvalidProof.selector);
        escrow.redeemTo(root, signature, supplier, 55, proof, stranger, block.timestamp, consent);
    }

    function _consent(uint256 key, uint96 amount, address to, uint256 deadline)
        private
        view
        returns (bytes memory)
    {
        return _sign(key, escrow.redeemToDigest(root, supplier, amount, to, deadline));
    }
}
