// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Joule} from "../../src/Joule.sol";
import {Exchange} from "../../src/Exchange.sol";
import {Blocks} from "../utils/Blocks.sol";
import {Campaign} from "../utils/Campaign.sol";
import {ExchangeFixture} from "../utils/ExchangeFixture.sol";
import {StablecoinDouble} from "../utils/StablecoinDouble.sol";

/// @dev What traders and the owner may do, in any order.
contract Traders is Blocks {
    Exchange private immutable exchange;
    StablecoinDouble private immutable usd;
    Joule private immutable joule;
    address private immutable trader;
    address private immutable owner;

    bool public productFell;
    bool public blockMovedThePrice;

    constructor(
        Exchange exchange_,
        StablecoinDouble usd_,
        Joule joule_,
        address trader_,
        address owner_
    ) {
        (exchange, usd, joule, trader, owner) = (exchange_, usd_, joule_, trader_, owner_);
    }

    modifier watched() {
        uint256 product = _product();
        uint256 price = exchange.price();
        _;
        if (_product() < product) productFell = true;
        if (exchange.price() != price) blockMovedThePrice = true;
    }

    function buy(uint256 amount) external watched {
        vm.prank(trader);
        exchange.buy(bound(amount, 1, 50_000e6), 0, trader, type(uint256).max);
    }

    function sell(uint256 amount) external watched {
        vm.prank(trader);
        exchange.sell(bound(amount, 1, 1_000_000e18), 0, trader, type(uint256).max);
    }

    function give(uint256 amount) external watched {
        usd.mint(address(exchange), bound(amount, 0, 1_000e6));
        vm.prank(trader);
        joule.transfer(address(exchange), bound(amount, 0, 1_000e18));
    }

    function poke() external watched {
        exchange.poke();
    }

    function addLiquidity(uint256 amount) external {
        vm.prank(owner);
        exchange.addLiquidity(bound(amount, 1, 100e6), type(uint96).max);
    }

    function removeLiquidity(uint16 bp) external {
        vm.prank(owner);
        exchange.removeLiquidity(uint16(bound(bp, 1, 100)));
    }

    function mine(uint256 count) external {
        _mine(bound(count, 1, 500));
    }

    function _product() private view returns (uint256) {
        (uint256 usdReserve, uint256 jouleReserve) = exchange.reserves();
        return usdReserve * jouleReserve;
    }
}

contract ExchangeInvariants is Campaign, ExchangeFixture {
    Traders private traders;

    function setUp() public override {
        super.setUp();
        traders = new Traders(exchange, usd, joule, trader, owner);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(traders);
    }

    /// @notice Nothing holds only because nobody gets anywhere.
    function test_everyActionSucceeds() public {
        Action[] memory actions = new Action[](7);
        actions[0] = Action("buy(uint256)", hex"00");
        actions[1] = Action("sell(uint256)", hex"00");
        actions[2] = Action("give(uint256)", hex"00");
        actions[3] = Action("poke()", hex"");
        actions[4] = Action("addLiquidity(uint256)", hex"00");
        actions[5] = Action("removeLiquidity(uint16)", hex"10");
        actions[6] = Action("mine(uint256)", hex"00");
        _requireAllSucceed(address(traders), actions, 150);
    }

    /// @notice The exchange holds its reserves.
    function invariant_tokensCoverTheReserves() public view {
        (uint256 usdReserve, uint256 jouleReserve) = exchange.reserves();
        assertTrue(usd.balanceOf(address(exchange)) >= usdReserve, "USD");
        assertTrue(joule.balanceOf(address(exchange)) >= jouleReserve, "JOULE");
    }

    /// @notice No trade takes from the protocol: the product of the reserves never falls by one.
    function invariant_theProductNeverFalls() public view {
        assertTrue(!traders.productFell(), "product");
    }

    /// @notice Nothing that happens within a block moves the time-weighted price in it.
    function invariant_noBlockMovesThePrice() public view {
        assertTrue(!traders.blockMovedThePrice(), "price");
    }
}
