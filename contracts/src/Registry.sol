// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {EnumerableSet} from "@openzeppelin/contracts/utils/structs/EnumerableSet.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    EIP712Upgradeable
} from "@openzeppelin/contracts-upgradeable/utils/cryptography/EIP712Upgradeable.sol";

import {IBonds} from "./interfaces/IBonds.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {LoanBook, Loans} from "./libraries/Loans.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Lending} from "./registry/Lending.sol";

/// @title Registry
/// @notice See {IRegistry}.
/// @dev Stakes are written before tokens move, and the token is JOULE, which calls nobody back.
contract Registry is
    Initializable,
    EIP712Upgradeable,
    Ownable2StepUpgradeable,
    UUPSUpgradeable,
    Lending,
    IRegistry
{
    using EnumerableSet for EnumerableSet.AddressSet;
    using EnumerableSet for EnumerableSet.Bytes32Set;
    using Loans for LoanBook;
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /// @notice The shortest thaw: for a development chain. A DAO that would set it where money is at
    /// stake could as well take away the bound.
    uint32 public constant THAW_MIN = 1 seconds;
    /// @notice The longest thaw.
    uint32 public constant THAW_MAX = 90 days;
    /// @notice The longest endpoint.
    uint256 public constant ENDPOINT_BYTES_MAX = 256;

    bytes32 private constant CLAIM_TYPEHASH =
        keccak256("ClaimNode(address supplier,bytes32 nodeKey,uint64 sequence,uint64 deadline)");

    /// @dev One slot: the supply of JOULE fits 96 bits.
    struct Stake {
        /// Thawing or not.
        uint96 bonded;
        uint96 thawing;
        uint64 thawedAt;
    }

    /// @custom:storage-location erc7201:kinesis.storage.Registry
    struct RegistryStorage {
        uint96 nodeBond;
        address slasher;
        uint96 utilityBond;
        uint32 thaw;
        mapping(address operator => Stake) stakes;
        mapping(address slasher => mapping(address operator => uint256)) locks;
        /// The sequence outlives its claim.
        mapping(bytes32 nodeKey => mapping(address supplier => NodeClaim)) claims;
        mapping(bytes32 nodeKey => EnumerableSet.AddressSet) claimants;
        mapping(address supplier => EnumerableSet.Bytes32Set) nodes;
        mapping(address utility => Offer) offers;
        EnumerableSet.AddressSet utilities;
        LoanBook loans;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.Registry")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0x6bb556e639b9b82f51dcb9907dbba20e92cba4490436077b6ed89ce585fc5a00;

    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _joule;

    modifier onlySlasher() {
        if (msg.sender != _registry().slasher) revert OnlySlasher();
        _;
    }

    /// @param joule_ The token, fixed for this implementation.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor(IERC20 joule_) {
        _joule = joule_;
        _disableInitializers();
    }

    /// @notice Opens the registry. Until a slasher is set, nothing can be slashed.
    /// @param owner_ Who sets the parameters and upgrades.
    /// @param nodeBond_ The stake that each claim on a node occupies, in wei.
    /// @param utilityBond_ The stake that a published offer occupies, in wei.
    /// @param thaw_ How long stake thaws, in seconds.
    function initialize(address owner_, uint256 nodeBond_, uint256 utilityBond_, uint32 thaw_)
        external
        initializer
    {
        __Ownable_init(owner_);
        __Ownable2Step_init();
        _setNodeBond(nodeBond_);
        _setUtilityBond(utilityBond_);
        _setThaw(thaw_);
    }

    /// @inheritdoc IBonds
    function bond(address operator, uint256 amount) external {
        _bond(operator, amount);
    }

    /// @inheritdoc IRegistry
    function bondWithPermit(
        address operator,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        // Whoever saw the permit first may have used it: then the allowance is there already.
        try IERC20Permit(address(_joule))
            .permit(msg.sender, address(this), amount, deadline, v, r, s) {}
            catch {}
        _bond(operator, amount);
    }

    /// @inheritdoc IRegistry
    function requestUnbonding(uint256 amount) external {
        RegistryStorage storage $ = _registry();
        Stake storage stake = $.stakes[msg.sender];
        if (amount > stake.bonded) revert InsufficientBond(amount, stake.bonded);
        (uint256 active,) = $.loans.behind(msg.sender);
        active += stake.bonded - amount;
        uint256 required = requiredBond(msg.sender);
        // Where stake was slashed, less than required may be active: cancelling is never refused.
        if (amount > 0 && active < required) revert BondRequired(required, active);
        uint64 thawedAt = amount == 0 ? 0 : uint64(block.timestamp + $.thaw);
        stake.thawing = uint96(amount);
        stake.thawedAt = thawedAt;
        emit UnbondingRequested(msg.sender, amount, thawedAt);
    }

    /// @inheritdoc IRegistry
    function unbond(address to) external returns (uint256 amount) {
        RegistryStorage storage $ = _registry();
        Stake storage stake = $.stakes[msg.sender];
        if (to == address(0)) revert ZeroAddress();
        amount = stake.thawing;
        if (amount == 0) revert NoUnbonding();
        if (block.timestamp < stake.thawedAt) revert StillThawing(stake.thawedAt);
        _requireUnlocked(msg.sender);
        uint256 lent = $.loans.loans[msg.sender].lent;
        if (lent > 0) revert LoanStands(lent);
        stake.bonded -= uint96(amount);
        stake.thawing = 0;
        stake.thawedAt = 0;
        _joule.safeTransfer(to, amount);
        emit Unbonded(msg.sender, to, amount);
    }

    /// @inheritdoc IBonds
    function lend(address supplier, uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        _requireUnlocked(supplier);
        _registry().loans.lend(msg.sender, supplier, amount);
        _joule.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IBonds
    function recall(address supplier, uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        RegistryStorage storage $ = _registry();
        $.loans.recall(msg.sender, supplier, amount, block.timestamp + $.thaw);
    }

    /// @inheritdoc IBonds
    function reclaim(address supplier) external returns (uint256 amount) {
        _requireUnlocked(supplier);
        amount = _registry().loans.reclaim(msg.sender, supplier);
        if (amount > 0) _joule.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IRegistry
    function claimNode(
        address supplier,
        bytes32 nodeKey,
        uint64 sequence,
        uint64 deadline,
        bytes calldata supplierSignature,
        bytes32[2] calldata nodeSignature
    ) external {
        if (block.timestamp > deadline) revert Expired(deadline);
        if (nodeKey == bytes32(0)) revert ZeroNodeKey();
        bytes32 digest = claimDigest(supplier, nodeKey, sequence, deadline);
        if (!Signatures.signedBy(supplier, digest, supplierSignature)) {
            revert InvalidSupplierSignature();
        }
        RegistryStorage storage $ = _registry();
        NodeClaim storage claim = $.claims[nodeKey][supplier];
        if (sequence <= claim.sequence) revert SequenceUsed(sequence, claim.sequence);
        claim.sequence = sequence;
        claim.deadline = deadline;
        claim.claimedAt = uint64(block.timestamp);
        claim.nodeSignature = nodeSignature;
        $.claimants[nodeKey].add(supplier);
        $.nodes[supplier].add(nodeKey);
        _requireCover(supplier);
        emit NodeClaimed(nodeKey, supplier, sequence, deadline, nodeSignature);
    }

    /// @inheritdoc IRegistry
    function releaseNode(bytes32 nodeKey) external {
        _release(nodeKey, msg.sender);
    }

    /// @inheritdoc IRegistry
    function evictNode(bytes32 nodeKey, address supplier) external {
        _requireUncovered(supplier);
        _release(nodeKey, supplier);
    }

    /// @inheritdoc IRegistry
    function publishOffer(string calldata endpoint, uint16 marginBp, Sla calldata sla) external {
        uint256 length = bytes(endpoint).length;
        if (length == 0 || length > ENDPOINT_BYTES_MAX) {
            revert EndpointOutOfBounds(length, ENDPOINT_BYTES_MAX);
        }
        _requireShare(marginBp);
        _requireShare(sla.availabilityBp);
        _requireShare(sla.creditBp);
        RegistryStorage storage $ = _registry();
        $.utilities.add(msg.sender);
        $.offers[msg.sender] = Offer(endpoint, marginBp, sla, uint64(block.timestamp));
        _requireCover(msg.sender);
        emit OfferPublished(msg.sender, endpoint, marginBp, sla);
    }

    /// @inheritdoc IRegistry
    function retireOffer() external {
        _retire(msg.sender);
    }

    /// @inheritdoc IRegistry
    function evictOffer(address utility) external {
        _requireUncovered(utility);
        _retire(utility);
    }

    /// @inheritdoc IRegistry
    function lock(address operator) external onlySlasher {
        RegistryStorage storage $ = _registry();
        uint256 held = ++$.locks[msg.sender][operator];
        if (held == 1) $.loans.lock(msg.sender, operator);
        emit Locked(msg.sender, operator, held);
    }

    /// @inheritdoc IRegistry
    function unlock(address operator) external onlySlasher {
        RegistryStorage storage $ = _registry();
        uint256 held = $.locks[msg.sender][operator];
        if (held == 0) revert NotLocked();
        $.locks[msg.sender][operator] = --held;
        if (held == 0) $.loans.unlock(msg.sender, operator);
        emit Unlocked(msg.sender, operator, held);
    }

    /// @inheritdoc IRegistry
    function slash(address operator, uint256 amount, address to)
        external
        onlySlasher
        returns (uint256 taken)
    {
        RegistryStorage storage $ = _registry();
        Stake storage stake = $.stakes[operator];
        taken = amount < stake.bonded ? amount : stake.bonded;
        // What is about to leave goes first, so that as much as possible goes on backing promises.
        uint256 fromThawing = taken < stake.thawing ? taken : stake.thawing;
        stake.bonded -= uint96(taken);
        stake.thawing -= uint96(fromThawing);
        if (stake.thawing == 0) stake.thawedAt = 0;
        address lockedFor = $.locks[msg.sender][operator] > 0 ? msg.sender : address(0);
        taken += $.loans.slash(operator, amount - taken, lockedFor);
        _joule.safeTransfer(to, taken);
        emit Slashed(operator, to, taken, fromThawing);
    }

    /// @inheritdoc IRegistry
    function setNodeBond(uint256 nodeBond_) external onlyOwner {
        _setNodeBond(nodeBond_);
    }

    /// @inheritdoc IRegistry
    function setUtilityBond(uint256 utilityBond_) external onlyOwner {
        _setUtilityBond(utilityBond_);
    }

    /// @inheritdoc IRegistry
    function setThaw(uint32 thaw_) external onlyOwner {
        _setThaw(thaw_);
    }

    /// @inheritdoc IRegistry
    function setSlasher(address slasher_) external onlyOwner {
        _registry().slasher = slasher_;
        emit SlasherChanged(slasher_);
    }

    /// @inheritdoc IBonds
    function ownStake(address supplier) external view returns (uint256) {
        return _registry().stakes[supplier].bonded;
    }

    /// @inheritdoc IBonds
    function lockedBy(address lender) external view returns (uint256) {
        RegistryStorage storage $ = _registry();
        return $.loans.locked[$.slasher][lender];
    }

    /// @inheritdoc IRegistry
    function nodeClaim(bytes32 nodeKey, address supplier) external view returns (NodeClaim memory) {
        return _registry().claims[nodeKey][supplier];
    }

    /// @inheritdoc IRegistry
    function claimants(bytes32 nodeKey, uint256 from, uint256 to)
        external
        view
        returns (address[] memory)
    {
        return _registry().claimants[nodeKey].values(from, to);
    }

    /// @inheritdoc IRegistry
    function nodesOf(address supplier, uint256 from, uint256 to)
        external
        view
        returns (bytes32[] memory)
    {
        return _registry().nodes[supplier].values(from, to);
    }

    /// @inheritdoc IRegistry
    function offerOf(address utility) external view returns (Offer memory) {
        return _registry().offers[utility];
    }

    /// @inheritdoc IRegistry
    function utilities(uint256 from, uint256 to) external view returns (address[] memory) {
        return _registry().utilities.values(from, to);
    }

    /// @inheritdoc IRegistry
    function joule() external view returns (IERC20) {
        return _joule;
    }

    /// @inheritdoc IRegistry
    function nodeBond() external view returns (uint256) {
        return _registry().nodeBond;
    }

    /// @inheritdoc IRegistry
    function utilityBond() external view returns (uint256) {
        return _registry().utilityBond;
    }

    /// @inheritdoc IBonds
    function thaw() external view returns (uint32) {
        return _registry().thaw;
    }

    /// @inheritdoc IRegistry
    function slasher() external view returns (address) {
        return _registry().slasher;
    }

    /// @inheritdoc IRegistry
    function bondOf(address operator) public view returns (Bond memory) {
        RegistryStorage storage $ = _registry();
        Stake storage stake = $.stakes[operator];
        (uint256 active, uint256 leaving) = $.loans.behind(operator);
        return Bond(active + stake.bonded - stake.thawing, leaving + stake.thawing, stake.thawedAt);
    }

    /// @inheritdoc IRegistry
    function locks(address operator) public view returns (uint256) {
        RegistryStorage storage $ = _registry();
        return $.locks[$.slasher][operator];
    }

    /// @inheritdoc IRegistry
    function requiredBond(address operator) public view returns (uint256 required) {
        RegistryStorage storage $ = _registry();
        required = $.nodes[operator].length() * $.nodeBond;
        if ($.utilities.contains(operator)) required += $.utilityBond;
    }

    /// @inheritdoc IRegistry
    function claimDigest(address supplier, bytes32 nodeKey, uint64 sequence, uint64 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            keccak256(abi.encode(CLAIM_TYPEHASH, supplier, nodeKey, sequence, deadline))
        );
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    /// @dev Constants are smaller than strings in storage, and this contract is near the limit.
    function _EIP712Name() internal pure override returns (string memory) {
        return "Kinesis Registry";
    }

    function _EIP712Version() internal pure override returns (string memory) {
        return "1";
    }

    function _loans() internal view override returns (LoanBook storage) {
        return _registry().loans;
    }

    function _bond(address operator, uint256 amount) private {
        if (operator == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        _registry().stakes[operator].bonded += amount.toUint96();
        _joule.safeTransferFrom(msg.sender, address(this), amount);
        emit Bonded(operator, msg.sender, amount);
    }

    function _release(bytes32 nodeKey, address supplier) private {
        RegistryStorage storage $ = _registry();
        if (!$.claimants[nodeKey].remove(supplier)) revert NotClaimed();
        $.nodes[supplier].remove(nodeKey);
        NodeClaim storage claim = $.claims[nodeKey][supplier];
        claim.claimedAt = 0;
        delete claim.nodeSignature;
        emit NodeReleased(nodeKey, supplier);
    }

    function _retire(address utility) private {
        RegistryStorage storage $ = _registry();
        if (!$.utilities.remove(utility)) revert NotPublished();
        delete $.offers[utility];
        emit OfferRetired(utility);
    }

    function _requireCover(address operator) private view {
        (uint256 required, uint256 active) = _cover(operator);
        if (active < required) revert BondRequired(required, active);
    }

    function _requireUncovered(address operator) private view {
        (uint256 required, uint256 active) = _cover(operator);
        if (active >= required) revert StillCovered(required, active);
    }

    function _cover(address operator) private view returns (uint256 required, uint256 active) {
        return (requiredBond(operator), bondOf(operator).active);
    }

    function _requireUnlocked(address operator) private view {
        uint256 held = locks(operator);
        if (held > 0) revert BondLocked(held);
    }

    function _setNodeBond(uint256 nodeBond_) private {
        _registry().nodeBond = nodeBond_.toUint96();
        emit NodeBondChanged(nodeBond_);
    }

    function _setUtilityBond(uint256 utilityBond_) private {
        _registry().utilityBond = utilityBond_.toUint96();
        emit UtilityBondChanged(utilityBond_);
    }

    function _setThaw(uint32 thaw_) private {
        if (thaw_ < THAW_MIN || thaw_ > THAW_MAX) {
            revert ThawOutOfBounds(thaw_, THAW_MIN, THAW_MAX);
        }
        _registry().thaw = thaw_;
        emit ThawChanged(thaw_);
    }

    function _registry() private pure returns (RegistryStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
