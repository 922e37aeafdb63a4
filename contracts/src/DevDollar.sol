// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title DevDollar
/// @notice A stablecoin for development chains, worth nothing: where there is no real one, the
/// exchange trades this. Six decimals and permit, as the usual ones have. Its owner mints at will.
contract DevDollar is
    ERC20("Development Dollar", "DUSD"),
    ERC20Permit("Development Dollar"),
    Ownable
{
    /// @param owner_ Who mints.
    constructor(address owner_) Ownable(owner_) {}

    /// @notice Makes dollars out of nothing. Only the owner.
    function mint(address to, uint256 amount) external onlyOwner {
        _mint(to, amount);
    }

    /// @notice Six.
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
