// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";

import {Joule} from "../../src/Joule.sol";
import {KinesisGovernor} from "../../src/KinesisGovernor.sol";
import {PaymentEscrow} from "../../src/PaymentEscrow.sol";
import {GovernanceFixture} from "../utils/GovernanceFixture.sol";

/// @dev Lends any amount within one call.
contract FlashLender {
    Joule private immutable joule;

    constructor(Joule joule_) {
        joule = joule_;
    }

    function lend(uint256 amount, bytes calldata what) external {
        joule.transfer(msg.sender, amount);
        Borrower(msg.sender).onLoan(what);
        joule.transferFrom(msg.sender, address(this), amount);
    }
}

/// @dev Votes with what it borrows.
contract Borrower {
    Joule private immutable joule;
    FlashLender private immutable lender;
    KinesisGovernor private immutable governor;

    constructor(Joule joule_, FlashLender lender_, KinesisGovernor governor_) {
        (joule, lender, governor) = (joule_, lender_, governor_);
        joule_.delegate(address(this));
    }

    function attack(uint256 amount, bytes calldata what) external {
        lender.lend(amount, what);
    }

    function onLoan(bytes calldata what) external {
        joule.approve(address(lender), type(uint256).max);
        if (what.length == 0) return;
        (bool success, bytes memory result) = address(governor).call(what);
        if (!success) {
            assembly {
                revert(add(result, 32), mload(result))
            }
        }
    }
}

/// @dev Votes that are borrowed for a block.
contract FlashLoanTest is GovernanceFixture {
    FlashLender private lender;
    Borrower private borrower;

    function setUp() public override {
        super.setUp();
        lender = new FlashLender(joule);
        borrower = new Borrower(joule, lender, governor);
        vm.prank(owner);
        joule.transfer(address(lender), SUPPLY / 5);
        _mine(1);
        _call(address(escrow), abi.encodeCall(PaymentEscrow.setTreasury, (address(borrower))));
    }

    function test_borrowedVotesDoNotPropose() public {
        bytes memory what =
            abi.encodeCall(IGovernor.propose, (targets, new uint256[](1), calls, "Take the fees"));
        vm.expectRevert(
            abi.encodeWithSelector(
                IGovernor.GovernorInsufficientProposerVotes.selector,
                address(borrower),
                0,
                THRESHOLD
            )
        );
        borrower.attack(SUPPLY / 5, what);
    }

    function test_borrowedVotesCountNothingInAnOpenVote() public {
        uint256 id = _propose("Take the fees");
        _mine(VOTING_DELAY + 1);
        borrower.attack(SUPPLY / 5, abi.encodeCall(IGovernor.castVote, (id, FOR)));
        (, uint256 votes,) = governor.proposalVotes(id);
        assertEq(votes, 0, "votes");
        _mine(VOTING_PERIOD);
        _assertState(id, uint256(IGovernor.ProposalState.Defeated), "defeated");
    }

    function test_aLoanInTheBlockOfTheSnapshotCountsNothing() public {
        uint256 id = _propose("Take the fees");
        _wait(VOTING_DELAY);
        assertEq(governor.clock(), governor.proposalSnapshot(id), "the block of the snapshot");
        borrower.attack(SUPPLY / 5, "");
        _mine(1);
        assertEq(governor.getVotes(address(borrower), governor.proposalSnapshot(id)), 0, "votes");
        borrower.attack(SUPPLY / 5, abi.encodeCall(IGovernor.castVote, (id, FOR)));
        (, uint256 votes,) = governor.proposalVotes(id);
        assertEq(votes, 0, "counted");
    }

    function test_aLoanDoesNotMoveTheQuorum() public {
        uint256 before = governor.quorum(governor.clock() - 1);
        borrower.attack(SUPPLY / 5, "");
        _mine(1);
        assertEq(governor.quorum(governor.clock() - 1), before, "quorum");
    }

    function test_tokensThatVotedDoNotVoteAgainElsewhere() public {
        uint256 id = _propose("Take the fees");
        _mine(VOTING_DELAY + 1);
        vm.startPrank(holder);
        governor.castVote(id, FOR);
        joule.transfer(stranger, SUPPLY / 10);
        vm.stopPrank();
        vm.startPrank(stranger);
        joule.delegate(stranger);
        governor.castVote(id, FOR);
        vm.stopPrank();
        (, uint256 votes,) = governor.proposalVotes(id);
        assertEq(votes, SUPPLY / 10, "once");
    }
}
