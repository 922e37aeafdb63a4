// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IExchange} from "../../src/interfaces/IExchange.sol";
import {ExchangeFixture} from "../utils/ExchangeFixture.sol";

/// @dev What somebody with any amount of money can do to the price.
contract ManipulationTest is ExchangeFixture {
    function testFuzz_oneBlockDoesNotMoveThePrice(uint256[8] calldata amounts, uint8 directions)
        public
    {
        assertEq(exchange.price(), PRICE, "before");
        for (uint256 i; i < amounts.length; ++i) {
            bool up = (directions >> i) & 1 == 1;
            uint256 amount = up
                ? bound(amounts[i], 1e6, USD_LIQUIDITY)
                : bound(amounts[i], 1e18, JOULE_LIQUIDITY);
            // Some are refused, since they would move this block too far.
            try this.trade(up, amount) {} catch {}
            assertEq(exchange.price(), PRICE, "time-weighted");
            assertTrue(_within(exchange.spot(), PRICE, MOVE_BP), "spot");
        }
    }

    /// @dev The most a single block achieves: it moves the price to its bound and leaves it there.
    function testFuzz_aBlockCountsForItsSecondsOnly(uint256 usdIn) public {
        usdIn = bound(usdIn, 1e6, USD_LIQUIDITY / 25);
        _buy(usdIn);
        uint256 moved = exchange.spot() - PRICE;
        _mine(1);
        uint256 share = moved * BLOCK_SECONDS / WINDOW;
        assertEq(exchange.price(), PRICE + share, "for the seconds it lasted");
        assertTrue(share * 10_000 <= PRICE * MOVE_BP * BLOCK_SECONDS / WINDOW, "bounded");
    }

    function test_aBigTradeIsRefused() public {
        (uint256 usdReserve, uint256 jouleReserve) = exchange.reserves();
        uint256 out = exchange.quoteBuy(USD_LIQUIDITY / 10);
        uint256 price = (usdReserve + USD_LIQUIDITY / 10) * 1e30 / (jouleReserve - out);
        vm.prank(trader);
        vm.expectRevert(abi.encodeWithSelector(IExchange.MovesTooFar.selector, PRICE, price));
        exchange.buy(USD_LIQUIDITY / 10, 0, trader, type(uint256).max);
    }

    function test_soAreManySmallOnesInABlock() public {
        uint256 done;
        for (uint256 i; i < 20; ++i) {
            try this.trade(true, USD_LIQUIDITY / 100) {
                ++done;
            } catch {}
        }
        assertEq(done, 4, "until the block has moved by a tenth");
        // The other direction is open, and so is the next block.
        _sell(1_000e18);
        _mine(1);
        _buy(USD_LIQUIDITY / 100);
    }

    function test_tokensSentHereMoveNothing() public {
        _fund(USD_LIQUIDITY * 10, 0);
        assertEq(exchange.spot(), PRICE, "spot");
        _mine(100);
        exchange.poke();
        assertEq(exchange.price(), PRICE, "time-weighted");
    }

    /// @dev Trades between equal timestamps, as on a chain with several blocks a second.
    function test_blocksOfTheSameSecondCountNothing() public {
        for (uint256 i; i < 5; ++i) {
            _buy(USD_LIQUIDITY / 50);
            _mineWithoutTime();
        }
        assertTrue(exchange.spot() > PRICE * 115 / 100, "spot has moved");
        assertEq(exchange.price(), PRICE, "time-weighted");
    }

    function test_poolsPokedOftenAreNoEasier() public {
        for (uint256 i; i < 200; ++i) {
            _mine(1);
            exchange.poke();
        }
        _buy(USD_LIQUIDITY / 25);
        exchange.poke();
        assertEq(exchange.price(), PRICE, "time-weighted");
    }

    function trade(bool up, uint256 amount) external {
        up ? _buy(amount) : _sell(amount);
    }

    function _mineWithoutTime() private {
        uint256 time = _now();
        _mine(1);
        vm.warp(time);
    }

    function _within(uint256 value, uint256 around, uint256 bp) private pure returns (bool) {
        uint256 distance = value > around ? value - around : around - value;
        return distance * 10_000 <= around * bp;
    }
}
