// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Audits} from "../../src/Audits.sol";
import {IAudits} from "../../src/interfaces/IAudits.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract ClaimTest is CourtFixture {
    function test_aClaimHoldsTheStakeAndWaitsForABlock() public {
        uint256 id = _claimed();
        IAudits.Claim memory claim = audits.claimOf(id);
        assertTrue(claim.status == IAudits.Status.Drawing, "drawing");
        assertEq(claim.drawBlock, block.number + 2, "a block to come");
        assertEq(claim.finding, _finding(WRONG), "what the supplier says");
        assertEq(joule.balanceOf(address(audits)), AUDITORS * SEAT + CLAIM_STAKE, "staked");
        assertEq(registry.locks(supplier), 1, "held");
        assertTrue(_open(claim.caseId) == IDisputes.Status.Pending, "pending");
        assertEq(disputes.caseOf(claim.caseId).total, PRICE, "damage");
    }

    /// @dev Unbonding in front of the claim: what has not left yet stays.
    function test_aSupplierThatUnbondsFirstIsHeld() public {
        vm.prank(supplier);
        registry.requestUnbonding(STAKE);
        vm.warp(block.timestamp + THAW);
        _claimed();
        vm.prank(supplier);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BondLocked.selector, 1));
        registry.unbond(supplier);
    }

    function test_aResultIsClaimedOnceAtATime() public {
        _claimed();
        IAudits.Result memory result = _result(keccak256("job"));
        bytes memory signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        vm.prank(challenger);
        vm.expectRevert(IAudits.AlreadyClaimed.selector);
        audits.claim(result, signed, "");
    }

    function testFuzz_aForgedSignatureClaimsNothing(uint256 key, uint8 what) public {
        key = bound(key, 1, type(uint128).max);
        IAudits.Result memory result = _result(keccak256("job"));
        bytes memory signed = _sign(key, audits.resultDigest(result));
        if (key == SUPPLIER_KEY || what % 2 == 0) {
            signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
            // What was signed is not what is shown.
            if (what % 5 == 0) result.output = RIGHT;
            else if (what % 5 == 1) result.fuel += 1;
            else if (what % 5 == 2) result.price += 1;
            else if (what % 5 == 3) result.utility = stranger;
            else result.finishedAt += 1;
        }
        vm.prank(challenger);
        vm.expectRevert(IAudits.InvalidSupplierSignature.selector);
        audits.claim(result, signed, "");
    }

    /// @dev The hash has chain and contract in it.
    function test_aSignatureFromElsewhereIsWorthNothing() public {
        IAudits.Result memory result = _result(keccak256("job"));
        vm.chainId(99);
        bytes memory elsewhere = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        vm.chainId(31_337);
        vm.startPrank(challenger);
        vm.expectRevert(IAudits.InvalidSupplierSignature.selector);
        audits.claim(result, elsewhere, "");
        Audits another = new Audits(disputes);
        bytes memory foreign = _sign(SUPPLIER_KEY, another.resultDigest(result));
        vm.expectRevert(IAudits.InvalidSupplierSignature.selector);
        audits.claim(result, foreign, "");
        vm.expectRevert(IAudits.InvalidSupplierSignature.selector);
        audits.claim(result, "", "");
        vm.stopPrank();
    }

    function test_anOldResultIsNotClaimed() public {
        IAudits.Result memory result = _result(keccak256("job"));
        bytes memory signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        uint256 until = uint256(result.finishedAt) + 3 days;
        vm.warp(until + 1);
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooOld.selector, until));
        audits.claim(result, signed, "");
        vm.warp(until);
        vm.prank(challenger);
        audits.claim(result, signed, "");
    }

    function test_aClaimNeedsAPanelAndMore() public {
        for (uint256 i; i < AUDITORS - PANEL - 2; ++i) {
            vm.prank(_auditor(i));
            audits.quit();
        }
        IAudits.Result memory result = _result(keccak256("job"));
        bytes memory signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooFewSeats.selector, 7, 8));
        audits.claim(result, signed, "");
    }

    function test_aSupplierWithoutStakeAndAnOverlongLocator() public {
        IAudits.Result memory result = _result(keccak256("job"));
        bytes memory signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        vm.startPrank(challenger);
        vm.expectRevert(abi.encodeWithSelector(IAudits.LocatorTooLong.selector, 257, 256));
        audits.claim(result, signed, string(new bytes(257)));
        vm.stopPrank();
        uint256 key = 0x5151;
        result.supplier = vm.addr(key);
        signed = _sign(key, audits.resultDigest(result));
        vm.prank(challenger);
        vm.expectRevert(IDisputes.NothingBonded.selector);
        audits.claim(result, signed, "");
    }
}
