//! What can go wrong between the grid and its chain.

use std::path::PathBuf;

use alloy::primitives::{Address, B256};

/// Why the chain, or a call to it, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// The file of a key or of the chain's state cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no key.
    #[error("{} does not hold a key: expected 64 hexadecimal digits", .0.display())]
    NotAKey(PathBuf),
    /// The RPC address is no URL.
    #[error("\"{0}\" is not the http URL of an RPC endpoint")]
    Url(String),
    /// The endpoint is gone, or does not answer as an EVM chain would.
    #[error("the chain's RPC endpoint does not answer")]
    Rpc(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The endpoint serves another chain.
    #[error("the RPC endpoint serves chain {got}, expected chain {expected}")]
    WrongChain {
        /// The chain that was configured.
        expected: u64,
        /// The chain that answered.
        got: u64,
    },
    /// No contract of ours at an address.
    #[error("there is no {what} at {address} on this chain")]
    NoContract {
        /// What was expected there.
        what: &'static str,
        /// Where.
        address: Address,
    },
    /// A contract refused: the error it gave, decoded where it is one of ours.
    #[error("the contract refused: {0}")]
    Reverted(String),
    /// A transaction was sent and its receipt did not come in time. Asking again is safe: what it
    /// changed, if it was mined, is seen by the next call.
    #[error("no receipt for transaction {0} in time")]
    NoReceipt(B256),
    /// The account has no gas money.
    #[error("{0} cannot pay for gas: send it some of the chain's native coin")]
    NoGas(Address),
    /// A payment proof whose signature or Merkle path does not hold for this chain and escrow.
    #[error("the payment proof does not hold for this chain and escrow")]
    BadProof,
    /// The state database failed.
    #[error("the chain's state database failed")]
    Database(#[source] Box<redb::Error>),
    /// The state on disk is not what this version writes.
    #[error("the chain's state is damaged: {0}")]
    Damaged(&'static str),
}

impl ChainError {
    /// Whether trying again later may help: the endpoint was unreachable or slow.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Rpc(_) | Self::NoReceipt(_))
    }
}
