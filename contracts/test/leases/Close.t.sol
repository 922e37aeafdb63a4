// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {Leases} from "../../src/Leases.sol";
import {ILeases} from "../../src/interfaces/ILeases.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract CloseTest is CourtFixture {
    bytes32 private digest;
    uint256 private id;

    function setUp() public override {
        super.setUp();
        ILeases.LeaseTerms memory terms = _terms();
        digest = leases.termsDigest(terms);
        vm.warp(terms.from + 1 hours);
        id = _accuse(terms, terms.from);
    }

    /// @dev The whole way: silence, the window, the slash, once.
    function test_anUnansweredSilenceCostsThePenaltyOnce() public {
        uint256 before = joule.balanceOf(utility);
        vm.expectRevert(abi.encodeWithSelector(ILeases.StillOpen.selector, id));
        leases.close(digest);
        _execute(id);
        leases.close(digest);
        uint256 penalty = _terms().penalty;
        assertEq(_bonded(supplier), STAKE - penalty, "slashed");
        uint256 back = penalty * 7_000 / 10_000 + penalty / 10 + ACCUSATION_STAKE;
        assertEq(joule.balanceOf(utility) - before, back, "compensation, bounty, stake");
        assertEq(joule.balanceOf(treasury), penalty / 5, "treasury");
        assertEq(joule.balanceOf(address(leases)), 0, "nothing stays");
        ILeases.LeaseTerms memory terms = _terms();
        (bytes memory a, bytes memory b) = (_sign(SUPPLIER_KEY, digest), _sign(UTILITY_KEY, digest));
        vm.prank(utility);
        vm.expectRevert(ILeases.AlreadyAccused.selector);
        leases.accuse(terms, a, b, terms.from + 120);
    }

    function testFuzz_aPenaltyIsBoundedByParametersToo(uint96 penalty) public {
        ILeases.LeaseTerms memory terms = _terms();
        (terms.penalty, terms.lease) = (penalty, keccak256("another"));
        uint256 another = _accuse(terms, terms.from);
        _execute(another);
        uint256 most = STAKE * 2_000 / 10_000;
        assertEq(_bonded(supplier), STAKE - (penalty < most ? penalty : most), "a share at most");
    }

    function test_whatTheDaoLetPassIsNotHeardAgain() public {
        vm.prank(guardian);
        disputes.veto(id);
        uint256 before = joule.balanceOf(utility);
        leases.close(digest);
        assertEq(joule.balanceOf(utility) - before, ACCUSATION_STAKE, "the stake is back");
        assertEq(_bonded(supplier), STAKE, "nothing slashed");
        ILeases.LeaseTerms memory terms = _terms();
        (bytes memory a, bytes memory b) = (_sign(SUPPLIER_KEY, digest), _sign(UTILITY_KEY, digest));
        vm.prank(utility);
        vm.expectRevert(
            abi.encodeWithSelector(
                ILeases.BeginsTooEarly.selector, terms.from + 59, terms.from + 60
            )
        );
        leases.accuse(terms, a, b, terms.from + 59);
        vm.expectRevert(ILeases.NotAccused.selector);
        leases.close(digest);
    }

    function test_onlyTheOwnerSetsTheStakeAndUpgrades() public {
        bytes memory refusal = abi.encodeWithSelector(
            OwnableUpgradeable.OwnableUnauthorizedAccount.selector, stranger
        );
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        leases.setAccusationStake(1);
        vm.expectRevert(refusal);
        leases.upgradeToAndCall(address(1), "");
        vm.stopPrank();
        vm.prank(owner);
        leases.setAccusationStake(1);
        assertEq(leases.accusationStake(), 1, "for the next");
        _answer(digest, _terms().to);
        assertEq(joule.balanceOf(supplier), ACCUSATION_STAKE, "this one keeps its own");
    }

    function test_itIsInitializedOnceAndAnUpgradeKeepsTheRecords() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        leases.initialize(stranger, 0);
        Leases next = new Leases(disputes);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        next.initialize(stranger, 0);
        vm.prank(owner);
        leases.upgradeToAndCall(address(next), "");
        assertEq(leases.recordOf(digest).caseId, id, "the case");
        assertEq(address(leases.disputes()), address(disputes), "disputes");
    }
}
