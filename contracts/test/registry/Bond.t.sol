// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract BondTest is TrustFixture {
    function testFuzz_anyoneBondsForAnOperator(uint256 amount) public {
        amount = bound(amount, 1, SUPPLY / 4);
        vm.expectEmit();
        emit IRegistry.Bonded(supplier, utility, amount);
        _bond(supplier, amount);
        assertEq(registry.bondOf(supplier).active, amount, "active");
        assertEq(joule.balanceOf(address(registry)), STAKE + amount, "tokens");
    }

    function test_whoPaidForAnotherCannotTakeItBack() public {
        _bond(supplier, 10);
        vm.startPrank(utility);
        registry.requestUnbonding(STAKE);
        vm.warp(block.timestamp + THAW);
        assertEq(registry.unbond(utility), STAKE, "its own");
        vm.expectRevert(IRegistry.NoUnbonding.selector);
        registry.unbond(utility);
        assertEq(registry.bondOf(supplier).active, 10, "the supplier's");
    }

    function test_dustForAnOperatorNeitherStopsNorProlongsItsThaw() public {
        vm.prank(utility);
        registry.requestUnbonding(STAKE);
        vm.warp(block.timestamp + THAW);
        _bond(utility, 1);
        vm.prank(utility);
        assertEq(registry.unbond(utility), STAKE, "amount");
        assertEq(registry.bondOf(utility).active, 1, "the dust");
    }

    function test_zeroIsRefused() public {
        vm.expectRevert(IRegistry.ZeroAmount.selector);
        registry.bond(utility, 0);
        vm.expectRevert(IRegistry.ZeroAddress.selector);
        registry.bond(address(0), 1);
    }

    function test_withoutAllowanceNothingIsCredited() public {
        vm.prank(stranger);
        vm.expectRevert();
        registry.bond(stranger, 1);
        assertEq(_bonded(stranger), 0, "bonded");
    }

    function test_anAmountBeyondThePackedSizeIsRefused() public {
        vm.prank(utility);
        vm.expectRevert();
        registry.bond(utility, uint256(type(uint96).max) + 1);
    }

    function test_aPermitThatSomeoneUsedFirstStillBonds() public {
        vm.prank(owner);
        joule.transfer(supplier, 10);
        bytes32 data = keccak256(
            abi.encode(
                keccak256(
                    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
                ),
                supplier,
                address(registry),
                uint256(10),
                uint256(0),
                block.timestamp
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(
            SUPPLIER_KEY, keccak256(abi.encodePacked("\x19\x01", joule.DOMAIN_SEPARATOR(), data))
        );
        vm.prank(stranger);
        joule.permit(supplier, address(registry), 10, block.timestamp, v, r, s);
        vm.prank(supplier);
        registry.bondWithPermit(supplier, 10, block.timestamp, v, r, s);
        assertEq(registry.bondOf(supplier).active, 10, "active");
    }
}
