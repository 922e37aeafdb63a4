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
    #[error("{} does not hold a key: expected 64 hexadecimal digits, or an encrypted keystore", .0.display())]
    NotAKey(PathBuf),
    /// The key is encrypted, and there is no passphrase.
    #[error("the key in {} is encrypted: its passphrase is needed", .0.display())]
    KeyEncrypted(PathBuf),
    /// The passphrase does not open the key.
    #[error("the passphrase does not open {}", .0.display())]
    WrongPassphrase(PathBuf),
    /// A passphrase is no passphrase.
    #[error("a passphrase has 1 to 1024 bytes, on one line")]
    Passphrase,
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
    /// Only the escrow is known, and something else of the protocol was asked for.
    #[error("only the escrow of this chain is known, not where the rest of the protocol is")]
    NoProtocol,
    /// A deployment with real money needs to be told which stablecoin it trades in.
    #[error("name the stablecoin of the exchange: play money is for development chains")]
    NoStablecoin,
    /// A key that everybody knows was to own something on a chain with real money.
    #[error(
        "everybody knows the key of {0}, a development account: it may do nothing on this chain"
    )]
    DevelopmentKey(Address),
    /// What was asked for makes no sense to the protocol; nothing was sent.
    #[error("{0}")]
    Senseless(String),
    /// A contract refused: the error it gave, decoded where it is one of ours.
    #[error("the contract refused: {0}")]
    Reverted(String),
    /// A transaction was sent and its receipt did not come in time. Asking again is safe: what it
    /// changed, if it was mined, is seen by the next call, and it is followed by its key.
    #[error("no receipt for transaction {0} in time")]
    NoReceipt(B256),
    /// The account has no gas money.
    #[error("{0} cannot pay for gas: send it some of the chain's native coin")]
    NoGas(Address),
    /// The journal of transactions failed: nothing was sent.
    #[error("the journal of transactions cannot be used")]
    Journal(#[source] crate::journal::JournalError),
    /// An idempotency key was used before, for another call, or is none.
    #[error("the idempotency key \"{0}\" was used before for another call, or is too long")]
    KeyReused(String),
    /// Other processes took every nonce that was tried.
    #[error("other transactions of this account took every nonce that was tried")]
    NoNonce,
    /// The endpoint's answer contradicts itself.
    #[error("the chain's RPC endpoint answers nonsense: {0}")]
    Nonsense(&'static str),
    /// The signing process is away.
    #[error("the signing process does not answer at {}", path.display())]
    Signer {
        /// Its socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The signing process does not sign this.
    #[error("the signing process refuses: {0}")]
    SignerRefused(String),
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
        matches!(self, Self::Rpc(_) | Self::NoReceipt(_) | Self::Signer { .. })
    }
}
