// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {StakePool} from "../../src/StakePool.sol";
import {IStakePool} from "../../src/interfaces/IStakePool.sol";
import {Fixture} from "./Fixture.sol";

/// @title A pool, two investors, and suppliers with credit and no stake.
abstract contract PoolFixture is Fixture {
    uint256 internal constant DEPOSIT = 1_000_000e18;
    uint32 internal constant QUEUE_DELAY = 14 days;
    uint256 internal constant START = 1_800_000_000;

    address internal underwriter = address(0x0999);
    address internal investor = address(0x0aaa);
    address internal second = address(0x0bbb);

    address internal slasher = address(0x0777);

    StakePool internal pool;

    function setUp() public virtual override {
        super.setUp();
        vm.prank(owner);
        registry.setSlasher(slasher);
        pool = StakePool(
            address(
                new ERC1967Proxy(
                    address(new StakePool(joule, registry, escrow)),
                    abi.encodeCall(
                        StakePool.initialize, (owner, underwriter, _terms(), QUEUE_DELAY)
                    )
                )
            )
        );
        address[4] memory rich = [investor, second, stranger, other];
        for (uint256 i; i < rich.length; ++i) {
            vm.prank(owner);
            joule.transfer(rich[i], DEPOSIT * 10);
            vm.prank(rich[i]);
            joule.approve(address(pool), type(uint256).max);
        }
        vm.startPrank(underwriter);
        pool.setCredit(supplier, DEPOSIT);
        pool.setCredit(other, DEPOSIT);
        vm.stopPrank();
    }

    /// @dev Four fifths may be on loan, a quarter to one supplier; 10 percent of earnings to the
    /// pool and 20 to the supplier's stake.
    function _terms() internal pure returns (IStakePool.Terms memory) {
        return IStakePool.Terms(8_000, 2_500, 1_000, 2_000);
    }

    function _invest(address who, uint256 amount) internal returns (uint256) {
        vm.prank(who);
        return pool.deposit(amount, who);
    }

    function _borrow(address who, uint256 amount) internal {
        _choose(who);
        vm.prank(who);
        pool.borrow(amount);
    }

    /// @dev The supplier agrees to be lent to by the pool, at its terms.
    function _choose(address who) internal {
        vm.prank(who);
        registry.setLender(address(pool), 3_000);
    }

    function _request(address who, uint256 shares) internal returns (uint256) {
        vm.prank(who);
        return pool.requestRedeem(shares, who);
    }

    function _slash(address who, uint256 amount) internal {
        vm.prank(slasher);
        registry.slash(who, amount, treasury);
    }

    /// @dev Brings earnings of a supplier from elsewhere than the escrow.
    function _earn(address who, uint256 amount) internal {
        vm.prank(stranger);
        pool.shareEarnings(who, amount);
    }
}
