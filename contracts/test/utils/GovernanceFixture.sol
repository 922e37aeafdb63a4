// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
import {
    TimelockControllerUpgradeable
} from "@openzeppelin/contracts-upgradeable/governance/TimelockControllerUpgradeable.sol";

import {Grants} from "../../src/Grants.sol";
import {IKinesisGovernor} from "../../src/interfaces/IKinesisGovernor.sol";
import {KinesisGovernor} from "../../src/KinesisGovernor.sol";
import {Treasury} from "../../src/Treasury.sol";
import {Blocks} from "./Blocks.sol";
import {Fixture} from "./Fixture.sol";

/// @title The whole protocol owned by the timelock, and two holders who may vote.
abstract contract GovernanceFixture is Fixture, Blocks {
    uint48 internal constant VOTING_DELAY = 10;
    uint32 internal constant VOTING_PERIOD = 100;
    uint256 internal constant THRESHOLD = 1_000_000e18;
    uint256 internal constant QUORUM_PERCENT = 4;
    uint256 internal constant TIMELOCK_DELAY = 2 days;

    uint8 internal constant AGAINST = 0;
    uint8 internal constant FOR = 1;

    address internal holder = address(0x0555);
    address internal opponent = address(0x0666);

    TimelockController internal timelock;
    KinesisGovernor internal governor;
    Grants internal grants;

    /// @dev What is proposed.
    address[] internal targets;
    bytes[] internal calls;

    function setUp() public virtual override {
        // The deployer administers the timelock until the governor has its role, and not longer.
        timelock = new TimelockController(
            TIMELOCK_DELAY, new address[](0), new address[](1), address(this)
        );
        Treasury treasury_ = Treasury(
            address(
                new ERC1967Proxy(
                    address(new Treasury()),
                    abi.encodeCall(Treasury.initialize, (address(timelock)))
                )
            )
        );
        (owner, treasury) = (address(timelock), address(treasury_));
        super.setUp();
        governor = KinesisGovernor(
            payable(address(
                    new ERC1967Proxy(
                        address(new KinesisGovernor()),
                        abi.encodeCall(
                            KinesisGovernor.initialize,
                            (
                                joule,
                                TimelockControllerUpgradeable(payable(address(timelock))),
                                IKinesisGovernor.Settings(
                                    VOTING_DELAY, VOTING_PERIOD, THRESHOLD, QUORUM_PERCENT
                                )
                            )
                        )
                    )
                ))
        );
        grants = Grants(
            address(
                new ERC1967Proxy(
                    address(new Grants(joule)), abi.encodeCall(Grants.initialize, (owner))
                )
            )
        );
        timelock.grantRole(timelock.PROPOSER_ROLE(), address(governor));
        timelock.grantRole(timelock.CANCELLER_ROLE(), address(governor));
        timelock.renounceRole(timelock.DEFAULT_ADMIN_ROLE(), address(this));

        vm.startPrank(owner);
        joule.transfer(holder, SUPPLY / 10);
        joule.transfer(opponent, SUPPLY / 20);
        joule.transfer(treasury, SUPPLY / 10);
        vm.stopPrank();
        vm.prank(holder);
        joule.delegate(holder);
        vm.prank(opponent);
        joule.delegate(opponent);
        _mine(1);
    }

    /// @dev Adds a call to the next proposal.
    function _call(address target, bytes memory data) internal {
        targets.push(target);
        calls.push(data);
    }

    function _propose(string memory why) internal returns (uint256 id) {
        vm.prank(holder);
        id = governor.propose(targets, new uint256[](targets.length), calls, why);
    }

    /// @dev Proposes, votes by one holder, and waits for the end of the vote.
    function _passVote(string memory why) internal returns (uint256 id) {
        id = _propose(why);
        _mine(VOTING_DELAY + 1);
        vm.prank(holder);
        governor.castVote(id, FOR);
        _mine(VOTING_PERIOD);
    }

    function _queue(string memory why) internal {
        governor.queue(targets, new uint256[](targets.length), calls, keccak256(bytes(why)));
    }

    function _execute(string memory why) internal {
        governor.execute(targets, new uint256[](targets.length), calls, keccak256(bytes(why)));
    }

    /// @dev From proposal to execution.
    function _enact(string memory why) internal returns (uint256 id) {
        id = _passVote(why);
        _queue(why);
        _wait(TIMELOCK_DELAY);
        _execute(why);
    }

    function _assertState(uint256 id, uint256 expected, string memory what) internal view {
        assertEq(uint256(governor.state(id)), expected, what);
    }
}
