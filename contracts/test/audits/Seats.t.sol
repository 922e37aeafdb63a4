// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IAudits} from "../../src/interfaces/IAudits.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract SeatsTest is CourtFixture {
    function test_aPlaceIsTakenWhenTheBondIsMature() public {
        _enrol(stranger, SEAT);
        uint256 from = block.timestamp + MATURITY;
        vm.startPrank(stranger);
        vm.warp(from - 1);
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotMature.selector, from));
        audits.sit();
        vm.warp(from);
        audits.sit();
        vm.expectRevert(IAudits.AlreadySeated.selector);
        audits.sit();
        vm.stopPrank();
        assertEq(audits.seatCount(), AUDITORS + 1, "places");
        assertEq(audits.seats(AUDITORS, 100)[0], stranger, "the last");
    }

    function test_aLittleThatIsMatureMakesNoPlaceMature() public {
        _enrol(stranger, 1);
        vm.warp(block.timestamp + MATURITY);
        _enrol(stranger, SEAT);
        vm.prank(stranger);
        vm.expectRevert(
            abi.encodeWithSelector(IAudits.NotMature.selector, block.timestamp + MATURITY)
        );
        audits.sit();
    }

    function test_aSmallerBondMakesNoPlace() public {
        _enrol(stranger, SEAT - 1);
        vm.warp(block.timestamp + MATURITY);
        vm.prank(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAudits.BondTooSmall.selector, SEAT - 1, SEAT));
        audits.sit();
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(IAudits.BondTooSmall.selector, 0, SEAT));
        audits.sit();
    }

    function testFuzz_whoeverQuitsTakesAllAndTheOthersKeepTheirPlaces(uint256 which) public {
        which = bound(which, 0, AUDITORS - 1);
        vm.prank(_auditor(which));
        assertEq(audits.quit(), SEAT, "all of it");
        assertEq(joule.balanceOf(_auditor(which)), SEAT, "paid");
        address[] memory seats = audits.seats(0, 100);
        assertEq(seats.length, AUDITORS - 1, "one less");
        for (uint256 i; i < seats.length; ++i) {
            assertTrue(seats[i] != _auditor(which), "gone");
            assertEq(audits.auditorOf(seats[i]).place, i + 1, "each knows its place");
        }
        vm.prank(_auditor(which));
        vm.expectRevert(IAudits.ZeroAmount.selector);
        audits.quit();
    }

    function test_nobodyQuitsBeforeADrawOrOnDuty() public {
        uint256 id = _claimed();
        vm.prank(_auditor(0));
        vm.expectRevert(abi.encodeWithSelector(IAudits.DrawPending.selector, 1));
        audits.quit();
        _toDraw();
        audits.draw(id);
        address[] memory panel = audits.panelOf(id);
        vm.prank(panel[0]);
        vm.expectRevert(abi.encodeWithSelector(IAudits.OnDuty.selector, 1));
        audits.quit();
        vm.warp(block.timestamp + COMMIT + REVEAL + 1);
        audits.settle(id);
        vm.prank(panel[0]);
        assertEq(audits.quit(), SEAT - PENALTY, "less what it lost");
    }

    function test_withoutAPlaceOneQuitsAtAnyTime() public {
        _enrol(stranger, 7);
        _claimed();
        vm.prank(stranger);
        assertEq(audits.quit(), 7, "all of it");
    }

    function test_aBondThatHasFallenFarLosesItsPlace() public {
        vm.expectRevert(IAudits.NotSeated.selector);
        audits.unseat(stranger);
        vm.expectRevert(abi.encodeWithSelector(IAudits.StillCovered.selector, SEAT, SEAT / 2));
        audits.unseat(_auditor(0));
        IAudits.Parameters memory terms = _auditTerms();
        terms.seatBond = 2 * SEAT + 2;
        vm.prank(owner);
        audits.setParameters(terms);
        audits.unseat(_auditor(0));
        assertEq(audits.auditorOf(_auditor(0)).place, 0, "none");
        assertEq(audits.auditorOf(_auditor(0)).bond, SEAT, "its own still");
        _claimed();
        vm.expectRevert(abi.encodeWithSelector(IAudits.DrawPending.selector, 1));
        audits.unseat(_auditor(1));
    }

    function test_nothingIsNoBond() public {
        vm.expectRevert(IAudits.ZeroAmount.selector);
        audits.enrol(0);
        vm.expectRevert();
        audits.enrol(1 << 96);
    }
}
