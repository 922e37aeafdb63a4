// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.28;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {Audits} from "../../src/Audits.sol";
import {Leases} from "../../src/Leases.sol";
import {PaymentEscrow} from "../../src/PaymentEscrow.sol";
import {IAudits} from "../../src/interfaces/IAudits.sol";
import {ILeases} from "../../src/interfaces/ILeases.sol";
import {PaymentRoot, PaymentRoots} from "../../src/libraries/PaymentRoots.sol";
import {CourtFixture} from "../utils/CourtFixture.sol";

/// @dev What reading a file of JSON needs.
interface FileVm {
    function readFile(string calldata path) external view returns (string memory);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function parseJsonUint(string calldata json, string calldata key)
        external
        pure
        returns (uint256);
    function parseJsonAddress(string calldata json, string calldata key)
        external
        pure
        returns (address);
    function parseJsonBytes32(string calldata json, string calldata key)
        external
        pure
        returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key)
        external
        pure
        returns (bytes32[] memory);
    function parseJsonBytes(string calldata json, string calldata key)
        external
        pure
        returns (bytes memory);
    function toString(uint256 value) external pure returns (string memory);
    function etch(address target, bytes calldata code) external;
}

/// @title The vectors that Rust made are what the contracts hash.
contract VectorsTest is CourtFixture {
    FileVm private constant files = FileVm(address(vm));

    string private json;

    function setUp() public override {
        super.setUp();
        json = files.readFile("./test/vectors.json");
    }

    function test_payment_roots() public {
        PaymentEscrow at =
            PaymentEscrow(_place("paymentRoots", address(new PaymentEscrow(joule, registry)).code));
        for (uint256 i; _has("paymentRoots", i); ++i) {
            string memory key = _enter("paymentRoots", i);
            bytes32 digest = at.rootDigest(
                PaymentRoot({
                    utility: _address(key, "utility"),
                    series: uint64(_uint(key, "series")),
                    tick: uint64(_uint(key, "tick")),
                    root: _hash(key, "root"),
                    total: _uint(key, "total")
                })
            );
            _check("paymentRoots", i, digest);
        }
    }

    function test_consents_to_be_paid_elsewhere() public {
        PaymentEscrow at =
            PaymentEscrow(_place("redeemTos", address(new PaymentEscrow(joule, registry)).code));
        for (uint256 i; _has("redeemTos", i); ++i) {
            string memory key = _enter("redeemTos", i);
            PaymentRoot memory root;
            root.utility = _address(key, "utility");
            root.series = uint64(_uint(key, "series"));
            bytes32 digest = at.redeemToDigest(
                root,
                _address(key, "supplier"),
                uint96(_uint(key, "cumulative")),
                _address(key, "to"),
                _uint(key, "deadline")
            );
            _check("redeemTos", i, digest);
        }
    }

    function test_results() public {
        Audits at = Audits(_place("results", address(new Audits(disputes)).code));
        at.initialize(owner, _auditTerms());
        for (uint256 i; _has("results", i); ++i) {
            string memory key = _enter("results", i);
            bytes32 digest = at.resultDigest(
                IAudits.Result({
                    supplier: _address(key, "supplier"),
                    utility: _address(key, "utility"),
                    lease: _hash(key, "lease"),
                    job: _hash(key, "job"),
                    output: _hash(key, "output"),
                    fuel: uint64(_uint(key, "fuel")),
                    finishedAt: uint64(_uint(key, "finishedAt")),
                    price: uint96(_uint(key, "price"))
                })
            );
            _check("results", i, digest);
        }
    }

    function test_leases() public {
        Leases at = Leases(_place("leaseTerms", address(new Leases(disputes)).code));
        at.initialize(owner, ACCUSATION_STAKE);
        for (uint256 i; _has("leaseTerms", i); ++i) {
            string memory key = _enter("leaseTerms", i);
            bytes32 digest = at.termsDigest(
                ILeases.LeaseTerms({
                    supplier: _address(key, "supplier"),
                    utility: _address(key, "utility"),
                    lease: _hash(key, "lease"),
                    from: uint64(_uint(key, "from")),
                    to: uint64(_uint(key, "to")),
                    ackInterval: uint32(_uint(key, "ackInterval")),
                    penalty: uint96(_uint(key, "penalty"))
                })
            );
            _check("leaseTerms", i, digest);
        }
        for (uint256 i; _has("acks", i); ++i) {
            string memory key = _enter("acks", i);
            bytes32 digest = at.ackDigest(
                ILeases.Ack({terms: _hash(key, "terms"), upTo: uint64(_uint(key, "upTo"))})
            );
            _check("acks", i, digest);
        }
    }

    function test_trees() public view {
        uint256 trees;
        for (string memory tree = _tree(0); files.keyExistsJson(json, tree); tree = _tree(++trees)) {
            bytes32 root = files.parseJsonBytes32(json, string.concat(tree, ".root"));
            for (uint256 i;; ++i) {
                string memory key = string.concat(tree, ".leaves[", files.toString(i), "]");
                if (!files.keyExistsJson(json, key)) break;
                uint96 cumulative =
                    uint96(files.parseJsonUint(json, string.concat(key, ".cumulative")));
                address payee = files.parseJsonAddress(json, string.concat(key, ".supplier"));
                bytes32 leaf = PaymentRoots.leaf(payee, cumulative);
                assertEq(leaf, files.parseJsonBytes32(json, string.concat(key, ".leaf")), key);
                bytes32[] memory proof =
                    files.parseJsonBytes32Array(json, string.concat(key, ".proof"));
                assertTrue(MerkleProof.verify(proof, root, leaf), key);
                bytes32 more = PaymentRoots.leaf(payee, cumulative - 1);
                assertTrue(!MerkleProof.verify(proof, root, more), key);
            }
        }
        assertTrue(trees >= 8, "the file is cut short");
    }

    /// @dev The contract's code at the address that the vectors were made for.
    function _place(string memory kind, bytes memory code) private returns (address at) {
        at = files.parseJsonAddress(
            json, string.concat(".structs.", kind, ".domain.verifyingContract")
        );
        files.etch(at, code);
    }

    function _tree(uint256 i) private pure returns (string memory) {
        return string.concat(".trees[", files.toString(i), "]");
    }

    function _key(string memory kind, uint256 i) private pure returns (string memory) {
        return string.concat(".structs.", kind, ".vectors[", files.toString(i), "]");
    }

    function _has(string memory kind, uint256 i) private view returns (bool has) {
        has = files.keyExistsJson(json, _key(kind, i));
        assertTrue(has || i >= 9, "the file is cut short");
    }

    /// @dev Goes to the chain that a vector was made for; where its message stands.
    function _enter(string memory kind, uint256 i) private returns (string memory) {
        string memory key = _key(kind, i);
        vm.chainId(files.parseJsonUint(json, string.concat(key, ".chainId")));
        return string.concat(key, ".message");
    }

    function _check(string memory kind, uint256 i, bytes32 digest) private view {
        string memory key = _key(kind, i);
        assertEq(digest, files.parseJsonBytes32(json, string.concat(key, ".digest")), key);
        bytes memory signature = files.parseJsonBytes(json, string.concat(key, ".signature"));
        address signer = files.parseJsonAddress(json, ".signer");
        assertEq(ECDSA.recover(digest, signature), signer, key);
    }

    function _uint(string memory key, string memory field) private view returns (uint256) {
        return files.parseJsonUint(json, string.concat(key, ".", field));
    }

    function _address(string memory key, string memory field) private view returns (address) {
        return files.parseJsonAddress(json, string.concat(key, ".", field));
    }

    function _hash(string memory key, string memory field) private view returns (bytes32) {
        return files.parseJsonBytes32(json, string.concat(key, ".", field));
    }
}
