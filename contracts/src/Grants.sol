// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";

import {IGrants} from "./interfaces/IGrants.sol";

/// @title Grants
/// @notice See {IGrants}.
/// @dev One book for all grants, where a vesting wallet for each would cost a deployment and could
/// not be revoked. What is committed never exceeds what is here.
contract Grants is Initializable, Ownable2StepUpgradeable, UUPSUpgradeable, IGrants {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /// @custom:storage-location erc7201:kinesis.storage.Grants
    struct GrantsStorage {
        /// What is owed to grantees, vested or not.
        uint256 committed;
        Grant[] grants;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.Grants")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0xacd3cf5f9e4464b3b7f6e5826e6c3d45eb49303cddb65e44d5b93fed30c28a00;

    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _joule;

    /// @param joule_ The token, fixed for this implementation.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor(IERC20 joule_) {
        _joule = joule_;
        _disableInitializers();
    }

    /// @notice Opens the book.
    /// @param owner_ Who awards, revokes and upgrades.
    function initialize(address owner_) external initializer {
        __Ownable_init(owner_);
        __Ownable2Step_init();
    }

    /// @inheritdoc IGrants
    function award(address grantee, uint256 amount, uint64 start, uint64 cliff, uint64 end)
        external
        onlyOwner
        returns (uint256 id)
    {
        if (grantee == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        if (start >= end || cliff < start || cliff > end) {
            revert InvalidSchedule(start, cliff, end);
        }
        if (amount > available()) revert Unfunded(amount, available());
        GrantsStorage storage $ = _grants();
        $.committed += amount;
        id = $.grants.length;
        $.grants.push(Grant(grantee, start, cliff, end, 0, amount.toUint96(), 0));
        emit Awarded(id, grantee, amount, start, cliff, end);
    }

    /// @inheritdoc IGrants
    function release(uint256 id) external returns (uint256 amount) {
        Grant storage g = _grant(id);
        amount = _vested(g, uint64(block.timestamp)) - g.paid;
        if (amount == 0) return 0;
        // What has vested is at most the grant, which fits.
        g.paid += uint96(amount);
        _grants().committed -= amount;
        _joule.safeTransfer(g.grantee, amount);
        emit Released(id, g.grantee, amount);
    }

    /// @inheritdoc IGrants
    function revoke(uint256 id, address to) external onlyOwner returns (uint256 amount) {
        if (to == address(0)) revert ZeroAddress();
        Grant storage g = _grant(id);
        uint256 kept = _vested(g, uint64(block.timestamp));
        amount = g.amount - kept;
        if (amount == 0) revert NothingToRevoke(id);
        g.amount = uint96(kept);
        g.revokedAt = uint64(block.timestamp);
        _grants().committed -= amount;
        _joule.safeTransfer(to, amount);
        emit Revoked(id, to, amount);
    }

    /// @inheritdoc IGrants
    function setGrantee(uint256 id, address to) external {
        Grant storage g = _grant(id);
        if (msg.sender != g.grantee) revert NotGrantee(msg.sender);
        if (to == address(0)) revert ZeroAddress();
        g.grantee = to;
        emit GranteeChanged(id, msg.sender, to);
    }

    /// @inheritdoc IGrants
    function grant(uint256 id) external view returns (Grant memory) {
        return _grant(id);
    }

    /// @inheritdoc IGrants
    function count() external view returns (uint256) {
        return _grants().grants.length;
    }

    /// @inheritdoc IGrants
    function vested(uint256 id, uint64 time) external view returns (uint256) {
        return _vested(_grant(id), time);
    }

    /// @inheritdoc IGrants
    function available() public view returns (uint256) {
        return _joule.balanceOf(address(this)) - _grants().committed;
    }

    /// @inheritdoc IGrants
    function committed() external view returns (uint256) {
        return _grants().committed;
    }

    /// @inheritdoc IGrants
    function joule() external view returns (IERC20) {
        return _joule;
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    /// @dev Of a revoked grant, all that is left has vested.
    function _vested(Grant storage g, uint64 time) private view returns (uint256) {
        if (g.revokedAt != 0 || time >= g.end) return g.amount;
        if (time < g.cliff) return 0;
        return uint256(g.amount) * (time - g.start) / (g.end - g.start);
    }

    function _grant(uint256 id) private view returns (Grant storage) {
        GrantsStorage storage $ = _grants();
        if (id >= $.grants.length) revert UnknownGrant(id);
        return $.grants[id];
    }

    function _grants() private pure returns (GrantsStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
