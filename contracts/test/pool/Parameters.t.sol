// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {StakePool} from "../../src/StakePool.sol";
import {IStakePool} from "../../src/interfaces/IStakePool.sol";
import {PoolFixture} from "../utils/PoolFixture.sol";

/// @dev What an upgrade would put in place.
contract NextPool is StakePool {
    constructor(StakePool current)
        StakePool(IERC20(current.asset()), current.bonds(), current.escrow())
    {}

    function version() external pure returns (uint256) {
        return 2;
    }
}

contract PoolParametersTest is PoolFixture {
    function testFuzz_termsAreBounded(IStakePool.Terms calldata terms) public {
        bool valid = terms.poolCapBp <= 10_000 && terms.supplierCapBp <= terms.poolCapBp
            && uint256(terms.earningsBp) + terms.growthBp <= 5_000;
        vm.prank(owner);
        if (!valid) vm.expectRevert(IStakePool.InvalidTerms.selector);
        pool.setTerms(terms);
    }

    function test_sharesHaveANameAndSixDecimalsMore() public view {
        assertEq(keccak256(bytes(pool.name())), keccak256("Kinesis Stake Pool"), "name");
        assertEq(keccak256(bytes(pool.symbol())), keccak256("kJOULE"), "symbol");
        assertEq(pool.decimals(), 24, "decimals");
    }

    function testFuzz_theDelayIsBounded(uint32 delay) public {
        vm.prank(owner);
        if (delay < 1 seconds || delay > 90 days) vm.expectRevert();
        pool.setDelay(delay);
    }

    function test_aShorterDelayIsForLaterRequests() public {
        uint256 shares = _invest(investor, DEPOSIT);
        _request(investor, shares);
        vm.prank(owner);
        pool.setDelay(1 hours);
        assertEq(pool.request(0).readyAt, START + QUEUE_DELAY, "as it was asked");
    }

    function test_onlyTheOwner() public {
        bytes memory refusal = abi.encodeWithSelector(
            OwnableUpgradeable.OwnableUnauthorizedAccount.selector, underwriter
        );
        vm.startPrank(underwriter);
        vm.expectRevert(refusal);
        pool.setTerms(_terms());
        vm.expectRevert(refusal);
        pool.setDelay(1 days);
        vm.expectRevert(refusal);
        pool.setUnderwriter(stranger);
        vm.expectRevert(refusal);
        pool.upgradeToAndCall(address(1), "");
    }

    function test_itIsInitializedOnce() public {
        vm.expectRevert(Initializable.InvalidInitialization.selector);
        pool.initialize(stranger, stranger, _terms(), 1 days);
    }

    function test_anUpgradeKeepsTheBooks() public {
        uint256 shares = _invest(investor, DEPOSIT);
        _borrow(supplier, 1_000);
        _request(investor, shares / 2);
        address next = address(new NextPool(pool));
        vm.prank(owner);
        pool.upgradeToAndCall(next, "");
        assertEq(NextPool(address(pool)).version(), 2, "version");
        assertEq(pool.totalAssets(), DEPOSIT, "assets");
        assertEq(pool.balanceOf(investor), shares - shares / 2, "shares");
        assertEq(pool.queuedShares(), shares / 2, "queue");
    }
}
