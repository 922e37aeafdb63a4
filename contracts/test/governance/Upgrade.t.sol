// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";

import {PaymentEscrow} from "../../src/PaymentEscrow.sol";
import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {KinesisGovernor} from "../../src/KinesisGovernor.sol";
import {GovernanceFixture} from "../utils/GovernanceFixture.sol";

/// @dev A later escrow with state of its own and a step of migration.
contract UpgradedEscrow is PaymentEscrow {
    /// @custom:storage-location erc7201:kinesis.storage.UpgradedEscrow
    struct UpgradedStorage {
        uint256 upgrades;
    }

    bytes32 private constant LOCATION = keccak256("kinesis.storage.UpgradedEscrow");

    constructor(PaymentEscrow current) PaymentEscrow(current.joule(), current.bonds()) {}

    function migrate() external reinitializer(2) {
        _upgraded().upgrades += 1;
    }

    function upgrades() external view returns (uint256) {
        return _upgraded().upgrades;
    }

    function _upgraded() private pure returns (UpgradedStorage storage $) {
        bytes32 location = LOCATION;
        assembly {
            $.slot := location
        }
    }
}

/// @dev A later governor.
contract UpgradedGovernor is KinesisGovernor {
    function generation() external pure returns (uint256) {
        return 2;
    }
}

/// @dev Proposals that upgrade contracts with state in them.
contract UpgradeProposalTest is GovernanceFixture {
    function test_theEscrowKeepsItsBooksAndMigrates() public {
        _deposit(100_000);
        _redeem(1, 10_000);
        vm.prank(utility);
        escrow.requestWithdrawal(SERIES, 1_000);
        IPaymentEscrow.Account memory before = escrow.account(utility, SERIES);
        address next = address(new UpgradedEscrow(escrow));

        _call(
            address(escrow),
            abi.encodeCall(
                UUPSUpgradeable.upgradeToAndCall, (next, abi.encodeCall(UpgradedEscrow.migrate, ()))
            )
        );
        _enact("Upgrade the escrow");

        assertEq(UpgradedEscrow(address(escrow)).upgrades(), 1, "the migration ran");
        IPaymentEscrow.Account memory after_ = escrow.account(utility, SERIES);
        assertEq(keccak256(abi.encode(after_)), keccak256(abi.encode(before)), "the account");
        assertEq(escrow.redeemed(utility, SERIES, supplier), 10_000, "what was redeemed");
        assertEq(escrow.feesGathered(), 100, "fees");
        assertEq(escrow.feeBp(), FEE_BP, "the fee");
        assertEq(escrow.treasury(), treasury, "treasury");
        assertEq(escrow.owner(), address(timelock), "owner");
        // An older proof pays only the difference, after the upgrade as before.
        assertEq(_redeem(2, 10_500), 500, "goes on");
        vm.prank(utility);
        assertEq(escrow.withdraw(SERIES, utility), 1_000, "the thaw goes on");
    }

    function test_theMigrationRunsOnce() public {
        address next = address(new UpgradedEscrow(escrow));
        _call(
            address(escrow),
            abi.encodeCall(
                UUPSUpgradeable.upgradeToAndCall, (next, abi.encodeCall(UpgradedEscrow.migrate, ()))
            )
        );
        _enact("Upgrade the escrow");
        vm.expectRevert();
        UpgradedEscrow(address(escrow)).migrate();
    }

    function test_theGovernorUpgradesItself() public {
        address next = address(new UpgradedGovernor());
        _call(address(governor), abi.encodeCall(UUPSUpgradeable.upgradeToAndCall, (next, "")));
        uint256 id = _enact("Upgrade the governor");
        assertEq(UpgradedGovernor(payable(address(governor))).generation(), 2, "generation");
        assertEq(governor.votingDelay(), VOTING_DELAY, "settings");
        assertEq(governor.timelock(), address(timelock), "timelock");
        assertEq(governor.proposalProposer(id), holder, "the past");
    }

    function test_nobodyUpgradesWithoutAVote() public {
        address[2] memory callers = [holder, address(governor)];
        address next = address(new UpgradedEscrow(escrow));
        address nextGovernor = address(new UpgradedGovernor());
        for (uint256 i; i < callers.length; ++i) {
            vm.startPrank(callers[i]);
            vm.expectRevert();
            escrow.upgradeToAndCall(next, "");
            vm.expectRevert();
            governor.upgradeToAndCall(nextGovernor, "");
            vm.expectRevert();
            joule.upgradeToAndCall(next, "");
            vm.stopPrank();
        }
    }
}
