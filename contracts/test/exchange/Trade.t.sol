// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IExchange} from "../../src/interfaces/IExchange.sol";
import {ExchangeFixture} from "../utils/ExchangeFixture.sol";

contract TradeTest is ExchangeFixture {
    function testFuzz_aBuyFollowsTheConstantProduct(uint256 usdIn) public {
        usdIn = bound(usdIn, 1e6, USD_LIQUIDITY / 25);
        uint256 quoted = exchange.quoteBuy(usdIn);
        uint256 product = _product();
        uint256 before = joule.balanceOf(trader);
        assertEq(_buy(usdIn), quoted, "as quoted");
        assertEq(joule.balanceOf(trader), before + quoted, "received");
        assertTrue(quoted < usdIn * 20e12, "never better than the price");
        assertTrue(_product() >= product, "product");
    }

    function testFuzz_aSaleFollowsTheConstantProduct(uint256 jouleIn) public {
        jouleIn = bound(jouleIn, 1e18, JOULE_LIQUIDITY / 25);
        uint256 quoted = exchange.quoteSell(jouleIn);
        uint256 product = _product();
        uint256 before = usd.balanceOf(trader);
        assertEq(_sell(jouleIn), quoted, "as quoted");
        assertEq(usd.balanceOf(trader), before + quoted, "received");
        assertTrue(quoted < jouleIn / 20e12, "never better than the price");
        assertTrue(_product() >= product, "product");
    }

    function testFuzz_aRoundTripNeverGains(uint256 usdIn) public {
        usdIn = bound(usdIn, 1e6, USD_LIQUIDITY / 25);
        uint256 back = _sell(_buy(usdIn));
        assertTrue(back < usdIn, "less than it began with");
    }

    function test_noLessThanTheTraderAccepts() public {
        uint256 bought = exchange.quoteBuy(1_000e6);
        uint256 sold = exchange.quoteSell(1_000e18);
        vm.startPrank(trader);
        vm.expectRevert(abi.encodeWithSelector(IExchange.Slippage.selector, bought, bought + 1));
        exchange.buy(1_000e6, bought + 1, trader, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IExchange.Slippage.selector, sold, sold + 1));
        exchange.sell(1_000e18, sold + 1, trader, type(uint256).max);
        assertEq(exchange.buy(1_000e6, bought, stranger, _now()), bought, "exactly as much");
        assertEq(joule.balanceOf(stranger), bought, "where it was to go");
    }

    function test_aTradeInFrontDoesNotTakeMoreThanTheSlippage() public {
        uint256 min = exchange.quoteBuy(1_000e6) * 99 / 100;
        _buy(20_000e6);
        vm.prank(trader);
        vm.expectRevert();
        exchange.buy(1_000e6, min, trader, type(uint256).max);
    }

    function test_notAfterTheDeadline() public {
        uint256 deadline = _now() - 1;
        vm.startPrank(trader);
        vm.expectRevert(abi.encodeWithSelector(IExchange.Expired.selector, deadline));
        exchange.buy(1e6, 0, trader, deadline);
        vm.expectRevert(abi.encodeWithSelector(IExchange.Expired.selector, deadline));
        exchange.sell(1e18, 0, trader, deadline);
    }

    function test_neitherToNobodyNorForNothing() public {
        vm.startPrank(trader);
        vm.expectRevert(IExchange.ZeroAddress.selector);
        exchange.buy(1e6, 0, address(0), type(uint256).max);
        vm.expectRevert(IExchange.ZeroAmount.selector);
        exchange.buy(0, 0, trader, type(uint256).max);
        // Less than a millionth of a dollar's worth.
        vm.expectRevert(IExchange.ZeroAmount.selector);
        exchange.sell(1e12, 0, trader, type(uint256).max);
    }

    function test_aTokenThatKeepsAPartIsRefused() public {
        usd.keep(1);
        vm.prank(trader);
        vm.expectRevert(abi.encodeWithSelector(IExchange.NotReceived.selector, 1e6 - 1, 1e6));
        exchange.buy(1e6, 0, trader, type(uint256).max);
    }
}
