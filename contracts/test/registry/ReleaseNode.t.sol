// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract ReleaseNodeTest is TrustFixture {
    function setUp() public override {
        super.setUp();
        _bond(supplier, NODE_BOND);
        _claim(1);
    }

    function test_aReleasedNodeFreesItsStake() public {
        vm.startPrank(supplier);
        vm.expectEmit();
        emit IRegistry.NodeReleased(NODE, supplier);
        registry.releaseNode(NODE);
        IRegistry.NodeClaim memory claim = registry.nodeClaim(NODE, supplier);
        assertEq(claim.claimedAt, 0, "no claim");
        assertEq(claim.nodeSignature[0], bytes32(0), "no signature");
        assertEq(claim.sequence, 1, "the sequence stays used");
        assertEq(registry.claimants(NODE, 0, 10).length, 0, "claimants");
        assertEq(registry.nodesOf(supplier, 0, 10).length, 0, "nodes");
        registry.requestUnbonding(NODE_BOND);
        vm.expectRevert(IRegistry.NotClaimed.selector);
        registry.releaseNode(NODE);
    }

    function testFuzz_nobodyElseReleases(address caller) public {
        vm.assume(caller != supplier);
        vm.prank(caller);
        vm.expectRevert(IRegistry.NotClaimed.selector);
        registry.releaseNode(NODE);
    }

    function test_aNodeWithoutCoverCanBeEvicted() public {
        vm.expectRevert(
            abi.encodeWithSelector(IRegistry.StillCovered.selector, NODE_BOND, NODE_BOND)
        );
        registry.evictNode(NODE, supplier);
        vm.prank(address(disputes));
        registry.slash(supplier, 1, stranger);
        vm.prank(stranger);
        registry.evictNode(NODE, supplier);
        assertEq(registry.claimants(NODE, 0, 10).length, 0, "claimants");
    }
}
