// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {Disputes} from "../../src/Disputes.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {Fixture} from "./Fixture.sol";

/// @title The disputes beside registry and escrow; the utility has bonded.
abstract contract TrustFixture is Fixture {
    uint256 internal constant STAKE = 10_000e18;
    uint96 internal constant SLASH_CAP = 50_000e18;
    uint32 internal constant WINDOW = 1 days;
    bytes32 internal constant NODE = keccak256("node");

    address internal guardian = address(0x0555);
    address internal challenger = address(0x0666);

    Disputes internal disputes;

    function setUp() public virtual override {
        super.setUp();
        disputes = Disputes(
            address(
                new ERC1967Proxy(
                    address(new Disputes(escrow, registry)),
                    abi.encodeCall(Disputes.initialize, (owner, guardian, _parameters()))
                )
            )
        );
        vm.prank(owner);
        registry.setSlasher(address(disputes));
        vm.prank(utility);
        joule.approve(address(registry), type(uint256).max);
        _bond(utility, STAKE);
    }

    function _parameters() internal pure returns (IDisputes.Parameters memory) {
        return IDisputes.Parameters({
            equivocationBp: 5_000,
            overdraftBp: 10_000,
            compensationBp: 7_000,
            bountyBp: 1_000,
            vetoWindow: WINDOW,
            slashCap: SLASH_CAP,
            refutationBp: 4_000,
            breachBp: 2_000
        });
    }

    /// @dev The utility pays for whoever it is.
    function _bond(address operator, uint256 amount) internal {
        vm.prank(utility);
        registry.bond(operator, amount);
    }

    function _bonded(address operator) internal view returns (uint256) {
        IRegistry.Bond memory stake = registry.bondOf(operator);
        return stake.active + stake.thawing;
    }

    function _claim(uint64 sequence) internal {
        uint64 deadline = uint64(block.timestamp);
        registry.claimNode(
            supplier,
            NODE,
            sequence,
            deadline,
            _sign(SUPPLIER_KEY, registry.claimDigest(supplier, NODE, sequence, deadline)),
            _nodeSignature()
        );
    }

    /// @dev No chain checks it, so that any 64 bytes will do here.
    function _nodeSignature() internal pure returns (bytes32[2] memory) {
        return [keccak256("R"), keccak256("S")];
    }

    function _offer() internal {
        vm.prank(utility);
        registry.publishOffer("https://utility.example", 500, _sla());
    }

    function _sla() internal pure returns (IRegistry.Sla memory) {
        return IRegistry.Sla({availabilityBp: 9_990, failoverMs: 1_000, creditBp: 1_000});
    }

    /// @dev Two roots for one tick: what the supplier is owed differs.
    function _equivocate(uint64 tick, uint96 first, uint96 second) internal returns (uint256) {
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(tick, first, 0);
        (PaymentRoot memory b, bytes memory bSigned,) = _tick(tick, second, 0);
        vm.prank(challenger);
        return disputes.accuseEquivocation(a, aSigned, b, bSigned);
    }

    function _overdraw(uint64 tick, uint96 cumulative, uint96 others) internal returns (uint256) {
        (PaymentRoot memory root, bytes memory signed,) = _tick(tick, cumulative, others);
        vm.prank(challenger);
        return disputes.accuseOverdraft(root, signed);
    }

    function _execute(uint256 id) internal {
        vm.warp(uint256(disputes.caseOf(id).windowEnds) + 1);
        disputes.execute(id);
    }

    function _compensate(uint256 id, uint64 tick, uint96 cumulative, uint96 others)
        internal
        returns (uint256)
    {
        (PaymentRoot memory root, bytes memory signed, bytes32[] memory proof) =
            _tick(tick, cumulative, others);
        return disputes.compensate(id, root, signed, supplier, cumulative, proof);
    }
}
