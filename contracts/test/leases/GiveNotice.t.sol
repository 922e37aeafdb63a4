// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ILeases} from "../../src/interfaces/ILeases.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

contract GiveNoticeTest is CourtFixture {
    /// @dev The utility withholds acknowledgements: the supplier leaves, and owes nothing.
    function testFuzz_noticeInTimeIsNoSilence(uint64 served, uint64 notice, uint64 since) public {
        ILeases.LeaseTerms memory terms = _terms();
        served = uint64(bound(served, 0, 80_000));
        notice = uint64(bound(notice, 0, 60));
        since = uint64(bound(since, 0, 86_000));
        uint64 acked = terms.from + served;
        vm.warp(acked + notice);
        vm.prank(supplier);
        leases.giveNotice(terms);
        vm.warp(terms.to + 1);
        bytes32 digest = leases.termsDigest(terms);
        (bytes memory a, bytes memory b) = (_sign(SUPPLIER_KEY, digest), _sign(UTILITY_KEY, digest));
        vm.prank(utility);
        try leases.accuse(terms, a, b, terms.from + since) {
            // It said that nothing was acknowledged from before what was: the supplier shows it.
            _answer(digest, acked);
            assertEq(joule.balanceOf(supplier), ACCUSATION_STAKE, "and is paid for the trouble");
            since = served;
            vm.prank(utility);
            vm.expectRevert(
                abi.encodeWithSelector(ILeases.NoticeInTime.selector, acked + notice, acked + 60)
            );
            leases.accuse(terms, a, b, acked);
        } catch {}
        assertEq(registry.locks(supplier), 0, "free");
        assertEq(_bonded(supplier), STAKE, "nothing slashed");
    }

    function test_noticeThatComesTooLateIsNone() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.warp(terms.from + 61);
        vm.prank(supplier);
        leases.giveNotice(terms);
        _accuse(terms, terms.from);
        assertEq(registry.locks(supplier), 1, "accused");
    }

    function test_onlyTheSupplierAndOnce() public {
        ILeases.LeaseTerms memory terms = _terms();
        vm.prank(utility);
        vm.expectRevert(ILeases.OnlySupplier.selector);
        leases.giveNotice(terms);
        vm.startPrank(supplier);
        leases.giveNotice(terms);
        vm.expectRevert(
            abi.encodeWithSelector(ILeases.NoticeGivenAlready.selector, block.timestamp)
        );
        leases.giveNotice(terms);
        vm.stopPrank();
        assertEq(leases.recordOf(leases.termsDigest(terms)).noticeAt, block.timestamp, "noted");
    }
}
