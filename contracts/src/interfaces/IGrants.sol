// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// @title Grants of the DAO, paid as they vest.
/// @notice A grant vests linearly from its start to its end, and nothing of it before its cliff. The
/// money is here before the grant is made, so a grant cannot fail to pay. What has vested is the
/// grantee's whatever happens; what has not, the owner can take back.
interface IGrants {
    /// @notice A grant. Amounts in wei of JOULE, times in seconds since 1970.
    /// @param grantee Who is paid.
    /// @param start From when it vests.
    /// @param cliff Before which nothing is paid.
    /// @param end When all of it has vested.
    /// @param amount All of it; after a revocation, what had vested by then.
    /// @param paid What the grantee has had.
    /// @param revokedAt When it was revoked; zero while it stands.
    struct Grant {
        address grantee;
        uint64 start;
        uint64 cliff;
        uint64 end;
        uint64 revokedAt;
        uint96 amount;
        uint96 paid;
    }

    /// @notice The owner made a grant.
    event Awarded(
        uint256 indexed id,
        address indexed grantee,
        uint256 amount,
        uint64 start,
        uint64 cliff,
        uint64 end
    );

    /// @notice A grantee was paid.
    event Released(uint256 indexed id, address indexed grantee, uint256 amount);

    /// @notice The owner ended a grant; what had not vested went to `to`.
    event Revoked(uint256 indexed id, address indexed to, uint256 amount);

    /// @notice A grantee changed its address.
    event GranteeChanged(uint256 indexed id, address indexed from, address indexed to);

    /// @notice No grant has this number.
    error UnknownGrant(uint256 id);

    /// @notice An award above what is here and not yet awarded.
    error Unfunded(uint256 requested, uint256 available);

    /// @notice A schedule that does not run from start over cliff to end.
    error InvalidSchedule(uint64 start, uint64 cliff, uint64 end);

    /// @notice The grant was revoked, or has vested to the end.
    error NothingToRevoke(uint256 id);

    /// @notice Someone other than the grantee.
    error NotGrantee(address caller);

    /// @notice The zero address.
    error ZeroAddress();

    /// @notice An amount of zero.
    error ZeroAmount();

    /// @notice Makes a grant of JOULE that is already here. Only the owner.
    /// @param grantee Who is paid.
    /// @param amount How much in all, in wei.
    /// @param start From when it vests, in seconds since 1970.
    /// @param cliff Before which nothing is paid; between start and end.
    /// @param end When all of it has vested.
    /// @return id The number of the grant.
    function award(address grantee, uint256 amount, uint64 start, uint64 cliff, uint64 end)
        external
        returns (uint256 id);

    /// @notice Pays the grantee what has vested since the last time. Anyone may.
    /// @return amount What was paid, zero when there was nothing.
    function release(uint256 id) external returns (uint256 amount);

    /// @notice Ends a grant: what has vested stays the grantee's, the rest goes to `to`. Only the
    /// owner.
    /// @return amount What went to `to`.
    function revoke(uint256 id, address to) external returns (uint256 amount);

    /// @notice As the grantee: is paid elsewhere from now on.
    function setGrantee(uint256 id, address to) external;

    /// @notice A grant by its number.
    function grant(uint256 id) external view returns (Grant memory);

    /// @notice How many grants were ever made; their numbers count from zero.
    function count() external view returns (uint256);

    /// @notice What of a grant has vested by `time`, paid or not, in wei.
    function vested(uint256 id, uint64 time) external view returns (uint256);

    /// @notice What is here and was not awarded, in wei.
    function available() external view returns (uint256);

    /// @notice What is still owed to grantees, vested or not, in wei.
    function committed() external view returns (uint256);

    /// @notice The token.
    function joule() external view returns (IERC20);
}
