// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";

import {PaymentEscrow} from "../../src/PaymentEscrow.sol";
import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {GovernanceFixture} from "../utils/GovernanceFixture.sol";

/// @dev A proposal that raises the escrow's fee, from proposal to the fee on a payment.
contract FeeProposalTest is GovernanceFixture {
    string private constant WHY = "Raise the fee to 2 percent";

    function test_theFeeIsRaisedAndCollected() public {
        _deposit(100_000);
        _redeem(1, 10_000);
        assertEq(escrow.feesGathered(), 100, "at the old fee");
        _call(address(escrow), abi.encodeCall(PaymentEscrow.setFee, (200)));

        uint256 id = _propose(WHY);
        _assertState(id, uint256(IGovernor.ProposalState.Pending), "proposed");
        _mine(VOTING_DELAY + 1);
        _assertState(id, uint256(IGovernor.ProposalState.Active), "open");
        vm.prank(holder);
        governor.castVote(id, FOR);
        vm.prank(opponent);
        governor.castVote(id, AGAINST);
        _mine(VOTING_PERIOD);
        _assertState(id, uint256(IGovernor.ProposalState.Succeeded), "passed");
        _queue(WHY);
        _assertState(id, uint256(IGovernor.ProposalState.Queued), "waiting");
        assertEq(escrow.feeBp(), FEE_BP, "not yet");
        _wait(TIMELOCK_DELAY);
        vm.prank(stranger);
        _execute(WHY);
        _assertState(id, uint256(IGovernor.ProposalState.Executed), "done");

        assertEq(escrow.feeBp(), 200, "the new fee");
        _redeem(2, 20_000);
        assertEq(escrow.feesGathered(), 100 + 200, "on a payment");
        uint256 before = joule.balanceOf(treasury);
        escrow.collectFees();
        assertEq(joule.balanceOf(treasury), before + 300, "in the treasury");
    }

    function test_theTimelockIsNotCutShort() public {
        _call(address(escrow), abi.encodeCall(PaymentEscrow.setFee, (200)));
        _passVote(WHY);
        _queue(WHY);
        _wait(TIMELOCK_DELAY - 4);
        vm.expectRevert();
        _execute(WHY);
        assertEq(escrow.feeBp(), FEE_BP, "unchanged");
    }

    function test_aVoteDoesNotPassTheCapInTheCode() public {
        _call(address(escrow), abi.encodeCall(PaymentEscrow.setFee, (1_001)));
        _passVote(WHY);
        _queue(WHY);
        _wait(TIMELOCK_DELAY);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.FeeTooHigh.selector, 1_001, 1_000));
        _execute(WHY);
    }

    function test_aMajorityAgainstDefeats() public {
        _call(address(escrow), abi.encodeCall(PaymentEscrow.setFee, (200)));
        uint256 id = _propose(WHY);
        _mine(VOTING_DELAY + 1);
        vm.prank(holder);
        governor.castVote(id, AGAINST);
        vm.prank(opponent);
        governor.castVote(id, FOR);
        _mine(VOTING_PERIOD);
        _assertState(id, uint256(IGovernor.ProposalState.Defeated), "defeated");
        vm.expectRevert();
        _queue(WHY);
    }

    function test_withoutAQuorumNothingPasses() public {
        vm.prank(opponent);
        joule.transfer(stranger, SUPPLY / 50);
        vm.prank(stranger);
        joule.delegate(stranger);
        _call(address(escrow), abi.encodeCall(PaymentEscrow.setFee, (200)));
        uint256 id = _propose(WHY);
        _mine(VOTING_DELAY + 1);
        // 2 percent of the supply, where 4 are needed.
        vm.prank(stranger);
        governor.castVote(id, FOR);
        _mine(VOTING_PERIOD);
        _assertState(id, uint256(IGovernor.ProposalState.Defeated), "defeated");
    }
}
