// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";

import {Grants} from "../../src/Grants.sol";
import {Fixture} from "./Fixture.sol";

/// @title A book of grants that an account owns.
abstract contract GrantsFixture is Fixture {
    uint64 internal constant START = 1_800_000_000;

    address internal grantee = address(0x0777);
    Grants internal grants;

    function setUp() public virtual override {
        super.setUp();
        grants = Grants(
            address(
                new ERC1967Proxy(
                    address(new Grants(joule)), abi.encodeCall(Grants.initialize, (owner))
                )
            )
        );
    }

    function _fund(uint256 amount) internal {
        vm.prank(owner);
        joule.transfer(address(grants), amount);
    }

    /// @dev A funded grant over 100 days with a cliff of 10.
    function _award(uint256 amount) internal returns (uint256 id) {
        _fund(amount);
        vm.prank(owner);
        id = grants.award(grantee, amount, START, START + 10 days, START + 100 days);
    }
}
