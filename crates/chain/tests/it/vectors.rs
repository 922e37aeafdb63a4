//! Test vectors of everything that is signed or hashed, in `contracts/test/vectors.json`: this test
//! makes them, `contracts/test/vectors/Vectors.t.sol` and `npm run vectors` (ethers, OpenZeppelin's
//! merkle-tree) check them. `KINESIS_WRITE_VECTORS=1` writes the file anew.

use std::path::Path;

use alloy::{
    primitives::{Address, B256, U256, address, hex},
    sol_types::{Eip712Domain, SolStruct},
};
use kinesis_chain::{contracts::RedeemTo, dev};
use kinesis_protocol::{
    PaymentRoot, PaymentTree,
    result::{self, JobResult},
    root::domain,
    sla::{self, Ack, LeaseTerms},
    tree::{Multiproof, leaf},
};
use serde_json::{Value, json};

const CONTRACT: Address = address!("00000000000000000000000000000000000c0de5");
const CHAINS: [u64; 3] = [1, 31_337, 9_007_199_254_740_991];

/// The hash that is signed, and its signature by a well-known key.
fn signed<S: SolStruct>(domain: &Eip712Domain, message: &S, values: Value) -> Value {
    let digest = message.eip712_signing_hash(domain);
    json!({
        "chainId": domain.chain_id.unwrap_or_default().to_string(),
        "message": values,
        "digest": digest,
        "signature": format!("0x{}", hex::encode(dev::key(1).sign_hash(&digest).as_bytes())),
    })
}

/// A set of one kind, with what it is called and where it is checked.
fn kind(name: &str, domain: &str, members: &str, vectors: Vec<Value>) -> Value {
    json!({
        "type": name,
        "members": members,
        "domain": {"name": domain, "version": "1", "verifyingContract": CONTRACT},
        "vectors": vectors,
    })
}

fn hash(n: u8) -> B256 {
    B256::repeat_byte(n)
}

fn who(n: u8) -> Address {
    Address::repeat_byte(n)
}

/// Each of three cases: nothing at all, ordinary values, and the largest there are.
fn cases<T>(of: impl Fn(u64, u8, U256) -> T) -> Vec<T> {
    let most = (U256::ONE << 96) - U256::ONE;
    vec![
        of(0, 0, U256::ZERO),
        of(1_700_000_000, 0x5a, U256::from(1_234_567_890_123_456_789_u64)),
        of(u64::MAX, 0xff, most),
    ]
}

fn structs() -> Value {
    let mut roots = Vec::new();
    let mut consents = Vec::new();
    let mut results = Vec::new();
    let mut terms = Vec::new();
    let mut acks = Vec::new();
    for chain in CHAINS {
        let escrow = domain(chain, CONTRACT);
        roots.extend(cases(|n, byte, wei| {
            let total = if byte == 0xff { U256::MAX } else { wei };
            let root =
                PaymentRoot { utility: who(byte), series: n, tick: n, root: hash(byte), total };
            let values = json!({
                "utility": root.utility, "series": n.to_string(), "tick": n.to_string(),
                "root": root.root, "total": total.to_string(),
            });
            signed(&escrow, &root, values)
        }));
        consents.extend(cases(|n, byte, wei| {
            let consent = RedeemTo {
                utility: who(byte),
                series: n,
                supplier: who(byte ^ 1),
                cumulative: wei,
                to: who(byte ^ 2),
                deadline: U256::from(n),
            };
            let values = json!({
                "utility": consent.utility, "series": n.to_string(), "supplier": consent.supplier,
                "cumulative": wei.to_string(), "to": consent.to, "deadline": n.to_string(),
            });
            signed(&escrow, &consent, values)
        }));
        let audits = result::domain(chain, CONTRACT);
        let leases = sla::domain(chain, CONTRACT);
        results.extend(cases(|n, byte, wei| {
            let result = JobResult {
                supplier: who(byte),
                utility: who(byte ^ 1),
                lease: hash(byte),
                job: hash(byte ^ 1),
                output: hash(byte ^ 2),
                fuel: n,
                finishedAt: n,
                price: wei.to(),
            };
            let values = json!({
                "supplier": result.supplier, "utility": result.utility, "lease": result.lease,
                "job": result.job, "output": result.output, "fuel": n.to_string(),
                "finishedAt": n.to_string(), "price": wei.to_string(),
            });
            signed(&audits, &result, values)
        }));
        terms.extend(cases(|n, byte, wei| {
            let interval = u32::try_from(n).unwrap_or(u32::MAX);
            let agreed = LeaseTerms {
                supplier: who(byte),
                utility: who(byte ^ 1),
                lease: hash(byte),
                from: n,
                to: n,
                ackInterval: interval,
                penalty: wei.to(),
            };
            let values = json!({
                "supplier": agreed.supplier, "utility": agreed.utility, "lease": agreed.lease,
                "from": n.to_string(), "to": n.to_string(), "ackInterval": interval.to_string(),
                "penalty": wei.to_string(),
            });
            signed(&leases, &agreed, values)
        }));
        acks.extend(cases(|n, byte, _| {
            let ack = Ack { terms: hash(byte), upTo: n };
            signed(&leases, &ack, json!({"terms": ack.terms, "upTo": n.to_string()}))
        }));
    }
    json!({
        "paymentRoots": kind(
            "PaymentRoot", "Kinesis PaymentEscrow",
            "address utility,uint64 series,uint64 tick,bytes32 root,uint256 total", roots,
        ),
        "redeemTos": kind(
            "RedeemTo", "Kinesis PaymentEscrow",
            "address utility,uint64 series,address supplier,uint256 cumulative,address to,uint256 deadline",
            consents,
        ),
        "results": kind(
            "Result", "Kinesis Audits",
            "address supplier,address utility,bytes32 lease,bytes32 job,bytes32 output,uint64 fuel,uint64 finishedAt,uint96 price",
            results,
        ),
        "leaseTerms": kind(
            "LeaseTerms", "Kinesis Leases",
            "address supplier,address utility,bytes32 lease,uint64 from,uint64 to,uint32 ackInterval,uint96 penalty",
            terms,
        ),
        "acks": kind("Ack", "Kinesis Leases", "bytes32 terms,uint64 upTo", acks),
    })
}

/// Proofs of several leaves at once: of every other one, and of as many as fit together.
fn many(tree: &PaymentTree, payees: &[(Address, U256)]) -> Vec<Value> {
    let prove = |(supplier, _): &(Address, U256)| {
        let (cumulative, proof) = tree.prove(*supplier).unwrap();
        (*supplier, cumulative, proof)
    };
    let proofs: Vec<_> = payees.iter().map(prove).collect();
    let deepest = proofs.iter().map(|one| one.2.0.len()).max().unwrap_or(0);
    let mut all = Vec::new();
    for step in [1, 2, 3] {
        let chosen: Vec<_> = proofs
            .iter()
            .step_by(step)
            .filter(|one| one.2.0.len() == deepest)
            .map(|(supplier, cumulative, proof)| (*supplier, *cumulative, proof))
            .collect();
        let joined = Multiproof::join(tree.root(), &chosen).unwrap();
        assert!(joined.verify(tree.root()));
        let leaves = joined.leaves.iter();
        let leaves: Vec<_> = leaves.map(|(of, wei)| leaf(*of, *wei).unwrap()).collect();
        all.push(json!({
            "leaves": leaves,
            "claims": joined.claims(),
            "proof": joined.proof,
            "flags": joined.flags,
            "bits": format!("0x{}", hex::encode(joined.bits())),
        }));
    }
    all
}

fn trees() -> Value {
    let tree = |size: u8| {
        let payees: Vec<_> = (1..=size)
            .map(|n| {
                let wei = match n {
                    // The largest amount that a leaf holds.
                    1 => (U256::ONE << 96) - U256::ONE,
                    n => U256::from(u64::from(n) * 1_000_000_007),
                };
                (who(n.wrapping_mul(37)), wei)
            })
            .collect();
        let tree = PaymentTree::new(payees.clone()).unwrap();
        let leaves: Vec<_> = payees
            .iter()
            .map(|(supplier, wei)| {
                let (cumulative, proof) = tree.prove(*supplier).unwrap();
                assert_eq!(cumulative, *wei);
                assert!(proof.verify(tree.root(), *supplier, *wei));
                json!({
                    "supplier": supplier,
                    "cumulative": wei.to_string(),
                    "leaf": leaf(*supplier, *wei).unwrap(),
                    "proof": proof.0,
                })
            })
            .collect();
        json!({
            "root": tree.root(),
            "total": tree.total_wei().to_string(),
            "leaves": leaves,
            "many": many(&tree, &payees),
        })
    };
    [1, 2, 3, 4, 5, 7, 8, 13].map(tree).into_iter().collect()
}

#[test]
fn the_vectors_are_what_is_hashed_and_signed() {
    let signer = dev::key(1);
    let made = json!({
        "comment": "Made by crates/chain/tests/it/vectors.rs; checked in Rust, Solidity and JavaScript.",
        "signer": signer.address(),
        "structs": structs(),
        "trees": trees(),
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/test/vectors.json");
    let text = serde_json::to_string_pretty(&made).unwrap() + "\n";
    if std::env::var_os("KINESIS_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept == text, "contracts/test/vectors.json is not what the code computes");
}
