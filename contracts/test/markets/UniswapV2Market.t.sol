// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {UniswapV2Market} from "../../src/UniswapV2Market.sol";
import {IExchange} from "../../src/interfaces/IExchange.sol";
import {IMarket} from "../../src/interfaces/IMarket.sol";
import {StablecoinDouble} from "../utils/StablecoinDouble.sol";
import {UniswapFixture} from "../utils/UniswapFixture.sol";

/// @dev A stablecoin that calls whom it was told to at its next transfer by the pair.
contract CallingStablecoin is StablecoinDouble {
    address private target;
    bytes private data;
    bool public ran;
    bool public succeeded;

    function callNext(address target_, bytes calldata data_) external {
        (target, data) = (target_, data_);
    }

    function transfer(address to, uint256 amount) public override returns (bool) {
        super.transfer(to, amount);
        if (target == address(0)) return true;
        address called = target;
        target = address(0);
        ran = true;
        (succeeded,) = called.call(data);
        return true;
    }
}

/// @notice The adapter against Uniswap v2's own bytecode.
contract UniswapV2MarketTest is UniswapFixture {
    function _near(uint256 got, uint256 expected, uint256 bp, string memory what) private pure {
        uint256 apart = got > expected ? got - expected : expected - got;
        assertTrue(apart * 10_000 <= expected * bp, what);
    }

    function _buy(uint256 usdIn, uint256 minOut) private returns (uint256) {
        vm.prank(trader);
        return market.buy(usdIn, minOut, trader, type(uint256).max);
    }

    function test_itHasTheSelectorsOfTheExchange() public pure {
        assertTrue(IMarket.buy.selector == IExchange.buy.selector, "buy");
        assertTrue(IMarket.sell.selector == IExchange.sell.selector, "sell");
        assertTrue(IMarket.price.selector == IExchange.price.selector, "price");
        assertTrue(IMarket.spot.selector == IExchange.spot.selector, "spot");
        assertTrue(IMarket.poke.selector == IExchange.poke.selector, "poke");
        assertTrue(IMarket.quoteBuy.selector == IExchange.quoteBuy.selector, "quoteBuy");
        assertTrue(IMarket.quoteSell.selector == IExchange.quoteSell.selector, "quoteSell");
        assertTrue(IMarket.usd.selector == IExchange.usd.selector, "usd");
        assertTrue(IMarket.joule.selector == IExchange.joule.selector, "joule");
    }

    function test_thePriceIsThePairs() public view {
        _near(market.price(), PRICE, 1, "price");
        _near(market.spot(), PRICE, 1, "spot");
    }

    function testFuzz_aQuoteIsWhatABuyGives(uint256 usdIn) public {
        usdIn = bound(usdIn, 1e6, 8_000e6);
        uint256 quoted = market.quoteBuy(usdIn);
        uint256 before = joule.balanceOf(trader);
        vm.prank(trader);
        vm.expectEmit();
        emit IExchange.Bought(trader, trader, usdIn, quoted);
        uint256 got = market.buy(usdIn, quoted, trader, type(uint256).max);
        assertEq(got, quoted, "as quoted");
        assertEq(joule.balanceOf(trader) - before, got, "received");
        assertEq(usd.balanceOf(address(market)) + joule.balanceOf(address(market)), 0, "empty");
    }

    function testFuzz_aQuoteIsWhatASaleGives(uint256 jouleIn) public {
        jouleIn = bound(jouleIn, 20e18, 160_000e18);
        uint256 quoted = market.quoteSell(jouleIn);
        uint256 before = usd.balanceOf(other);
        vm.prank(trader);
        uint256 got = market.sell(jouleIn, quoted, other, type(uint256).max);
        assertEq(got, quoted, "as quoted");
        assertEq(usd.balanceOf(other) - before, got, "received");
        _near(got * 1e12 * 1e18 / jouleIn, PRICE, SLIP_BP, "near the price");
    }

    function test_lessThanTheTraderAcceptsIsRefused() public {
        uint256 quoted = market.quoteBuy(1_000e6);
        vm.prank(trader);
        vm.expectRevert(abi.encodeWithSelector(IExchange.Slippage.selector, quoted, quoted + 1));
        market.buy(1_000e6, quoted + 1, trader, type(uint256).max);
    }

    /// @dev A trade that itself moves the price by more than the bound.
    function test_aTradeTooLargeForThePairIsRefused() public {
        vm.prank(trader);
        vm.expectRevert();
        market.buy(50_000e6, 0, trader, type(uint256).max);
    }

    /// @dev Somebody buys in front, the desk follows at a bad price, somebody sells behind: the desk
    /// does not follow, even where it accepts anything.
    function test_aSandwichIsRefused() public {
        _push(100_000e6);
        vm.prank(trader);
        vm.expectRevert();
        market.buy(1_000e6, 0, trader, type(uint256).max);
    }

    function testFuzz_whatABlockDoesMovesNoPrice(uint256 usdIn) public {
        usdIn = bound(usdIn, 1e6, 10_000_000e6);
        uint256 before = market.price();
        _push(usdIn);
        market.poke();
        assertEq(market.price(), before, "the same block");
        _mine(1);
        uint256 moved = market.price();
        // A block of two seconds in a window of 1,800.
        uint256 spot = market.spot();
        assertTrue(moved >= before, "up");
        assertTrue(moved - before <= (spot - before) * BLOCK_SECONDS / WINDOW + 1, "by its time");
    }

    function test_aPriceThatStaysIsThePrice() public {
        _push(100_000e6);
        for (uint256 i; i < 70; ++i) {
            _wait(WINDOW / 30);
            market.poke();
        }
        _near(market.price(), market.spot(), 1, "the new one");
        _buy(1_000e6, 0);
    }

    function test_aPriceNeedsAPastThatIsNotTooOld() public {
        UniswapV2Market young = new UniswapV2Market(router, usd, joule, WINDOW, SLIP_BP);
        uint256 from = _now() + WINDOW;
        vm.expectRevert(abi.encodeWithSelector(IExchange.TooYoung.selector, from));
        young.price();
        vm.prank(trader);
        vm.expectRevert(abi.encodeWithSelector(IExchange.TooYoung.selector, from));
        young.buy(1e6, 0, trader, type(uint256).max);
        _wait(WINDOW);
        young.price();
        // Nobody noted anything for two windows: then it is not known well enough.
        _wait(WINDOW + 10);
        vm.expectRevert();
        young.price();
        young.poke();
        _wait(WINDOW);
        young.price();
    }

    function test_lateTradesAndNobody() public {
        uint256 yesterday = block.timestamp - 1;
        vm.startPrank(trader);
        vm.expectRevert(abi.encodeWithSelector(IExchange.Expired.selector, yesterday));
        market.buy(1e6, 0, trader, yesterday);
        vm.expectRevert(IExchange.ZeroAddress.selector);
        market.buy(1e6, 0, address(0), type(uint256).max);
        vm.expectRevert(IExchange.ZeroAmount.selector);
        market.sell(0, 0, trader, type(uint256).max);
        vm.stopPrank();
    }

    /// @dev A token that keeps a part of what is sent: the balance says what came, not the router.
    function test_aTokenThatKeepsAPartIsRefused() public {
        usd.keep(3e6);
        vm.startPrank(trader);
        vm.expectRevert();
        market.buy(100e6, 0, trader, type(uint256).max);
        vm.expectRevert();
        market.sell(2_000e18, 0, trader, type(uint256).max);
        vm.stopPrank();
    }

    /// @dev What an inner trade brings would count for the outer one, too.
    function test_aTradeInsideATradeIsRefused() public {
        CallingStablecoin calling = new CallingStablecoin();
        factory.createPair(address(calling), address(joule));
        calling.mint(address(this), USD_LIQUIDITY);
        calling.approve(address(router), type(uint256).max);
        vm.prank(trader);
        joule.transfer(address(this), JOULE_LIQUIDITY);
        router.addLiquidity(
            address(calling),
            address(joule),
            USD_LIQUIDITY,
            JOULE_LIQUIDITY,
            0,
            0,
            address(this),
            type(uint256).max
        );
        UniswapV2Market other_ = new UniswapV2Market(router, calling, joule, WINDOW, SLIP_BP);
        _wait(WINDOW);
        // The token itself is the inner trader, and has all it needs for it.
        vm.prank(trader);
        joule.transfer(address(calling), 1_000e18);
        vm.prank(address(calling));
        joule.approve(address(other_), type(uint256).max);
        calling.callNext(
            address(other_), abi.encodeCall(other_.sell, (1_000e18, 0, trader, type(uint256).max))
        );
        vm.startPrank(trader);
        joule.approve(address(other_), type(uint256).max);
        other_.sell(1_000e18, 0, trader, type(uint256).max);
        vm.stopPrank();
        assertTrue(calling.ran() && !calling.succeeded(), "refused");
    }

    function test_whatItIsMadeWithIsBounded() public {
        vm.expectRevert(abi.encodeWithSelector(IExchange.OutOfBounds.selector, 9, 10, 1 days));
        new UniswapV2Market(router, usd, joule, 9, SLIP_BP);
        vm.expectRevert(abi.encodeWithSelector(IExchange.OutOfBounds.selector, 2_001, 1, 2_000));
        new UniswapV2Market(router, usd, joule, WINDOW, 2_001);
        vm.expectRevert(UniswapV2Market.NoPair.selector);
        new UniswapV2Market(router, usd, usd, WINDOW, SLIP_BP);
    }
}
