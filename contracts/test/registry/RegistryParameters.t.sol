// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {Registry} from "../../src/Registry.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract RegistryParametersTest is TrustFixture {
    function testFuzz_theThawIsBounded(uint32 thaw) public {
        vm.prank(owner);
        if (thaw < 1 seconds || thaw > 90 days) {
            vm.expectRevert(
                abi.encodeWithSelector(IRegistry.ThawOutOfBounds.selector, thaw, 1 seconds, 90 days)
            );
        }
        registry.setThaw(thaw);
    }

    function test_onlyTheOwnerSetsThem() public {
        bytes memory refusal = abi.encodeWithSelector(
            OwnableUpgradeable.OwnableUnauthorizedAccount.selector, stranger
        );
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        registry.setThaw(1 days);
        vm.expectRevert(refusal);
        registry.setNodeBond(1);
        vm.expectRevert(refusal);
        registry.setUtilityBond(1);
        vm.expectRevert(refusal);
        registry.setSlasher(stranger);
        vm.expectRevert(refusal);
        registry.upgradeToAndCall(address(1), "");
    }

    function test_theyAreWhatTheOwnerSet() public {
        vm.startPrank(owner);
        registry.setNodeBond(1);
        registry.setUtilityBond(2);
        registry.setThaw(3 days);
        assertEq(registry.nodeBond(), 1, "node");
        assertEq(registry.utilityBond(), 2, "utility");
        assertEq(registry.thaw(), 3 days, "thaw");
        assertEq(registry.slasher(), address(disputes), "slasher");
        assertEq(address(registry.joule()), address(joule), "token");
    }

    function test_itIsInitializedOnce() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        registry.initialize(stranger, 0, 0, 1 days);
        Registry bare = new Registry(joule);
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        bare.initialize(stranger, 0, 0, 1 days);
    }

    function test_anUpgradeKeepsTheStakes() public {
        _offer();
        Registry next = new Registry(joule);
        vm.prank(owner);
        registry.upgradeToAndCall(address(next), "");
        assertEq(registry.bondOf(utility).active, STAKE, "stake");
        assertEq(registry.utilities(0, 10)[0], utility, "offer");
    }
}
