// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {Exchange} from "../../src/Exchange.sol";
import {Treasury} from "../../src/Treasury.sol";
import {GovernanceFixture} from "../utils/GovernanceFixture.sol";
import {StablecoinDouble} from "../utils/StablecoinDouble.sol";

/// @dev A proposal that opens the exchange with the treasury's money, and one that takes it back.
contract LiquidityProposalTest is GovernanceFixture {
    StablecoinDouble private usd;
    Exchange private exchange;

    function setUp() public override {
        super.setUp();
        usd = new StablecoinDouble();
        exchange = Exchange(
            address(
                new ERC1967Proxy(
                    address(new Exchange(usd, joule)),
                    abi.encodeCall(Exchange.initialize, (owner, treasury, 30, 1_000, 30 minutes))
                )
            )
        );
        usd.mint(treasury, 1_000_000e6);
    }

    function test_theTreasuryOpensAndClosesTheExchange() public {
        uint256 before = joule.balanceOf(treasury);
        _call(treasury, abi.encodeCall(Treasury.pay, (usd, address(exchange), 50_000e6)));
        _call(treasury, abi.encodeCall(Treasury.pay, (joule, address(exchange), 1_000_000e18)));
        _call(address(exchange), abi.encodeCall(Exchange.addLiquidity, (50_000e6, 1_000_000e18)));
        _enact("Open the exchange");
        assertEq(exchange.spot(), 0.05e18, "price");
        _wait(30 minutes);
        assertEq(exchange.price(), 0.05e18, "time-weighted");

        delete targets;
        delete calls;
        _call(address(exchange), abi.encodeCall(Exchange.removeLiquidity, (5_000)));
        _enact("Take half of it back");
        assertEq(usd.balanceOf(treasury), 975_000e6, "USD");
        assertEq(joule.balanceOf(treasury), before - 500_000e18, "JOULE");
    }
}
