// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {
    OwnableUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/OwnableUpgradeable.sol";

import {IExchange} from "../../src/interfaces/IExchange.sol";
import {ExchangeFixture} from "../utils/ExchangeFixture.sol";

contract LiquidityTest is ExchangeFixture {
    function testFuzz_moreOfItKeepsThePrice(uint256 usd_, uint256 joule_) public {
        usd_ = bound(usd_, 1e6, USD_LIQUIDITY);
        joule_ = bound(joule_, 20e18, JOULE_LIQUIDITY);
        _fund(usd_, joule_);
        vm.prank(owner);
        (uint256 usdAdded, uint256 jouleAdded) = exchange.addLiquidity(usd_, joule_);
        assertTrue(usdAdded <= usd_ && jouleAdded <= joule_, "no more than given");
        assertTrue(usdAdded == usd_ || jouleAdded == joule_, "all of one");
        uint256 spot = exchange.spot();
        assertTrue(spot <= PRICE + PRICE / 1e9 && spot + PRICE / 1e9 >= PRICE, "price");
    }

    function test_onlyWhatIsHere() public {
        _fund(10e6, 199e18);
        vm.prank(owner);
        vm.expectRevert(abi.encodeWithSelector(IExchange.Unfunded.selector, 200e18, 199e18));
        exchange.addLiquidity(10e6, 200e18);
    }

    function testFuzz_aShareGoesToTheTreasury(uint16 bp) public {
        bp = uint16(bound(bp, 1, 9_000));
        vm.prank(owner);
        exchange.removeLiquidity(bp);
        assertEq(usd.balanceOf(treasury), USD_LIQUIDITY * bp / 10_000, "USD");
        assertEq(joule.balanceOf(treasury), JOULE_LIQUIDITY * bp / 10_000, "JOULE");
        assertEq(exchange.spot(), PRICE, "price");
    }

    function test_neverAllOfIt() public {
        vm.startPrank(owner);
        vm.expectRevert(abi.encodeWithSelector(IExchange.OutOfBounds.selector, 9_001, 1, 9_000));
        exchange.removeLiquidity(9_001);
        vm.expectRevert(abi.encodeWithSelector(IExchange.OutOfBounds.selector, 0, 1, 9_000));
        exchange.removeLiquidity(0);
    }

    function test_feesStayInTheReserves() public {
        uint256 bought = _buy(10_000e6);
        _sell(bought);
        (uint256 usdReserve, uint256 jouleReserve) = exchange.reserves();
        assertEq(jouleReserve, JOULE_LIQUIDITY, "JOULE");
        assertTrue(usdReserve > USD_LIQUIDITY + 59e6, "two fees of 30 dollars, less the slippage");
    }

    function test_sweepTakesOnlyWhatIsBesideThem() public {
        _fund(5, 7);
        vm.prank(owner);
        exchange.sweep();
        assertEq(usd.balanceOf(treasury), 5, "USD");
        assertEq(joule.balanceOf(treasury), 7, "JOULE");
        assertEq(usd.balanceOf(address(exchange)), USD_LIQUIDITY, "the reserves stay");
    }

    function test_onlyTheOwner() public {
        bytes memory refusal = abi.encodeWithSelector(
            OwnableUpgradeable.OwnableUnauthorizedAccount.selector, stranger
        );
        vm.startPrank(stranger);
        vm.expectRevert(refusal);
        exchange.addLiquidity(1, 1);
        vm.expectRevert(refusal);
        exchange.removeLiquidity(1);
        vm.expectRevert(refusal);
        exchange.sweep();
        vm.expectRevert(refusal);
        exchange.setFee(1);
        vm.expectRevert(refusal);
        exchange.setMove(100);
        vm.expectRevert(refusal);
        exchange.setWindow(1 hours);
        vm.expectRevert(refusal);
        exchange.setTreasury(stranger);
        vm.expectRevert(refusal);
        exchange.upgradeToAndCall(address(1), "");
    }

    function testFuzz_parametersAreBounded(uint16 fee, uint16 move, uint32 window) public {
        vm.startPrank(owner);
        if (fee > 100) vm.expectRevert();
        exchange.setFee(fee);
        if (move < 10 || move > 2_000) vm.expectRevert();
        exchange.setMove(move);
        if (window < 10 seconds || window > 1 days) vm.expectRevert();
        exchange.setWindow(window);
        vm.expectRevert(IExchange.ZeroAddress.selector);
        exchange.setTreasury(address(0));
    }
}
