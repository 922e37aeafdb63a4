// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {PoolFixture} from "../utils/PoolFixture.sol";

/// @dev A lender that burns all the gas it is given, whatever it is called with.
contract GasBomb {
    fallback() external {
        while (true) {}
    }
}

/// @dev What a supplier pays for a borrowed bond when it redeems.
contract LienTest is PoolFixture {
    uint256 private constant LOAN = 1_000e18;

    function setUp() public override {
        super.setUp();
        _deposit(1_000_000e18);
        _invest(investor, DEPOSIT);
    }

    function testFuzz_thePoolAndTheStakeGetTheirShareAtRedemption(uint96 earned) public {
        earned = uint96(bound(earned, 1, 100_000e18));
        _borrow(supplier, LOAN);
        assertEq(_redeem(1, earned), earned, "paid by the account");
        uint256 toPool = earned / 10;
        uint256 toStake = earned / 5 < LOAN ? earned / 5 : LOAN;
        assertEq(pool.totalAssets(), DEPOSIT + toPool, "the pool's at once");
        assertEq(registry.ownStake(supplier), toStake, "stake");
        assertEq(joule.balanceOf(supplier), earned - toPool - toStake, "the supplier's");
        assertEq(escrow.redeemed(utility, SERIES, supplier), earned, "redeemed");
        assertEq(pool.collect(), toPool, "collected");
        assertEq(pool.totalAssets(), DEPOSIT + toPool, "the same");
        assertEq(pool.cash(), DEPOSIT - LOAN + toPool, "cash");
        assertEq(escrow.earningsOf(address(pool)), 0, "nothing waits");
        assertEq(joule.allowance(address(escrow), address(registry)), 0, "no allowance is left");
    }

    function test_theStakeGrowsUpToTheLoan() public {
        _borrow(supplier, LOAN);
        _redeem(1, 4_000e18);
        _redeem(2, 8_000e18);
        assertEq(registry.ownStake(supplier), LOAN, "as much as was lent");
        uint256 before = joule.balanceOf(supplier);
        _redeem(3, 9_000e18);
        assertEq(registry.ownStake(supplier), LOAN, "no more");
        assertEq(joule.balanceOf(supplier), before + 900e18, "the pool goes on earning");
    }

    function test_withoutALoanAllIsTheSuppliers() public {
        _redeem(1, 1_000);
        assertEq(joule.balanceOf(supplier), 1_000, "all");
    }

    function test_itEndsWithTheLoan() public {
        _borrow(supplier, LOAN);
        vm.prank(supplier);
        pool.recall(supplier, LOAN);
        _redeem(1, 1_000);
        assertEq(joule.balanceOf(supplier), 700, "while it thaws");
        vm.warp(START + THAW);
        pool.reclaim(supplier);
        vm.expectEmit();
        emit IPaymentEscrow.LienEnded(supplier, address(pool));
        _redeem(2, 2_000);
        assertEq(joule.balanceOf(supplier), 1_700, "all of it");
        assertEq(escrow.lienOf(supplier).lender, address(0), "no lien");
    }

    function test_itEndsWithALoanThatIsLost() public {
        _borrow(supplier, LOAN);
        _slash(supplier, LOAN);
        _redeem(1, 1_000);
        assertEq(joule.balanceOf(supplier), 1_000, "all of it");
    }

    function test_anotherAddressDoesNotEscapeIt() public {
        _borrow(supplier, LOAN);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) =
            _tick(1, 1_000, 5);
        address to = address(0x0ddd);
        bytes memory consent =
            _sign(SUPPLIER_KEY, escrow.redeemToDigest(root, supplier, 1_000, to, block.timestamp));
        escrow.redeemTo(root, signature, supplier, 1_000, proof, to, block.timestamp, consent);
        assertEq(joule.balanceOf(to), 700, "what is left");
        assertEq(pool.totalAssets(), DEPOSIT + 100, "the pool's");
    }

    function test_norDoesABatch() public {
        _borrow(supplier, LOAN);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) =
            _tick(1, 1_000, 5);
        bytes32[] memory claims = new bytes32[](1);
        claims[0] = bytes32(bytes20(supplier)) | bytes32(uint256(1_000));
        assertEq(escrow.redeemMany(root, signature, claims, proof, hex"00"), 1_000, "paid");
        assertEq(joule.balanceOf(supplier), 700, "what is left");
        assertEq(pool.totalAssets(), DEPOSIT + 100, "the pool's");
    }

    function test_onlyWithinWhatTheSupplierAgreedTo() public {
        vm.prank(supplier);
        registry.setLender(address(pool), 2_999);
        vm.prank(supplier);
        vm.expectRevert(
            abi.encodeWithSelector(IPaymentEscrow.AboveAgreedShare.selector, 3_000, 2_999)
        );
        pool.borrow(LOAN);
        _borrow(supplier, LOAN);
        IPaymentEscrow.Lien memory lien = escrow.lienOf(supplier);
        assertEq(lien.lender, address(pool), "lender");
        assertEq(lien.earningsBp, 1_000, "earnings");
        assertEq(lien.growthBp, 2_000, "growth");
    }

    function test_neverMoreThanTheCapInTheCode() public {
        _becomeLender(stranger);
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(IPaymentEscrow.AboveAgreedShare.selector, 5_001, 5_000)
        );
        escrow.setLien(supplier, 5_000, 1);
        vm.prank(stranger);
        escrow.setLien(supplier, 5_000, 0);
    }

    function testFuzz_onlyTheLenderSetsIt(address caller) public {
        vm.assume(caller != address(pool));
        _borrow(supplier, LOAN);
        vm.prank(caller);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.NotTheLender.selector, caller));
        escrow.setLien(supplier, 0, 0);
    }

    function test_aSupplierThatChoseAnotherPaysNoMoreThanItDoes() public {
        _becomeLender(stranger);
        vm.prank(stranger);
        escrow.setLien(supplier, 1_000, 0);
        vm.prank(supplier);
        registry.setLender(address(pool), 5_000);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.AboveAgreedShare.selector, 2_000, 0));
        escrow.setLien(supplier, 2_000, 0);
    }

    /// @dev Nothing of the lender's is called: what its code does, costs and blocks nothing.
    function test_aLenderThatBurnsGasHoldsUpNothing() public {
        GasBomb bomb = new GasBomb();
        _becomeLender(address(bomb));
        vm.prank(address(bomb));
        escrow.setLien(supplier, 1_000, 1_000);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) =
            _tick(1, 1_000, 5);
        escrow.redeem{gas: 500_000}(root, signature, supplier, 1_000, proof);
        assertEq(joule.balanceOf(supplier), 800, "paid");
        vm.prank(address(bomb));
        assertEq(escrow.takeEarnings(), 100, "its own");
    }

    function test_aLenderTakesItsOwnOnce() public {
        _borrow(supplier, LOAN);
        _redeem(1, 1_000);
        vm.prank(stranger);
        assertEq(escrow.takeEarnings(), 0, "nothing of another's");
        pool.collect();
        assertEq(pool.collect(), 0, "nothing twice");
    }

    function test_aShareOfEarningsBelongsToWhoWasThere() public {
        uint256 shares = pool.balanceOf(investor);
        _borrow(supplier, LOAN);
        _redeem(1, 10_000e18);
        uint256 bought = _invest(second, DEPOSIT);
        assertTrue(bought < shares, "a newcomer pays for earnings that were not collected yet");
        assertTrue(pool.convertToAssets(shares) + 1 >= DEPOSIT + 1_000e18, "the first has them");
    }

    function _becomeLender(address who) private {
        vm.prank(owner);
        joule.transfer(who, LOAN);
        vm.prank(supplier);
        registry.setLender(who, 10_000);
        vm.startPrank(who);
        joule.approve(address(registry), LOAN);
        registry.lend(supplier, LOAN);
        vm.stopPrank();
    }
}
