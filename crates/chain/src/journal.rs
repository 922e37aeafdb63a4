//! The journal of transactions: what was meant, what was signed for it, what became of it.
//!
//! ```text
//! planned: key, call, nonce, signed bytes --(sent)--> mined --(deep enough)--> final: receipt kept
//!     ^                                                 |
//!     '----------- a reorganisation takes it back ------'
//! ```
//!
//! An [`Intent`] is durable before its first byte is sent. Whatever happens then (no answer, a crash,
//! a node that forgets), the same signed bytes are sent again, or other bytes *at the same nonce*, of
//! which the chain takes one. A second nonce is taken only when the first is gone for ever: final in
//! the hands of another transaction, or spent on a call that was final without effect.

mod file;
mod memory;

use std::fmt;

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    rpc::types::TransactionReceipt,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use self::{file::FileJournal, memory::MemoryJournal};

/// The longest idempotency key.
pub const KEY_BYTES_MAX: usize = 256;

/// A transaction that was signed for an intent. Each was recorded before it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The transaction's hash.
    pub hash: B256,
    /// The signed bytes.
    pub raw: Bytes,
    /// The gas limit.
    pub gas: u64,
    /// The most that is paid for a unit of gas, in wei.
    pub max_fee_per_gas: u128,
    /// What of it goes to whoever builds the block, in wei.
    pub priority_fee_per_gas: u128,
}

/// One call that is to happen on chain once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The idempotency key, unique for each chain and sender.
    pub key: String,
    /// The chain.
    pub chain_id: u64,
    /// Who sends.
    pub sender: Address,
    /// What is called.
    pub to: Address,
    /// With what.
    pub data: Bytes,
    /// The native coin that goes along, in wei.
    pub value: U256,
    /// The nonce of every attempt.
    pub nonce: u64,
    /// What was signed, oldest first; never empty.
    pub attempts: Vec<Attempt>,
    /// What became of it; `None` while that is not final.
    pub receipt: Option<TransactionReceipt>,
    /// How often it was changed: a change of what somebody else changed first is not recorded.
    pub revision: u64,
}

impl Intent {
    /// Whether it still has to be looked after.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.receipt.is_none()
    }

    /// The newest attempt's hash; zero where there is none.
    #[must_use]
    pub fn hash(&self) -> B256 {
        self.attempts.last().map(|attempt| attempt.hash).unwrap_or_default()
    }

    /// Whether it is the same call.
    pub(crate) fn is_call(&self, other: &Self) -> bool {
        self.to == other.to && self.data == other.data && self.value == other.value
    }
}

/// What recording an intent came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// It is durable.
    Done,
    /// Another open intent of this sender has this nonce: take the next.
    NonceTaken,
    /// Somebody else changed or removed it since it was read.
    Stale,
    /// An intent of this key is there already: this one.
    KeyTaken(Box<Intent>),
}

/// Why a journal failed.
#[derive(Debug, thiserror::Error)]
#[error("the journal of transactions failed")]
pub struct JournalError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

impl JournalError {
    /// Wraps the cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// Where intents are kept. What a call returned `Ok` for survives a crash, except in
/// [`MemoryJournal`].
#[async_trait]
pub trait Journal: fmt::Debug + Send + Sync {
    /// The intent of this key.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    async fn get(
        &self,
        chain_id: u64,
        sender: Address,
        key: &str,
    ) -> Result<Option<Intent>, JournalError>;

    /// Records a new intent unless its key or, among open intents, its nonce is taken.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    async fn insert(&self, intent: &Intent) -> Result<Recorded, JournalError>;

    /// Records a change of a known intent (another attempt, another nonce, its end), whose revision
    /// is the one it was read with, and counts the revision up.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    async fn update(&self, intent: &Intent) -> Result<Recorded, JournalError>;

    /// Takes back an intent that was refused before anybody saw it.
    ///
    /// # Errors
    /// Where the journal cannot be written.
    async fn remove(&self, chain_id: u64, sender: Address, key: &str) -> Result<(), JournalError>;

    /// A sender's open intents, in order of nonce.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    async fn open(&self, chain_id: u64, sender: Address) -> Result<Vec<Intent>, JournalError>;
}

/// A key for something that is new each time: the kind, and 128 random bits.
#[must_use]
pub fn intent_key(kind: &str) -> String {
    format!("{kind}:{:032x}", rand::random::<u128>())
}
