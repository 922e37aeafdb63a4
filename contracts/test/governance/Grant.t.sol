// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Grants} from "../../src/Grants.sol";
import {Treasury} from "../../src/Treasury.sol";
import {IGrants} from "../../src/interfaces/IGrants.sol";
import {GovernanceFixture} from "../utils/GovernanceFixture.sol";

/// @dev Proposals that pay a grant and end one.
contract GrantProposalTest is GovernanceFixture {
    uint256 private constant AMOUNT = 1_200_000e18;

    address private grantee = address(0x0777);

    function test_aGrantIsPaidAsItVests() public {
        uint256 before = joule.balanceOf(treasury);
        uint64 start = _proposeGrant();
        _enact("A year of work");
        assertEq(joule.balanceOf(treasury), before - AMOUNT, "treasury");
        assertEq(joule.balanceOf(address(grants)), AMOUNT, "set aside");
        assertEq(grants.committed(), AMOUNT, "committed");

        vm.warp(start + 90 days - 1);
        assertEq(grants.release(0), 0, "before the cliff");
        vm.warp(start + 146 days);
        vm.prank(stranger);
        assertEq(grants.release(0), AMOUNT * 146 / 365, "by the day");
        vm.warp(start + 400 days);
        grants.release(0);
        assertEq(joule.balanceOf(grantee), AMOUNT, "all of it");
        assertEq(joule.balanceOf(address(grants)), 0, "nothing is left");
    }

    function test_aProposalEndsAGrant() public {
        uint64 start = _proposeGrant();
        _enact("A year of work");
        delete targets;
        delete calls;
        vm.warp(start + 100 days);
        uint256 before = joule.balanceOf(treasury);
        _call(address(grants), abi.encodeCall(Grants.revoke, (0, treasury)));
        _enact("The work has stopped");
        uint256 kept = grants.grant(0).amount;
        assertTrue(kept > AMOUNT * 100 / 365 && kept < AMOUNT * 104 / 365, "what had vested");
        assertEq(joule.balanceOf(treasury), before + AMOUNT - kept, "the rest is back");
        grants.release(0);
        assertEq(joule.balanceOf(grantee), kept, "the grantee keeps what had vested");
    }

    function test_anUnfundedGrantFailsAsAWhole() public {
        _call(address(treasury), abi.encodeCall(Treasury.pay, (joule, address(grants), 1)));
        _call(address(grants), _award(uint64(_now())));
        _passVote("Less than it says");
        _queue("Less than it says");
        _wait(TIMELOCK_DELAY);
        vm.expectRevert(abi.encodeWithSelector(IGrants.Unfunded.selector, AMOUNT, 1));
        _execute("Less than it says");
        assertEq(joule.balanceOf(address(grants)), 0, "nothing moved");
    }

    function _proposeGrant() private returns (uint64 start) {
        start = uint64(_now() + 10 days);
        _call(treasury, abi.encodeCall(Treasury.pay, (joule, address(grants), AMOUNT)));
        _call(address(grants), _award(start));
    }

    function _award(uint64 start) private view returns (bytes memory) {
        return
            abi.encodeCall(
                Grants.award, (grantee, AMOUNT, start, start + 90 days, start + 365 days)
            );
    }
}
