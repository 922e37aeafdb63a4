// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {Audits} from "../../src/Audits.sol";
import {IAudits} from "../../src/interfaces/IAudits.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract AuditsParametersTest is CourtFixture {
    function _refused(IAudits.Parameters memory terms) private {
        vm.prank(owner);
        vm.expectRevert(IAudits.InvalidParameters.selector);
        audits.setParameters(terms);
    }

    function testFuzz_aQuorumIsMoreThanHalf(uint8 panel, uint8 quorum) public {
        IAudits.Parameters memory terms = _auditTerms();
        (terms.panel, terms.quorum, terms.fee) = (panel, quorum, 0);
        bool fine = panel > 0 && panel <= 15 && quorum <= panel && uint256(quorum) * 2 > panel;
        if (!fine) return _refused(terms);
        vm.prank(owner);
        audits.setParameters(terms);
        assertEq(audits.parameters().quorum, quorum, "quorum");
    }

    function testFuzz_aPenaltyIsATenthAtMost(uint96 penalty) public {
        IAudits.Parameters memory terms = _auditTerms();
        terms.penalty = penalty;
        if (penalty > SEAT / 10) return _refused(terms);
        vm.prank(owner);
        audits.setParameters(terms);
    }

    function testFuzz_theStakeCoversTheFees(uint96 fee) public {
        IAudits.Parameters memory terms = _auditTerms();
        terms.fee = fee;
        if (fee > CLAIM_STAKE / PANEL) return _refused(terms);
        vm.prank(owner);
        audits.setParameters(terms);
    }

    function test_windowsAreBounded() public {
        IAudits.Parameters memory terms = _auditTerms();
        terms.commitWindow = 0;
        _refused(terms);
        terms.commitWindow = 90 days + 1;
        _refused(terms);
        terms = _auditTerms();
        terms.revealWindow = 0;
        _refused(terms);
        terms.revealWindow = 90 days + 1;
        _refused(terms);
        terms = _auditTerms();
        terms.drawBlocks = 0;
        _refused(terms);
        terms.drawBlocks = 201;
        _refused(terms);
        terms = _auditTerms();
        terms.claimPeriod = 90 days + 1;
        _refused(terms);
        terms = _auditTerms();
        terms.maturity = 90 days + 1;
        _refused(terms);
        terms = _auditTerms();
        (terms.seatBond, terms.penalty) = (0, 0);
        _refused(terms);
    }

    function test_aClaimKeepsItsOwn() public {
        (uint256 id,) = _drawn();
        IAudits.Parameters memory terms = _auditTerms();
        (terms.fee, terms.penalty, terms.claimStake) = (0, 0, 0);
        vm.prank(owner);
        audits.setParameters(terms);
        _vote(id, _all(_finding(WRONG)));
        audits.settle(id);
        assertEq(joule.balanceOf(supplier), CLAIM_STAKE - PANEL * AUDIT_FEE, "the old ones");
    }

    function test_onlyTheOwnerSetsThemAndUpgrades() public {
        bytes memory refusal = abi.encodeWithSelector(
            OwnableUpgradeable.OwnableUnauthorizedAccount.selector, stranger
        );
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        audits.setParameters(_auditTerms());
        vm.expectRevert(refusal);
        audits.upgradeToAndCall(address(1), "");
        vm.stopPrank();
    }

    function test_itIsInitializedOnceAndAnUpgradeKeepsTheClaims() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        audits.initialize(stranger, _auditTerms());
        uint256 id = _claimed();
        Audits next = new Audits(disputes);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        next.initialize(stranger, _auditTerms());
        vm.prank(owner);
        audits.upgradeToAndCall(address(next), "");
        assertEq(audits.claimOf(id).challenger, challenger, "challenger");
        assertEq(address(audits.disputes()), address(disputes), "disputes");
        assertEq(address(audits.joule()), address(joule), "joule");
    }
}
