// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

// Compiled here so that its bytecode is ours to deploy. It owns every contract, holds no state worth
// an upgrade, and is not upgradeable: whoever reads it knows what stands between a vote and the money.
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
