// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

// Compiled here so that its bytecode is one of our artifacts: both contracts stand behind it.
import {ERC1967Proxy} from "@openzeppelin/contracts/proxy/ERC1967/ERC1967Proxy.sol";
