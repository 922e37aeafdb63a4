// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAudits} from "../../src/interfaces/IAudits.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {Draws} from "../../src/libraries/Draws.sol";
import {BlockVm} from "../utils/Blocks.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

interface HashVm {
    function setBlockhash(uint256 number, bytes32 hash) external;
}

contract DrawTest is CourtFixture {
    function _roll(uint256 number) private {
        BlockVm(address(vm)).roll(number);
    }

    function test_notBeforeItsBlockHasPassed() public {
        uint256 id = _claimed();
        uint256 drawBlock = audits.claimOf(id).drawBlock;
        _roll(drawBlock);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooEarly.selector, drawBlock));
        audits.draw(id);
        vm.expectRevert(abi.encodeWithSelector(IAudits.StillDrawable.selector, drawBlock));
        audits.lapse(id);
        _roll(drawBlock + 1);
        vm.expectRevert(abi.encodeWithSelector(IAudits.StillDrawable.selector, drawBlock));
        audits.lapse(id);
        audits.draw(id);
        assertTrue(audits.claimOf(id).status == IAudits.Status.Voting, "voting");
    }

    function testFuzz_aPanelIsOfDistinctAuditors(bytes32 hash) public {
        vm.assume(hash != bytes32(0));
        uint256 id = _claimed();
        _toDraw();
        HashVm(address(vm)).setBlockhash(audits.claimOf(id).drawBlock, hash);
        audits.draw(id);
        address[] memory panel = audits.panelOf(id);
        assertEq(panel.length, PANEL, "size");
        for (uint256 i; i < PANEL; ++i) {
            assertEq(audits.auditorOf(panel[i]).duties, 1, "once");
            assertEq(audits.auditorOf(panel[i]).atStake, PENALTY, "at stake");
            assertTrue(audits.auditorOf(panel[i]).place != 0, "with a place");
        }
        vm.expectRevert(abi.encodeWithSelector(IAudits.WrongStatus.selector, IAudits.Status.Voting));
        audits.draw(id);
    }

    /// @dev Whoever calls it, and when, changes nothing: there is nothing to grind but the hash.
    function testFuzz_theHashAloneDraws(bytes32 hash, address caller, uint8 later) public {
        vm.assume(hash != bytes32(0));
        uint256 id = _claimed();
        uint256 drawBlock = audits.claimOf(id).drawBlock;
        uint256[] memory expected =
            Draws.distinct(keccak256(abi.encode(hash, id)), AUDITORS, AUDITORS);
        _roll(drawBlock + 1 + bound(later, 0, 200));
        HashVm(address(vm)).setBlockhash(drawBlock, hash);
        vm.prank(caller);
        audits.draw(id);
        for (uint256 i; i < PANEL; ++i) {
            assertEq(audits.panelOf(id)[i], _auditor(expected[i]), "as the hash says");
        }
    }

    /// @dev Auditors that come after the claim are in no draw of it, however many they are.
    function testFuzz_placesTakenAfterTheClaimDoNotCount(bytes32 hash) public {
        vm.assume(hash != bytes32(0));
        for (uint256 i; i < 20; ++i) {
            _enrol(_auditor(100 + i), SEAT);
        }
        vm.warp(block.timestamp + MATURITY);
        uint256 id = _claimed();
        for (uint256 i; i < 20; ++i) {
            vm.prank(_auditor(100 + i));
            audits.sit();
        }
        _toDraw();
        HashVm(address(vm)).setBlockhash(audits.claimOf(id).drawBlock, hash);
        audits.draw(id);
        for (uint256 i; i < PANEL; ++i) {
            assertTrue(uint160(audits.panelOf(id)[i]) < uint160(_auditor(100)), "an early one");
        }
    }

    function testFuzz_partiesSitOnNoPanel(bytes32 hash) public {
        vm.assume(hash != bytes32(0));
        address[3] memory parties = [supplier, utility, challenger];
        for (uint256 i; i < 3; ++i) {
            _enrol(parties[i], SEAT);
        }
        vm.prank(challenger);
        joule.approve(address(audits), type(uint256).max);
        vm.warp(block.timestamp + MATURITY);
        for (uint256 i; i < 3; ++i) {
            vm.prank(parties[i]);
            audits.sit();
        }
        uint256 id = _claimed();
        _toDraw();
        HashVm(address(vm)).setBlockhash(audits.claimOf(id).drawBlock, hash);
        audits.draw(id);
        for (uint256 i; i < PANEL; ++i) {
            address who = audits.panelOf(id)[i];
            assertTrue(who != supplier && who != utility && who != challenger, "no party");
        }
    }

    function test_anAuditorWhoseBondIsAllAtStakeIsPassedOver() public {
        IAudits.Parameters memory terms = _auditTerms();
        terms.penalty = 10e18;
        terms.claimPeriod = 90 days;
        vm.prank(owner);
        audits.setParameters(terms);
        // Twelve bonds of ten penalties each are twenty-four panels of five.
        for (uint256 i; i < 24; ++i) {
            uint256 id = _claim(_result(keccak256(abi.encode(i))));
            _toDraw();
            audits.draw(id);
            if (audits.claimOf(id).status == IAudits.Status.Void) break;
        }
        uint256 last = _claim(_result(keccak256("one more")));
        uint256 before = joule.balanceOf(challenger);
        _toDraw();
        audits.draw(last);
        IAudits.Claim memory claim = audits.claimOf(last);
        assertTrue(claim.status == IAudits.Status.Void, "too few have anything left");
        assertEq(audits.panelOf(last).length, 0, "no panel");
        assertEq(joule.balanceOf(challenger), before + CLAIM_STAKE, "the stake is back");
        assertTrue(_open(claim.caseId) == IDisputes.Status.Withdrawn, "no case");
        assertTrue(!audits.isJudged(claim.result), "it may be claimed again");
        for (uint256 i; i < AUDITORS; ++i) {
            IAudits.Auditor memory auditor = audits.auditorOf(_auditor(i));
            assertTrue(auditor.atStake <= auditor.bond, "never more at stake than there is");
        }
    }

    function test_aDrawThatNobodyMadeCostsTheChallenger() public {
        uint256 id = _claimed();
        uint256 drawBlock = audits.claimOf(id).drawBlock;
        _roll(drawBlock + 257);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooLate.selector, drawBlock));
        audits.draw(id);
        audits.lapse(id);
        assertEq(joule.balanceOf(treasury), CLAIM_STAKE, "to the treasury");
        assertEq(registry.locks(supplier), 0, "free");
        assertEq(audits.pendingDraws(), 0, "none due");
        assertTrue(!audits.isJudged(audits.claimOf(id).result), "it may be claimed again");
        vm.expectRevert(abi.encodeWithSelector(IAudits.WrongStatus.selector, IAudits.Status.Lapsed));
        audits.lapse(id);
    }

    function testFuzz_distinctIsDistinct(bytes32 seed, uint256 n, uint256 candidates) public pure {
        n = bound(n, 1, 200);
        candidates = bound(candidates, 1, n < 48 ? n : 48);
        uint256[] memory drawn = Draws.distinct(seed, n, candidates);
        for (uint256 i; i < candidates; ++i) {
            assertTrue(drawn[i] < n, "within");
            for (uint256 j; j < i; ++j) {
                assertTrue(drawn[i] != drawn[j], "distinct");
            }
        }
    }

    /// @dev Every place is drawn first about as often: 12 places, 6,000 draws, 500 expected each.
    function test_drawsAreFair() public pure {
        uint256[12] memory counts;
        for (uint256 i; i < 6_000; ++i) {
            ++counts[Draws.distinct(bytes32(i), 12, 1)[0]];
        }
        for (uint256 i; i < 12; ++i) {
            assertTrue(counts[i] > 400 && counts[i] < 600, "fair");
        }
    }
}
