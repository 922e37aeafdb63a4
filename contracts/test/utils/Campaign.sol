// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Test} from "./Test.sol";

/// @title A campaign of actors that is the same every time.
/// @notice Forge draws other calls in every run of an invariant and says nothing of those that never
/// succeed: an invariant that holds because nothing happens holds nothing. This plays what forge
/// plays, drawn by a hash, and counts for each action how often it went through.
abstract contract Campaign is Test {
    /// @dev What actors can do: a function, and the bits of each of its arguments, zero for 256.
    struct Action {
        string signature;
        bytes bits;
    }

    /// @dev Every action succeeds at least once within so many steps.
    function _requireAllSucceed(address actors, Action[] memory actions, uint256 steps) internal {
        uint256[] memory succeeded = new uint256[](actions.length);
        for (uint256 step; step < steps; ++step) {
            uint256 which = uint256(keccak256(abi.encode("action", step))) % actions.length;
            (bool done,) = actors.call(_call(actions[which], step));
            if (done) ++succeeded[which];
        }
        for (uint256 which; which < actions.length; ++which) {
            assertTrue(succeeded[which] > 0, string.concat("never: ", actions[which].signature));
        }
    }

    function _call(Action memory action, uint256 step) private pure returns (bytes memory data) {
        data = abi.encodePacked(bytes4(keccak256(bytes(action.signature))));
        for (uint256 i; i < action.bits.length; ++i) {
            uint256 bits = uint8(action.bits[i]);
            uint256 word = uint256(keccak256(abi.encode("argument", step, i)));
            data = bytes.concat(data, bytes32(bits == 0 ? word : word >> (256 - bits)));
        }
    }
}
