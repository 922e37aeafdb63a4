// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {Audits} from "../../src/Audits.sol";
import {Disputes} from "../../src/Disputes.sol";
import {Joule} from "../../src/Joule.sol";
import {Leases} from "../../src/Leases.sol";
import {Registry} from "../../src/Registry.sol";
import {IAudits} from "../../src/interfaces/IAudits.sol";
import {IDisputes} from "../../src/interfaces/IDisputes.sol";
import {ILeases} from "../../src/interfaces/ILeases.sol";
import {Campaign} from "../utils/Campaign.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";
import {BlockVm} from "../utils/Blocks.sol";
import {Test} from "../utils/Test.sol";

/// @dev What auditors, a challenger, a supplier, its utility and the DAO may do, in any order: the
/// supplier signs right and wrong results and leases, the auditors say anything or nothing.
contract Litigants is Test {
    /// @dev Or nobody stays long enough for anything to happen.
    error Seldom();

    uint256 private constant SUPPLIER_KEY = 0xB0B;
    uint256 private constant UTILITY_KEY = 0xA11CE;
    bytes32 private constant SALT = "salt";

    Audits private immutable audits;
    Leases private immutable leases;
    Disputes private immutable disputes;
    Registry private immutable registry;
    Joule private immutable joule;
    address private immutable guardian;
    address private immutable owner;

    address[] public auditors;
    ILeases.LeaseTerms[] private signed;
    uint256 private results;

    /// What executed cases took, and what their events said became of it.
    uint256 public slashed;
    uint256 public received;
    bool public escapedWhileAccused;
    bool public placeMovedInADraw;
    mapping(uint256 id => bool) public executed;

    constructor(
        Audits audits_,
        Leases leases_,
        Disputes disputes_,
        Registry registry_,
        Joule joule_,
        address guardian_,
        address owner_,
        address[] memory auditors_
    ) {
        (audits, leases, disputes) = (audits_, leases_, disputes_);
        (registry, joule) = (registry_, joule_);
        (guardian, owner) = (guardian_, owner_);
        auditors = auditors_;
    }

    function count() external view returns (uint256) {
        return auditors.length;
    }

    function supplier() public pure returns (address) {
        return vm.addr(SUPPLIER_KEY);
    }

    function utility() public pure returns (address) {
        return vm.addr(UTILITY_KEY);
    }

    function challenger() public pure returns (address) {
        return address(0x0666);
    }

    function enrol(uint8 who, uint96 amount) external {
        address auditor = _auditor(who);
        for (uint256 i; i < auditors.length; ++i) {
            if (audits.auditorOf(auditors[i]).bond == 0) auditor = auditors[i];
        }
        amount = uint96(bound(amount, 90e18, 200e18));
        vm.prank(utility());
        joule.transfer(auditor, amount);
        vm.startPrank(auditor);
        joule.approve(address(audits), amount);
        audits.enrol(amount);
        vm.stopPrank();
    }

    /// @dev The next without a place, if there is one, and sometimes too early.
    function sit(uint8 who, bool wait_) external {
        for (uint8 i; i < auditors.length; ++i) {
            who = uint8((uint256(who) + 1) % auditors.length);
            if (audits.auditorOf(auditors[who]).place == 0) break;
        }
        if (wait_) vm.warp(_now() + 7 days);
        vm.prank(auditors[who]);
        audits.sit();
    }

    function quit(uint8 who, bool really) external {
        if (!really) revert Seldom();
        bool seated = audits.auditorOf(_auditor(who)).place != 0;
        vm.prank(_auditor(who));
        audits.quit();
        if (seated && audits.pendingDraws() > 0) placeMovedInADraw = true;
    }

    /// @dev Places become so dear for a moment that half of the price is more than there is.
    function unseat(uint8 who) external {
        address auditor = _auditor(who);
        IAudits.Parameters memory before = audits.parameters();
        IAudits.Parameters memory dear = audits.parameters();
        dear.seatBond = audits.auditorOf(auditor).bond * 2 + 2;
        vm.prank(owner);
        audits.setParameters(dear);
        audits.unseat(auditor);
        vm.prank(owner);
        audits.setParameters(before);
    }

    function claim(uint96 price) external {
        IAudits.Result memory result = IAudits.Result({
            supplier: supplier(),
            utility: utility(),
            lease: bytes32(0),
            job: bytes32(++results),
            output: "wrong",
            fuel: 1,
            finishedAt: uint64(_now()),
            price: price
        });
        bytes memory signature = _sign(SUPPLIER_KEY, audits.resultDigest(result));
        vm.prank(challenger());
        audits.claim(result, signature, "");
    }

    function draw(uint256 id, uint16 blocks) external {
        // Now and then so late that the hash is gone.
        _roll(bound(blocks, 1, blocks % 8 == 0 ? 400 : 100));
        audits.draw(_anyClaim(id, IAudits.Status.Drawing));
    }

    function lapse(uint256 id, bool wait_) external {
        if (wait_) _roll(300);
        audits.lapse(_anyClaim(id, IAudits.Status.Drawing));
    }

    /// @dev The whole panel commits, and who is not silent reveals: mostly the same.
    function vote(uint256 id, uint8[15] calldata findings) external {
        id = _anyClaim(id, IAudits.Status.Voting);
        address[] memory panel = audits.panelOf(id);
        for (uint256 i; i < panel.length; ++i) {
            bytes32 commitment = audits.commitmentOf(id, panel[i], _finding(findings[i]), SALT);
            vm.prank(panel[i]);
            audits.commit(id, commitment);
        }
        vm.warp(uint256(audits.claimOf(id).commitEnds) + 1);
        for (uint256 i; i < panel.length; ++i) {
            if (findings[i] % 8 == 7) continue;
            vm.prank(panel[i]);
            audits.reveal(id, _finding(findings[i]), SALT);
        }
    }

    function settle(uint256 id, bool wait_) external {
        id = _anyClaim(id, IAudits.Status.Voting);
        if (wait_) _waitFor(audits.claimOf(id).revealEnds);
        audits.settle(id);
    }

    function signLease(uint32 length, uint96 penalty) external {
        uint64 from = uint64(_now());
        signed.push(
            ILeases.LeaseTerms({
                supplier: supplier(),
                utility: utility(),
                lease: bytes32(signed.length),
                from: from,
                to: from + uint64(bound(length, 120, 30 days)),
                ackInterval: 60,
                penalty: penalty
            })
        );
    }

    function accuse(uint256 which, uint32 since) external {
        ILeases.LeaseTerms memory terms = signed[which % signed.length];
        bytes32 digest = leases.termsDigest(terms);
        (bytes memory a, bytes memory b) = (_sign(SUPPLIER_KEY, digest), _sign(UTILITY_KEY, digest));
        uint64 from = terms.from + uint64(bound(since, 0, (terms.to - terms.from) / 2));
        _waitFor(from + 60);
        vm.prank(utility());
        leases.accuse(terms, a, b, from);
    }

    function giveNotice(uint256 which) external {
        vm.prank(supplier());
        leases.giveNotice(signed[which % signed.length]);
    }

    function answer(uint256 which, uint32 upTo) external {
        ILeases.LeaseTerms memory terms = _anyLease(which);
        ILeases.Ack memory ack = ILeases.Ack({
            terms: leases.termsDigest(terms), upTo: terms.from + uint64(bound(upTo, 0, 30 days))
        });
        leases.answer(ack, _sign(UTILITY_KEY, leases.ackDigest(ack)));
    }

    function close(uint256 which) external {
        leases.close(leases.termsDigest(_anyLease(which)));
    }

    function bond(uint96 amount) external {
        vm.prank(utility());
        registry.bond(supplier(), bound(amount, 1, 1e24));
    }

    /// @dev A pool's money beside the supplier's own.
    function lend(uint96 amount) external {
        vm.prank(supplier());
        registry.setLender(utility(), 1_000);
        vm.prank(utility());
        registry.lend(supplier(), bound(amount, 1, 1e24));
    }

    function requestUnbonding(uint256 amount) external {
        uint256 own = registry.ownStake(supplier());
        vm.prank(supplier());
        registry.requestUnbonding(bound(amount, 0, own));
    }

    /// @dev The loan goes back, unless a case is open: nothing of the own stake leaves before. Where
    /// a call fails, nobody is left pretending to be the lender.
    function takeBack() external {
        address lender = utility();
        uint256 left = registry.lentTo(lender, supplier()) - registry.thawing(lender, supplier());
        if (left > 0) {
            vm.prank(lender);
            registry.recall(supplier(), left);
        }
        vm.warp(_now() + registry.thaw());
        vm.prank(lender);
        if (registry.reclaim(supplier()) == 0) revert Seldom();
    }

    function unbond() external {
        uint256 held = registry.locks(supplier());
        vm.prank(supplier());
        registry.unbond(supplier());
        if (held > 0) escapedWhileAccused = true;
    }

    function veto(uint256 id) external {
        // Seldom, or nothing is ever executed.
        id = id % 4 == 0 ? _anyCase(id) : bound(id, 1, disputes.caseCount() + 1);
        vm.prank(guardian);
        disputes.veto(id);
    }

    function execute(uint256 id, bool wait_) external {
        id = _anyCase(id);
        if (wait_) _waitFor(disputes.caseOf(id).windowEnds);
        uint256 before = _parties();
        uint256 stakes = joule.balanceOf(address(registry));
        disputes.execute(id);
        executed[id] = true;
        slashed += stakes - joule.balanceOf(address(registry));
        received += _parties() - before;
    }

    function wait(uint32 time) external {
        vm.warp(_now() + bound(time, 0, 1 days));
    }

    function leaseCount() external view returns (uint256) {
        return signed.length;
    }

    function recordOf(uint256 which) external view returns (ILeases.Record memory) {
        return leases.recordOf(leases.termsDigest(signed[which]));
    }

    function _parties() private view returns (uint256) {
        return joule.balanceOf(utility()) + joule.balanceOf(challenger())
            + joule.balanceOf(address(0x0222));
    }

    function _auditor(uint8 who) private view returns (address) {
        return auditors[who % auditors.length];
    }

    function _finding(uint8 which) private view returns (bytes32) {
        if (which % 8 < 5) return audits.findingOf("right", 1);
        if (which % 8 == 5) return audits.findingOf("wrong", 1);
        return bytes32(0);
    }

    /// @dev The next claim from `id` on that stands there, or any, even none.
    function _anyClaim(uint256 id, IAudits.Status status) private view returns (uint256) {
        uint256 all = audits.claimCount();
        for (uint256 i; i < all; ++i) {
            uint256 found = (id % all + i) % all + 1;
            if (audits.claimOf(found).status == status) return found;
        }
        return bound(id, 1, all + 1);
    }

    /// @dev The next case from `id` on that is open, or any, even none.
    function _anyCase(uint256 id) private view returns (uint256) {
        uint256 all = disputes.caseCount();
        for (uint256 i; i < all; ++i) {
            uint256 found = (id % all + i) % all + 1;
            if (disputes.caseOf(found).status == IDisputes.Status.Open) return found;
        }
        return bound(id, 1, all + 1);
    }

    /// @dev The next lease from `which` on with an accusation that is open, or any.
    function _anyLease(uint256 which) private view returns (ILeases.LeaseTerms memory) {
        for (uint256 i; i < signed.length; ++i) {
            ILeases.LeaseTerms memory terms = signed[(which % signed.length + i) % signed.length];
            if (leases.recordOf(leases.termsDigest(terms)).caseId != 0) return terms;
        }
        return signed[which % signed.length];
    }

    function _sign(uint256 key, bytes32 digest) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    function _waitFor(uint256 time) private {
        if (_now() <= time) vm.warp(time + 1);
    }

    function _now() private view returns (uint256) {
        return BlockVm(address(vm)).getBlockTimestamp();
    }

    function _roll(uint256 blocks) private {
        BlockVm cheats = BlockVm(address(vm));
        cheats.roll(cheats.getBlockNumber() + blocks);
    }
}

contract CourtsInvariants is Campaign, CourtFixture {
    Litigants private litigants;

    function setUp() public override {
        super.setUp();
        address[] memory auditors = new address[](AUDITORS);
        for (uint256 i; i < AUDITORS; ++i) {
            auditors[i] = _auditor(i);
        }
        litigants =
            new Litigants(audits, leases, disputes, registry, joule, guardian, owner, auditors);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(litigants);
    }

    /// @notice Nothing holds only because nobody gets anywhere.
    function test_everyActionSucceeds() public {
        Action[] memory actions = new Action[](22);
        actions[0] = Action("enrol(uint8,uint96)", hex"0860");
        actions[1] = Action("sit(uint8,bool)", hex"0801");
        actions[2] = Action("quit(uint8,bool)", hex"0801");
        actions[3] = Action("unseat(uint8)", hex"08");
        actions[4] = Action("claim(uint96)", hex"60");
        actions[5] = Action("draw(uint256,uint16)", hex"0010");
        actions[6] = Action("lapse(uint256,bool)", hex"0001");
        actions[7] = Action("vote(uint256,uint8[15])", hex"00080808080808080808080808080808");
        actions[8] = Action("settle(uint256,bool)", hex"0001");
        actions[9] = Action("signLease(uint32,uint96)", hex"2060");
        actions[10] = Action("accuse(uint256,uint32)", hex"0020");
        actions[11] = Action("giveNotice(uint256)", hex"00");
        actions[12] = Action("answer(uint256,uint32)", hex"0020");
        actions[13] = Action("close(uint256)", hex"00");
        actions[14] = Action("bond(uint96)", hex"60");
        actions[15] = Action("lend(uint96)", hex"60");
        actions[16] = Action("requestUnbonding(uint256)", hex"00");
        actions[17] = Action("takeBack()", hex"");
        actions[18] = Action("unbond()", hex"");
        actions[19] = Action("veto(uint256)", hex"00");
        actions[20] = Action("execute(uint256,bool)", hex"0001");
        actions[21] = Action("wait(uint32)", hex"20");
        _requireAllSucceed(address(litigants), actions, 1500);
    }

    /// @notice The audits hold exactly the auditors' bonds and the stakes of claims that have not
    /// ended.
    function invariant_bondsAndStakesAreTheTokens() public view {
        uint256 sum = _bondSum();
        for (uint256 id = 1; id <= audits.claimCount(); ++id) {
            IAudits.Claim memory claim = audits.claimOf(id);
            if (claim.status == IAudits.Status.Drawing || claim.status == IAudits.Status.Voting) {
                sum += claim.terms.claimStake;
            }
        }
        assertEq(joule.balanceOf(address(audits)), sum, "tokens");
    }

    /// @notice No auditor has more at stake than it has, and what is at stake is its duties'.
    function invariant_whatIsAtStakeIsThere() public view {
        for (uint256 i; i < AUDITORS; ++i) {
            IAudits.Auditor memory auditor = audits.auditorOf(_auditor(i));
            assertTrue(auditor.atStake <= auditor.bond, "within the bond");
            assertEq(auditor.atStake, uint256(auditor.duties) * PENALTY, "by duties");
        }
    }

    /// @notice Every place is its auditor's, and every auditor with a place has that one.
    function invariant_placesAreTheAuditors() public view {
        address[] memory seats = audits.seats(0, type(uint256).max);
        for (uint256 i; i < seats.length; ++i) {
            assertEq(audits.auditorOf(seats[i]).place, i + 1, "place");
        }
        uint256 seated;
        for (uint256 i; i < AUDITORS; ++i) {
            if (audits.auditorOf(_auditor(i)).place != 0) ++seated;
        }
        assertEq(seated, seats.length, "as many");
    }

    /// @notice No place changes while a draw is due.
    function invariant_nobodyDodgesADraw() public view {
        assertTrue(!litigants.placeMovedInADraw(), "dodged");
    }

    /// @notice Draws that are due are claims that have not been drawn.
    function invariant_pendingDrawsAreDrawingClaims() public view {
        uint256 drawing;
        for (uint256 id = 1; id <= audits.claimCount(); ++id) {
            if (audits.claimOf(id).status == IAudits.Status.Drawing) ++drawing;
        }
        assertEq(audits.pendingDraws(), drawing, "due");
    }

    /// @notice The leases hold exactly the stakes of accusations that have not been closed.
    function invariant_accusationStakesAreTheTokens() public view {
        uint256 sum;
        for (uint256 i; i < litigants.leaseCount(); ++i) {
            ILeases.Record memory record = litigants.recordOf(i);
            if (record.caseId != 0) sum += record.stake;
        }
        assertEq(joule.balanceOf(address(leases)), sum, "tokens");
    }

    /// @notice What is slashed goes to victims, challengers and treasury, to the last wei, and never
    /// more than the cap at a time.
    function invariant_victimsBountyAndTreasuryAreTheSlash() public view {
        assertEq(litigants.received(), litigants.slashed(), "shared out");
        assertEq(joule.balanceOf(address(disputes)), 0, "nothing kept");
        uint256 amounts;
        for (uint256 id = 1; id <= disputes.caseCount(); ++id) {
            IDisputes.Case memory case_ = disputes.caseOf(id);
            assertTrue(case_.amount <= case_.slashCap, "capped");
            amounts += case_.amount;
        }
        assertEq(amounts, litigants.slashed(), "as the cases say");
    }

    /// @notice The registry holds exactly the stakes, own and lent.
    function invariant_stakesAreTheTokens() public view {
        assertEq(joule.balanceOf(address(registry)), _bonded(utility) + _bonded(supplier), "tokens");
    }

    /// @notice Locks are the cases that have not ended, and no stake leaves under one.
    function invariant_theAccusedDoNotEscape() public view {
        assertTrue(!litigants.escapedWhileAccused(), "escaped");
        uint256 open;
        for (uint256 id = 1; id <= disputes.caseCount(); ++id) {
            IDisputes.Status status = disputes.caseOf(id).status;
            if (status == IDisputes.Status.Open || status == IDisputes.Status.Pending) ++open;
        }
        assertEq(registry.locks(supplier), open, "locks");
    }
}
