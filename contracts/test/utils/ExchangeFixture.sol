// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {Exchange} from "../../src/Exchange.sol";
import {Blocks} from "./Blocks.sol";
import {Fixture} from "./Fixture.sol";
import {StablecoinDouble} from "./StablecoinDouble.sol";

/// @title An exchange at 0.05 USD for one JOULE, and a trader with plenty of both.
abstract contract ExchangeFixture is Fixture, Blocks {
    uint256 internal constant USD_LIQUIDITY = 1_000_000e6;
    uint256 internal constant JOULE_LIQUIDITY = 20_000_000e18;
    uint256 internal constant PRICE = 0.05e18;
    uint16 internal constant TRADING_FEE_BP = 30;
    uint16 internal constant MOVE_BP = 1_000;
    uint32 internal constant WINDOW = 30 minutes;

    address internal trader = address(0x0888);
    StablecoinDouble internal usd;
    Exchange internal exchange;

    function setUp() public virtual override {
        super.setUp();
        usd = new StablecoinDouble();
        exchange = Exchange(
            address(
                new ERC1967Proxy(
                    address(new Exchange(usd, joule)),
                    abi.encodeCall(
                        Exchange.initialize, (owner, treasury, TRADING_FEE_BP, MOVE_BP, WINDOW)
                    )
                )
            )
        );
        _fund(USD_LIQUIDITY, JOULE_LIQUIDITY);
        vm.prank(owner);
        exchange.addLiquidity(USD_LIQUIDITY, JOULE_LIQUIDITY);

        usd.mint(trader, 1e18);
        vm.prank(owner);
        joule.transfer(trader, SUPPLY / 4);
        vm.startPrank(trader);
        usd.approve(address(exchange), type(uint256).max);
        joule.approve(address(exchange), type(uint256).max);
        vm.stopPrank();
        _wait(WINDOW);
    }

    /// @dev Sends tokens to the exchange without booking them.
    function _fund(uint256 usd_, uint256 joule_) internal {
        usd.mint(address(exchange), usd_);
        vm.prank(owner);
        joule.transfer(address(exchange), joule_);
    }

    function _buy(uint256 usdIn) internal returns (uint256) {
        vm.prank(trader);
        return exchange.buy(usdIn, 0, trader, type(uint256).max);
    }

    function _sell(uint256 jouleIn) internal returns (uint256) {
        vm.prank(trader);
        return exchange.sell(jouleIn, 0, trader, type(uint256).max);
    }

    function _product() internal view returns (uint256) {
        (uint256 usdReserve, uint256 jouleReserve) = exchange.reserves();
        return usdReserve * jouleReserve;
    }
}
