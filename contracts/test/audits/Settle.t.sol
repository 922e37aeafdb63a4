// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAudits} from "../../src/interfaces/IAudits.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract SettleTest is CourtFixture {
    /// @dev The whole way: refuted, the window, the slash.
    function test_aRefutedResultIsSlashed() public {
        uint256 before = joule.balanceOf(challenger);
        uint256 utilityBefore = joule.balanceOf(utility);
        uint256 id = _judged(_finding(RIGHT));
        IAudits.Claim memory claim = audits.claimOf(id);
        assertTrue(claim.status == IAudits.Status.Refuted, "refuted");
        assertEq(joule.balanceOf(challenger), before - PANEL * AUDIT_FEE, "stake less fees");
        assertTrue(_open(claim.caseId) == IDisputes.Status.Open, "the DAO may veto");
        _execute(claim.caseId);
        uint256 amount = STAKE * 4_000 / 10_000;
        assertEq(_bonded(supplier), STAKE - amount, "slashed");
        assertEq(joule.balanceOf(utility) - utilityBefore, PRICE, "the victim's damage");
        assertEq(joule.balanceOf(challenger), before + amount / 10, "bounty, and the fees back");
        uint256 rest = amount - PRICE - amount / 10 - PANEL * AUDIT_FEE;
        assertEq(joule.balanceOf(treasury), rest, "the rest");
        assertEq(_bondSum(), AUDITORS * SEAT + PANEL * AUDIT_FEE, "auditors are paid");
    }

    function test_aVetoSavesTheSupplierAndTheAuditorsKeepTheirFees() public {
        uint256 id = _judged(_finding(RIGHT));
        uint256 caseId = audits.claimOf(id).caseId;
        vm.prank(guardian);
        disputes.veto(caseId);
        assertEq(_bonded(supplier), STAKE, "nothing slashed");
        assertEq(registry.locks(supplier), 0, "free");
        assertEq(_bondSum(), AUDITORS * SEAT + PANEL * AUDIT_FEE, "paid");
        assertTrue(audits.isJudged(audits.claimOf(id).result), "and for good");
    }

    function test_anUpheldResultCostsTheChallenger() public {
        uint256 before = joule.balanceOf(challenger);
        IAudits.Result memory result = _result(keccak256("job"));
        uint256 id = _judged(_finding(WRONG));
        IAudits.Claim memory claim = audits.claimOf(id);
        assertTrue(claim.status == IAudits.Status.Upheld, "upheld");
        assertEq(joule.balanceOf(challenger), before - CLAIM_STAKE, "the stake is gone");
        assertEq(joule.balanceOf(supplier), CLAIM_STAKE - PANEL * AUDIT_FEE, "to the supplier");
        assertTrue(_open(claim.caseId) == IDisputes.Status.Withdrawn, "no case");
        assertEq(registry.locks(supplier), 0, "free");
        bytes memory signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        vm.prank(challenger);
        vm.expectRevert(IAudits.AlreadyClaimed.selector);
        audits.claim(result, signed, "");
    }

    function test_aJobThatCannotBeHadCostsTheChallengerButMayBeClaimedAgain() public {
        uint256 id = _judged(bytes32(0));
        IAudits.Claim memory claim = audits.claimOf(id);
        assertTrue(claim.status == IAudits.Status.Unavailable, "unavailable");
        assertEq(joule.balanceOf(treasury), CLAIM_STAKE - PANEL * AUDIT_FEE, "to the treasury");
        assertTrue(!audits.isJudged(claim.result), "again");
    }

    /// @dev A job that is not deterministic: everybody finds something else, and nobody is to blame.
    function test_differentFindingsRefuteNothing() public {
        uint256 before = joule.balanceOf(challenger);
        (uint256 id,) = _drawn();
        bytes32[PANEL] memory findings;
        for (uint256 i; i < PANEL; ++i) {
            findings[i] = keccak256(abi.encode(i));
        }
        _vote(id, findings);
        audits.settle(id);
        assertTrue(audits.claimOf(id).status == IAudits.Status.Undecided, "undecided");
        assertEq(joule.balanceOf(challenger), before - PANEL * AUDIT_FEE, "less the fees");
        assertEq(_bonded(supplier), STAKE, "nothing slashed");
        assertEq(joule.balanceOf(treasury), 0, "nobody penalised");
    }

    function test_theMinorityAndTheSilentLoseALittle() public {
        (uint256 id, address[] memory panel) = _drawn();
        bytes32 right = _finding(RIGHT);
        for (uint256 i; i < 3; ++i) {
            _commit(id, panel[i], right);
        }
        _commit(id, panel[3], _finding(WRONG));
        _commit(id, panel[4], right);
        vm.warp(uint256(audits.claimOf(id).commitEnds) + 1);
        for (uint256 i; i < 3; ++i) {
            _reveal(id, panel[i], right);
        }
        _reveal(id, panel[3], _finding(WRONG));
        uint256 ends = audits.claimOf(id).revealEnds;
        vm.warp(ends);
        vm.expectRevert(abi.encodeWithSelector(IAudits.OutOfTime.selector, ends, type(uint256).max));
        audits.settle(id);
        vm.warp(ends + 1);
        audits.settle(id);
        assertEq(audits.auditorOf(panel[0]).bond, SEAT + AUDIT_FEE, "with the quorum");
        assertEq(audits.auditorOf(panel[3]).bond, SEAT - PENALTY, "against it");
        assertEq(audits.auditorOf(panel[4]).bond, SEAT - PENALTY, "committed, never revealed");
        assertEq(joule.balanceOf(treasury), 2 * PENALTY, "to the treasury");
        assertEq(audits.auditorOf(panel[4]).duties, 0, "off duty");
        assertEq(audits.auditorOf(panel[4]).atStake, 0, "nothing at stake");
    }

    function test_anAllSilentPanelPaysAndTheChallengerLosesNothing() public {
        uint256 before = joule.balanceOf(challenger);
        (uint256 id,) = _drawn();
        vm.warp(uint256(audits.claimOf(id).revealEnds) + 1);
        audits.settle(id);
        assertEq(joule.balanceOf(challenger), before, "all back");
        assertEq(joule.balanceOf(treasury), PANEL * PENALTY, "penalties");
        assertTrue(!audits.isJudged(audits.claimOf(id).result), "again");
        vm.expectRevert(
            abi.encodeWithSelector(IAudits.WrongStatus.selector, IAudits.Status.Undecided)
        );
        audits.settle(id);
    }

    /// @dev Each votes one of three ways, or odd, or only commits, or does nothing.
    function testFuzz_whatIsStakedIsWhatIsPaid(uint8[PANEL] memory votes) public {
        uint256 sum = _held() + _bondSum();
        (uint256 id, address[] memory panel) = _drawn();
        bytes32[5] memory findings =
            [_finding(RIGHT), _finding(WRONG), bytes32(0), bytes32("odd"), bytes32("kept")];
        uint256 right;
        for (uint256 i; i < PANEL; ++i) {
            votes[i] %= 6;
            if (votes[i] < 5) _commit(id, panel[i], findings[votes[i]]);
            if (votes[i] == 0) ++right;
        }
        vm.warp(uint256(audits.claimOf(id).commitEnds) + 1);
        for (uint256 i; i < PANEL; ++i) {
            if (votes[i] < 4) _reveal(id, panel[i], findings[votes[i]]);
        }
        vm.warp(uint256(audits.claimOf(id).revealEnds) + 1);
        audits.settle(id);
        assertEq(_held() + _bondSum(), sum, "to the last wei");
        assertEq(joule.balanceOf(address(audits)), _bondSum(), "only bonds are left");
        bool odd = audits.claimOf(id).finding == bytes32(0);
        assertTrue(!odd, "the claim keeps what was signed");
        if (right >= QUORUM) {
            assertTrue(audits.claimOf(id).status == IAudits.Status.Refuted, "a quorum refutes");
        }
    }

    function _held() private view returns (uint256) {
        return joule.balanceOf(challenger) + joule.balanceOf(supplier) + joule.balanceOf(treasury);
    }
}
