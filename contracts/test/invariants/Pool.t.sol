// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Joule} from "../../src/Joule.sol";
import {Registry} from "../../src/Registry.sol";
import {StakePool} from "../../src/StakePool.sol";
import {Campaign} from "../utils/Campaign.sol";
import {PoolFixture} from "../utils/PoolFixture.sol";
import {Test} from "../utils/Test.sol";

/// @dev What investors, suppliers and whoever slashes them may do, in any order.
contract PoolActors is Test {
    /// @dev There is nothing to do it with.
    error Nothing();

    StakePool private immutable pool;
    Registry private immutable registry;
    Joule private immutable joule;
    address private immutable giver;
    address private immutable slasher;
    address[2] private investors;
    address[2] private suppliers;

    uint256 private clock = 1_800_000_000;
    uint256 public deposited;
    uint256 public earned;
    uint256 public paid;
    uint256 public lost;
    bool public fellWithoutALoss;
    bool public paidWhileHeld;

    constructor(
        StakePool pool_,
        Registry registry_,
        Joule joule_,
        address giver_,
        address slasher_,
        address[2] memory investors_,
        address[2] memory suppliers_
    ) {
        (pool, registry, joule) = (pool_, registry_, joule_);
        (giver, slasher) = (giver_, slasher_);
        (investors, suppliers) = (investors_, suppliers_);
    }

    /// @dev Nothing but a slash makes a share worth less.
    modifier steady() {
        uint256 before = _worth();
        _;
        if (_worth() < before) fellWithoutALoss = true;
    }

    function deposit(uint8 who, uint256 amount) external steady {
        amount = bound(amount, 1e18, 1_000_000e18);
        vm.prank(investors[who % 2]);
        pool.deposit(amount, investors[who % 2]);
        deposited += amount;
    }

    function request(uint8 who, uint256 shares) external steady {
        address investor = investors[who % 2];
        shares = bound(shares, 0, pool.balanceOf(investor));
        vm.prank(investor);
        pool.requestRedeem(shares, investor);
    }

    function settle(uint8 max) external steady {
        bool held = registry.lockedBy(address(pool)) * 1_000 > pool.totalAssets();
        paid += pool.settle(max);
        if (held) paidWhileHeld = true;
    }

    function openCase(uint8 who) external steady {
        vm.prank(slasher);
        registry.lock(suppliers[who % 2]);
    }

    function closeCase(uint8 who) external steady {
        vm.prank(slasher);
        registry.unlock(suppliers[who % 2]);
    }

    function borrow(uint8 who, uint256 amount) external steady {
        vm.prank(suppliers[who % 2]);
        pool.borrow(bound(amount, 1, 250_000e18));
    }

    function recall(uint8 who, uint256 amount) external steady {
        address supplier = suppliers[who % 2];
        amount = bound(amount, 1, registry.lentTo(address(pool), supplier));
        vm.prank(supplier);
        pool.recall(supplier, amount);
    }

    /// @dev Nobody's supplier and no underwriter: where nothing lacks, investors ask for all they
    /// have, and wait for it.
    function recallForTheQueue(uint8 who, uint256 amount) external steady {
        address supplier = suppliers[who % 2];
        uint256 left =
            registry.lentTo(address(pool), supplier) - registry.thawing(address(pool), supplier);
        if (left == 0) revert Nothing();
        for (uint256 i; i < 2 && _queueLacks() == 0; ++i) {
            uint256 shares = pool.balanceOf(investors[(who + i) % 2]);
            if (pool.convertToAssets(shares) < 1e18) continue;
            vm.prank(investors[(who + i) % 2]);
            pool.requestRedeem(shares, investors[(who + i) % 2]);
        }
        uint256 lacks = _queueLacks();
        if (lacks == 0) revert Nothing();
        (uint256 head,) = pool.queue();
        uint256 readyAt = pool.request(head).readyAt;
        if (clock < readyAt) clock = readyAt;
        vm.warp(clock);
        pool.recall(supplier, bound(amount, 1, left < lacks ? left : lacks));
    }

    function reclaim(uint8 who) external steady {
        pool.reclaim(suppliers[who % 2]);
    }

    function earn(uint8 who, uint256 amount) external steady {
        amount = bound(amount, 1, 10_000e18);
        (uint256 toPool,,) = pool.split(suppliers[who % 2], amount);
        vm.prank(giver);
        pool.shareEarnings(suppliers[who % 2], amount);
        earned += toPool;
    }

    function give(uint256 amount) external steady {
        vm.prank(giver);
        joule.transfer(address(pool), bound(amount, 0, 1_000e18));
    }

    function slash(uint8 who, uint256 amount) external {
        uint256 before = pool.totalAssets();
        vm.prank(slasher);
        registry.slash(suppliers[who % 2], bound(amount, 1, 100_000e18), address(1));
        lost += before - pool.totalAssets();
    }

    function wait(uint32 time) external steady {
        clock += bound(time, 0, 10 days);
        vm.warp(clock);
    }

    /// @dev What all that is asked for is worth, beside what is there or thaws.
    function _queueLacks() private view returns (uint256) {
        uint256 wanted = pool.convertToAssets(pool.queuedShares());
        uint256 there = pool.cash() + registry.thawingBy(address(pool));
        return wanted > there ? wanted - there : 0;
    }

    /// @dev Of a hundred JOULE's worth of first shares.
    function _worth() private view returns (uint256) {
        return pool.convertToAssets(100e24);
    }
}

contract PoolInvariants is Campaign, PoolFixture {
    PoolActors private actors;

    function setUp() public override {
        super.setUp();
        actors = new PoolActors(
            pool,
            registry,
            joule,
            stranger,
            slasher,
            [investor, second],
            [supplier, address(0x0ccc)]
        );
        vm.prank(underwriter);
        pool.setCredit(address(0x0ccc), DEPOSIT);
        _choose(supplier);
        _choose(address(0x0ccc));
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// @notice Nothing holds only because nobody gets anywhere.
    function test_everyActionSucceeds() public {
        Action[] memory actions = new Action[](13);
        actions[0] = Action("deposit(uint8,uint256)", hex"0800");
        actions[1] = Action("request(uint8,uint256)", hex"0800");
        actions[2] = Action("settle(uint8)", hex"08");
        actions[3] = Action("openCase(uint8)", hex"08");
        actions[4] = Action("closeCase(uint8)", hex"08");
        actions[5] = Action("borrow(uint8,uint256)", hex"0800");
        actions[6] = Action("recall(uint8,uint256)", hex"0800");
        actions[7] = Action("recallForTheQueue(uint8,uint256)", hex"0800");
        actions[8] = Action("reclaim(uint8)", hex"08");
        actions[9] = Action("earn(uint8,uint256)", hex"0800");
        actions[10] = Action("give(uint256)", hex"00");
        actions[11] = Action("slash(uint8,uint256)", hex"0800");
        actions[12] = Action("wait(uint32)", hex"20");
        _requireAllSucceed(address(actors), actions, 600);
    }

    /// @notice Shares are never worth more than assets.
    function invariant_sharesAreCovered() public view {
        assertTrue(pool.convertToAssets(pool.totalSupply()) <= pool.totalAssets(), "shares");
    }

    /// @notice The pool holds its cash.
    function invariant_tokensCoverTheCash() public view {
        assertTrue(joule.balanceOf(address(pool)) >= pool.cash(), "cash");
    }

    /// @notice What was deposited and earned is there, was paid out or was lost.
    function invariant_assetsAreConserved() public view {
        uint256 in_ = actors.deposited() + actors.earned();
        assertEq(in_, pool.totalAssets() + actors.paid() + actors.lost(), "assets");
    }

    /// @notice The pool holds exactly the shares that are in the queue.
    function invariant_theQueueHoldsItsShares() public view {
        assertEq(pool.balanceOf(address(pool)), pool.queuedShares(), "queued");
        (uint256 head, uint256 tail) = pool.queue();
        uint256 sum;
        for (; head < tail; ++head) {
            sum += pool.request(head).shares;
        }
        assertEq(pool.queuedShares(), sum, "by request");
    }

    /// @notice The registry's sums over the pool's loans are what they are by supplier, and its tokens
    /// are all bonds.
    function invariant_loansAddUp() public view {
        address[2] memory borrowers = [supplier, address(0x0ccc)];
        uint256[4] memory sums;
        for (uint256 i; i < 2; ++i) {
            address who = borrowers[i];
            uint256 lent = registry.lentTo(address(pool), who);
            sums[0] += lent;
            sums[1] += registry.thawing(address(pool), who);
            if (registry.locks(who) > 0) sums[2] += lent;
            sums[3] += lent + registry.ownStake(who);
            assertTrue(registry.thawing(address(pool), who) <= lent, "thaws of the loan");
        }
        assertEq(registry.lentBy(address(pool)), sums[0], "lent");
        assertEq(registry.thawingBy(address(pool)), sums[1], "thaws");
        assertEq(registry.lockedBy(address(pool)), sums[2], "locked");
        assertEq(joule.balanceOf(address(registry)), sums[3], "tokens");
    }

    /// @notice Nobody is paid while it is not known what is lost.
    function invariant_openCasesHoldThePayments() public view {
        assertTrue(!actors.paidWhileHeld(), "paid while held");
    }

    /// @notice Without a slash no share ever loses worth.
    function invariant_onlyALossCosts() public view {
        assertTrue(!actors.fellWithoutALoss(), "worth");
    }
}
