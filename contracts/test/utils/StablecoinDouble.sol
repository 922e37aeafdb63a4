// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title Stands in for a USD stablecoin of six decimals, and can be told to keep a part of a transfer.
contract StablecoinDouble is ERC20("USD test double", "USDX") {
    uint256 public keeps;

    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    function keep(uint256 amount) external {
        keeps = amount;
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        if (keeps > 0 && from != address(0)) super._update(to, address(0), keeps);
    }
}
