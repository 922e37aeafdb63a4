// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {UniswapV2Market} from "../../src/UniswapV2Market.sol";
import {
    IUniswapV2Factory,
    IUniswapV2Pair,
    IUniswapV2Router
} from "../../src/interfaces/IUniswapV2.sol";
import {Blocks} from "./Blocks.sol";
import {Fixture} from "./Fixture.sol";
import {StablecoinDouble} from "./StablecoinDouble.sol";

/// @notice The cheatcodes of forge that read Uniswap's published bytecode.
interface FileVm {
    function readFile(string calldata path) external view returns (string memory);
    function parseJsonString(string calldata json, string calldata key)
        external
        pure
        returns (string memory);
    function parseBytes(string calldata text) external pure returns (bytes memory);
}

interface IFactoryMaker is IUniswapV2Factory {
    function createPair(address a, address b) external returns (address);
}

interface IRouterLiquidity is IUniswapV2Router {
    function addLiquidity(
        address a,
        address b,
        uint256 aWanted,
        uint256 bWanted,
        uint256 aMin,
        uint256 bMin,
        address to,
        uint256 deadline
    ) external returns (uint256, uint256, uint256);
}

/// @title Uniswap v2 as it was published, bytecode and all, and a pair at 0.05 USD for one JOULE.
/// @dev The router finds a pair by the hash of its creation code: only a factory that makes exactly
/// that pair works with it, which is how these tests know that both are the real ones.
abstract contract UniswapFixture is Fixture, Blocks {
    uint256 internal constant USD_LIQUIDITY = 1_000_000e6;
    uint256 internal constant JOULE_LIQUIDITY = 20_000_000e18;
    uint256 internal constant PRICE = 0.05e18;
    uint32 internal constant WINDOW = 30 minutes;
    uint16 internal constant SLIP_BP = 200;
    string private constant CORE = "node_modules/@uniswap/v2-core/build/";
    string private constant PERIPHERY = "node_modules/@uniswap/v2-periphery/build/";

    address internal trader = address(0x0888);
    StablecoinDouble internal usd;
    IFactoryMaker internal factory;
    IRouterLiquidity internal router;
    IUniswapV2Pair internal pair;
    UniswapV2Market internal market;

    function setUp() public virtual override {
        super.setUp();
        usd = new StablecoinDouble();
        factory = IFactoryMaker(
            _deploy(string.concat(CORE, "UniswapV2Factory.json"), abi.encode(address(this)))
        );
        router = IRouterLiquidity(
            _deploy(
                string.concat(PERIPHERY, "UniswapV2Router02.json"),
                abi.encode(address(factory), address(0xE7))
            )
        );
        pair = IUniswapV2Pair(factory.createPair(address(usd), address(joule)));
        usd.mint(address(this), USD_LIQUIDITY);
        vm.startPrank(owner);
        joule.transfer(address(this), JOULE_LIQUIDITY);
        joule.transfer(trader, SUPPLY / 4);
        vm.stopPrank();
        usd.approve(address(router), type(uint256).max);
        joule.approve(address(router), type(uint256).max);
        router.addLiquidity(
            address(usd),
            address(joule),
            USD_LIQUIDITY,
            JOULE_LIQUIDITY,
            0,
            0,
            address(this),
            type(uint256).max
        );
        market = new UniswapV2Market(router, usd, joule, WINDOW, SLIP_BP);
        usd.mint(trader, 1e18);
        vm.startPrank(trader);
        usd.approve(address(market), type(uint256).max);
        joule.approve(address(market), type(uint256).max);
        usd.approve(address(router), type(uint256).max);
        joule.approve(address(router), type(uint256).max);
        vm.stopPrank();
        _wait(WINDOW);
        market.poke();
    }

    function _deploy(string memory path, bytes memory arguments) private returns (address made) {
        FileVm files = FileVm(address(vm));
        string memory json = files.readFile(path);
        string memory hexadecimal = files.parseJsonString(json, ".evm.bytecode.object");
        bytes memory code =
            bytes.concat(files.parseBytes(string.concat("0x", hexadecimal)), arguments);
        assembly {
            made := create(0, add(code, 0x20), mload(code))
        }
        assertTrue(made != address(0), "deployed");
    }

    /// @dev Somebody trades past the adapter, at any price.
    function _push(uint256 usdIn) internal {
        address[] memory path = new address[](2);
        (path[0], path[1]) = (address(usd), address(joule));
        vm.prank(trader);
        router.swapExactTokensForTokens(usdIn, 0, path, trader, type(uint256).max);
    }
}
