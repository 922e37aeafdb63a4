// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {UUPSUpgradeable} from "@openzeppelin/contracts/proxy/utils/UUPSUpgradeable.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";

import {IDisputes} from "./interfaces/IDisputes.sol";
import {IPaymentEscrow} from "./interfaces/IPaymentEscrow.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {DisputeTerms} from "./libraries/DisputeTerms.sol";
import {PaymentRoot, PaymentRoots} from "./libraries/PaymentRoots.sol";
import {Signatures} from "./libraries/Signatures.sol";
import {Slashes} from "./libraries/Slashes.sol";

/// @title Disputes
/// @notice See {IDisputes}.
/// @dev Cases are written before tokens move, except for what the slash turns out to be; the guard
/// stands around that.
contract Disputes is
    Initializable,
    Ownable2StepUpgradeable,
    ReentrancyGuardTransient,
    UUPSUpgradeable,
    IDisputes
{
    using SafeERC20 for IERC20;

    /// @notice Victims never get more of a slash than this, in basis points: they are whom the
    /// accused names, and it may name itself.
    uint16 public constant COMPENSATION_BP_CAP = DisputeTerms.COMPENSATION_BP_CAP;
    /// @notice The challenger never gets more of a slash than this, in basis points: it may be the
    /// accused too.
    uint16 public constant BOUNTY_BP_CAP = DisputeTerms.BOUNTY_BP_CAP;
    /// @notice The shortest window for a veto: for development chains.
    uint32 public constant VETO_WINDOW_MIN = DisputeTerms.VETO_WINDOW_MIN;
    /// @notice The longest window for a veto.
    uint32 public constant VETO_WINDOW_MAX = DisputeTerms.VETO_WINDOW_MAX;
    /// @notice How long suppliers may collect after a case was executed.
    uint32 public constant COMPENSATION_PERIOD = 90 days;

    uint16 private constant BP = 10_000;

    /// @dev What has been said of a series' overdrafts.
    struct Overdraft {
        /// Whether a case is open.
        bool open;
        /// The largest total that the DAO let pass.
        uint256 vetoed;
    }

    /// @custom:storage-location erc7201:kinesis.storage.Disputes
    struct DisputesStorage {
        Parameters parameters;
        address guardian;
        uint256 count;
        mapping(uint256 id => Case) cases;
        /// By the hash of a root.
        mapping(bytes32 digest => bool) equivocated;
        mapping(address utility => mapping(uint64 series => Overdraft)) overdrafts;
        mapping(uint256 id => mapping(address supplier => uint256)) compensatedInCase;
        mapping(
            address utility => mapping(uint64 series => mapping(address supplier => uint256))
        ) compensated;
        mapping(address court => bool) courts;
    }

    // keccak256(abi.encode(uint256(keccak256("kinesis.storage.Disputes")) - 1)) & ~bytes32(uint256(0xff))
    bytes32 private constant STORAGE_LOCATION =
        0xfaa2f765f416ff1dd8e8f1ac7b03230c20700020f7ddf2d12baec6e2f2f3bc00;

    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IERC20 private immutable _joule;
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IPaymentEscrow private immutable _escrow;
    /// @custom:oz-upgrades-unsafe-allow state-variable-immutable
    IRegistry private immutable _registry;

    /// @param escrow_ The escrow whose roots are judged, fixed for this implementation.
    /// @param registry_ The registry whose stakes are slashed, fixed likewise.
    /// @custom:oz-upgrades-unsafe-allow constructor
    constructor(IPaymentEscrow escrow_, IRegistry registry_) {
        _joule = registry_.joule();
        _escrow = escrow_;
        _registry = registry_;
        _disableInitializers();
    }

    /// @notice Opens the court.
    /// @param owner_ Who sets the parameters, upgrades and may veto.
    /// @param guardian_ Who else may veto; zero for nobody.
    /// @param parameters_ The parameters.
    function initialize(address owner_, address guardian_, Parameters memory parameters_)
        external
        initializer
    {
        __Ownable_init(owner_);
        __Ownable2Step_init();
        _setGuardian(guardian_);
        _setParameters(parameters_);
    }

    /// @inheritdoc IDisputes
    function accuseEquivocation(
        PaymentRoot calldata first,
        bytes calldata firstSignature,
        PaymentRoot calldata second,
        bytes calldata secondSignature
    ) external nonReentrant returns (uint256) {
        if (
            first.utility != second.utility || first.series != second.series
                || first.tick != second.tick
        ) revert NotOneTick();
        bytes32[2] memory digests =
            [_verified(first, firstSignature), _verified(second, secondSignature)];
        if (digests[0] == digests[1]) revert SameRoot();
        DisputesStorage storage $ = _disputes();
        if ($.equivocated[digests[0]] && $.equivocated[digests[1]]) revert AlreadyAccused();
        $.equivocated[digests[0]] = true;
        $.equivocated[digests[1]] = true;
        uint256 total = Math.max(first.total, second.total);
        return _open(Offence.Equivocation, first, digests, total, $.parameters.equivocationBp);
    }

    /// @inheritdoc IDisputes
    function accuseOverdraft(PaymentRoot calldata root, bytes calldata signature)
        external
        nonReentrant
        returns (uint256)
    {
        bytes32 digest = _verified(root, signature);
        IPaymentEscrow.Account memory account = _escrow.account(root.utility, root.series);
        // Once it is asked back it covers nothing, or a request that has thawed could cover for a
        // moment and be gone.
        uint256 cover =
            account.deposited - account.withdrawn - Math.min(account.thawing, account.balance);
        if (root.total <= cover) revert Covered(root.total, cover);
        DisputesStorage storage $ = _disputes();
        Overdraft storage overdraft = $.overdrafts[root.utility][root.series];
        if (overdraft.open || root.total <= overdraft.vetoed) revert AlreadyAccused();
        overdraft.open = true;
        return
            _open(Offence.Overdraft, root, [digest, digest], root.total, $.parameters.overdraftBp);
    }

    /// @inheritdoc IDisputes
    function file(Filing calldata filing) external nonReentrant returns (uint256 id) {
        DisputesStorage storage $ = _disputes();
        if (!$.courts[msg.sender]) revert OnlyCourt();
        if (filing.offence != Offence.Refutation && filing.offence != Offence.Breach) {
            revert NotForCourts(filing.offence);
        }
        uint16 slashBp = filing.offence == Offence.Refutation
            ? $.parameters.refutationBp
            : $.parameters.breachBp;
        Case storage case_;
        (id, case_) =
            _new(Status.Pending, filing.offence, filing.accused, filing.challenger, slashBp);
        if (filing.most < case_.slashCap) case_.slashCap = filing.most;
        case_.court = msg.sender;
        case_.victim = filing.victim;
        case_.total = filing.victim == address(0) ? 0 : filing.damage;
        case_.digests = [filing.evidence, filing.evidence];
        emit Filed(
            id,
            filing.accused,
            filing.challenger,
            filing.offence,
            msg.sender,
            filing.victim,
            case_.total,
            filing.evidence
        );
    }

    /// @inheritdoc IDisputes
    function confirm(uint256 id, uint96 costs) external {
        Case storage case_ = _inStatus(id, Status.Pending);
        if (msg.sender != case_.court) revert OnlyCourt();
        case_.status = Status.Open;
        case_.costs = costs;
        case_.windowEnds = uint64(block.timestamp + _disputes().parameters.vetoWindow);
        emit Confirmed(id, costs, case_.windowEnds);
    }

    /// @inheritdoc IDisputes
    function withdraw(uint256 id) external {
        Case storage case_ = _disputes().cases[id];
        if (msg.sender != case_.court) revert OnlyCourt();
        if (case_.status != Status.Pending && case_.status != Status.Open) {
            revert WrongStatus(case_.status);
        }
        case_.status = Status.Withdrawn;
        _close(case_);
        emit Withdrawn(id);
    }

    /// @inheritdoc IDisputes
    function veto(uint256 id) external {
        if (msg.sender != _disputes().guardian && msg.sender != owner()) revert OnlyGuardian();
        Case storage case_ = _inStatus(id, Status.Open);
        if (block.timestamp > case_.windowEnds) revert WindowClosed(case_.windowEnds);
        case_.status = Status.Vetoed;
        if (case_.offence == Offence.Overdraft) {
            // It grows: what was vetoed already cannot be accused.
            _disputes().overdrafts[case_.accused][case_.series].vetoed = case_.total;
        }
        _close(case_);
        emit Vetoed(id);
    }

    /// @inheritdoc IDisputes
    function execute(uint256 id) external nonReentrant {
        Case storage case_ = _inStatus(id, Status.Open);
        if (block.timestamp <= case_.windowEnds) revert WindowOpen(case_.windowEnds);
        case_.status = Status.Executed;
        _close(case_);
        uint256 own = _registry.ownStake(case_.accused);
        uint256 amount = Math.min(_bonded(case_.accused) * case_.slashBp / BP, case_.slashCap);
        uint256 taken = _registry.slash(case_.accused, amount, address(this));
        uint256 shortfall = case_.court == address(0) ? _shortfall(case_) : case_.total;
        (uint256 compensation, uint256 bounty, uint256 rest) =
            Slashes.share(taken, own, shortfall, case_.compensationBp, case_.bountyBp, case_.costs);
        case_.shortfall = shortfall;
        // All of them are within the supply.
        case_.amount = uint96(taken);
        case_.compensation = uint96(compensation);
        case_.compensationEnds = uint64(block.timestamp + COMPENSATION_PERIOD);
        if (case_.court != address(0)) {
            case_.compensated = uint96(compensation);
            if (compensation > 0) _joule.safeTransfer(case_.victim, compensation);
        }
        _joule.safeTransfer(case_.challenger, bounty);
        _joule.safeTransfer(_escrow.treasury(), rest);
        emit Executed(id, taken, compensation, bounty, rest);
    }

    /// @inheritdoc IDisputes
    function compensate(
        uint256 id,
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof
    ) external nonReentrant returns (uint256 paid) {
        Case storage case_ = _inStatus(id, Status.Executed);
        if (block.timestamp > case_.compensationEnds) {
            revert CompensationOver(case_.compensationEnds);
        }
        _verifyLeaf(case_, root, signature, supplier, cumulative, proof);
        _redeemFirst(root, signature, supplier, cumulative, proof);
        paid = _due(id, case_, supplier, cumulative);
        if (paid == 0) revert NothingToCompensate();
        DisputesStorage storage $ = _disputes();
        $.compensatedInCase[id][supplier] += paid;
        $.compensated[root.utility][root.series][supplier] += paid;
        // It fits: {_due} never exceeds what is left of the compensation.
        case_.compensated += uint96(paid);
        _joule.safeTransfer(supplier, paid);
        emit Compensated(id, supplier, paid);
    }

    /// @inheritdoc IDisputes
    function sweep(uint256 id) external nonReentrant returns (uint256 amount) {
        Case storage case_ = _inStatus(id, Status.Executed);
        if (block.timestamp <= case_.compensationEnds) {
            revert CompensationOpen(case_.compensationEnds);
        }
        amount = case_.compensation - case_.compensated;
        case_.compensation = case_.compensated;
        _joule.safeTransfer(_escrow.treasury(), amount);
        emit Swept(id, amount);
    }

    /// @inheritdoc IDisputes
    function setParameters(Parameters memory parameters_) external onlyOwner {
        _setParameters(parameters_);
    }

    /// @inheritdoc IDisputes
    function setGuardian(address guardian_) external onlyOwner {
        _setGuardian(guardian_);
    }

    /// @inheritdoc IDisputes
    function setCourt(address court, bool admitted) external onlyOwner {
        _disputes().courts[court] = admitted;
        emit CourtChanged(court, admitted);
    }

    /// @inheritdoc IDisputes
    function caseOf(uint256 id) external view returns (Case memory) {
        return _disputes().cases[id];
    }

    /// @inheritdoc IDisputes
    function caseCount() external view returns (uint256) {
        return _disputes().count;
    }

    /// @inheritdoc IDisputes
    function compensatedOf(address utility, uint64 series, address supplier)
        external
        view
        returns (uint256)
    {
        return _disputes().compensated[utility][series][supplier];
    }

    /// @inheritdoc IDisputes
    function parameters() external view returns (Parameters memory) {
        return _disputes().parameters;
    }

    /// @inheritdoc IDisputes
    function guardian() external view returns (address) {
        return _disputes().guardian;
    }

    /// @inheritdoc IDisputes
    function isCourt(address court) external view returns (bool) {
        return _disputes().courts[court];
    }

    /// @inheritdoc IDisputes
    function escrow() external view returns (IPaymentEscrow) {
        return _escrow;
    }

    /// @inheritdoc IDisputes
    function registry() external view returns (IRegistry) {
        return _registry;
    }

    function _authorizeUpgrade(address) internal override onlyOwner {}

    function _open(
        Offence offence,
        PaymentRoot calldata root,
        bytes32[2] memory digests,
        uint256 total,
        uint16 slashBp
    ) private returns (uint256 id) {
        Case storage case_;
        (id, case_) = _new(Status.Open, offence, root.utility, msg.sender, slashBp);
        case_.windowEnds = uint64(block.timestamp + _disputes().parameters.vetoWindow);
        case_.series = root.series;
        case_.tick = root.tick;
        case_.total = total;
        case_.digests = digests;
        emit Accused(
            id, root.utility, msg.sender, offence, root.series, root.tick, case_.windowEnds
        );
    }

    function _new(
        Status status,
        Offence offence,
        address accused,
        address challenger,
        uint16 slashBp
    ) private returns (uint256 id, Case storage case_) {
        DisputesStorage storage $ = _disputes();
        if (_bonded(accused) == 0) revert NothingBonded();
        id = ++$.count;
        case_ = $.cases[id];
        case_.status = status;
        case_.offence = offence;
        case_.compensationBp = $.parameters.compensationBp;
        case_.bountyBp = $.parameters.bountyBp;
        case_.slashBp = slashBp;
        case_.slashCap = $.parameters.slashCap;
        case_.accused = accused;
        case_.challenger = challenger;
        _registry.lock(accused);
    }

    function _close(Case storage case_) private {
        if (case_.offence == Offence.Overdraft) {
            _disputes().overdrafts[case_.accused][case_.series].open = false;
        }
        _registry.unlock(case_.accused);
    }

    /// @dev Takes from the escrow what it can pay, so that a supplier is compensated only for what
    /// it cannot. Nothing is tried and caught: a call that was given too little gas for it fails as
    /// a whole. An escrow with less in it than pays one wei and its fee counts as empty, or dust
    /// would stand in the way.
    function _redeemFirst(
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof
    ) private {
        if (_escrow.redeemed(root.utility, root.series, supplier) >= cumulative) {
            return;
        }
        if (_payable(_escrow.account(root.utility, root.series).balance) == 0) return;
        _escrow.redeem(root, signature, supplier, cumulative, proof);
    }

    /// @dev What a supplier is due of a case: its part of what is unpaid, less what it had.
    function _due(uint256 id, Case storage case_, address supplier, uint256 cumulative)
        private
        view
        returns (uint256)
    {
        DisputesStorage storage $ = _disputes();
        uint256 here = $.compensatedInCase[id][supplier];
        uint256 elsewhere = $.compensated[case_.accused][case_.series][supplier] - here;
        uint256 had = _escrow.redeemed(case_.accused, case_.series, supplier) + elsewhere;
        if (case_.compensation == 0 || cumulative <= had) return 0;
        // The compensation never exceeds the shortfall.
        uint256 part = Math.mulDiv(cumulative - had, case_.compensation, case_.shortfall);
        if (part <= here) return 0;
        return Math.min(part - here, case_.compensation - case_.compensated);
    }

    function _setParameters(Parameters memory p) private {
        DisputeTerms.requireSound(p);
        _disputes().parameters = p;
        emit ParametersChanged(p);
    }

    function _setGuardian(address guardian_) private {
        _disputes().guardian = guardian_;
        emit GuardianChanged(guardian_);
    }

    function _inStatus(uint256 id, Status status) private view returns (Case storage case_) {
        case_ = _disputes().cases[id];
        if (case_.status != status) revert WrongStatus(case_.status);
    }

    /// @dev The hash of a root that its utility signed. The escrow's domain is in it: chain,
    /// contract and version.
    function _verified(PaymentRoot calldata root, bytes calldata signature)
        private
        view
        returns (bytes32 digest)
    {
        digest = _escrow.rootDigest(root);
        if (!Signatures.signedBy(root.utility, digest, signature)) revert InvalidRootSignature();
    }

    function _verifyLeaf(
        Case storage case_,
        PaymentRoot calldata root,
        bytes calldata signature,
        address supplier,
        uint96 cumulative,
        bytes32[] calldata proof
    ) private view {
        bytes32 digest = _verified(root, signature);
        if (digest != case_.digests[0] && digest != case_.digests[1]) revert NotOfThisCase();
        if (cumulative > root.total) revert AboveTotal(cumulative, root.total);
        bytes32 leaf = PaymentRoots.leaf(supplier, cumulative);
        if (!MerkleProof.verifyCalldata(proof, root.root, leaf)) revert InvalidProof();
    }

    /// @dev What the escrow, emptied, would leave unpaid of the total that was signed, where the
    /// utility takes what it has asked for.
    function _shortfall(Case storage case_) private view returns (uint256) {
        IPaymentEscrow.Account memory account = _escrow.account(case_.accused, case_.series);
        uint256 left = Math.saturatingSub(account.balance, account.thawing);
        return Math.saturatingSub(case_.total, account.redeemed + _payable(left));
    }

    function _bonded(address operator) private view returns (uint256) {
        IRegistry.Bond memory stake = _registry.bondOf(operator);
        return stake.active + stake.thawing;
    }

    /// @dev What suppliers get of a balance: the fee comes on top.
    function _payable(uint256 balance) private view returns (uint256) {
        return balance * BP / (BP + _escrow.feeBp());
    }

    function _disputes() private pure returns (DisputesStorage storage $) {
        assembly {
            $.slot := STORAGE_LOCATION
        }
    }
}
