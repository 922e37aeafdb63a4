// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Disputes} from "../../src/Disputes.sol";
import {PaymentEscrow} from "../../src/PaymentEscrow.sol";
import {Registry} from "../../src/Registry.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {PaymentRoot, PaymentRoots} from "../../src/libraries/PaymentRoots.sol";
import {Test} from "../utils/Test.sol";
import {Campaign} from "../utils/Campaign.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

/// @dev What an honest utility, a cheating one, their supplier, a challenger and the DAO may do, in
/// any order. The honest one signs no more than it deposited and asks back no more than it does not
/// owe; the challenger throws everything either ever signed at both.
contract Parties is Test {
    /// @dev There is nothing to do it with.
    error Nothing();

    uint256[2] private KEYS = [0xA11CE, 0xBAD];
    uint64 private constant SERIES = 1;

    PaymentEscrow private immutable escrow;
    Registry private immutable registry;
    Disputes private immutable disputes;
    address private immutable guardian;

    PaymentRoot[] private roots;
    bytes[] private signatures;
    uint96[] private leaves;
    uint64[2] private tick;
    uint96[2] private honestTotal;

    uint256[2] public slashed;
    uint256[2] private collected;
    bool public wentBackwards;
    bool public escapedWhileAccused;

    constructor(PaymentEscrow escrow_, Registry registry_, Disputes disputes_, address guardian_) {
        (escrow, registry, disputes, guardian) = (escrow_, registry_, disputes_, guardian_);
    }

    function utility(uint8 who) public view returns (address) {
        return vm.addr(KEYS[who % 2]);
    }

    function supplier() public pure returns (address) {
        return address(0x9000);
    }

    function bond(uint8 who, uint256 amount) external {
        vm.prank(utility(who));
        registry.bond(utility(who), bound(amount, 1, 1e24));
    }

    function requestUnbonding(uint8 who, uint256 amount) external {
        IRegistry.Bond memory stake = registry.bondOf(utility(who));
        vm.prank(utility(who));
        registry.requestUnbonding(bound(amount, 0, stake.active + stake.thawing));
    }

    function unbond(uint8 who) external {
        uint256 held = registry.locks(utility(who));
        vm.prank(utility(who));
        registry.unbond(utility(who));
        if (held > 0) escapedWhileAccused = true;
    }

    function deposit(uint8 who, uint256 amount) external {
        vm.prank(utility(who));
        escrow.deposit(utility(who), SERIES, bound(amount, 1, 1e24));
    }

    function signHonestly(uint96 more) external {
        uint256 total = uint256(honestTotal[0]) + bound(more, 0, 1e24);
        if (total > _cover(0)) total = _cover(0);
        if (total < honestTotal[0]) revert Nothing();
        honestTotal[0] = uint96(total);
        _sign(0, ++tick[0], uint96(total));
    }

    /// @dev Any total, and sometimes a tick it has signed already.
    function signDishonestly(uint96 total, bool again) external {
        if (!again || tick[1] == 0) ++tick[1];
        _sign(1, tick[1], uint96(bound(total, 0, 1e25)));
    }

    function withdrawHonestly(uint256 amount) external {
        uint256 balance = escrow.account(utility(0), SERIES).balance;
        // Thawing or not, what is there now is in the cover again once a new request replaces it.
        uint256 gone = escrow.account(utility(0), SERIES).deposited
            - escrow.account(utility(0), SERIES).withdrawn;
        uint256 free = gone - honestTotal[0];
        vm.prank(utility(0));
        escrow.requestWithdrawal(SERIES, bound(amount, 0, free < balance ? free : balance));
    }

    function withdrawDishonestly(uint256 amount) external {
        uint256 balance = escrow.account(utility(1), SERIES).balance;
        vm.prank(utility(1));
        escrow.requestWithdrawal(SERIES, bound(amount, 0, balance));
    }

    function takeWithdrawal(uint8 who) external {
        vm.prank(utility(who));
        escrow.withdraw(SERIES, utility(who));
    }

    function redeem(uint256 which) external {
        if (roots.length == 0) revert Nothing();
        which %= roots.length;
        escrow.redeem(roots[which], signatures[which], supplier(), leaves[which], new bytes32[](0));
    }

    function accuseEquivocation(uint256 first, uint256 second) external {
        if (roots.length == 0) revert Nothing();
        first %= roots.length;
        second %= roots.length;
        disputes.accuseEquivocation(
            roots[first], signatures[first], roots[second], signatures[second]
        );
    }

    function accuseLatest() external {
        if (roots.length < 2) revert Nothing();
        uint256 last = roots.length - 1;
        disputes.accuseEquivocation(
            roots[last], signatures[last], roots[last - 1], signatures[last - 1]
        );
    }

    function accuseOverdraft(uint256 which) external {
        if (roots.length == 0) revert Nothing();
        which %= roots.length;
        disputes.accuseOverdraft(roots[which], signatures[which]);
    }

    function veto(uint256 id) external {
        id = _any(id);
        vm.prank(guardian);
        disputes.veto(id);
    }

    function execute(uint256 id, bool wait_) external {
        id = _any(id);
        if (wait_) _waitFor(disputes.caseOf(id).windowEnds);
        disputes.execute(id);
        IDisputes.Case memory case_ = disputes.caseOf(id);
        slashed[case_.accused == utility(0) ? 0 : 1] += case_.amount;
    }

    function compensate(uint256 id, uint256 which) external {
        id = _anyExecuted(id);
        which = _anyOf(disputes.caseOf(id), which);
        disputes.compensate(
            id, roots[which], signatures[which], supplier(), leaves[which], new bytes32[](0)
        );
        for (uint8 who; who < 2; ++who) {
            uint256 now_ = disputes.compensatedOf(utility(who), SERIES, supplier());
            if (now_ < collected[who]) wentBackwards = true;
            collected[who] = now_;
        }
    }

    function sweep(uint256 id, bool wait_) external {
        id = _any(id);
        if (wait_) _waitFor(disputes.caseOf(id).compensationEnds);
        disputes.sweep(id);
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 0, 10 days));
    }

    /// @dev One of the cases, or the one that is not there yet.
    function _any(uint256 id) private view returns (uint256) {
        return bound(id, 1, disputes.caseCount() + 1);
    }

    /// @dev The next case from `id` on that was executed.
    function _anyExecuted(uint256 id) private view returns (uint256) {
        uint256 all = disputes.caseCount();
        for (uint256 i; i < all; ++i) {
            uint256 found = (id % all + i) % all + 1;
            if (disputes.caseOf(found).status == IDisputes.Status.Executed) return found;
        }
        revert Nothing();
    }

    /// @dev The next root from `which` on that a case is about, mostly.
    function _anyOf(IDisputes.Case memory case_, uint256 which) private view returns (uint256) {
        which %= roots.length;
        if (which % 8 == 0) return which;
        for (uint256 i; i < roots.length; ++i) {
            uint256 found = (which + i) % roots.length;
            bytes32 digest = escrow.rootDigest(roots[found]);
            if (digest == case_.digests[0] || digest == case_.digests[1]) return found;
        }
        revert Nothing();
    }

    function _waitFor(uint256 time) private {
        if (block.timestamp <= time) vm.warp(time + 1);
    }

    function _sign(uint8 who, uint64 tick_, uint96 total) private {
        // A tree of one: the root is the leaf.
        PaymentRoot memory root =
            PaymentRoot(utility(who), SERIES, tick_, PaymentRoots.leaf(supplier(), total), total);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEYS[who], escrow.rootDigest(root));
        roots.push(root);
        signatures.push(abi.encodePacked(r, s, v));
        leaves.push(total);
    }

    function _cover(uint8 who) private view returns (uint256) {
        // What has been asked back does not cover, however much of it is still there.
        return escrow.account(utility(who), SERIES).deposited
            - escrow.account(utility(who), SERIES).withdrawn
            - escrow.account(utility(who), SERIES).thawing;
    }
}

contract DisputesInvariants is Campaign, TrustFixture {
    Parties private parties;

    function setUp() public override {
        super.setUp();
        parties = new Parties(escrow, registry, disputes, guardian);
        address cheat = parties.utility(1);
        vm.prank(utility);
        joule.transfer(cheat, SUPPLY / 4);
        vm.startPrank(cheat);
        joule.approve(address(registry), type(uint256).max);
        joule.approve(address(escrow), type(uint256).max);
        registry.bond(cheat, STAKE);
        vm.stopPrank();
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(parties);
    }

    /// @notice Nothing holds only because nobody gets anywhere.
    function test_everyActionSucceeds() public {
        Action[] memory actions = new Action[](18);
        actions[0] = Action("bond(uint8,uint256)", hex"0800");
        actions[1] = Action("requestUnbonding(uint8,uint256)", hex"0800");
        actions[2] = Action("unbond(uint8)", hex"08");
        actions[3] = Action("deposit(uint8,uint256)", hex"0800");
        actions[4] = Action("signHonestly(uint96)", hex"60");
        actions[5] = Action("signDishonestly(uint96,bool)", hex"6001");
        actions[6] = Action("withdrawHonestly(uint256)", hex"00");
        actions[7] = Action("withdrawDishonestly(uint256)", hex"00");
        actions[8] = Action("takeWithdrawal(uint8)", hex"08");
        actions[9] = Action("redeem(uint256)", hex"00");
        actions[10] = Action("accuseEquivocation(uint256,uint256)", hex"0000");
        actions[11] = Action("accuseLatest()", hex"");
        actions[12] = Action("accuseOverdraft(uint256)", hex"00");
        actions[13] = Action("veto(uint256)", hex"00");
        actions[14] = Action("execute(uint256,bool)", hex"0001");
        actions[15] = Action("compensate(uint256,uint256)", hex"0000");
        actions[16] = Action("sweep(uint256,bool)", hex"0001");
        actions[17] = Action("wait(uint32)", hex"20");
        _requireAllSucceed(address(parties), actions, 1500);
    }

    /// @notice The registry holds exactly the sum of all stakes.
    function invariant_stakesAreTheTokens() public view {
        assertEq(
            joule.balanceOf(address(registry)),
            _bonded(parties.utility(0)) + _bonded(parties.utility(1)),
            "tokens"
        );
    }

    /// @notice Nobody loses stake without evidence: a utility that signs one root per tick, within
    /// its cover, is never even accused.
    function invariant_theHonestLoseNothing() public view {
        assertEq(parties.slashed(0), 0, "slashed");
        assertEq(registry.locks(parties.utility(0)), 0, "accused");
    }

    /// @notice No stake leaves while a case is open.
    function invariant_theAccusedDoNotEscape() public view {
        assertTrue(!parties.escapedWhileAccused(), "escaped");
    }

    /// @notice The locks are the open cases.
    function invariant_locksAreOpenCases() public view {
        uint256 open;
        for (uint256 id = 1; id <= disputes.caseCount(); ++id) {
            if (disputes.caseOf(id).status == IDisputes.Status.Open) ++open;
        }
        assertEq(registry.locks(parties.utility(1)), open, "locks");
    }

    /// @notice What the disputes hold is the compensation that nobody has collected yet.
    function invariant_compensationIsThere() public view {
        uint256 kept;
        for (uint256 id = 1; id <= disputes.caseCount(); ++id) {
            IDisputes.Case memory case_ = disputes.caseOf(id);
            assertTrue(case_.compensated <= case_.compensation, "never more than the pot");
            assertTrue(case_.amount <= SLASH_CAP, "never more than the cap");
            kept += case_.compensation - case_.compensated;
        }
        assertEq(joule.balanceOf(address(disputes)), kept, "tokens");
    }

    /// @notice What a supplier has collected never falls.
    function invariant_compensationIsMonotone() public view {
        assertTrue(!parties.wentBackwards(), "monotone");
    }
}
