//! The chain as the rest of the grid sees it: contract bindings, the settlement client, keys, and
//! an embedded development chain that any EVM tool can talk to.
//!
//! | module | is |
//! | --- | --- |
//! | [`key`] | the secp256k1 key of a supplier or a utility, kept in a 0600 file |
//! | [`contracts`] | typed bindings and bytecode of the Solidity in `contracts/` |
//! | [`deploy`](mod@deploy) | putting the protocol on a chain, at addresses that follow from the deployer |
//! | [`refusal`] | why a contract refused, in words |
//! | [`amount`] | JOULE to the last wei, as people write it |
//! | [`settlement`] | deposits, roots, redemptions and withdrawals over any JSON-RPC endpoint |
//! | [`protocol`] | stake, pool, governance, exchange, disputes, audits |
//! | [`agreement`] | terms of leases and their acknowledgements, in files |
//! | [`journal`] | transactions that happen once, whatever crashes |
//! | [`signer`] | a key in this process, or a signing process of its own |
//! | [`events`](mod@events) | what contracts told, decoded |
//! | [`embedded`] | a development chain in the process: revm, redb, JSON-RPC at `/rpc` |
//! | [`dev`] | the well-known funded accounts of a development chain |
//!
//! The client treats the embedded chain, anvil and a public L2 alike: it speaks JSON-RPC and
//! nothing else to all of them.

pub mod agreement;
pub mod amount;
mod bounded;
mod client;
pub mod contracts;
pub mod deploy;
pub mod dev;
pub mod embedded;
pub mod error;
pub mod events;
pub mod journal;
pub mod key;
mod logs;
pub mod protocol;
pub mod refusal;
mod sender;
pub mod settlement;
pub mod signer;

pub use agreement::{Agreement, Agreements};
pub use amount::Joules;
pub use client::chain_id;
pub use deploy::{Contracts, DeployConfig, ProtocolContracts, deploy, deploy_with};
pub use embedded::{ChainConfig, EmbeddedChain};
pub use error::ChainError;
pub use events::{BlockRef, ChainEvent, EventReader};
pub use journal::{
    FileJournal, Intent, Journal, JournalError, MemoryJournal, Recorded, intent_key,
};
pub use key::{Key, Passphrase};
pub use logs::{LogPlace, LogPlaceError};
pub use protocol::Protocol;
pub use sender::{Finality, SendPolicy, Until};
pub use settlement::{EscrowState, PaidSupplier, Redeemed, Settlement, Withdrawal};
pub use signer::Signer;
