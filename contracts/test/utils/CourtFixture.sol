// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {Audits} from "../../src/Audits.sol";
import {Leases} from "../../src/Leases.sol";
import {IAudits} from "../../src/interfaces/IAudits.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ILeases} from "../../src/interfaces/ILeases.sol";
import {BlockVm} from "./Blocks.sol";
import {TrustFixture} from "./TrustFixture.sol";

/// @title Both courts, admitted by the disputes; a supplier with a bond, and twelve auditors with
/// places.
abstract contract CourtFixture is TrustFixture {
    uint96 internal constant SEAT = 100e18;
    uint96 internal constant PENALTY = 5e18;
    uint96 internal constant AUDIT_FEE = 2e18;
    uint96 internal constant CLAIM_STAKE = 50e18;
    uint96 internal constant ACCUSATION_STAKE = 3e18;
    uint96 internal constant PRICE = 700e18;
    uint8 internal constant PANEL = 5;
    uint8 internal constant QUORUM = 3;
    uint256 internal constant AUDITORS = 12;
    uint32 internal constant COMMIT = 1 hours;
    uint32 internal constant REVEAL = 30 minutes;
    uint32 internal constant MATURITY = 7 days;

    bytes32 internal constant WRONG = keccak256("a wrong output");
    bytes32 internal constant RIGHT = keccak256("the right output");
    bytes32 internal constant SALT = keccak256("salt");
    uint64 internal constant FUEL = 123_456;

    Audits internal audits;
    Leases internal leases;

    function setUp() public virtual override {
        super.setUp();
        audits = Audits(
            address(
                new ERC1967Proxy(
                    address(new Audits(disputes)),
                    abi.encodeCall(Audits.initialize, (owner, _auditTerms()))
                )
            )
        );
        leases = Leases(
            address(
                new ERC1967Proxy(
                    address(new Leases(disputes)),
                    abi.encodeCall(Leases.initialize, (owner, ACCUSATION_STAKE))
                )
            )
        );
        vm.startPrank(owner);
        disputes.setCourt(address(audits), true);
        disputes.setCourt(address(leases), true);
        joule.transfer(challenger, 10_000e18);
        vm.stopPrank();
        vm.prank(challenger);
        joule.approve(address(audits), type(uint256).max);
        vm.prank(utility);
        joule.approve(address(leases), type(uint256).max);
        _bond(supplier, STAKE);
        for (uint256 i; i < AUDITORS; ++i) {
            _enrol(_auditor(i), SEAT);
        }
        vm.warp(block.timestamp + MATURITY);
        for (uint256 i; i < AUDITORS; ++i) {
            vm.prank(_auditor(i));
            audits.sit();
        }
    }

    function _auditTerms() internal pure returns (IAudits.Parameters memory) {
        return IAudits.Parameters({
            panel: PANEL,
            quorum: QUORUM,
            drawBlocks: 2,
            commitWindow: COMMIT,
            revealWindow: REVEAL,
            claimPeriod: 3 days,
            maturity: MATURITY,
            seatBond: SEAT,
            penalty: PENALTY,
            fee: AUDIT_FEE,
            claimStake: CLAIM_STAKE
        });
    }

    function _auditor(uint256 i) internal pure returns (address) {
        return address(uint160(0xA0D1_0000 + i));
    }

    /// @dev The utility pays for whoever it is.
    function _enrol(address who, uint256 amount) internal {
        vm.prank(utility);
        joule.transfer(who, amount);
        vm.startPrank(who);
        joule.approve(address(audits), amount);
        audits.enrol(amount);
        vm.stopPrank();
    }

    function _result(bytes32 job) internal view returns (IAudits.Result memory) {
        return IAudits.Result({
            supplier: supplier,
            utility: utility,
            lease: keccak256("lease"),
            job: job,
            output: WRONG,
            fuel: FUEL,
            finishedAt: uint64(_now()),
            price: PRICE
        });
    }

    function _claimed() internal returns (uint256) {
        return _claim(_result(keccak256("job")));
    }

    function _claim(IAudits.Result memory result) internal returns (uint256) {
        bytes memory signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        vm.prank(challenger);
        return audits.claim(result, signed, "https://artifacts.example/job");
    }

    /// @dev The block that draws has passed, and nothing else.
    function _toDraw() internal {
        BlockVm cheats = BlockVm(address(vm));
        cheats.roll(cheats.getBlockNumber() + 3);
    }

    function _drawn() internal returns (uint256 id, address[] memory panel) {
        id = _claimed();
        _toDraw();
        audits.draw(id);
        panel = audits.panelOf(id);
    }

    function _finding(bytes32 output) internal view returns (bytes32) {
        return audits.findingOf(output, FUEL);
    }

    function _commit(uint256 id, address who, bytes32 finding) internal {
        bytes32 commitment = audits.commitmentOf(id, who, finding, SALT);
        vm.prank(who);
        audits.commit(id, commitment);
    }

    function _reveal(uint256 id, address who, bytes32 finding) internal {
        vm.prank(who);
        audits.reveal(id, finding, SALT);
    }

    /// @dev Each of the panel commits to and reveals what stands in its place.
    function _vote(uint256 id, bytes32[PANEL] memory findings) internal {
        address[] memory panel = audits.panelOf(id);
        for (uint256 i; i < PANEL; ++i) {
            _commit(id, panel[i], findings[i]);
        }
        vm.warp(uint256(audits.claimOf(id).commitEnds) + 1);
        for (uint256 i; i < PANEL; ++i) {
            _reveal(id, panel[i], findings[i]);
        }
    }

    function _all(bytes32 finding) internal pure returns (bytes32[PANEL] memory) {
        return [finding, finding, finding, finding, finding];
    }

    /// @dev A claim up to its end, by a panel of one opinion.
    function _judged(bytes32 finding) internal returns (uint256 id) {
        (id,) = _drawn();
        _vote(id, _all(finding));
        audits.settle(id);
    }

    function _bondSum() internal view returns (uint256 sum) {
        for (uint256 i; i < AUDITORS; ++i) {
            sum += audits.auditorOf(_auditor(i)).bond;
        }
    }

    function _terms() internal view returns (ILeases.LeaseTerms memory) {
        return ILeases.LeaseTerms({
            supplier: supplier,
            utility: utility,
            lease: keccak256("lease"),
            from: 1_900_000_000,
            to: 1_900_086_400,
            ackInterval: 60,
            penalty: 500e18
        });
    }

    function _accuse(ILeases.LeaseTerms memory terms, uint64 since) internal returns (uint256) {
        bytes32 digest = leases.termsDigest(terms);
        (bytes memory a, bytes memory b) = (_sign(SUPPLIER_KEY, digest), _sign(UTILITY_KEY, digest));
        vm.prank(utility);
        return leases.accuse(terms, a, b, since);
    }

    function _answer(bytes32 digest, uint64 upTo) internal {
        ILeases.Ack memory ack = ILeases.Ack({terms: digest, upTo: upTo});
        bytes memory signed = _sign(UTILITY_KEY, leases.ackDigest(ack));
        vm.prank(supplier);
        leases.answer(ack, signed);
    }

    function _open(uint256 caseId) internal view returns (IDisputes.Status) {
        return disputes.caseOf(caseId).status;
    }

    function _now() internal view returns (uint256) {
        return BlockVm(address(vm)).getBlockTimestamp();
    }
}
