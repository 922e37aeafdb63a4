//! The chain as the rest of the grid sees it: contract bindings, the settlement client, keys, and
//! an embedded development chain that any EVM tool can talk to.
//!
//! | module | is |
//! | --- | --- |
//! | [`key`] | the secp256k1 key of a supplier or a utility, kept in a 0600 file |
//! | [`contracts`] | typed bindings and bytecode of the Solidity in `contracts/` |
//! | [`deploy`](mod@deploy) | putting JOULE and the escrow on a chain, at addresses that follow from the deployer |
//! | [`settlement`] | deposits, roots, redemptions and withdrawals over any JSON-RPC endpoint |
//! | [`embedded`] | a development chain in the process: revm, redb, JSON-RPC at `/rpc` |
//! | [`dev`] | the well-known funded accounts of a development chain |
//!
//! The client treats the embedded chain, anvil and a public L2 alike: it speaks JSON-RPC and
//! nothing else to all of them.

mod client;
pub mod contracts;
pub mod deploy;
pub mod dev;
pub mod embedded;
pub mod error;
pub mod key;
pub mod settlement;

pub use deploy::{Contracts, DeployConfig, deploy, deploy_with};
pub use embedded::{ChainConfig, EmbeddedChain};
pub use error::ChainError;
pub use key::Key;
pub use settlement::{EscrowState, Redeemed, Settlement, Withdrawal};
