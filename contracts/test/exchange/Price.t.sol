// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {Exchange} from "../../src/Exchange.sol";
import {IExchange} from "../../src/interfaces/IExchange.sol";
import {ExchangeFixture} from "../utils/ExchangeFixture.sol";

/// @dev The time-weighted price against a model that keeps every second.
contract PriceTest is ExchangeFixture {
    function test_aPriceThatLastsBecomesThePrice() public {
        _buy(USD_LIQUIDITY / 25);
        uint256 spot = exchange.spot();
        _wait(WINDOW / 2);
        assertEq(exchange.price(), PRICE + (spot - PRICE) / 2, "halfway");
        _wait(WINDOW / 2);
        assertEq(exchange.price(), spot, "all the way");
        _wait(30 days);
        assertEq(exchange.price(), spot, "and it stays");
    }

    /// @dev The model may differ by what the price moved within a thirty-second of the window.
    function testFuzz_itFollowsTheModel(uint32[12] calldata steps, uint256[12] calldata amounts)
        public
    {
        uint256 start = _now() - WINDOW;
        uint256[] memory sums = new uint256[](WINDOW + 12 * 200 + 1);
        uint256 filled;
        for (; filled < WINDOW; ++filled) {
            sums[filled + 1] = sums[filled] + PRICE;
        }
        for (uint256 i; i < steps.length; ++i) {
            if (amounts[i] % 2 == 0) _buy(bound(amounts[i], 1e6, USD_LIQUIDITY / 40));
            else _sell(bound(amounts[i], 1e18, JOULE_LIQUIDITY / 40));
            uint256 spot = exchange.spot();
            _mine(bound(steps[i], 1, 100));
            for (; start + filled < _now(); ++filled) {
                sums[filled + 1] = sums[filled] + spot;
            }
            uint256 price = exchange.price();
            uint256 model = (sums[filled] - sums[filled - WINDOW]) / WINDOW;
            uint256 apart = price > model ? price - model : model - price;
            assertTrue(apart <= PRICE / 100, "near the model");
        }
    }

    /// @dev However the past lies, a note changes nothing at the moment it is made.
    function testFuzz_aNoteChangesNothing(uint32[8] calldata steps, uint256[8] calldata amounts)
        public
    {
        for (uint256 i; i < steps.length; ++i) {
            _buy(bound(amounts[i], 1e6, USD_LIQUIDITY / 40));
            _mine(bound(steps[i], 1, 600));
            uint256 price = exchange.price();
            exchange.poke();
            assertEq(exchange.price(), price, "price");
        }
    }

    function test_notBeforeTheWindowIsFull() public {
        Exchange young = Exchange(
            address(
                new ERC1967Proxy(
                    address(new Exchange(usd, joule)),
                    abi.encodeCall(
                        Exchange.initialize, (owner, treasury, TRADING_FEE_BP, MOVE_BP, WINDOW)
                    )
                )
            )
        );
        vm.expectRevert(IExchange.NotOpen.selector);
        young.price();
        vm.expectRevert(IExchange.NotOpen.selector);
        young.quoteBuy(1);
        usd.mint(address(young), 1e6);
        vm.startPrank(owner);
        joule.transfer(address(young), 20e18);
        young.addLiquidity(1e6, 20e18);
        vm.stopPrank();
        uint256 from = _now() + WINDOW;
        _wait(WINDOW - 2);
        young.poke();
        vm.expectRevert(abi.encodeWithSelector(IExchange.TooYoung.selector, from));
        young.price();
        _mine(1);
        assertEq(young.price(), PRICE, "now");
    }

    function test_aLongerWindowWaitsForItsPast() public {
        for (uint256 i; i < 400; ++i) {
            _mine(10);
            exchange.poke();
        }
        vm.prank(owner);
        exchange.setWindow(1 days);
        vm.expectRevert();
        exchange.price();
        _wait(1 days);
        assertEq(exchange.price(), PRICE, "now");
    }
}
