// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";

import {ITreasury} from "./interfaces/ITreasury.sol";

/// @title Treasury
/// @notice See {ITreasury}.
/// @dev It has no state of its own: what it holds is what the tokens say.
contract Treasury is Initializable, Ownable2StepUpgradeable, UUPSUpgradeable, ITreasury {
    using SafeERC20 for IERC20;

    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor() {
        _disableInitializers();
    }

    /// @notice Opens the treasury.
    /// @param owner_ Who pays from it and upgrades it.
    function initialize(address owner_) external initializer {
        __Ownable_init(owner_);
        __Ownable2Step_init();
    }

    /// @inheritdoc ITreasury
    function pay(IERC20 token, address to, uint256 amount) external onlyOwner {
        if (to == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        token.safeTransfer(to, amount);
        emit Paid(token, to, amount);
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}
}
