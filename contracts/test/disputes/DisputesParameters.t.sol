// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {Disputes} from "../../src/Disputes.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract DisputesParametersTest is TrustFixture {
    function testFuzz_theyAreBounded(
        uint16 equivocationBp,
        uint16 compensationBp,
        uint16 bountyBp,
        uint32 vetoWindow
    ) public {
        IDisputes.Parameters memory p = _parameters();
        p.equivocationBp = equivocationBp;
        p.compensationBp = compensationBp;
        p.bountyBp = bountyBp;
        p.vetoWindow = vetoWindow;
        bool fine = equivocationBp <= 10_000 && compensationBp <= 8_000 && bountyBp <= 1_500
            && vetoWindow >= 1 seconds && vetoWindow <= 30 days;
        vm.prank(owner);
        if (!fine) vm.expectRevert();
        disputes.setParameters(p);
        if (fine) assertEq(disputes.parameters().bountyBp, bountyBp, "bounty");
    }

    function test_onlyTheOwnerSetsThem() public {
        bytes memory refusal = abi.encodeWithSelector(
            OwnableUpgradeable.OwnableUnauthorizedAccount.selector, guardian
        );
        vm.startPrank(guardian);
        vm.expectRevert(refusal);
        disputes.setParameters(_parameters());
        vm.expectRevert(refusal);
        disputes.setGuardian(guardian);
        vm.expectRevert(refusal);
        disputes.upgradeToAndCall(address(1), "");
    }

    function test_theGuardianIsWhomTheOwnerNames() public {
        vm.prank(owner);
        disputes.setGuardian(other);
        assertEq(disputes.guardian(), other, "guardian");
        uint256 id = _equivocate(1, 5, 6);
        vm.prank(guardian);
        vm.expectRevert(IDisputes.OnlyGuardian.selector);
        disputes.veto(id);
        vm.prank(other);
        disputes.veto(id);
    }

    function test_itIsInitializedOnce() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        disputes.initialize(stranger, stranger, _parameters());
        Disputes bare = new Disputes(escrow, registry);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        bare.initialize(stranger, stranger, _parameters());
    }

    function test_anUpgradeKeepsTheCases() public {
        uint256 id = _equivocate(1, 5, 6);
        Disputes next = new Disputes(escrow, registry);
        vm.prank(owner);
        disputes.upgradeToAndCall(address(next), "");
        assertEq(disputes.caseOf(id).challenger, challenger, "challenger");
        _execute(id);
    }

    function test_itJudgesThisEscrowAndThisRegistry() public view {
        assertEq(address(disputes.escrow()), address(escrow), "escrow");
        assertEq(address(disputes.registry()), address(registry), "registry");
    }
}
