// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    EIP712Upgradeable
} from "@openzeppelin/contracts-upgradeable/utils/cryptography/EIP712Upgradeable.sol";

import {IDisputes} from "./interfaces/IDisputes.sol";
import {ILeases} from "./interfaces/ILeases.sol";
import {Signatures} from "./libraries/Signatures.sol";

/// @title Leases
/// @notice See {ILeases}.
contract Leases is
    Initializable,
    EIP712Upgradeable,
    Ownable2StepUpgradeable,
    ReentrancyGuardTransient,
    UUPSUpgradeable,
    ILeases
{
    using SafeERC20 for IERC20;

    /// @notice The shortest interval between acknowledgements, in seconds.
    uint32 public constant ACK_INTERVAL_MIN = 5 seconds;
    /// @notice How long after its end a lease may be accused, in seconds.
    uint64 public constant ACCUSE_PERIOD = 7 days;

    bytes32 private constant TERMS_TYPEHASH = keccak256(
        "LeaseTerms(address supplier,address utility,bytes32 lease,uint64 from,uint64 to,uint32 ackInterval,uint96 penalty)"
    );
    bytes32 private constant ACK_TYPEHASH = keccak256("Ack(bytes32 terms,uint64 upTo)");

    /// @custom:storage-location erc7201:kinesis.storage.Leases
    struct LeasesStorage {
        uint96 accusationStake;
        mapping(bytes32 terms => Record) records;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.Leases")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0x4c52498ffcbcb9c88a7af2b2811d4ada8bc04cde0de6e4e1620c2b087f1d9600;

    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _joule;
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IDisputes private immutable _disputes;

    /// @param disputes_ Where cases are filed, fixed for this implementation.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor(IDisputes disputes_) {
        _joule = disputes_.registry().joule();
        _disputes = disputes_;
        _disableInitializers();
    }

    /// @notice Opens the court. It can judge nothing until {IDisputes} admits it.
    /// @param owner_ Who sets the stake and upgrades.
    /// @param accusationStake_ What a utility stakes on an accusation, in wei.
    function initialize(address owner_, uint96 accusationStake_) external initializer {
        __EIP712_init("Kinesis Leases", "1");
        __Ownable_init(owner_);
        __Ownable2Step_init();
        _setAccusationStake(accusationStake_);
    }

    /// @inheritdoc ILeases
    function giveNotice(LeaseTerms calldata terms) external {
        // Nothing is signed here: the hash is of terms that name the caller, and of no others.
        if (msg.sender != terms.supplier) revert OnlySupplier();
        bytes32 digest = termsDigest(terms);
        Record storage record = _leases().records[digest];
        if (record.noticeAt != 0) revert NoticeGivenAlready(record.noticeAt);
        record.noticeAt = uint64(block.timestamp);
        emit NoticeGiven(digest, terms.supplier, block.timestamp);
    }

    /// @inheritdoc ILeases
    function accuse(
        LeaseTerms calldata terms,
        bytes calldata supplierSignature,
        bytes calldata utilitySignature,
        uint64 since
    ) external nonReentrant returns (uint256 caseId) {
        if (msg.sender != terms.utility) revert OnlyUtility();
        bytes32 digest = termsDigest(terms);
        if (
            !Signatures.signedBy(terms.supplier, digest, supplierSignature)
                || !Signatures.signedBy(terms.utility, digest, utilitySignature)
        ) revert InvalidTermsSignature();
        LeasesStorage storage $ = _leases();
        Record storage record = $.records[digest];
        uint64 silentBy = _requireSilent(terms, record, since);
        record.since = since;
        record.silentBy = silentBy;
        record.supplier = terms.supplier;
        record.utility = terms.utility;
        record.stake = $.accusationStake;
        _joule.safeTransferFrom(msg.sender, address(this), record.stake);
        caseId = _disputes.file(
            IDisputes.Filing({
                offence: IDisputes.Offence.Breach,
                accused: terms.supplier,
                challenger: msg.sender,
                victim: terms.utility,
                damage: terms.penalty,
                most: terms.penalty,
                evidence: digest
            })
        );
        record.caseId = caseId;
        _disputes.confirm(caseId, 0);
        emit SilenceAccused(digest, terms.supplier, msg.sender, caseId, since, silentBy);
    }

    /// @inheritdoc ILeases
    function answer(Ack calldata ack, bytes calldata signature) external nonReentrant {
        Record storage record = _leases().records[ack.terms];
        uint256 caseId = record.caseId;
        if (caseId == 0) revert NotAccused();
        if (!Signatures.signedBy(record.utility, ackDigest(ack), signature)) {
            revert InvalidAckSignature();
        }
        if (ack.upTo <= record.since) revert AckTooEarly(ack.upTo, record.since);
        record.caseId = 0;
        record.answeredTo = ack.upTo;
        uint256 stake = record.stake;
        // Of a case that was executed or vetoed this is refused.
        _disputes.withdraw(caseId);
        _joule.safeTransfer(record.supplier, stake);
        emit Answered(ack.terms, caseId, ack.upTo, stake);
    }

    /// @inheritdoc ILeases
    function close(bytes32 terms) external nonReentrant {
        Record storage record = _leases().records[terms];
        uint256 caseId = record.caseId;
        if (caseId == 0) revert NotAccused();
        IDisputes.Status status = _disputes.caseOf(caseId).status;
        bool executed = status == IDisputes.Status.Executed;
        if (!executed && status != IDisputes.Status.Vetoed) revert StillOpen(caseId);
        record.caseId = 0;
        record.broken = executed;
        // What was let pass is not heard again.
        record.answeredTo = record.silentBy;
        _joule.safeTransfer(record.utility, record.stake);
        emit Closed(terms, caseId, executed);
    }

    /// @inheritdoc ILeases
    function setAccusationStake(uint96 accusationStake_) external onlyOwner {
        _setAccusationStake(accusationStake_);
    }

    /// @inheritdoc ILeases
    function recordOf(bytes32 terms) external view returns (Record memory) {
        return _leases().records[terms];
    }

    /// @inheritdoc ILeases
    function accusationStake() external view returns (uint96) {
        return _leases().accusationStake;
    }

    /// @inheritdoc ILeases
    function disputes() external view returns (IDisputes) {
        return _disputes;
    }

    /// @inheritdoc ILeases
    function termsDigest(LeaseTerms calldata terms) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(TERMS_TYPEHASH, terms)));
    }

    /// @inheritdoc ILeases
    function ackDigest(Ack calldata ack) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ACK_TYPEHASH, ack)));
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    /// @dev By when an acknowledgement was due, if it was due by now and no notice came before.
    function _requireSilent(LeaseTerms calldata terms, Record storage record, uint64 since)
        private
        view
        returns (uint64 silentBy)
    {
        if (
            terms.to <= terms.from || terms.to > type(uint64).max - ACCUSE_PERIOD
                || terms.ackInterval < ACK_INTERVAL_MIN
        ) revert InvalidTerms();
        if (record.caseId != 0 || record.broken) revert AlreadyAccused();
        uint64 earliest = terms.from > record.answeredTo ? terms.from : record.answeredTo;
        if (since < earliest) revert BeginsTooEarly(since, earliest);
        if (since >= terms.to || terms.to - since < terms.ackInterval) {
            revert NotSilentYet(terms.to);
        }
        // Not above the lease's end, so that it fits.
        silentBy = since + terms.ackInterval;
        if (block.timestamp <= silentBy) revert NotSilentYet(silentBy);
        if (block.timestamp > terms.to + ACCUSE_PERIOD) revert TooOld(terms.to + ACCUSE_PERIOD);
        if (record.noticeAt != 0 && record.noticeAt <= silentBy) {
            revert NoticeInTime(record.noticeAt, silentBy);
        }
    }

    function _setAccusationStake(uint96 accusationStake_) private {
        _leases().accusationStake = accusationStake_;
        emit AccusationStakeChanged(accusationStake_);
    }

    function _leases() private pure returns (LeasesStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
