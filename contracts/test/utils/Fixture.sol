// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {Joule} from "../../src/Joule.sol";
import {PaymentEscrow} from "../../src/PaymentEscrow.sol";
import {Registry} from "../../src/Registry.sol";
import {PaymentRoot, PaymentRoots} from "../../src/libraries/PaymentRoots.sol";
import {Test} from "./Test.sol";

/// @title Token, registry and escrow behind their proxies, a utility with an escrow, and roots signed
/// by it.
abstract contract Fixture is Test {
    uint256 internal constant UTILITY_KEY = 0xA11CE;
    uint256 internal constant SUPPLIER_KEY = 0xB0B;
    uint256 internal constant SUPPLY = 1_000_000_000e18;
    uint64 internal constant SERIES = 1;
    uint16 internal constant FEE_BP = 100;
    uint32 internal constant DELAY = 1 days;
    uint256 internal constant NODE_BOND = 100e18;
    uint256 internal constant UTILITY_BOND = 1_000e18;
    uint32 internal constant THAW = 7 days;

    address internal owner = address(0x0111);
    address internal treasury = address(0x0222);
    address internal stranger = address(0x0333);
    address internal other = address(0x0444);
    address internal utility = vm.addr(UTILITY_KEY);
    address internal supplier = vm.addr(SUPPLIER_KEY);

    Joule internal joule;
    Registry internal registry;
    PaymentEscrow internal escrow;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        joule = Joule(
            address(
                new ERC1967Proxy(
                    address(new Joule()), abi.encodeCall(Joule.initialize, (owner, SUPPLY, 200))
                )
            )
        );
        registry = Registry(
            address(
                new ERC1967Proxy(
                    address(new Registry(joule)),
                    abi.encodeCall(Registry.initialize, (owner, NODE_BOND, UTILITY_BOND, THAW))
                )
            )
        );
        escrow = PaymentEscrow(
            address(
                new ERC1967Proxy(
                    address(new PaymentEscrow(joule, registry)),
                    abi.encodeCall(PaymentEscrow.initialize, (owner, treasury, FEE_BP, DELAY))
                )
            )
        );
        vm.prank(owner);
        joule.transfer(utility, SUPPLY / 2);
        vm.prank(utility);
        joule.approve(address(escrow), type(uint256).max);
    }

    function _deposit(uint256 amount) internal {
        vm.prank(utility);
        escrow.deposit(utility, SERIES, amount);
    }

    /// @dev A tree of two: the supplier and `other`.
    function _tick(uint64 tick, uint96 cumulative, uint96 others)
        internal
        view
        returns (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof)
    {
        bytes32 mine = PaymentRoots.leaf(supplier, cumulative);
        proof = new bytes32[](1);
        proof[0] = PaymentRoots.leaf(other, others);
        root = PaymentRoot({
            utility: utility,
            series: SERIES,
            tick: tick,
            root: _pair(mine, proof[0]),
            total: uint256(cumulative) + others
        });
        signature = _sign(UTILITY_KEY, escrow.rootDigest(root));
    }

    function _redeem(uint64 tick, uint96 cumulative) internal returns (uint256) {
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) =
            _tick(tick, cumulative, 5);
        return escrow.redeem(root, signature, supplier, cumulative, proof);
    }

    function _pair(bytes32 a, bytes32 b) internal pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _fee(uint256 paid) internal pure returns (uint256) {
        return paid * FEE_BP / 10_000;
    }
}
