// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {
    ERC20Upgradeable
} from "@openzeppelin/contracts-upgradeable/token/ERC20/ERC20Upgradeable.sol";

import {Joule} from "../../src/Joule.sol";
import {IAudits} from "../../src/interfaces/IAudits.sol";
import {BlockVm} from "../utils/Blocks.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

/// @dev JOULE calls nobody back; this token does, with whatever was set, at its next transfer.
contract CallingToken is Joule {
    address private target;
    bytes private data;
    bool public ran;
    bool public succeeded;

    function callNext(address target_, bytes calldata data_) external {
        (target, data, ran, succeeded) = (target_, data_, false, false);
    }

    function transfer(address to, uint256 amount)
        public
        override(ERC20Upgradeable, IERC20)
        returns (bool)
    {
        super.transfer(to, amount);
        if (target == address(0)) return true;
        address called = target;
        target = address(0);
        ran = true;
        (succeeded,) = called.call(data);
        return true;
    }
}

/// @dev Burns whatever gas it is called with.
contract GasBomb {
    fallback() external payable {
        while (true) {}
    }
}

interface CodeVm {
    function etch(address target, bytes calldata code) external;
}

/// @notice What auditors, challengers and suppliers try beside the rules.
contract HostileAuditsTest is CourtFixture {
    CallingToken private token;

    function _call(bytes memory data) private {
        CallingToken next = new CallingToken();
        vm.prank(owner);
        joule.upgradeToAndCall(address(next), "");
        token = CallingToken(address(joule));
        token.callNext(address(audits), data);
    }

    function _pass(uint256 blocks) private {
        BlockVm cheats = BlockVm(address(vm));
        cheats.roll(cheats.getBlockNumber() + blocks);
    }

    function test_aSettlementInsideASettlement() public {
        (uint256 id,) = _drawn();
        vm.warp(uint256(audits.claimOf(id).revealEnds) + 1);
        _call(abi.encodeCall(audits.settle, (id)));
        audits.settle(id);
        assertTrue(token.ran() && !token.succeeded(), "refused");
    }

    function test_aLapseInsideALapse() public {
        uint256 id = _claimed();
        _pass(300);
        _call(abi.encodeCall(audits.lapse, (id)));
        audits.lapse(id);
        assertTrue(token.ran() && !token.succeeded(), "refused");
    }

    function test_aSettlementWhileABondIsPaidOut() public {
        (uint256 id,) = _drawn();
        vm.warp(uint256(audits.claimOf(id).revealEnds) + 1);
        _call(abi.encodeCall(audits.settle, (id)));
        address idle;
        for (uint256 i; idle == address(0); ++i) {
            if (!audits.voteOf(id, _auditor(i)).drawn) idle = _auditor(i);
        }
        vm.prank(idle);
        audits.quit();
        assertTrue(token.ran() && !token.succeeded(), "refused");
        audits.settle(id);
    }

    /// @dev Nothing is sent to an auditor, so that none can stand in the way.
    function test_auditorsThatBurnAllGasStopNothing() public {
        (uint256 id, address[] memory panel) = _drawn();
        bytes memory bomb = address(new GasBomb()).code;
        for (uint256 i; i < PANEL; ++i) {
            CodeVm(address(vm)).etch(panel[i], bomb);
        }
        _vote(id, _all(_finding(RIGHT)));
        uint256 gas = gasleft();
        audits.settle(id);
        assertTrue(gas - gasleft() < 1_000_000, "cheap");
    }

    /// @dev The largest panel there can be still settles in a small part of a block.
    function test_theLargestPanelFitsInABlock() public {
        IAudits.Parameters memory terms = _auditTerms();
        (terms.panel, terms.quorum) = (15, 8);
        vm.prank(owner);
        audits.setParameters(terms);
        for (uint256 i; i < 100; ++i) {
            _enrol(_auditor(100 + i), SEAT);
        }
        vm.warp(block.timestamp + MATURITY);
        for (uint256 i; i < 100; ++i) {
            vm.prank(_auditor(100 + i));
            audits.sit();
        }
        uint256 id = _claimed();
        _toDraw();
        uint256 gas = gasleft();
        audits.draw(id);
        assertTrue(gas - gasleft() < 3_000_000, "the draw");
        vm.warp(uint256(audits.claimOf(id).revealEnds) + 1);
        gas = gasleft();
        audits.settle(id);
        assertTrue(gas - gasleft() < 2_000_000, "the settlement");
    }

    /// @dev What a call with too little gas would swallow, it would save the supplier from.
    function testFuzz_tooLittleGasFailsAsAWhole(uint256 gas) public {
        (uint256 id,) = _drawn();
        _vote(id, _all(_finding(RIGHT)));
        gas = bound(gas, 30_000, 800_000);
        (bool done,) = address(audits).call{gas: gas}(abi.encodeCall(audits.settle, (id)));
        IAudits.Claim memory claim = audits.claimOf(id);
        if (done) assertTrue(claim.status == IAudits.Status.Refuted, "refuted and filed");
        else assertTrue(claim.status == IAudits.Status.Voting, "as it was");
        assertEq(registry.locks(supplier), 1, "held in any case");
    }

    /// @dev A majority that refuses to reveal blocks a verdict, and pays for it every time.
    function test_blockingCostsEveryTime() public {
        IAudits.Result memory result = _result(keccak256("job"));
        for (uint256 round; round < 3; ++round) {
            uint256 id = _claim(result);
            _toDraw();
            audits.draw(id);
            address[] memory panel = audits.panelOf(id);
            bytes32 right = _finding(RIGHT);
            for (uint256 i; i < 2; ++i) {
                _commit(id, panel[i], right);
            }
            vm.warp(uint256(audits.claimOf(id).commitEnds) + 1);
            for (uint256 i; i < 2; ++i) {
                _reveal(id, panel[i], right);
            }
            vm.warp(uint256(audits.claimOf(id).revealEnds) + 1);
            audits.settle(id);
            assertTrue(audits.claimOf(id).status == IAudits.Status.Undecided, "undecided");
            assertEq(joule.balanceOf(treasury), (round + 1) * 3 * PENALTY, "three pay");
        }
    }

    /// @dev A supplier that claims its own result, to have it judged by nobody: a claim that ends
    /// otherwise than by a quorum on it leaves it open to the next.
    function test_aSupplierCannotUseUpItsOwnClaim() public {
        IAudits.Result memory result = _result(keccak256("job"));
        bytes memory signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        vm.prank(utility);
        joule.transfer(supplier, CLAIM_STAKE);
        vm.startPrank(supplier);
        joule.approve(address(audits), CLAIM_STAKE);
        uint256 id = audits.claim(result, signed, "");
        vm.stopPrank();
        _pass(300);
        audits.lapse(id);
        vm.prank(challenger);
        audits.claim(result, signed, "");
        assertEq(joule.balanceOf(supplier), 0, "and it has paid for it");
    }

    /// @dev A supplier that claims its own result and shows the auditors nothing, until it would be
    /// too old to be claimed by others: it costs the stake each time, and gains no time.
    function test_aSupplierCannotWaitItsResultOut() public {
        IAudits.Result memory result = _result(keccak256("job"));
        bytes memory signed = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        uint256 end = _now() + 3 days;
        uint256 rounds;
        vm.prank(utility);
        joule.transfer(supplier, 100 * CLAIM_STAKE);
        vm.prank(supplier);
        joule.approve(address(audits), type(uint256).max);
        while (_now() <= end) {
            vm.prank(supplier);
            uint256 id = audits.claim(result, signed, "");
            _toDraw();
            audits.draw(id);
            _vote(id, _all(bytes32(0)));
            vm.warp(_now() + 1 days);
            audits.settle(id);
            ++rounds;
        }
        assertEq(joule.balanceOf(supplier), (100 - rounds) * CLAIM_STAKE, "it pays for each");
        vm.warp(_now() + 3 days);
        vm.prank(challenger);
        audits.claim(result, signed, "");
        uint256 last = audits.claimCount();
        _pass(300);
        audits.lapse(last);
        uint256 until = _now() + 3 days;
        vm.warp(until + 1);
        vm.prank(challenger);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooOld.selector, until));
        audits.claim(result, signed, "");
    }

    /// @dev One signature, sent with its other s, is no second signature.
    function test_aMalleableSignatureIsNoOther() public {
        IAudits.Result memory result = _result(keccak256("job"));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SUPPLIER_KEY, audits.resultDigest(result));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes memory twisted =
            abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.prank(challenger);
        vm.expectRevert(IAudits.InvalidSupplierSignature.selector);
        audits.claim(result, twisted, "");
    }
}
