//! The vocabulary of the grid: what every other crate means by an id, an amount, a lease, a
//! millisecond of work. Nothing here does I/O, and nothing here knows who is asking.
//!
//! | module | says |
//! | --- | --- |
//! | [`id`] | who and what: nodes, accounts, apps, leases, content |
//! | [`money`] | integer amounts and the one way to convert them |
//! | [`resources`] | what a node has and what a lease is granted |
//! | [`usage`] | cumulative counters and the bounds they must keep |
//! | [`price`] | unit prices and the cost of a counter |
//! | [`manifest`] | `kinesis.toml`, parsed strictly |
//! | [`lease`] | the fenced right to run one replica, and how it ended |
//! | [`tree`] | the payment tree and its proofs |
//! | [`root`] | the signed root of a tick (EIP-712) |
//! | [`result`] | the signed result of a deterministic job (EIP-712), and its dossier |
//! | [`sla`] | the terms of a lease, signed by both, and their acknowledgement (EIP-712) |
//! | [`message`] | what agent and utility say to each other |
//! | [`benchmark`] | the nonce-seeded work a node proves its speed with |

pub mod benchmark;
pub mod id;
mod keccak;
pub mod lease;
pub mod manifest;
pub mod message;
pub mod money;
pub mod price;
pub mod resources;
pub mod result;
pub mod root;
pub mod sla;
pub mod tree;
pub mod usage;

pub use alloy::primitives::{Address, B256, U256};
pub use id::{
    AccountId, AppId, ContentHash, Epoch, IdError, LeaseId, NodeId, Replica, RequestId, VersionId,
};
pub use lease::{Ending, LeaseKey, LeaseReport, LeaseSpec, LeaseState, Workload};
pub use manifest::{Manifest, ManifestError};
pub use money::{AttoUsd, JoulePrice, NanoJoule, NanoUsd};
pub use price::Prices;
pub use resources::{Benchmark, NodeInfo, Resources, Tier};
pub use root::{PaymentRoot, Signature, SignedRoot};
pub use sla::{LeaseTerms, SignedAck, SlaOffer};
pub use tree::{PaymentTree, Proof};
pub use usage::{Counters, EnergySource};
