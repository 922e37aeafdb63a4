// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAudits} from "../../src/interfaces/IAudits.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract CommitRevealTest is CourtFixture {
    uint256 private id;
    address[] private panel;

    function setUp() public override {
        super.setUp();
        (id, panel) = _drawn();
    }

    function _toReveal() private {
        vm.warp(uint256(audits.claimOf(id).commitEnds) + 1);
    }

    function test_onlyThePanelCommitsAndReveals() public {
        vm.prank(stranger);
        vm.expectRevert(IAudits.NotDrawn.selector);
        audits.commit(id, SALT);
        _toReveal();
        vm.prank(stranger);
        vm.expectRevert(IAudits.NotDrawn.selector);
        audits.reveal(id, bytes32(0), SALT);
    }

    function test_aCommitmentIsMadeOnce() public {
        _commit(id, panel[0], _finding(RIGHT));
        vm.prank(panel[0]);
        vm.expectRevert(IAudits.AlreadyDone.selector);
        audits.commit(id, SALT);
        vm.prank(panel[1]);
        vm.expectRevert(IAudits.ZeroCommitment.selector);
        audits.commit(id, bytes32(0));
    }

    function test_theWindowsDoNotOverlap() public {
        IAudits.Claim memory claim = audits.claimOf(id);
        bytes memory refusal =
            abi.encodeWithSelector(IAudits.OutOfTime.selector, claim.commitEnds, claim.revealEnds);
        bytes32 finding = _finding(RIGHT);
        _commit(id, panel[0], finding);
        vm.warp(claim.commitEnds);
        vm.prank(panel[0]);
        vm.expectRevert(refusal);
        audits.reveal(id, finding, SALT);
        _commit(id, panel[1], finding);
        _toReveal();
        vm.prank(panel[2]);
        vm.expectRevert(abi.encodeWithSelector(IAudits.OutOfTime.selector, 0, claim.commitEnds));
        audits.commit(id, SALT);
        vm.warp(claim.revealEnds);
        _reveal(id, panel[0], finding);
        vm.warp(uint256(claim.revealEnds) + 1);
        vm.prank(panel[1]);
        vm.expectRevert(refusal);
        audits.reveal(id, finding, SALT);
    }

    function testFuzz_onlyWhatWasCommittedIsRevealed(bytes32 finding, bytes32 salt) public {
        bytes32 committed = _finding(RIGHT);
        vm.assume(finding != committed || salt != SALT);
        _commit(id, panel[0], committed);
        _toReveal();
        vm.prank(panel[0]);
        vm.expectRevert(IAudits.NotAsCommitted.selector);
        audits.reveal(id, finding, salt);
    }

    /// @dev A lazy auditor copies a commitment and then the reveal: its address is in the hash.
    function test_aCopyIsWorthNothing() public {
        bytes32 finding = _finding(RIGHT);
        bytes32 commitment = audits.commitmentOf(id, panel[0], finding, SALT);
        vm.prank(panel[0]);
        audits.commit(id, commitment);
        vm.prank(panel[1]);
        audits.commit(id, commitment);
        _toReveal();
        _reveal(id, panel[0], finding);
        vm.prank(panel[1]);
        vm.expectRevert(IAudits.NotAsCommitted.selector);
        audits.reveal(id, finding, SALT);
    }

    /// @dev Nor is a commitment of another claim.
    function test_aCommitmentOfAnotherClaimIsWorthNothing() public {
        bytes32 finding = _finding(RIGHT);
        bytes32 elsewhere = audits.commitmentOf(id + 1, panel[0], finding, SALT);
        vm.prank(panel[0]);
        audits.commit(id, elsewhere);
        _toReveal();
        vm.prank(panel[0]);
        vm.expectRevert(IAudits.NotAsCommitted.selector);
        audits.reveal(id, finding, SALT);
    }

    function test_aRevealIsMadeOnceAndNotWithoutACommitment() public {
        bytes32 finding = _finding(RIGHT);
        _commit(id, panel[0], finding);
        _toReveal();
        _reveal(id, panel[0], finding);
        vm.prank(panel[0]);
        vm.expectRevert(IAudits.AlreadyDone.selector);
        audits.reveal(id, finding, SALT);
        vm.prank(panel[1]);
        vm.expectRevert(IAudits.NotAsCommitted.selector);
        audits.reveal(id, finding, SALT);
        assertEq(audits.claimOf(id).revealed, 1, "one");
    }
}
