// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract ClaimNodeTest is TrustFixture {
    function setUp() public override {
        super.setUp();
        _bond(supplier, NODE_BOND);
    }

    function test_whatAReaderNeedsIsInTheState() public {
        uint64 now_ = uint64(block.timestamp);
        vm.expectEmit();
        emit IRegistry.NodeClaimed(NODE, supplier, 3, now_, _nodeSignature());
        _claim(3);
        IRegistry.NodeClaim memory claim = registry.nodeClaim(NODE, supplier);
        assertEq(claim.sequence, 3, "sequence");
        assertEq(claim.deadline, now_, "deadline");
        assertEq(claim.claimedAt, now_, "when");
        assertEq(claim.nodeSignature[0], keccak256("R"), "R");
        assertEq(claim.nodeSignature[1], keccak256("S"), "S");
        assertEq(registry.claimants(NODE, 0, 10)[0], supplier, "claimant");
        assertEq(registry.nodesOf(supplier, 0, 10)[0], NODE, "node");
        assertEq(registry.requiredBond(supplier), NODE_BOND, "occupied");
    }

    function test_aClaimExcludesNoOther() public {
        // A squatter was first: the owner of the machine claims it all the same.
        uint256 key = 0x5A;
        address squatter = vm.addr(key);
        _bond(squatter, NODE_BOND);
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature = _sign(key, registry.claimDigest(squatter, NODE, 9, deadline));
        registry.claimNode(squatter, NODE, 9, deadline, signature, _nodeSignature());
        _claim(1);
        assertEq(registry.claimants(NODE, 0, 10).length, 2, "both are there to be checked");
        assertEq(registry.claimants(NODE, 1, 10)[0], supplier, "by pages");
        assertEq(registry.claimants(NODE, 2, 10).length, 0, "beyond the end");
    }

    function testFuzz_onlyTheSupplierSigns(uint256 key) public {
        key = bound(key, 1, 2 ** 200);
        vm.assume(key != SUPPLIER_KEY);
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature = _sign(key, registry.claimDigest(supplier, NODE, 1, deadline));
        vm.expectRevert(IRegistry.InvalidSupplierSignature.selector);
        registry.claimNode(supplier, NODE, 1, deadline, signature, _nodeSignature());
    }

    function testFuzz_theSignatureIsBoundToAllFields(uint8 field, uint64 change) public {
        change = uint64(bound(change, 1, 1_000));
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature =
            _sign(SUPPLIER_KEY, registry.claimDigest(supplier, NODE, 1, deadline));
        address who = supplier;
        bytes32 node = NODE;
        uint64 sequence = 1;
        field %= 4;
        if (field == 0) who = address(uint160(who) ^ change);
        if (field == 1) node ^= bytes32(uint256(change));
        if (field == 2) sequence += change;
        if (field == 3) deadline += change;
        vm.expectRevert(IRegistry.InvalidSupplierSignature.selector);
        registry.claimNode(who, node, sequence, deadline, signature, _nodeSignature());
    }

    function test_aClaimOfAnotherChainIsRefused() public {
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature =
            _sign(SUPPLIER_KEY, registry.claimDigest(supplier, NODE, 1, deadline));
        vm.chainId(1);
        vm.expectRevert(IRegistry.InvalidSupplierSignature.selector);
        registry.claimNode(supplier, NODE, 1, deadline, signature, _nodeSignature());
    }

    function testFuzz_aSequenceServesOnce(uint64 first, uint64 second) public {
        first = uint64(bound(first, 1, type(uint64).max));
        second = uint64(bound(second, 0, first));
        _claim(first);
        bytes memory refusal =
            abi.encodeWithSelector(IRegistry.SequenceUsed.selector, second, first);
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature =
            _sign(SUPPLIER_KEY, registry.claimDigest(supplier, NODE, second, deadline));
        vm.expectRevert(refusal);
        registry.claimNode(supplier, NODE, second, deadline, signature, _nodeSignature());
        vm.prank(supplier);
        registry.releaseNode(NODE);
        vm.expectRevert(refusal);
        registry.claimNode(supplier, NODE, second, deadline, signature, _nodeSignature());
    }

    function test_signaturesExpire() public {
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature =
            _sign(SUPPLIER_KEY, registry.claimDigest(supplier, NODE, 1, deadline));
        vm.warp(block.timestamp + 1);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Expired.selector, deadline));
        registry.claimNode(supplier, NODE, 1, deadline, signature, _nodeSignature());
    }

    function test_eachClaimOccupiesStake() public {
        _claim(1);
        bytes32 second = keccak256("second node");
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature =
            _sign(SUPPLIER_KEY, registry.claimDigest(supplier, second, 1, deadline));
        vm.expectRevert(
            abi.encodeWithSelector(IRegistry.BondRequired.selector, 2 * NODE_BOND, NODE_BOND)
        );
        registry.claimNode(supplier, second, 1, deadline, signature, _nodeSignature());
        // Claiming the same node anew is no second claim.
        _claim(2);
        vm.prank(supplier);
        vm.expectRevert(
            abi.encodeWithSelector(IRegistry.BondRequired.selector, NODE_BOND, NODE_BOND - 1)
        );
        registry.requestUnbonding(1);
    }

    function test_thawingStakeCoversNoClaim() public {
        vm.prank(supplier);
        registry.requestUnbonding(1);
        uint64 deadline = uint64(block.timestamp);
        bytes memory signature =
            _sign(SUPPLIER_KEY, registry.claimDigest(supplier, NODE, 1, deadline));
        vm.expectRevert(
            abi.encodeWithSelector(IRegistry.BondRequired.selector, NODE_BOND, NODE_BOND - 1)
        );
        registry.claimNode(supplier, NODE, 1, deadline, signature, _nodeSignature());
    }

    function test_noNodeHasTheZeroKey() public {
        vm.expectRevert(IRegistry.ZeroNodeKey.selector);
        registry.claimNode(supplier, bytes32(0), 1, uint64(block.timestamp), "", _nodeSignature());
    }
}
