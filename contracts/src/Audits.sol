// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {
    EIP712Upgradeable
} from "@openzeppelin/contracts-upgradeable/utils/cryptography/EIP712Upgradeable.sol";

import {IAudits} from "./interfaces/IAudits.sol";
import {IDisputes} from "./interfaces/IDisputes.sol";
import {AuditTerms} from "./libraries/AuditTerms.sol";
import {Draws} from "./libraries/Draws.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Verdicts} from "./libraries/Verdicts.sol";

/// @title Audits
/// @notice See {IAudits}.
/// @dev What an auditor earns or loses is booked on its bond, so that settling a claim sends nothing
/// to an auditor. Panels are small by the bounds on parameters, and so is every loop. State is written
/// before tokens move; the guard stands where something is left to write.
contract Audits is
    Initializable,
    EIP712Upgradeable,
    Ownable2StepUpgradeable,
    ReentrancyGuardTransient,
    UUPSUpgradeable,
    IAudits
{
    using AuditTerms for Parameters;
    using SafeERC20 for IERC20;

    /// @notice The longest locator, in bytes.
    uint256 public constant LOCATOR_BYTES_MAX = 256;

    /// @dev Supplier, utility and challenger sit on no panel.
    uint256 private constant PARTIES = 3;
    /// @dev What is revealed where the job could not be had or run.
    bytes32 private constant UNAVAILABLE = bytes32(0);

    /// @dev Judged for good, or being judged.
    uint64 private constant JUDGED = type(uint64).max;

    bytes32 private constant RESULT_TYPEHASH = keccak256(
        "Result(address supplier,address utility,bytes32 lease,bytes32 job,bytes32 output,uint64 fuel,uint64 finishedAt,uint96 price)"
    );

    /// @custom:storage-location erc7201:kinesis.storage.Audits
    struct AuditsStorage {
        Parameters parameters;
        uint256 count;
        uint256 pendingDraws;
        mapping(uint256 id => Claim) claims;
        mapping(uint256 id => address[]) panels;
        mapping(uint256 id => mapping(address auditor => Vote)) votes;
        /// Until when a result may be claimed once more after a claim that decided nothing, or
        /// {JUDGED}.
        mapping(bytes32 result => uint64) claimable;
        mapping(address auditor => Auditor) auditors;
        address[] seats;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.Audits")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0x3febaf4952a2e46d5f2515b37f0ff4b68a896f4d53748efcd64b9d5359922600;

    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _joule;
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IDisputes private immutable _disputes;

    /// @param disputes_ Where verdicts are filed, fixed for this implementation.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor(IDisputes disputes_) {
        _joule = disputes_.registry().joule();
        _disputes = disputes_;
        _disableInitializers();
    }

    /// @notice Opens the court. It can judge nothing until {IDisputes} admits it.
    /// @param owner_ Who sets the parameters and upgrades.
    /// @param parameters_ The parameters.
    function initialize(address owner_, Parameters memory parameters_) external initializer {
        __Ownable_init(owner_);
        __Ownable2Step_init();
        _setParameters(parameters_);
    }

    /// @inheritdoc IAudits
    function enrol(uint256 amount) external {
        if (amount == 0) revert ZeroAmount();
        Auditor storage auditor = _audits().auditors[msg.sender];
        // All of a bond matures, or a wei bonded long ago would make a place of any size mature.
        if (auditor.place == 0) auditor.enrolledAt = uint64(block.timestamp);
        // More than 96 bits are more than the supply, and would not arrive.
        auditor.bond += uint96(amount);
        _joule.safeTransferFrom(msg.sender, address(this), amount);
        emit Enrolled(msg.sender, amount, auditor.bond);
    }

    /// @inheritdoc IAudits
    function sit() external {
        AuditsStorage storage $ = _audits();
        Auditor storage auditor = $.auditors[msg.sender];
        if (auditor.place != 0) revert AlreadySeated();
        uint256 needed = $.parameters.seatBond;
        if (auditor.bond < needed) revert BondTooSmall(auditor.bond, needed);
        uint256 from = uint256(auditor.enrolledAt) + $.parameters.maturity;
        if (block.timestamp < from) revert NotMature(from);
        $.seats.push(msg.sender);
        // There is not gas enough on earth for more.
        auditor.place = uint32($.seats.length);
        emit Seated(msg.sender, $.seats.length);
    }

    /// @inheritdoc IAudits
    function quit() external nonReentrant returns (uint256 amount) {
        AuditsStorage storage $ = _audits();
        Auditor storage auditor = $.auditors[msg.sender];
        if (auditor.duties > 0) revert OnDuty(auditor.duties);
        if (auditor.place != 0) _unseat(msg.sender, auditor);
        amount = auditor.bond;
        if (amount == 0) revert ZeroAmount();
        (auditor.bond, auditor.enrolledAt) = (0, 0);
        _pay(msg.sender, amount);
        emit Left(msg.sender, amount);
    }

    /// @inheritdoc IAudits
    function unseat(address who) external {
        AuditsStorage storage $ = _audits();
        Auditor storage auditor = $.auditors[who];
        if (auditor.place == 0) revert NotSeated();
        uint256 needed = $.parameters.seatBond / 2;
        if (auditor.bond >= needed) revert StillCovered(auditor.bond, needed);
        _unseat(who, auditor);
    }

    /// @inheritdoc IAudits
    function claim(Result calldata result, bytes calldata signature, string calldata locator)
        external
        nonReentrant
        returns (uint256 id)
    {
        if (bytes(locator).length > LOCATOR_BYTES_MAX) {
            revert LocatorTooLong(bytes(locator).length, LOCATOR_BYTES_MAX);
        }
        bytes32 digest = _verified(result, signature);
        AuditsStorage storage $ = _audits();
        if ($.claimable[digest] == JUDGED) revert AlreadyClaimed();
        ++$.pendingDraws;
        id = ++$.count;
        Claim storage claim_ = $.claims[id];
        _open(claim_, result, digest);
        $.claimable[digest] = JUDGED;
        _joule.safeTransferFrom(msg.sender, address(this), claim_.terms.claimStake);
        claim_.caseId = _file(result, digest);
        emit Claimed(id, result.supplier, msg.sender, digest, result, claim_.drawBlock, locator);
    }

    /// @inheritdoc IAudits
    function draw(uint256 id) external {
        AuditsStorage storage $ = _audits();
        Claim storage claim_ = _inStatus(id, Status.Drawing);
        (bool there, bytes32 hash) = Draws.hashOf(claim_.drawBlock);
        if (!there) revert TooEarly(claim_.drawBlock);
        if (hash == bytes32(0)) revert TooLate(claim_.drawBlock);
        --$.pendingDraws;
        uint256 size = claim_.terms.panel;
        address[] storage panel = $.panels[id];
        uint256[] memory candidates = Draws.distinct(
            keccak256(abi.encode(hash, id)),
            claim_.seats,
            Math.min(claim_.seats, 3 * size + PARTIES)
        );
        for (uint256 i; i < candidates.length && panel.length < size; ++i) {
            address who = $.seats[candidates[i]];
            if (!_mayJudge(claim_, who)) continue;
            panel.push(who);
            $.votes[id][who].drawn = true;
        }
        if (panel.length < size) {
            delete $.panels[id];
            _abandon(id, claim_, Status.Void, claim_.challenger);
            return;
        }
        for (uint256 i; i < size; ++i) {
            Auditor storage auditor = $.auditors[panel[i]];
            ++auditor.duties;
            auditor.atStake += claim_.terms.penalty;
        }
        claim_.status = Status.Voting;
        claim_.commitEnds = uint64(block.timestamp + claim_.terms.commitWindow);
        claim_.revealEnds = claim_.commitEnds + claim_.terms.revealWindow;
        emit Drawn(id, panel, claim_.commitEnds, claim_.revealEnds);
    }

    /// @inheritdoc IAudits
    function lapse(uint256 id) external {
        Claim storage claim_ = _inStatus(id, Status.Drawing);
        (bool there, bytes32 hash) = Draws.hashOf(claim_.drawBlock);
        if (!there || hash != bytes32(0)) revert StillDrawable(claim_.drawBlock);
        --_audits().pendingDraws;
        _abandon(id, claim_, Status.Lapsed, _treasury());
    }

    /// @inheritdoc IAudits
    function commit(uint256 id, bytes32 commitment) external {
        (Claim storage claim_, Vote storage vote) = _onPanel(id);
        if (block.timestamp > claim_.commitEnds) revert OutOfTime(0, claim_.commitEnds);
        if (commitment == bytes32(0)) revert ZeroCommitment();
        if (vote.commitment != bytes32(0)) revert AlreadyDone();
        vote.commitment = commitment;
        emit Committed(id, msg.sender, commitment);
    }

    /// @inheritdoc IAudits
    function reveal(uint256 id, bytes32 finding, bytes32 salt) external {
        (Claim storage claim_, Vote storage vote) = _onPanel(id);
        if (block.timestamp <= claim_.commitEnds || block.timestamp > claim_.revealEnds) {
            revert OutOfTime(claim_.commitEnds, claim_.revealEnds);
        }
        if (vote.revealed) revert AlreadyDone();
        if (vote.commitment != commitmentOf(id, msg.sender, finding, salt)) {
            revert NotAsCommitted();
        }
        vote.revealed = true;
        vote.finding = finding;
        ++claim_.revealed;
        emit Revealed(id, msg.sender, finding);
    }

    /// @inheritdoc IAudits
    function settle(uint256 id) external nonReentrant {
        Claim storage claim_ = _inStatus(id, Status.Voting);
        if (claim_.revealed < claim_.terms.panel && block.timestamp <= claim_.revealEnds) {
            revert OutOfTime(claim_.revealEnds, type(uint256).max);
        }
        AuditsStorage storage $ = _audits();
        (bool decided, bytes32 finding, uint256 fees, uint256 penalties) =
            Verdicts.judge(id, $.panels[id], $.votes[id], $.auditors, claim_.terms);
        Status status = Status.Undecided;
        address keeper = claim_.challenger;
        if (decided && finding == UNAVAILABLE) {
            (status, keeper) = (Status.Unavailable, _treasury());
        } else if (decided && finding == claim_.finding) {
            (status, keeper) = (Status.Upheld, claim_.supplier);
        } else if (decided) {
            status = Status.Refuted;
        }
        _end(claim_, status, fees);
        emit Settled(id, status, finding, fees, penalties);
        _pay(keeper, claim_.terms.claimStake - fees);
        _pay(_treasury(), penalties);
    }

    /// @inheritdoc IAudits
    function setParameters(Parameters memory parameters_) external onlyOwner {
        _setParameters(parameters_);
    }

    /// @inheritdoc IAudits
    function claimOf(uint256 id) external view returns (Claim memory) {
        return _audits().claims[id];
    }

    /// @inheritdoc IAudits
    function claimCount() external view returns (uint256) {
        return _audits().count;
    }

    /// @inheritdoc IAudits
    function panelOf(uint256 id) external view returns (address[] memory) {
        return _audits().panels[id];
    }

    /// @inheritdoc IAudits
    function voteOf(uint256 id, address auditor) external view returns (Vote memory) {
        return _audits().votes[id][auditor];
    }

    /// @inheritdoc IAudits
    function auditorOf(address auditor) external view returns (Auditor memory) {
        return _audits().auditors[auditor];
    }

    /// @inheritdoc IAudits
    function seats(uint256 from, uint256 to) external view returns (address[] memory some) {
        address[] storage all = _audits().seats;
        to = Math.min(to, all.length);
        from = Math.min(from, to);
        some = new address[](to - from);
        for (uint256 i; i < some.length; ++i) {
            some[i] = all[from + i];
        }
    }

    /// @inheritdoc IAudits
    function seatCount() external view returns (uint256) {
        return _audits().seats.length;
    }

    /// @inheritdoc IAudits
    function pendingDraws() external view returns (uint256) {
        return _audits().pendingDraws;
    }

    /// @inheritdoc IAudits
    function isJudged(bytes32 result) external view returns (bool) {
        return _audits().claimable[result] == JUDGED;
    }

    /// @inheritdoc IAudits
    function parameters() external view returns (Parameters memory) {
        return _audits().parameters;
    }

    /// @inheritdoc IAudits
    function disputes() external view returns (IDisputes) {
        return _disputes;
    }

    /// @inheritdoc IAudits
    function joule() external view returns (IERC20) {
        return _joule;
    }

    /// @inheritdoc IAudits
    function resultDigest(Result calldata result) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(RESULT_TYPEHASH, result)));
    }

    /// @inheritdoc IAudits
    function findingOf(bytes32 output, uint64 fuel) public pure returns (bytes32) {
        return keccak256(abi.encode(output, fuel));
    }

    /// @inheritdoc IAudits
    function commitmentOf(uint256 id, address auditor, bytes32 finding, bytes32 salt)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(id, auditor, finding, salt));
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    /// @dev Constants are smaller than strings in storage, and this contract is near the limit.
    function _EIP712Name() internal pure override returns (string memory) {
        return "Kinesis Audits";
    }

    function _EIP712Version() internal pure override returns (string memory) {
        return "1";
    }

    /// @dev The hash of a result that its supplier signed.
    function _verified(Result calldata result, bytes calldata signature)
        private
        view
        returns (bytes32 digest)
    {
        digest = resultDigest(result);
        if (!Signatures.signedBy(result.supplier, digest, signature)) {
            revert InvalidSupplierSignature();
        }
    }

    function _open(Claim storage claim_, Result calldata result, bytes32 digest) private {
        AuditsStorage storage $ = _audits();
        Parameters storage terms = $.parameters;
        uint256 until =
            Math.max(uint256(result.finishedAt) + terms.claimPeriod, $.claimable[digest]);
        if (block.timestamp > until) revert TooOld(until);
        uint256 needed = terms.panel + PARTIES;
        if ($.seats.length < needed) revert TooFewSeats($.seats.length, needed);
        claim_.status = Status.Drawing;
        claim_.seats = uint32($.seats.length);
        claim_.drawBlock = uint64(block.number + terms.drawBlocks);
        claim_.challenger = msg.sender;
        claim_.supplier = result.supplier;
        claim_.utility = result.utility;
        claim_.result = digest;
        claim_.finding = findingOf(result.output, result.fuel);
        terms.keep(claim_.terms);
    }

    function _file(Result calldata result, bytes32 digest) private returns (uint256) {
        return _disputes.file(
            IDisputes.Filing({
                offence: IDisputes.Offence.Refutation,
                accused: result.supplier,
                challenger: msg.sender,
                victim: result.utility,
                damage: result.price,
                most: type(uint96).max,
                evidence: digest
            })
        );
    }

    /// @dev The last place moves to where the ended one was.
    function _unseat(address who, Auditor storage auditor) private {
        AuditsStorage storage $ = _audits();
        if ($.pendingDraws > 0) revert DrawPending($.pendingDraws);
        address last = $.seats[$.seats.length - 1];
        $.seats[auditor.place - 1] = last;
        $.auditors[last].place = auditor.place;
        $.seats.pop();
        auditor.place = 0;
        emit Unseated(who, $.seats.length);
    }

    /// @dev Whether an auditor is no party, and has enough that is not at stake already.
    function _mayJudge(Claim storage claim_, address who) private view returns (bool) {
        if (who == claim_.supplier || who == claim_.utility || who == claim_.challenger) {
            return false;
        }
        Auditor storage auditor = _audits().auditors[who];
        return auditor.bond >= uint256(auditor.atStake) + claim_.terms.penalty;
    }

    function _abandon(uint256 id, Claim storage claim_, Status status, address keeper) private {
        _end(claim_, status, 0);
        emit Settled(id, status, bytes32(0), 0, 0);
        _pay(keeper, claim_.terms.claimStake);
    }

    function _end(Claim storage claim_, Status status, uint256 fees) private {
        claim_.status = status;
        if (status == Status.Refuted) {
            // A panel's fees are within the challenger's stake, which fits.
            _disputes.confirm(claim_.caseId, uint96(fees));
            return;
        }
        if (status != Status.Upheld) {
            // Or a supplier would claim its own result until it is too old for anybody else.
            uint256 until = block.timestamp + claim_.terms.claimPeriod;
            _audits().claimable[claim_.result] = uint64(until);
        }
        _disputes.withdraw(claim_.caseId);
    }

    function _pay(address to, uint256 amount) private {
        if (amount > 0) _joule.safeTransfer(to, amount);
    }

    function _onPanel(uint256 id) private view returns (Claim storage claim_, Vote storage vote) {
        claim_ = _inStatus(id, Status.Voting);
        vote = _audits().votes[id][msg.sender];
        if (!vote.drawn) revert NotDrawn();
    }

    function _inStatus(uint256 id, Status status) private view returns (Claim storage claim_) {
        claim_ = _audits().claims[id];
        if (claim_.status != status) revert WrongStatus(claim_.status);
    }

    function _treasury() private view returns (address) {
        return _disputes.escrow().treasury();
    }

    function _setParameters(Parameters memory p) private {
        AuditTerms.requireSound(p);
        _audits().parameters = p;
        emit ParametersChanged(p);
    }

    function _audits() private pure returns (AuditsStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
