// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IBonds} from "./IBonds.sol";

/// @title Who takes part, and the JOULE that answers for it.
/// @notice An operator, supplier or utility, bonds JOULE under its address. A supplier claims its
/// nodes here; a utility publishes its endpoint, its margin and what it promises, so that nobody
/// has to keep a list. What an operator wants back thaws first. Thawing stake is not counted as
/// backing anything, but it can be slashed until it has left. A lender may put bond beside a
/// supplier's own, see {IBonds}.
///
/// **Nodes.** A node is an Ed25519 key. A claim carries two signatures over one EIP-712 digest: the
/// supplier's, which is checked here, and the node key's, which is only published, since checking
/// it here would cost more than the claim is worth. The chain therefore does not say whose a node
/// is. It says who claims it and keeps, in its state, what anyone needs to check. The rule for
/// readers: of the claims on a node whose node signature verifies over {claimDigest}, the one with
/// the highest sequence is the binding. All others are noise.
///
/// - Nobody claims another's machine: a claim without that key's signature binds for no reader.
/// - Nobody is kept from claiming a machine of its own: a claim excludes no other, so that there is
///   nothing to squat and no race to win.
/// - A copied signature is worth nothing: it names the supplier, this contract and this chain.
/// - A machine moves by signing for its new supplier with a higher sequence; the old one cannot
///   hold it.
/// - Noise costs: every claim occupies a share of the claimant's bond for as long as it stands.
interface IRegistry is IBonds {
    /// @notice The stake of an operator with what was lent to it, in wei of JOULE: everything that
    /// a slash can take.
    /// @param active What backs its promises.
    /// @param thawing What it or its lender has asked to take back; can still be slashed.
    /// @param thawedAt From when the operator may take its own part of that, in seconds since 1970;
    /// zero without a request.
    struct Bond {
        uint256 active;
        uint256 thawing;
        uint256 thawedAt;
    }

    /// @notice A supplier's claim on a node.
    /// @param sequence The number the node key signed; the highest valid one is the binding.
    /// @param deadline The deadline in the signed digest, in seconds since 1970.
    /// @param claimedAt When, in seconds since 1970; zero where there is no claim.
    /// @param nodeSignature The node key's Ed25519 signature over {claimDigest}: R, then S.
    struct NodeClaim {
        uint64 sequence;
        uint64 deadline;
        uint64 claimedAt;
        bytes32[2] nodeSignature;
    }

    /// @notice What a utility promises its customers.
    /// @param availabilityBp The share of requests answered, in basis points.
    /// @param failoverMs The longest interruption when a node dies, in milliseconds.
    /// @param creditBp What a customer is credited of its bill when the promise is broken.
    struct Sla {
        uint16 availabilityBp;
        uint32 failoverMs;
        uint16 creditBp;
    }

    /// @notice What a utility publishes.
    /// @param endpoint Where it is reached: a URL of at most {ENDPOINT_BYTES_MAX} bytes.
    /// @param marginBp What it adds to a supplier's price, in basis points.
    /// @param sla What it promises.
    /// @param publishedAt When, in seconds since 1970; zero where nothing is published.
    struct Offer {
        string endpoint;
        uint16 marginBp;
        Sla sla;
        uint64 publishedAt;
    }

    /// @notice JOULE was bonded for an operator.
    event Bonded(address indexed operator, address indexed from, uint256 amount);

    /// @notice An operator asked for stake back; zero cancels an earlier request.
    event UnbondingRequested(address indexed operator, uint256 amount, uint256 thawedAt);

    /// @notice An operator took stake back.
    event Unbonded(address indexed operator, address to, uint256 amount);

    /// @notice An operator lost stake.
    /// @param operator Who lost it.
    /// @param to Who received it.
    /// @param amount How much, with what its lender lost.
    /// @param fromThawing How much of its own thawing stake is in that.
    event Slashed(
        address indexed operator, address indexed to, uint256 amount, uint256 fromThawing
    );

    /// @notice A case against an operator holds its stake.
    event Locked(address indexed slasher, address indexed operator, uint256 locks);

    /// @notice A case against an operator holds its stake no longer.
    event Unlocked(address indexed slasher, address indexed operator, uint256 locks);

    /// @notice A supplier claimed a node.
    event NodeClaimed(
        bytes32 indexed nodeKey,
        address indexed supplier,
        uint64 sequence,
        uint64 deadline,
        bytes32[2] nodeSignature
    );

    /// @notice A claim on a node ended.
    event NodeReleased(bytes32 indexed nodeKey, address indexed supplier);

    /// @notice A utility published what it offers.
    event OfferPublished(address indexed utility, string endpoint, uint16 marginBp, Sla sla);

    /// @notice A utility's offer ended.
    event OfferRetired(address indexed utility);

    /// @notice The stake that each claim on a node occupies changed.
    event NodeBondChanged(uint256 nodeBond);

    /// @notice The stake that a published offer occupies changed.
    event UtilityBondChanged(uint256 utilityBond);

    /// @notice The thaw changed; requests that were made before keep theirs.
    event ThawChanged(uint32 thaw);

    /// @notice The contract that may slash changed.
    event SlasherChanged(address slasher);

    /// @notice An amount of zero.
    error ZeroAmount();

    /// @notice The zero address.
    error ZeroAddress();

    /// @notice More than the operator has bonded.
    error InsufficientBond(uint256 requested, uint256 bonded);

    /// @notice Claims and an offer of this operator need `required` of active stake.
    error BondRequired(uint256 required, uint256 active);

    /// @notice No request was made.
    error NoUnbonding();

    /// @notice The stake thaws until `thawedAt`.
    error StillThawing(uint256 thawedAt);

    /// @notice Cases against the operator are open.
    error BondLocked(uint256 locks);

    /// @notice No lock is there to release.
    error NotLocked();

    /// @notice The caller is not the contract that may slash.
    error OnlySlasher();

    /// @notice The supplier's signature over the claim does not hold.
    error InvalidSupplierSignature();

    /// @notice The supplier's signature is too old.
    error Expired(uint256 deadline);

    /// @notice A sequence that this supplier has used for this node already.
    error SequenceUsed(uint64 sequence, uint64 last);

    /// @notice A node key of zero.
    error ZeroNodeKey();

    /// @notice There is no such claim.
    error NotClaimed();

    /// @notice There is no such offer.
    error NotPublished();

    /// @notice The stake still covers what the operator holds here.
    error StillCovered(uint256 required, uint256 active);

    /// @notice An endpoint that is empty or longer than the code allows.
    error EndpointOutOfBounds(uint256 length, uint256 max);

    /// @notice A share above the whole.
    error AboveWhole(uint16 bp);

    /// @notice A thaw outside of the bounds in the code.
    error ThawOutOfBounds(uint32 requested, uint32 min, uint32 max);

    /// @notice {IBonds-bond} with an ERC-2612 permit in place of an approval.
    function bondWithPermit(
        address operator,
        uint256 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice As an operator: starts the thaw of stake. Replaces an earlier request; zero cancels
    /// it. What claims and an offer occupy cannot be asked for: release and retire them first.
    function requestUnbonding(uint256 amount) external;

    /// @notice As an operator: takes what has thawed, unless a case against it is open or a loan
    /// stands.
    /// @return amount What was taken.
    function unbond(address to) external returns (uint256 amount);

    /// @notice Claims a node for a supplier. Anyone may send it; the supplier's stake must cover it.
    /// @param supplier The supplier.
    /// @param nodeKey The node's Ed25519 public key.
    /// @param sequence Higher than any this supplier has used for this node.
    /// @param deadline Until when the signatures may be used, in seconds since 1970.
    /// @param supplierSignature The supplier's signature over {claimDigest}; checked.
    /// @param nodeSignature The node key's Ed25519 signature over {claimDigest}; published, and
    /// checked by whoever reads it.
    function claimNode(
        address supplier,
        bytes32 nodeKey,
        uint64 sequence,
        uint64 deadline,
        bytes calldata supplierSignature,
        bytes32[2] calldata nodeSignature
    ) external;

    /// @notice As a supplier: ends a claim. Its sequence stays used.
    function releaseNode(bytes32 nodeKey) external;

    /// @notice Ends a claim that its supplier's stake no longer covers. Anyone may.
    function evictNode(bytes32 nodeKey, address supplier) external;

    /// @notice As a utility: publishes an offer, in place of an earlier one.
    function publishOffer(string calldata endpoint, uint16 marginBp, Sla calldata sla) external;

    /// @notice As a utility: ends its offer.
    function retireOffer() external;

    /// @notice Ends an offer that its utility's stake no longer covers. Anyone may.
    function evictOffer(address utility) external;

    /// @notice Holds the stake of an operator while a case is open. Only the slasher.
    function lock(address operator) external;

    /// @notice Undoes one {lock}. Only the slasher.
    function unlock(address operator) external;

    /// @notice Takes stake of an operator: its own first, and of that the thawing part first; then
    /// what was lent to it. Only the slasher.
    /// @return taken The amount, or all there was if that is less.
    function slash(address operator, uint256 amount, address to) external returns (uint256 taken);

    /// @notice Sets the stake that each claim on a node occupies. Only the owner.
    function setNodeBond(uint256 nodeBond) external;

    /// @notice Sets the stake that a published offer occupies. Only the owner.
    function setUtilityBond(uint256 utilityBond) external;

    /// @notice Sets the thaw, in seconds. Only the owner.
    function setThaw(uint32 thaw) external;

    /// @notice Sets the contract that may slash. Locks of an earlier one end with it. Only the
    /// owner.
    function setSlasher(address slasher) external;

    /// @notice The stake of an operator.
    function bondOf(address operator) external view returns (Bond memory);

    /// @notice The active stake that an operator's claims and offer occupy.
    function requiredBond(address operator) external view returns (uint256);

    /// @notice How many open cases hold the stake of an operator.
    function locks(address operator) external view returns (uint256);

    /// @notice The claim of a supplier on a node.
    function nodeClaim(bytes32 nodeKey, address supplier) external view returns (NodeClaim memory);

    /// @notice The suppliers that claim a node, `from` the how-manieth up to before `to`. Which of
    /// them is bound to it, the signatures say.
    function claimants(bytes32 nodeKey, uint256 from, uint256 to)
        external
        view
        returns (address[] memory);

    /// @notice The nodes that a supplier claims, `from` the how-manieth up to before `to`.
    function nodesOf(address supplier, uint256 from, uint256 to)
        external
        view
        returns (bytes32[] memory);

    /// @notice The offer of a utility.
    function offerOf(address utility) external view returns (Offer memory);

    /// @notice The utilities with an offer, `from` the how-manieth up to before `to`.
    function utilities(uint256 from, uint256 to) external view returns (address[] memory);

    /// @notice The hash that both keys sign to bind a node:
    /// `ClaimNode(address supplier,bytes32 nodeKey,uint64 sequence,uint64 deadline)`. The node key
    /// signs its 32 bytes.
    function claimDigest(address supplier, bytes32 nodeKey, uint64 sequence, uint64 deadline)
        external
        view
        returns (bytes32);

    /// @notice The token.
    function joule() external view returns (IERC20);

    /// @notice The stake that each claim on a node occupies.
    function nodeBond() external view returns (uint256);

    /// @notice The stake that a published offer occupies.
    function utilityBond() external view returns (uint256);

    /// @notice The contract that may slash.
    function slasher() external view returns (address);
}
