// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract PublishOfferTest is TrustFixture {
    function test_anOfferIsFoundWithoutAList() public {
        vm.expectEmit();
        emit IRegistry.OfferPublished(utility, "https://utility.example", 500, _sla());
        _offer();
        assertEq(registry.utilities(0, 10)[0], utility, "utility");
        IRegistry.Offer memory offer = registry.offerOf(utility);
        assertTrue(keccak256(bytes(offer.endpoint)) == keccak256("https://utility.example"), "url");
        assertEq(offer.marginBp, 500, "margin");
        assertEq(offer.sla.failoverMs, 1_000, "failover");
        assertEq(offer.publishedAt, block.timestamp, "when");
    }

    function test_aNewOfferReplacesTheOld() public {
        _offer();
        vm.prank(utility);
        registry.publishOffer("https://moved.example", 100, _sla());
        assertEq(registry.utilities(0, 10).length, 1, "one");
        assertEq(registry.offerOf(utility).marginBp, 100, "margin");
        assertEq(registry.requiredBond(utility), UTILITY_BOND, "occupied once");
    }

    function test_aSecondUtilityJoins() public {
        _offer();
        _bond(other, UTILITY_BOND);
        vm.prank(other);
        registry.publishOffer("https://other.example", 300, _sla());
        assertEq(registry.utilities(0, 10).length, 2, "two");
        assertEq(registry.utilities(1, 2)[0], other, "by pages");
    }

    function test_withoutStakeThereIsNoOffer() public {
        _bond(other, UTILITY_BOND - 1);
        vm.prank(other);
        vm.expectRevert(
            abi.encodeWithSelector(IRegistry.BondRequired.selector, UTILITY_BOND, UTILITY_BOND - 1)
        );
        registry.publishOffer("https://other.example", 300, _sla());
    }

    function test_anOfferIsRetired() public {
        _offer();
        vm.startPrank(utility);
        vm.expectEmit();
        emit IRegistry.OfferRetired(utility);
        registry.retireOffer();
        assertEq(registry.offerOf(utility).publishedAt, 0, "gone");
        vm.expectRevert(IRegistry.NotPublished.selector);
        registry.retireOffer();
    }

    function test_fieldsAreBounded() public {
        vm.startPrank(utility);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.EndpointOutOfBounds.selector, 0, 256));
        registry.publishOffer("", 500, _sla());
        vm.expectRevert(abi.encodeWithSelector(IRegistry.EndpointOutOfBounds.selector, 257, 256));
        registry.publishOffer(string(new bytes(257)), 500, _sla());
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AboveWhole.selector, 10_001));
        registry.publishOffer("https://utility.example", 10_001, _sla());
        IRegistry.Sla memory sla = _sla();
        sla.creditBp = 10_001;
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AboveWhole.selector, 10_001));
        registry.publishOffer("https://utility.example", 500, sla);
    }
}
