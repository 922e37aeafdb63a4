// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Counter} from "../src/Counter.sol";

interface Vm {
    function startBroadcast() external;
    function stopBroadcast() external;
}

/// @title Deploys, and adds a few times, each in a transaction of its own.
contract Deploy {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function run() external returns (Counter counter) {
        VM.startBroadcast();
        counter = new Counter(1);
        for (uint256 i = 1; i <= 5; ++i) {
            counter.add(i);
        }
        VM.stopBroadcast();
        require(counter.total() == 16, "simulated");
    }
}
