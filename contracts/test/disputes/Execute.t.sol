// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract ExecuteTest is TrustFixture {
    function testFuzz_notBeforeTheWindowHasPassed(uint256 early) public {
        uint256 id = _equivocate(1, 5, 6);
        uint256 ends = block.timestamp + WINDOW;
        vm.warp(bound(early, block.timestamp, ends));
        vm.expectRevert(abi.encodeWithSelector(IDisputes.WindowOpen.selector, ends));
        disputes.execute(id);
    }

    function testFuzz_theSlashIsSharedOutToTheLastWei(uint96 stake, uint96 owed, uint96 deposited)
        public
    {
        stake = uint96(bound(stake, 0, 200_000e18));
        owed = uint96(bound(owed, 2, 200_000e18));
        deposited = uint96(bound(deposited, 1, owed - 1));
        if (stake > 0) _bond(utility, stake);
        _deposit(deposited);
        uint256 id = _overdraw(1, owed, 0);
        _execute(id);
        uint256 amount = STAKE + stake < SLASH_CAP ? STAKE + stake : SLASH_CAP;
        IDisputes.Case memory case_ = disputes.caseOf(id);
        assertEq(case_.amount, amount, "a share of the stake, capped");
        assertEq(_bonded(utility), STAKE + stake - amount, "bonded");
        assertEq(registry.locks(utility), 0, "free");
        uint256 shortfall = owed - uint256(deposited) * 10_000 / 10_100;
        assertEq(case_.shortfall, shortfall, "shortfall");
        uint256 most = amount * 7_000 / 10_000;
        assertEq(case_.compensation, shortfall < most ? shortfall : most, "suppliers first");
        assertEq(joule.balanceOf(address(disputes)), case_.compensation, "kept for them");
        assertEq(joule.balanceOf(challenger), amount / 10, "bounty");
        assertEq(joule.balanceOf(treasury), amount - case_.compensation - amount / 10, "treasury");
    }

    function test_anEquivocationThatIsCoveredHasNoVictims() public {
        _deposit(1_000);
        uint256 id = _equivocate(1, 5, 6);
        vm.warp(block.timestamp + WINDOW + 1);
        vm.expectEmit();
        emit IDisputes.Executed(id, STAKE / 2, 0, STAKE / 20, STAKE / 2 - STAKE / 20);
        disputes.execute(id);
    }

    function test_onceOnly() public {
        uint256 id = _equivocate(1, 5, 6);
        _execute(id);
        vm.expectRevert(
            abi.encodeWithSelector(IDisputes.WrongStatus.selector, IDisputes.Status.Executed)
        );
        disputes.execute(id);
    }

    function test_casesSideBySideEachTakeAShareOfWhatIsLeft() public {
        _deposit(1_000);
        uint256 first = _equivocate(1, 5, 6);
        uint256 second = _equivocate(2, 5, 6);
        _execute(first);
        disputes.execute(second);
        assertEq(_bonded(utility), STAKE / 4, "half of a half");
    }

    function test_aCaseKeepsTheParametersItWasOpenedWith() public {
        _deposit(1_000);
        uint256 id = _equivocate(1, 5, 6);
        IDisputes.Parameters memory harsher = _parameters();
        harsher.equivocationBp = 10_000;
        harsher.bountyBp = 1_500;
        vm.prank(owner);
        disputes.setParameters(harsher);
        _execute(id);
        assertEq(disputes.caseOf(id).amount, STAKE / 2, "the old share");
        assertEq(joule.balanceOf(challenger), STAKE / 20, "the old bounty");
    }

    /// @dev Stake that is withdrawn in front of the evidence: before it has thawed it cannot be,
    /// and from the evidence on it is held.
    function test_slashingIsNotFrontRunByWithdrawal() public {
        _deposit(1_000);
        vm.startPrank(utility);
        registry.requestUnbonding(STAKE);
        vm.warp(block.timestamp + THAW - 1);
        vm.expectRevert();
        registry.unbond(utility);
        vm.stopPrank();
        uint256 id = _equivocate(1, 5, 6);
        vm.warp(block.timestamp + 1);
        vm.prank(utility);
        vm.expectRevert();
        registry.unbond(utility);
        _execute(id);
        assertEq(disputes.caseOf(id).amount, STAKE / 2, "slashed");
        vm.prank(utility);
        assertEq(registry.unbond(utility), STAKE / 2, "what was left goes");
    }

    /// @dev A utility accuses itself while it has bonded next to nothing, and bonds afterwards.
    function test_accusingOneselfEarlySavesNothing() public {
        vm.prank(address(disputes));
        registry.slash(utility, STAKE - 1, stranger);
        uint256 id = _overdraw(1, 11, 0);
        _bond(utility, STAKE);
        _execute(id);
        assertEq(disputes.caseOf(id).amount, STAKE + 1, "of the stake at the end");
    }

    /// @dev A utility that is accused puts cover there that it could take away at once.
    function test_coverForAMomentDoesNotLowerTheCompensation() public {
        _deposit(1_000);
        vm.prank(utility);
        escrow.requestWithdrawal(SERIES, 1_000);
        _redeem(1, 900);
        vm.warp(block.timestamp + DELAY);
        uint256 id = _overdraw(2, 10_000, 0);
        _deposit(1_000);
        _execute(id);
        // 1,091 are there, and 1,000 of them are as good as gone.
        assertEq(disputes.caseOf(id).shortfall, 10_000 - 900 - 90, "shortfall");
    }

    /// @dev A utility that is its own victim and its own challenger still loses.
    function test_aUtilityThatAccusesItselfLoses() public {
        IDisputes.Parameters memory kindest = _parameters();
        kindest.compensationBp = disputes.COMPENSATION_BP_CAP();
        kindest.bountyBp = disputes.BOUNTY_BP_CAP();
        vm.prank(owner);
        disputes.setParameters(kindest);
        uint256 id = _overdraw(1, type(uint96).max, 0);
        _execute(id);
        assertEq(joule.balanceOf(treasury), STAKE / 20, "a twentieth is gone in any case");
    }
}
