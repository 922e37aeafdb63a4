// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Leases} from "../../src/Leases.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ILeases} from "../../src/interfaces/ILeases.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract AccuseSilenceTest is CourtFixture {
    function _refuse(ILeases.LeaseTerms memory terms, uint64 since, bytes memory refusal) private {
        bytes32 digest = leases.termsDigest(terms);
        (bytes memory a, bytes memory b) = (_sign(SUPPLIER_KEY, digest), _sign(UTILITY_KEY, digest));
        vm.prank(utility);
        vm.expectRevert(refusal);
        leases.accuse(terms, a, b, since);
    }

    function test_anAccusationHoldsTheStakeAndStartsTheWindow() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.from + 61);
        uint256 id = _accuse(terms, terms.from);
        IDisputes.Case memory case_ = disputes.caseOf(id);
        assertTrue(case_.status == IDisputes.Status.Open, "open");
        assertEq(case_.windowEnds, block.timestamp + WINDOW, "the window runs");
        assertEq(case_.slashCap, terms.penalty, "no more than was signed");
        assertEq(joule.balanceOf(address(leases)), ACCUSATION_STAKE, "staked");
        assertEq(registry.locks(supplier), 1, "held");
    }

    /// @dev Unbonding in front of the accusation: what has not left yet stays.
    function test_aSupplierThatUnbondsFirstIsHeld() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.from - THAW);
        vm.prank(supplier);
        registry.requestUnbonding(STAKE);
        vm.warp(terms.from + 61);
        _accuse(terms, terms.from);
        vm.prank(supplier);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BondLocked.selector, 1));
        registry.unbond(supplier);
    }

    function test_notBeforeTheIntervalIsOver() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.from + 60);
        _refuse(
            terms,
            terms.from,
            abi.encodeWithSelector(ILeases.NotSilentYet.selector, terms.from + 60)
        );
        vm.warp(terms.from + 61);
        _accuse(terms, terms.from);
    }

    function test_notBeforeTheLeaseNorBeyondIt() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.to + 1 days);
        _refuse(
            terms,
            terms.from - 1,
            abi.encodeWithSelector(ILeases.BeginsTooEarly.selector, terms.from - 1, terms.from)
        );
        bytes memory beyond = abi.encodeWithSelector(ILeases.NotSilentYet.selector, terms.to);
        _refuse(terms, terms.to - 59, beyond);
        _refuse(terms, terms.to, beyond);
        _refuse(terms, type(uint64).max, beyond);
        _accuse(terms, terms.to - 60);
    }

    function test_notLongAfterTheLease() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.to + 7 days + 1);
        _refuse(
            terms, terms.from, abi.encodeWithSelector(ILeases.TooOld.selector, terms.to + 7 days)
        );
    }

    function test_termsThatMakeNoSense() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.to);
        bytes memory refusal = abi.encodeWithSelector(ILeases.InvalidTerms.selector);
        terms.ackInterval = 4;
        _refuse(terms, terms.from, refusal);
        terms = _terms();
        terms.to = terms.from;
        _refuse(terms, terms.from, refusal);
        terms = _terms();
        terms.to = type(uint64).max;
        _refuse(terms, terms.from, refusal);
    }

    function testFuzz_bothMustHaveSigned(uint256 key, bool which, uint8 what) public {
        key = bound(key, 1, type(uint128).max);
        vm.assume(key != SUPPLIER_KEY && key != UTILITY_KEY);
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.from + 61);
        bytes32 digest = leases.termsDigest(terms);
        bytes memory a = _sign(which ? key : SUPPLIER_KEY, digest);
        bytes memory b = _sign(which ? UTILITY_KEY : key, digest);
        if (what % 2 == 0) {
            // Signed by both, and then changed.
            (a, b) = (_sign(SUPPLIER_KEY, digest), _sign(UTILITY_KEY, digest));
            if (what % 3 == 0) terms.penalty += 1;
            else if (what % 3 == 1) terms.ackInterval -= 1;
            else terms.to += 1;
        }
        vm.prank(utility);
        vm.expectRevert(ILeases.InvalidTermsSignature.selector);
        leases.accuse(terms, a, b, terms.from);
    }

    function test_aSignatureFromElsewhereIsWorthNothing() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.from + 61);
        bytes32 foreign = new Leases(disputes).termsDigest(terms);
        bytes memory a = _sign(SUPPLIER_KEY, foreign);
        bytes memory b = _sign(UTILITY_KEY, leases.termsDigest(terms));
        vm.prank(utility);
        vm.expectRevert(ILeases.InvalidTermsSignature.selector);
        leases.accuse(terms, a, b, terms.from);
    }

    function testFuzz_onlyTheUtilityAccuses(address caller) public {
        vm.assume(caller != utility);
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.from + 61);
        vm.prank(caller);
        vm.expectRevert(ILeases.OnlyUtility.selector);
        leases.accuse(terms, "", "", terms.from);
    }

    function test_oneAccusationAtATime() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.from + 1 hours);
        _accuse(terms, terms.from);
        _refuse(terms, terms.from + 100, abi.encodeWithSelector(ILeases.AlreadyAccused.selector));
    }
}
