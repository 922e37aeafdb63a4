// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {
    TimelockControllerUpgradeable
} from "@openzeppelin/contracts-upgradeable/governance/TimelockControllerUpgradeable.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    GovernorSettingsUpgradeable
} from "@openzeppelin/contracts-upgradeable/governance/extensions/GovernorSettingsUpgradeable.sol";
import {
    GovernorVotesQuorumFractionUpgradeable
} from "@openzeppelin/contracts-upgradeable/governance/extensions/GovernorVotesQuorumFractionUpgradeable.sol";

import {Joule} from "../../src/Joule.sol";
import {KinesisGovernor} from "../../src/KinesisGovernor.sol";
import {IKinesisGovernor} from "../../src/interfaces/IKinesisGovernor.sol";
import {GovernanceFixture} from "../utils/GovernanceFixture.sol";

/// @dev Who may do what, and how a contract comes under the timelock.
contract AuthorityTest is GovernanceFixture {
    function test_theDeployerHasNothingLeft() public {
        bytes32 proposer = timelock.PROPOSER_ROLE();
        assertTrue(!timelock.hasRole(timelock.DEFAULT_ADMIN_ROLE(), address(this)), "admin");
        assertTrue(!timelock.hasRole(proposer, address(this)), "proposer");
        vm.expectRevert();
        timelock.grantRole(proposer, address(this));
        vm.expectRevert();
        timelock.schedule(address(escrow), 0, "", 0, 0, TIMELOCK_DELAY);
    }

    function test_onlyTheGovernorSchedulesAndCancels() public {
        vm.startPrank(holder);
        vm.expectRevert();
        timelock.schedule(address(escrow), 0, "", 0, 0, TIMELOCK_DELAY);
        vm.expectRevert();
        timelock.cancel(0);
    }

    function test_settingsChangeByProposalOnly() public {
        vm.prank(holder);
        vm.expectRevert();
        governor.setVotingDelay(1);
        _call(address(governor), abi.encodeCall(GovernorSettingsUpgradeable.setVotingPeriod, (500)));
        _enact("Longer votes");
        assertEq(governor.votingPeriod(), 500, "voting period");
    }

    function test_noVoteRemovesTheDelayOrTheQuorum() public {
        _call(address(governor), abi.encodeCall(GovernorSettingsUpgradeable.setVotingDelay, (0)));
        _passVote("No delay");
        _queue("No delay");
        _wait(TIMELOCK_DELAY);
        vm.expectRevert(IKinesisGovernor.NoVotingDelay.selector);
        _execute("No delay");

        delete targets;
        delete calls;
        _call(
            address(governor),
            abi.encodeCall(GovernorVotesQuorumFractionUpgradeable.updateQuorumNumerator, (0))
        );
        _passVote("No quorum");
        _queue("No quorum");
        _wait(TIMELOCK_DELAY);
        vm.expectRevert(IKinesisGovernor.NoQuorum.selector);
        _execute("No quorum");
    }

    function test_itIsInitializedOnce() public {
        IKinesisGovernor.Settings memory settings =
            IKinesisGovernor.Settings(1, VOTING_PERIOD, 0, 1);
        TimelockControllerUpgradeable mine = TimelockControllerUpgradeable(payable(stranger));
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        governor.initialize(joule, mine, settings);
        KinesisGovernor bare = new KinesisGovernor();
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        bare.initialize(joule, mine, settings);
    }

    function test_theClockIsTheTokens() public view {
        assertEq(governor.clock(), joule.clock(), "clock");
    }

    /// @dev forge deploys code of any length, a chain does not (EIP-170).
    function test_itsCodeFitsAChain() public {
        assertTrue(address(new KinesisGovernor()).code.length <= 24_576, "bytes of code");
    }

    function test_emissionIsMintedByProposal() public {
        uint256 left = joule.emissionLeft();
        _call(address(joule), abi.encodeCall(Joule.mint, (treasury, left)));
        uint256 before = joule.balanceOf(treasury);
        _enact("This year's emission");
        assertEq(joule.balanceOf(treasury), before + left, "treasury");
    }

    function test_ownershipIsHandedOverAndAcceptedByProposal() public {
        vm.prank(owner);
        escrow.transferOwnership(stranger);
        vm.prank(stranger);
        escrow.acceptOwnership();
        // From a deployer's hand to the timelock: it takes a vote to accept.
        vm.prank(stranger);
        escrow.transferOwnership(address(timelock));
        _call(address(escrow), abi.encodeCall(Ownable2StepUpgradeable.acceptOwnership, ()));
        _enact("Take the escrow over");
        assertEq(escrow.owner(), address(timelock), "owner");
    }
}
