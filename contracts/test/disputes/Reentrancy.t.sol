// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {
    ERC20Upgradeable
} from "@openzeppelin/contracts-upgradeable/token/ERC20/ERC20Upgradeable.sol";

import {Joule} from "../../src/Joule.sol";
import {Registry} from "../../src/Registry.sol";
import {PaymentRoot} from "../../src/libraries/PaymentRoots.sol";
import {TrustFixture} from "../utils/TrustFixture.sol";

/// @dev JOULE calls nobody back; this token does, with whatever was set, at its next transfer.
contract CallingJoule is Joule {
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

/// @dev An operator that is a contract.
contract Withdrawer {
    Registry private immutable registry;

    constructor(Registry registry_) {
        registry = registry_;
    }

    function request(uint256 amount) external {
        registry.requestUnbonding(amount);
    }

    function take() external {
        registry.unbond(address(this));
    }
}

/// @notice Even a token that called back would find nothing to take twice.
contract ReentrancyTest is TrustFixture {
    CallingJoule private token;

    function setUp() public override {
        super.setUp();
        CallingJoule next = new CallingJoule();
        vm.prank(owner);
        joule.upgradeToAndCall(address(next), "");
        token = CallingJoule(address(joule));
    }

    function test_anExecutionInsideAnExecution() public {
        _deposit(1_000);
        uint256 first = _equivocate(1, 5, 6);
        uint256 second = _equivocate(2, 5, 6);
        token.callNext(address(disputes), abi.encodeCall(disputes.execute, (second)));
        _execute(first);
        assertTrue(token.ran() && !token.succeeded(), "refused");
        assertEq(_bonded(utility), STAKE / 2, "slashed once");
        disputes.execute(second);
    }

    function test_aSweepInsideASweep() public {
        uint256 id = _overdraw(1, 1_000e18, 0);
        _execute(id);
        vm.warp(uint256(disputes.caseOf(id).compensationEnds) + 1);
        token.callNext(address(disputes), abi.encodeCall(disputes.sweep, (id)));
        disputes.sweep(id);
        assertTrue(token.ran() && !token.succeeded(), "refused");
    }

    function test_anAccusationInsideAnExecution() public {
        uint256 first = _overdraw(1, 1_000e18, 0);
        vm.warp(uint256(disputes.caseOf(first).windowEnds) + 1);
        (PaymentRoot memory root, bytes memory signed,) = _tick(1, 1_000e18, 0);
        bytes memory call = abi.encodeCall(disputes.accuseOverdraft, (root, signed));
        token.callNext(address(disputes), call);
        disputes.execute(first);
        assertTrue(token.ran() && !token.succeeded(), "refused");
    }

    /// @dev The operator is a contract that takes its stake out again while it is being paid.
    function test_aWithdrawalInsideAWithdrawal() public {
        Withdrawer operator = new Withdrawer(registry);
        _bond(address(operator), 1_000);
        operator.request(400);
        vm.warp(block.timestamp + THAW);
        token.callNext(address(operator), abi.encodeCall(operator.take, ()));
        operator.take();
        assertTrue(token.ran() && !token.succeeded(), "refused");
        assertEq(joule.balanceOf(address(operator)), 400, "once");
        assertEq(_bonded(address(operator)), 600, "the rest");
    }
}
