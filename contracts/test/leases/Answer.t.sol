// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ILeases} from "../../src/interfaces/ILeases.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract AnswerTest is CourtFixture {
    bytes32 private digest;
    uint256 private id;

    function setUp() public override {
        super.setUp();
        ILeases.LeaseTerms memory terms = _terms();
        digest = leases.termsDigest(terms);
        vm.warp(terms.from + 1 hours);
        id = _accuse(terms, terms.from + 10 minutes);
    }

    function test_aLaterAcknowledgementDismisses() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(disputes.caseOf(id).windowEnds);
        _answer(digest, terms.from + 10 minutes + 1);
        assertTrue(_open(id) == IDisputes.Status.Withdrawn, "withdrawn");
        assertEq(joule.balanceOf(supplier), ACCUSATION_STAKE, "the accuser's stake");
        assertEq(registry.locks(supplier), 0, "free");
        vm.warp(block.timestamp + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Withdrawn)
        );
        disputes.execute(id);
    }

    function test_anEarlierOneDoesNot() public {
        uint64 since = _terms().from + 10 minutes;
        ILeases.Ack memory ack = ILeases.Ack({terms: digest, upTo: since});
        bytes memory signed = _sign(UTILITY_KEY, leases.ackDigest(ack));
        vm.expectRevert(abi.encodeWithSelector(ILeases.AckTooEarly.selector, since, since));
        leases.answer(ack, signed);
    }

    function testFuzz_onlyTheUtilitysCounts(uint256 key) public {
        key = bound(key, 1, type(uint128).max);
        vm.assume(key != UTILITY_KEY);
        ILeases.Ack memory ack = ILeases.Ack({terms: digest, upTo: _terms().to});
        bytes memory signed = _sign(key, leases.ackDigest(ack));
        vm.expectRevert(ILeases.InvalidAckSignature.selector);
        leases.answer(ack, signed);
        vm.expectRevert(ILeases.InvalidAckSignature.selector);
        leases.answer(ack, "");
    }

    /// @dev An acknowledgement of another lease, and one whose time was changed.
    function test_anotherLeasesDoesNotCount() public {
        ILeases.LeaseTerms memory terms = _terms();
        terms.lease = keccak256("another");
        ILeases.Ack memory ack = ILeases.Ack({terms: leases.termsDigest(terms), upTo: terms.to});
        bytes memory signed = _sign(UTILITY_KEY, leases.ackDigest(ack));
        vm.expectRevert(ILeases.NotAccused.selector);
        leases.answer(ack, signed);
        ack.terms = digest;
        vm.expectRevert(ILeases.InvalidAckSignature.selector);
        leases.answer(ack, signed);
    }

    function test_whatWasAnsweredIsNotAccusedAgain() public {
        ILeases.LeaseTerms memory terms = _terms();
        _answer(digest, terms.from + 20 minutes);
        (bytes memory a, bytes memory b) = (_sign(SUPPLIER_KEY, digest), _sign(UTILITY_KEY, digest));
        vm.prank(utility);
        vm.expectRevert(
            abi.encodeWithSelector(
                ILeases.BeginsTooEarly.selector,
                terms.from + 20 minutes - 1,
                terms.from + 20 minutes
            )
        );
        leases.accuse(terms, a, b, terms.from + 20 minutes - 1);
        // A later silence is another matter.
        _accuse(terms, terms.from + 20 minutes);
    }

    function test_anAnswerIsGivenOnce() public {
        _answer(digest, _terms().to);
        ILeases.Ack memory ack = ILeases.Ack({terms: digest, upTo: _terms().to});
        bytes memory signed = _sign(UTILITY_KEY, leases.ackDigest(ack));
        vm.expectRevert(ILeases.NotAccused.selector);
        leases.answer(ack, signed);
    }

    function test_afterTheExecutionItIsTooLate() public {
        _execute(id);
        ILeases.Ack memory ack = ILeases.Ack({terms: digest, upTo: _terms().to});
        bytes memory signed = _sign(UTILITY_KEY, leases.ackDigest(ack));
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Executed)
        );
        leases.answer(ack, signed);
    }
}
