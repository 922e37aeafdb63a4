// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

contract AccuseEquivocationTest is TrustFixture {
    function testFuzz_twoRootsForOneTickAreACase(uint64 tick, uint96 first, uint96 second) public {
        vm.assume(first != second);
        uint256 id = _equivocate(tick, first, second);
        IDisputes.Case memory case_ = disputes.caseOf(id);
        assertEq(id, 1, "the first");
        assertEq(disputes.caseCount(), 1, "count");
        assertTrue(case_.status == IDisputes.Status.Open, "open");
        assertTrue(case_.offence == IDisputes.Offence.Equivocation, "offence");
        assertEq(case_.accused, utility, "accused");
        assertEq(case_.challenger, challenger, "challenger");
        assertEq(case_.tick, tick, "tick");
        assertEq(case_.total, first > second ? first : second, "the larger total");
        assertEq(case_.windowEnds, block.timestamp + WINDOW, "window");
        assertEq(registry.locks(utility), 1, "held");
    }

    function test_aTotalAloneIsADifference() public {
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 5);
        PaymentRoot memory b = PaymentRoot(a.utility, a.series, a.tick, a.root, a.total + 1);
        bytes memory bSigned = _sign(UTILITY_KEY, escrow.rootDigest(b));
        assertEq(disputes.accuseEquivocation(a, aSigned, b, bSigned), 1, "a case");
    }

    function test_oneRootTwiceIsNone() public {
        (PaymentRoot memory root, bytes memory signed,) = _tick(1, 5, 5);
        vm.expectRevert(IDisputes.SameRoot.selector);
        disputes.accuseEquivocation(root, signed, root, signed);
    }

    function testFuzz_rootsOfTwoTicksOrSeriesAreNone(uint64 change, bool series) public {
        change = uint64(bound(change, 1, type(uint64).max));
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 5);
        PaymentRoot memory b = PaymentRoot(a.utility, a.series, a.tick, a.root, a.total + 1);
        if (series) b.series ^= change;
        else b.tick ^= change;
        bytes memory bSigned = _sign(UTILITY_KEY, escrow.rootDigest(b));
        vm.expectRevert(IDisputes.NotOneTick.selector);
        disputes.accuseEquivocation(a, aSigned, b, bSigned);
    }

    function test_rootsOfTwoUtilitiesAreNone() public {
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 5);
        PaymentRoot memory b = PaymentRoot(supplier, a.series, a.tick, a.root, a.total + 1);
        bytes memory bSigned = _sign(SUPPLIER_KEY, escrow.rootDigest(b));
        vm.expectRevert(IDisputes.NotOneTick.selector);
        disputes.accuseEquivocation(a, aSigned, b, bSigned);
    }

    function testFuzz_onlyTheUtilitysSignatureCounts(uint256 key) public {
        key = bound(key, 1, 2 ** 200);
        vm.assume(key != UTILITY_KEY);
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 5);
        (PaymentRoot memory b,,) = _tick(1, 6, 5);
        bytes memory forged = _sign(key, escrow.rootDigest(b));
        vm.expectRevert(IDisputes.InvalidRootSignature.selector);
        disputes.accuseEquivocation(a, aSigned, b, forged);
        vm.expectRevert(IDisputes.InvalidRootSignature.selector);
        disputes.accuseEquivocation(b, forged, a, aSigned);
    }

    function testFuzz_nonsenseIsNoEvidence(bytes calldata signature) public {
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 5);
        (PaymentRoot memory b,,) = _tick(1, 6, 5);
        vm.expectRevert(IDisputes.InvalidRootSignature.selector);
        disputes.accuseEquivocation(a, aSigned, b, signature);
    }

    function test_rootsOfAnotherChainAreNone() public {
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 5);
        (PaymentRoot memory b, bytes memory bSigned,) = _tick(1, 6, 5);
        vm.chainId(1);
        vm.expectRevert(IDisputes.InvalidRootSignature.selector);
        disputes.accuseEquivocation(a, aSigned, b, bSigned);
    }

    function test_rootsForAnotherEscrowAreNone() public {
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 5);
        (PaymentRoot memory b,,) = _tick(1, 6, 5);
        bytes32 domain = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
                ),
                keccak256("Kinesis PaymentEscrow"),
                keccak256("1"),
                block.chainid,
                stranger
            )
        );
        bytes32 typehash = keccak256(
            "PaymentRoot(address utility,uint64 series,uint64 tick,bytes32 root,uint256 total)"
        );
        bytes32 data = keccak256(abi.encode(typehash, b.utility, b.series, b.tick, b.root, b.total));
        bytes memory elsewhere =
            _sign(UTILITY_KEY, keccak256(abi.encodePacked("\x19\x01", domain, data)));
        vm.expectRevert(IDisputes.InvalidRootSignature.selector);
        disputes.accuseEquivocation(a, aSigned, b, elsewhere);
    }

    function test_theSameEvidenceServesOnceInEitherOrder() public {
        _equivocate(1, 5, 6);
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 0);
        (PaymentRoot memory b, bytes memory bSigned,) = _tick(1, 6, 0);
        vm.expectRevert(IDisputes.AlreadyAccused.selector);
        disputes.accuseEquivocation(b, bSigned, a, aSigned);
        vm.prank(guardian);
        disputes.veto(1);
        vm.expectRevert(IDisputes.AlreadyAccused.selector);
        disputes.accuseEquivocation(a, aSigned, b, bSigned);
    }

    function test_threeRootsAreTwoCasesAndNotThree() public {
        _equivocate(1, 5, 6);
        _equivocate(1, 5, 7);
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 6, 0);
        (PaymentRoot memory b, bytes memory bSigned,) = _tick(1, 7, 0);
        vm.expectRevert(IDisputes.AlreadyAccused.selector);
        disputes.accuseEquivocation(a, aSigned, b, bSigned);
        assertEq(registry.locks(utility), 2, "held twice");
    }

    function test_withoutStakeTheEvidenceIsKeptForLater() public {
        vm.prank(address(disputes));
        registry.slash(utility, STAKE, stranger);
        (PaymentRoot memory a, bytes memory aSigned,) = _tick(1, 5, 0);
        (PaymentRoot memory b, bytes memory bSigned,) = _tick(1, 6, 0);
        vm.expectRevert(IDisputes.NothingBonded.selector);
        disputes.accuseEquivocation(a, aSigned, b, bSigned);
        _bond(utility, 1);
        assertEq(disputes.accuseEquivocation(a, aSigned, b, bSigned), 1, "a case");
    }
}
