// SPDX-License-Identifier: MIT
pragma solidity ^0.8.28;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

/// @title What redemptions are measured against: a cumulative Merkle claim in the manner of 1inch.
/// @notice Does, check for check and write for write, what `CumulativeMerkleDrop` of
/// github.com/1inch/merkle-distribution (MIT licence, Copyright 1inch) does: one root in storage that
/// its owner replaces, a proof climbed in assembly, the sum claimed so far by account, a safe
/// transfer, an event.
contract CumulativeDrop is Ownable {
    using SafeERC20 for IERC20;

    event Claimed(address indexed account, uint256 amount);

    address public immutable token;
    bytes32 public merkleRoot;
    mapping(address account => uint256) public cumulativeClaimed;

    constructor(address token_) Ownable(msg.sender) {
        token = token_;
    }

    function setMerkleRoot(bytes32 root) external onlyOwner {
        merkleRoot = root;
    }

    function claim(
        address account,
        uint256 cumulativeAmount,
        bytes32 expectedMerkleRoot,
        bytes32[] calldata merkleProof
    ) external {
        require(merkleRoot == expectedMerkleRoot, "another root");
        bytes32 leaf = keccak256(abi.encodePacked(account, cumulativeAmount));
        require(_leads(merkleProof, expectedMerkleRoot, leaf), "no proof");
        uint256 before = cumulativeClaimed[account];
        require(before < cumulativeAmount, "nothing to claim");
        cumulativeClaimed[account] = cumulativeAmount;
        unchecked {
            uint256 amount = cumulativeAmount - before;
            IERC20(token).safeTransfer(account, amount);
            emit Claimed(account, amount);
        }
    }

    function _leads(bytes32[] calldata proof, bytes32 root, bytes32 hash)
        private
        pure
        returns (bool valid)
    {
        assembly ("memory-safe") {
            let next := proof.offset
            for { let end := add(next, mul(0x20, proof.length)) } lt(next, end) {
                next := add(next, 0x20)
            } {
                let sibling := calldataload(next)
                switch lt(hash, sibling)
                case 1 {
                    mstore(0x00, hash)
                    mstore(0x20, sibling)
                }
                default {
                    mstore(0x00, sibling)
                    mstore(0x20, hash)
                }
                hash := keccak256(0x00, 0x40)
            }
            valid := eq(root, hash)
        }
    }
}
