// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

/// @notice What a court may do: file, confirm, withdraw, and nothing else.
contract CourtsTest is TrustFixture {
    address private court = address(0xC0);
    address private victim = address(0x71C);

    function setUp() public override {
        super.setUp();
        vm.prank(owner);
        disputes.setCourt(court, true);
        _bond(supplier, STAKE);
    }

    function _filing() private view returns (IDisputes.Filing memory) {
        return IDisputes.Filing({
            offence: IDisputes.Offence.Refutation,
            accused: supplier,
            challenger: challenger,
            victim: victim,
            damage: 100e18,
            most: type(uint96).max,
            evidence: keccak256("evidence")
        });
    }

    function _file(IDisputes.Filing memory filing) private returns (uint256) {
        vm.prank(court);
        return disputes.file(filing);
    }

    function _confirm(uint256 id, uint96 costs) private {
        vm.prank(court);
        disputes.confirm(id, costs);
    }

    /// @dev What lenders put beside the supplier's stake: a pool's money.
    function _lend(uint256 amount) private {
        vm.prank(supplier);
        registry.setLender(utility, 1_000);
        vm.prank(utility);
        registry.lend(supplier, amount);
    }

    function test_onlyAnAdmittedCourtFiles() public {
        vm.expectRevert(IDisputes.OnlyCourt.selector);
        disputes.file(_filing());
        vm.prank(owner);
        disputes.setCourt(court, false);
        vm.prank(court);
        vm.expectRevert(IDisputes.OnlyCourt.selector);
        disputes.file(_filing());
    }

    function test_onlyTheOwnerAdmits() public {
        vm.prank(guardian);
        vm.expectRevert(
            abi.encodeWithSelector(OwnableUpgradeable.OwnableUnauthorizedAccount.selector, guardian)
        );
        disputes.setCourt(guardian, true);
        assertTrue(disputes.isCourt(court) && !disputes.isCourt(guardian), "as it was");
    }

    function test_whatIsProvenHereIsNotFiled() public {
        IDisputes.Filing memory filing = _filing();
        filing.offence = IDisputes.Offence.Equivocation;
        vm.prank(court);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.NotForCourts.selector, IDisputes.Offence.Equivocation)
        );
        disputes.file(filing);
    }

    function test_whoHasNothingIsNotAccused() public {
        IDisputes.Filing memory filing = _filing();
        filing.accused = stranger;
        vm.prank(court);
        vm.expectRevert(IDisputes.NothingBonded.selector);
        disputes.file(filing);
    }

    function test_aPendingCaseHoldsTheStakeAndIsNeitherExecutedNorVetoed() public {
        vm.prank(supplier);
        registry.requestUnbonding(STAKE);
        vm.warp(block.timestamp + THAW);
        uint256 id = _file(_filing());
        vm.prank(supplier);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BondLocked.selector, 1));
        registry.unbond(supplier);
        bytes memory refusal =
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Pending);
        vm.expectRevert(refusal);
        disputes.execute(id);
        vm.prank(guardian);
        vm.expectRevert(refusal);
        disputes.veto(id);
    }

    function testFuzz_aConfirmedCaseIsSharedOut(uint96 damage, uint96 most, uint96 costs) public {
        IDisputes.Filing memory filing = _filing();
        (filing.damage, filing.most) = (damage, most);
        uint256 id = _file(filing);
        _confirm(id, costs);
        _execute(id);
        uint256 amount = STAKE * 4_000 / 10_000;
        if (amount > most) amount = most;
        uint256 pays = amount * 7_000 / 10_000;
        if (pays > damage) pays = damage;
        uint256 spent = amount * 400 / 10_000;
        if (spent > costs) spent = costs;
        assertEq(_bonded(supplier), STAKE - amount, "slashed");
        assertEq(joule.balanceOf(victim), pays, "victim first");
        assertEq(joule.balanceOf(challenger), amount / 10 + spent, "bounty and costs");
        assertEq(joule.balanceOf(treasury), amount - pays - amount / 10 - spent, "treasury");
        assertEq(joule.balanceOf(address(disputes)), 0, "nothing stays");
    }

    function test_withoutAVictimTheTreasuryGetsItsPart() public {
        IDisputes.Filing memory filing = _filing();
        filing.victim = address(0);
        uint256 id = _file(filing);
        _confirm(id, 0);
        _execute(id);
        assertEq(joule.balanceOf(treasury), STAKE * 4 / 10 * 9 / 10, "treasury");
    }

    /// @dev A borrower that convicts itself, as its own victim and challenger, must not gain a wei
    /// of what its pool lent.
    function testFuzz_aBorrowerDoesNotRobItsPool(uint96 own, uint96 lent) public {
        lent = uint96(bound(lent, 1e18, 100_000e18));
        own = uint96(bound(own, 0, STAKE));
        vm.startPrank(supplier);
        registry.requestUnbonding(STAKE - own);
        vm.warp(block.timestamp + THAW);
        if (own < STAKE) registry.unbond(supplier);
        vm.stopPrank();
        _lend(lent);
        IDisputes.Filing memory filing = _filing();
        (filing.victim, filing.challenger) = (supplier, supplier);
        filing.damage = type(uint96).max;
        uint256 before = joule.balanceOf(supplier) + own;
        uint256 id = _file(filing);
        _confirm(id, 0);
        _execute(id);
        uint256 later = joule.balanceOf(supplier) + registry.ownStake(supplier);
        assertTrue(later <= before, "nothing gained");
        uint256 amount = (uint256(own) + lent) * 4_000 / 10_000;
        if (amount > SLASH_CAP) amount = SLASH_CAP;
        assertEq(disputes.caseOf(id).amount, amount, "the loan is lost all the same");
    }

    function test_aWithdrawnCaseFreesTheStake() public {
        uint256 pending = _file(_filing());
        uint256 open = _file(_filing());
        _confirm(open, 0);
        vm.startPrank(court);
        disputes.withdraw(pending);
        disputes.withdraw(open);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Withdrawn)
        );
        disputes.withdraw(open);
        vm.stopPrank();
        assertEq(registry.locks(supplier), 0, "free");
        vm.warp(block.timestamp + WINDOW + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Withdrawn)
        );
        disputes.execute(open);
    }

    function test_aCourtHasNoSayInOthersCases() public {
        uint256 id = _file(_filing());
        uint256 accused = _equivocate(1, 5, 6);
        address second = address(0xC1);
        vm.startPrank(owner);
        disputes.setCourt(second, true);
        vm.stopPrank();
        vm.startPrank(second);
        vm.expectRevert(IDisputes.OnlyCourt.selector);
        disputes.confirm(id, 0);
        vm.expectRevert(IDisputes.OnlyCourt.selector);
        disputes.withdraw(id);
        vm.expectRevert(IDisputes.OnlyCourt.selector);
        disputes.withdraw(accused);
        vm.stopPrank();
    }

    function test_aCourtThatIsNoLongerOneEndsWhatItBegan() public {
        uint256 id = _file(_filing());
        vm.prank(owner);
        disputes.setCourt(court, false);
        _confirm(id, 0);
        vm.prank(guardian);
        disputes.veto(id);
        assertEq(registry.locks(supplier), 0, "free");
    }

    function test_aVetoAfterTheWindowIsTooLate() public {
        uint256 id = _file(_filing());
        vm.warp(block.timestamp + 3 * WINDOW);
        _confirm(id, 0);
        uint256 ends = disputes.caseOf(id).windowEnds;
        assertEq(ends, block.timestamp + WINDOW, "the window begins when the court is done");
        vm.warp(ends + 1);
        vm.prank(guardian);
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WindowClosed.selector, ends));
        disputes.veto(id);
        disputes.execute(id);
    }

    function test_confirmingTwiceStartsNoSecondWindow() public {
        uint256 id = _file(_filing());
        _confirm(id, 0);
        vm.prank(court);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Open)
        );
        disputes.confirm(id, 0);
    }
}
