// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IPaymentEscrow} from "../../src/interfaces/IPaymentEscrow.sol";
import {PaymentEscrow} from "../../src/PaymentEscrow.sol";
import {Joule} from "../../src/Joule.sol";
import {PaymentRoot, PaymentRoots} from "../../src/libraries/PaymentRoots.sol";
import {Campaign} from "../utils/Campaign.sol";
import {Fixture} from "../utils/Fixture.sol";
import {Test} from "../utils/Test.sol";
import {Trees} from "../utils/Trees.sol";

/// @dev What a utility, its suppliers and whoever holds their proofs may do, in any order.
contract Actors is Test {
    /// @dev There is nothing to do it with.
    error Nothing();

    uint256 private constant KEY = 0xA11CE;

    PaymentEscrow private immutable escrow;
    Joule private immutable joule;
    address private immutable utility;
    address private immutable owner;

    uint64 private tick;
    uint96[3] public earned;
    uint256[3] public claimed;
    PaymentRoot[] private roots;
    uint96[3][] private leaves;
    bool public wentBackwards;

    constructor(PaymentEscrow escrow_, Joule joule_, address utility_, address owner_) {
        (escrow, joule, utility, owner) = (escrow_, joule_, utility_, owner_);
    }

    function deposit(uint256 amount) external {
        vm.prank(utility);
        escrow.deposit(utility, 1, bound(amount, 1, 1e24));
    }

    function earn(uint8 who, uint96 more) external {
        earned[who % 3] += uint96(bound(more, 0, 1e24));
        bytes32 pair = _pair(_leaf(0), _leaf(1));
        uint256 total = uint256(earned[0]) + earned[1] + earned[2];
        roots.push(PaymentRoot(utility, 1, ++tick, _pair(pair, _leaf(2)), total));
        leaves.push(earned);
    }

    /// @dev Any root ever signed, for any supplier, sent by anyone.
    function redeem(uint256 which, uint8 who) external {
        if (roots.length == 0) revert Nothing();
        which %= roots.length;
        who %= 3;
        uint96[3] memory then = leaves[which];
        bytes32[] memory proof = new bytes32[](who == 2 ? 1 : 2);
        if (who == 2) {
            proof[0] = _pair(_leafOf(0, then[0]), _leafOf(1, then[1]));
        } else {
            proof[0] = _leafOf(1 - who, then[1 - who]);
            proof[1] = _leafOf(2, then[2]);
        }
        escrow.redeem(roots[which], _signature(which), payee(who), then[who], proof);
        uint256 now_ = escrow.redeemed(utility, 1, payee(who));
        if (now_ < claimed[who]) wentBackwards = true;
        claimed[who] = now_;
    }

    /// @dev All three at once, as far as they have not had it.
    function redeemMany(uint256 which) external {
        if (roots.length == 0) revert Nothing();
        which %= roots.length;
        bytes32[] memory claims = new bytes32[](3);
        // The first level pairs the first two; the third waits for what they make.
        for (uint8 who; who < 3; ++who) {
            claims[who] = Trees.claim(payee(who), leaves[which][who]);
        }
        bytes memory signature = _signature(which);
        // Steps: the two leaves, then the third with their pair.
        escrow.redeemMany(roots[which], signature, claims, new bytes32[](0), hex"c0");
        for (uint8 who; who < 3; ++who) {
            uint256 now_ = escrow.redeemed(utility, 1, payee(who));
            if (now_ < claimed[who]) wentBackwards = true;
            claimed[who] = now_;
        }
    }

    function anchor(uint256 which) external {
        if (roots.length == 0) revert Nothing();
        which %= roots.length;
        escrow.anchor(roots[which], _signature(which));
    }

    function requestWithdrawal(uint256 amount) external {
        vm.prank(utility);
        escrow.requestWithdrawal(1, bound(amount, 0, 1e24));
    }

    function withdraw() external {
        vm.prank(utility);
        escrow.withdraw(1, utility);
    }

    function collectFees() external {
        escrow.collectFees();
    }

    function setFee(uint16 fee) external {
        vm.prank(owner);
        escrow.setFee(uint16(bound(fee, 0, 1_000)));
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + bound(time, 0, 2 days));
    }

    function payee(uint8 who) public pure returns (address) {
        return address(uint160(0x9000) + who);
    }

    /// @dev None, where the root is anchored.
    function _signature(uint256 which) private view returns (bytes memory) {
        bytes32 digest = escrow.rootDigest(roots[which]);
        (bytes32 anchored,) = escrow.anchored(utility, 1);
        if (anchored == digest) return "";
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(KEY, digest);
        return abi.encodePacked(r, s, v);
    }

    function _leaf(uint8 who) private view returns (bytes32) {
        return _leafOf(who, earned[who]);
    }

    function _leafOf(uint8 who, uint96 amount) private pure returns (bytes32) {
        return PaymentRoots.leaf(payee(who), amount);
    }

    function _pair(bytes32 a, bytes32 b) private pure returns (bytes32) {
        return a < b ? keccak256(abi.encode(a, b)) : keccak256(abi.encode(b, a));
    }
}

contract EscrowInvariants is Campaign, Fixture {
    Actors private actors;

    function setUp() public override {
        super.setUp();
        actors = new Actors(escrow, joule, utility, owner);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    /// @notice Nothing holds only because nobody gets anywhere.
    function test_everyActionSucceeds() public {
        Action[] memory actions = new Action[](10);
        actions[0] = Action("deposit(uint256)", hex"00");
        actions[1] = Action("earn(uint8,uint96)", hex"0860");
        actions[2] = Action("redeem(uint256,uint8)", hex"0008");
        actions[3] = Action("redeemMany(uint256)", hex"00");
        actions[4] = Action("anchor(uint256)", hex"00");
        actions[5] = Action("requestWithdrawal(uint256)", hex"00");
        actions[6] = Action("withdraw()", hex"");
        actions[7] = Action("collectFees()", hex"");
        actions[8] = Action("setFee(uint16)", hex"10");
        actions[9] = Action("wait(uint32)", hex"20");
        _requireAllSucceed(address(actors), actions, 200);
    }

    /// @notice The escrow holds exactly the balance of its account and the fees it has gathered.
    function invariant_tokensCoverTheBooks() public view {
        uint256 balance = escrow.account(utility, SERIES).balance;
        assertEq(joule.balanceOf(address(escrow)), balance + escrow.feesGathered(), "tokens");
    }

    /// @notice Everything that was deposited is there, was paid, was taken back or was a fee.
    function invariant_depositsAreConserved() public view {
        IPaymentEscrow.Account memory account = escrow.account(utility, SERIES);
        uint256 fees = escrow.feesGathered() + joule.balanceOf(treasury);
        uint256 sum = account.balance + account.redeemed + account.withdrawn + fees;
        assertEq(account.deposited, sum, "deposited");
    }

    /// @notice No supplier was ever paid more than it earned, and what it was paid is what it holds.
    function invariant_nobodyIsPaidMoreThanEarned() public view {
        uint256 sum;
        for (uint8 who; who < 3; ++who) {
            uint256 redeemed = escrow.redeemed(utility, SERIES, actors.payee(who));
            assertTrue(redeemed <= actors.earned(who), "within earnings");
            assertEq(joule.balanceOf(actors.payee(who)), redeemed, "holdings");
            sum += redeemed;
        }
        assertEq(escrow.account(utility, SERIES).redeemed, sum, "the account's sum");
    }

    /// @notice What was redeemed never falls.
    function invariant_redemptionsAreMonotone() public view {
        assertTrue(!actors.wentBackwards(), "monotone");
    }
}
