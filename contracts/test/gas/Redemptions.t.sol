// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {Fixture} from "../utils/Fixture.sol";
import {Trees} from "../utils/Trees.sol";
import {CumulativeDrop} from "./CumulativeDrop.sol";

/// @notice The cheatcodes of forge for gas.
interface GasVm {
    function snapshotGasLastCall(string calldata group, string calldata name)
        external
        returns (uint256 gasUsed);
    function snapshotValue(string calldata group, string calldata name, uint256 value) external;
}

/// @dev What whole transactions cost, with their 21,000 and their calldata: every call is a
/// transaction of its own, with everything cold. `snapshots/Redemptions.json` holds the numbers, and
/// a test run fails where they change.
/// forge-config: default.isolate = true
contract RedemptionsGas is Fixture {
    using Trees for bool[];

    string private constant GROUP = "Redemptions";
    uint256 private constant DEPTH = 20;
    uint256 private constant MANY = 100;
    uint96 private constant EARNED = 12_345_678_901_234_567_890;
    uint64 private constant TICK = 2_592_000;

    CumulativeDrop private drop;

    function setUp() public override {
        super.setUp();
        _deposit(100_000_000e18);
        // Fees are gathered already, and so is the account's sum: neither slot is new.
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) =
            _tick(1, 1_000_000, 5);
        escrow.redeem(root, signature, supplier, 1_000_000, proof);
        drop = new CumulativeDrop(address(joule));
        vm.prank(owner);
        joule.transfer(address(drop), 1_000_000e18);
    }

    function test_oneSupplier() public {
        address payee = address(0x1234567890123456789012345678901234567890);
        (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof) =
            _one(payee, TICK, EARNED);
        escrow.redeem(root, signature, payee, EARNED, proof);
        _last("redeem, first, depth 20");
        (root, signature, proof) = _one(payee, TICK + 1, 2 * EARNED);
        escrow.redeem(root, signature, payee, 2 * EARNED, proof);
        uint256 repeat = _last("redeem, repeat, depth 20");
        (root, signature, proof) = _one(payee, TICK + 2, 3 * EARNED);
        escrow.anchor(root, signature);
        _last("anchor, first of its series");
        escrow.redeem(root, "", payee, 3 * EARNED, proof);
        _last("redeem, repeat, depth 20, anchored");
        (root, signature,) = _one(payee, TICK + 3, 3 * EARNED);
        escrow.anchor(root, signature);
        _last("anchor");

        vm.prank(utility);
        joule.transfer(payee, EARNED);
        _last("JOULE transfer");

        _claim(payee, EARNED);
        _last("1inch-style claim, first, depth 20");
        _claim(payee, 2 * EARNED);
        uint256 claimed = _last("1inch-style claim, repeat, depth 20");
        _share("redeem, repeat, in thousandths of the 1inch-style claim", repeat, claimed);
    }

    function test_manySuppliers() public {
        _many("scattered", 10_007, TICK);
        _many("neighbours", 1, TICK + 2);
    }

    function _many(string memory how, uint256 apart, uint64 tick) private {
        address payee = address(bytes20(keccak256(bytes(how))));
        _batch(how, apart, tick, EARNED);
        _batch(how, apart, tick + 1, 2 * EARNED);
        uint256 each = _last(string.concat("redeemMany of 100, repeat, depth 20, ", how)) / MANY;
        GasVm(address(vm))
            .snapshotValue(GROUP, string.concat("redeemMany of 100, repeat, each, ", how), each);
        _claim(payee, EARNED);
        _claim(payee, 2 * EARNED);
        uint256 claimed = GasVm(address(vm)).snapshotGasLastCall(GROUP, "1inch-style claim");
        _share(
            string.concat("redeemMany, each, in thousandths of the 1inch-style claim, ", how),
            each,
            claimed
        );
        assertTrue(2 * each <= claimed, "at most half of a 1inch-style claim");
    }

    function _batch(string memory how, uint256 apart, uint64 tick, uint96 earned) private {
        bytes32[] memory claims = new bytes32[](MANY);
        uint256[] memory places = new uint256[](MANY);
        for (uint256 i; i < MANY; ++i) {
            address payee = address(bytes20(keccak256(abi.encode(how, i))));
            claims[i] = Trees.claim(payee, earned + uint96(i));
            places[i] = i * apart;
        }
        Trees.Batch memory batch = Trees.sparse(claims, places, DEPTH);
        (PaymentRoot memory root, bytes memory signature) = _signed(batch.root, tick);
        escrow.redeemMany(root, signature, batch.claims, batch.proof, batch.steps.flags());
    }

    function _one(address payee, uint64 tick, uint96 earned)
        private
        view
        returns (PaymentRoot memory root, bytes memory signature, bytes32[] memory proof)
    {
        bytes32[] memory claims = new bytes32[](1);
        claims[0] = Trees.claim(payee, earned);
        uint256[] memory places = new uint256[](1);
        places[0] = tick % 2 ** DEPTH;
        Trees.Batch memory batch = Trees.sparse(claims, places, DEPTH);
        (root, signature) = _signed(batch.root, tick);
        proof = batch.proof;
    }

    function _signed(bytes32 hash, uint64 tick)
        private
        view
        returns (PaymentRoot memory root, bytes memory signature)
    {
        root = PaymentRoot(utility, SERIES, tick, hash, 12_345_678_901_234_567_890_123_456);
        signature = _sign(UTILITY_KEY, escrow.rootDigest(root));
    }

    function _claim(address payee, uint256 earned) private {
        bytes32 hash = keccak256(abi.encodePacked(payee, earned));
        bytes32[] memory proof = new bytes32[](DEPTH);
        for (uint256 i; i < DEPTH; ++i) {
            proof[i] = keccak256(abi.encode("beside", i, earned));
            hash = Trees.pair(hash, proof[i]);
        }
        drop.setMerkleRoot(hash);
        drop.claim(payee, earned, hash, proof);
    }

    function _last(string memory name) private returns (uint256) {
        return GasVm(address(vm)).snapshotGasLastCall(GROUP, name);
    }

    function _share(string memory name, uint256 part, uint256 whole) private {
        GasVm(address(vm)).snapshotValue(GROUP, name, part * 1_000 / whole);
    }
}
