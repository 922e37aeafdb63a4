// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {Fixture} from "../utils/Fixture.sol";

contract DepositTest is Fixture {
    function testFuzz_anyoneDepositsForAUtility(uint256 amount, uint64 series) public {
        amount = bound(amount, 1, SUPPLY / 4);
        vm.prank(owner);
        joule.transfer(stranger, amount);
        vm.startPrank(stranger);
        joule.approve(address(escrow), amount);
        vm.expectEmit();
        emit IPaymentEscrow.Deposited(utility, series, stranger, amount);
        escrow.deposit(utility, series, amount);
        vm.stopPrank();
        IPaymentEscrow.Account memory account = escrow.account(utility, series);
        assertEq(account.balance, amount, "balance");
        assertEq(account.deposited, amount, "deposited");
        assertEq(joule.balanceOf(address(escrow)), amount, "tokens");
    }

    function test_seriesAreSeparate() public {
        _deposit(7);
        assertEq(escrow.account(utility, SERIES + 1).balance, 0, "another series");
        assertEq(escrow.account(other, SERIES).balance, 0, "another utility");
    }

    function test_zeroIsRefused() public {
        vm.expectRevert(IPaymentEscrow.ZeroAmount.selector);
        escrow.deposit(utility, SERIES, 0);
        vm.expectRevert(IPaymentEscrow.ZeroAddress.selector);
        escrow.deposit(address(0), SERIES, 1);
    }

    function test_withoutAllowanceNothingIsCredited() public {
        vm.prank(stranger);
        vm.expectRevert();
        escrow.deposit(utility, SERIES, 1);
        assertEq(escrow.account(utility, SERIES).balance, 0, "balance");
    }

    function test_anAmountBeyondThePackedSizeIsRefused() public {
        vm.prank(utility);
        vm.expectRevert();
        escrow.deposit(utility, SERIES, uint256(type(uint96).max) + 1);
    }

    function test_aPermitStandsInForAnApproval() public {
        vm.prank(owner);
        joule.transfer(supplier, 10);
        (uint8 v, bytes32 r, bytes32 s) = _permit(10);
        vm.prank(supplier);
        escrow.depositWithPermit(utility, SERIES, 10, block.timestamp, v, r, s);
        assertEq(escrow.account(utility, SERIES).balance, 10, "balance");
    }

    function test_aPermitThatSomeoneUsedFirstStillDeposits() public {
        vm.prank(owner);
        joule.transfer(supplier, 10);
        (uint8 v, bytes32 r, bytes32 s) = _permit(10);
        vm.prank(stranger);
        joule.permit(supplier, address(escrow), 10, block.timestamp, v, r, s);
        vm.prank(supplier);
        escrow.depositWithPermit(utility, SERIES, 10, block.timestamp, v, r, s);
        assertEq(escrow.account(utility, SERIES).balance, 10, "balance");
    }

    function _permit(uint256 amount) private view returns (uint8, bytes32, bytes32) {
        bytes32 typehash = keccak256(
            "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
        );
        bytes32 data = keccak256(
            abi.encode(typehash, supplier, address(escrow), amount, uint256(0), block.timestamp)
        );
        bytes32 digest = keccak256(abi.encodePacked("\x19\x01", joule.DOMAIN_SEPARATOR(), data));
        return vm.sign(SUPPLIER_KEY, digest);
    }
}
