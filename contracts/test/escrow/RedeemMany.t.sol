// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {MerklePaths} from "../../src/libraries/MerklePaths.sol";
import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {Fixture} from "../utils/Fixture.sol";
import {Trees} from "../utils/Trees.sol";

/// @dev The libraries take calldata.
contract Paths {
    using MerklePaths for bytes32[];

    function ours(bytes32[] calldata claims, bytes32[] calldata proof, bytes calldata flags)
        external
        pure
        returns (bytes32)
    {
        return claims.climbMany(proof, flags);
    }

    function openZeppelin(
        bytes32[] calldata leaves,
        bytes32[] calldata proof,
        bool[] calldata steps,
        bytes32 root
    ) external pure returns (bool) {
        return MerkleProof.multiProofVerifyCalldata(proof, steps, root, leaves);
    }

    function one(bytes32[] calldata proof, bytes32 leaf) external pure returns (bytes32, bytes32) {
        return (proof.climb(leaf), MerkleProof.processProofCalldata(proof, leaf));
    }
}

contract RedeemManyTest is Fixture {
    using Trees for bool[];

    Paths private paths = new Paths();

    function testFuzz_everyChosenSupplierIsPaid(uint8 count, uint256 chosen) public {
        _deposit(1_000_000e18);
        uint256 n = bound(count, 1, 24);
        (bytes32[] memory claims, uint256 total) = _claims(n, 1e18);
        Trees.Batch memory batch = Trees.some(claims, _chosen(n, chosen));
        (PaymentRoot memory root, bytes memory signature) = _signed(1, batch.root, total);
        vm.prank(stranger);
        uint256 paid =
            escrow.redeemMany(root, signature, batch.claims, batch.proof, batch.steps.flags());
        uint256 sum;
        for (uint256 i; i < n; ++i) {
            bool mine = _chosen(n, chosen)[i];
            assertEq(joule.balanceOf(_payee(i)), mine ? _amount(i, 1e18) : 0, "who was named");
            if (mine) sum += _amount(i, 1e18);
        }
        assertEq(paid, sum, "paid");
        IPaymentEscrow.Account memory account = escrow.account(utility, SERIES);
        assertEq(account.redeemed, sum, "redeemed");
        assertEq(account.balance, 1_000_000e18 - sum - escrow.feesGathered(), "balance");
        assertEq(joule.balanceOf(stranger), 0, "nothing to the sender");
    }

    function test_theFeeIsOfEachPayment() public {
        _deposit(1_000_000);
        (bytes32[] memory claims, uint256 total) = _claims(3, 150);
        (PaymentRoot memory root, bytes memory signature, Trees.Batch memory batch) =
            _all(1, claims, total);
        vm.expectEmit();
        emit IPaymentEscrow.Redeemed(utility, SERIES, _payee(0), _payee(0), 1, 150, 1, 150);
        _send(root, signature, batch);
        // 150, 300 and 450 at one percent, each rounded down.
        assertEq(escrow.feesGathered(), 1 + 3 + 4, "fees");
    }

    function test_whoHasHadItIsPassedOver() public {
        _deposit(1_000_000);
        (bytes32[] memory claims, uint256 total) = _claims(4, 100);
        (PaymentRoot memory root, bytes memory signature, Trees.Batch memory batch) =
            _all(1, claims, total);
        bool[] memory first = new bool[](4);
        first[2] = true;
        Trees.Batch memory one = Trees.some(claims, first);
        assertEq(_send(root, signature, one), 300, "one first");
        assertEq(_send(root, signature, batch), 700, "then the others");
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.NothingToRedeem.selector, 0));
        _send(root, signature, batch);
    }

    function test_aShortEscrowPaysInOrderAndTheRestLater() public {
        _deposit(404);
        (bytes32[] memory claims, uint256 total) = _claims(3, 200);
        (PaymentRoot memory root, bytes memory signature, Trees.Batch memory batch) =
            _all(1, claims, total);
        assertEq(_send(root, signature, batch), 400, "what there is");
        assertEq(joule.balanceOf(_payee(0)), 200, "all of the first");
        assertEq(joule.balanceOf(_payee(1)), 200, "half of the second");
        assertEq(joule.balanceOf(_payee(2)), 0, "nothing of the third");
        vm.expectRevert(IPaymentEscrow.EscrowEmpty.selector);
        _send(root, signature, batch);
        _deposit(1_000);
        assertEq(_send(root, signature, batch), 800, "the rest");
    }

    function test_theSameClaimTwicePaysOnce() public {
        _deposit(1_000);
        bytes32[] memory claims = new bytes32[](2);
        claims[0] = claims[1] = Trees.claim(supplier, 100);
        (PaymentRoot memory root, bytes memory signature, Trees.Batch memory batch) =
            _all(1, claims, 200);
        assertEq(_send(root, signature, batch), 100, "once");
    }

    function test_aClaimAboveTheSignedTotalIsRefused() public {
        _deposit(1_000);
        (bytes32[] memory claims,) = _claims(2, 100);
        (PaymentRoot memory root, bytes memory signature, Trees.Batch memory batch) =
            _all(1, claims, 199);
        vm.expectRevert(abi.encodeWithSelector(IPaymentEscrow.AboveTotal.selector, 200, 199));
        _send(root, signature, batch);
    }

    function test_anAnchoredRootNeedsNoSignature() public {
        _deposit(1_000);
        (bytes32[] memory claims, uint256 total) = _claims(2, 100);
        (PaymentRoot memory root, bytes memory signature, Trees.Batch memory batch) =
            _all(1, claims, total);
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        _send(root, "", batch);
        escrow.anchor(root, signature);
        assertEq(_send(root, "", batch), 300, "paid");
    }

    function test_onlyTheUtilitySigns() public {
        _deposit(1_000);
        (bytes32[] memory claims, uint256 total) = _claims(2, 100);
        (PaymentRoot memory root,, Trees.Batch memory batch) = _all(1, claims, total);
        bytes memory forged = _sign(SUPPLIER_KEY, escrow.rootDigest(root));
        vm.expectRevert(IPaymentEscrow.InvalidRootSignature.selector);
        _send(root, forged, batch);
    }

    function test_noClaimsAreNoBatch() public {
        _deposit(1_000);
        (PaymentRoot memory root, bytes memory signature,) = _tick(1, 50, 5);
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = root.root;
        vm.expectRevert(IPaymentEscrow.InvalidProof.selector);
        escrow.redeemMany(root, signature, new bytes32[](0), proof, "");
    }

    /// @dev A leaf that nobody signed, put in by any change of claims, proof or flags.
    function testFuzz_noForgedBatchIsPaid(uint8 count, uint256 chosen, uint256 seed) public view {
        uint256 n = bound(count, 2, 24);
        (bytes32[] memory claims,) = _claims(n, 1e18);
        Trees.Batch memory batch = Trees.some(claims, _chosen(n, chosen));
        bytes32 root = batch.root;
        bytes memory flags = batch.steps.flags();
        bytes32 noise = keccak256(abi.encode(seed));
        uint256 index = uint256(noise) >> 8;
        uint256 kind = seed % 3;
        if (kind == 0) batch.claims[index % batch.claims.length] ^= bytes32(uint256(noise) | 1);
        if (kind == 1 && batch.proof.length > 0) {
            batch.proof[index % batch.proof.length] ^= bytes32(uint256(noise) | 1);
        } else if (kind == 1) {
            return;
        }
        if (kind == 2) {
            if (batch.steps.length == 0) return;
            index %= batch.steps.length;
            flags[index / 8] ^= bytes1(uint8(0x80 >> (index % 8)));
        }
        assertTrue(paths.ours(batch.claims, batch.proof, flags) != root, "forged");
    }

    /// @dev The same answer as OpenZeppelin's, for what is well formed; for anything else ours is
    /// never true where theirs is not.
    function testFuzz_asOpenZeppelin(uint8 count, uint256 chosen, uint256 seed, bool garble)
        public
        view
    {
        uint256 n = bound(count, 1, 24);
        (bytes32[] memory claims,) = _claims(n, 1e18);
        Trees.Batch memory batch = Trees.some(claims, _chosen(n, chosen));
        if (garble) {
            for (uint256 i; i < batch.steps.length; ++i) {
                if (uint256(keccak256(abi.encode(seed, i))) % 4 == 0) {
                    batch.steps[i] = !batch.steps[i];
                }
            }
        }
        bytes32[] memory leaves = new bytes32[](batch.claims.length);
        for (uint256 i; i < leaves.length; ++i) {
            leaves[i] = keccak256(abi.encode(batch.claims[i]));
        }
        bool mine = paths.ours(batch.claims, batch.proof, batch.steps.flags()) == batch.root;
        bool theirs;
        try paths.openZeppelin(leaves, batch.proof, batch.steps, batch.root) returns (bool valid) {
            theirs = valid;
        } catch {}
        assertTrue(mine == theirs, "the same answer");
        if (!garble) assertTrue(mine, "a good one");
    }

    function testFuzz_wrongLengthsAreNoProof(bytes calldata flags, uint8 proofs) public view {
        bytes32[] memory claims = new bytes32[](2);
        claims[0] = Trees.claim(supplier, 1);
        claims[1] = Trees.claim(other, 2);
        bytes32[] memory proof = new bytes32[](proofs % 20);
        uint256 steps = claims.length + proof.length - 1;
        vm.assume(flags.length != (steps + 7) / 8);
        assertEq(paths.ours(claims, proof, flags), bytes32(0), "no root");
    }

    function testFuzz_oneWayAsOpenZeppelin(bytes32[] calldata proof, bytes32 leaf) public view {
        (bytes32 mine, bytes32 theirs) = paths.one(proof, leaf);
        assertEq(mine, theirs, "root");
    }

    function _send(PaymentRoot memory root, bytes memory signature, Trees.Batch memory batch)
        private
        returns (uint256)
    {
        return escrow.redeemMany(root, signature, batch.claims, batch.proof, batch.steps.flags());
    }

    function _all(uint64 tick, bytes32[] memory claims, uint256 total)
        private
        view
        returns (PaymentRoot memory root, bytes memory signature, Trees.Batch memory batch)
    {
        batch = Trees.some(claims, _chosen(claims.length, type(uint256).max));
        (root, signature) = _signed(tick, batch.root, total);
    }

    function _signed(uint64 tick, bytes32 hash, uint256 total)
        private
        view
        returns (PaymentRoot memory root, bytes memory signature)
    {
        root = PaymentRoot(utility, SERIES, tick, hash, total);
        signature = _sign(UTILITY_KEY, escrow.rootDigest(root));
    }

    function _claims(uint256 n, uint96 unit)
        private
        pure
        returns (bytes32[] memory claims, uint256 total)
    {
        claims = new bytes32[](n);
        for (uint256 i; i < n; ++i) {
            claims[i] = Trees.claim(_payee(i), _amount(i, unit));
            total += _amount(i, unit);
        }
    }

    /// @dev At least one.
    function _chosen(uint256 n, uint256 seed) private pure returns (bool[] memory chosen) {
        chosen = new bool[](n);
        for (uint256 i; i < n; ++i) {
            chosen[i] = (seed >> i) & 1 == 1;
        }
        chosen[seed % n] = true;
    }

    function _payee(uint256 i) private pure returns (address) {
        return address(uint160(0xabc000 + i));
    }

    function _amount(uint256 i, uint96 unit) private pure returns (uint96) {
        return unit * uint96(i + 1);
    }
}
