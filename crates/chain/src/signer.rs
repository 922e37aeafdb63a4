//! Who signs: a key in this process, or a signing process behind a Unix socket ([`remote`]).

pub mod guard;
pub mod policy;
pub mod remote;
pub mod server;

use std::sync::Arc;

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559},
    primitives::{Address, B256},
};
use kinesis_protocol::{LeaseTerms, PaymentRoot, Signature, sla::Ack};

use self::remote::RemoteSigner;
use crate::{ChainError, Key};

/// Signs roots and transactions for one address.
#[derive(Debug, Clone)]
pub enum Signer {
    /// The key is in this process.
    Local(Key),
    /// The key is in another process, which signs only what its policy allows.
    Remote(Arc<RemoteSigner>),
}

impl Signer {
    /// Who it signs for.
    #[must_use]
    pub fn address(&self) -> Address {
        match self {
            Self::Local(key) => key.address(),
            Self::Remote(remote) => remote.address(),
        }
    }

    /// Signs a transaction.
    ///
    /// # Errors
    /// Where the signing process is away, or refuses.
    pub async fn sign_transaction(&self, transaction: &TxEip1559) -> Result<Signature, ChainError> {
        match self {
            Self::Local(key) => Ok(key.sign_hash(&transaction.signature_hash())),
            Self::Remote(remote) => remote.sign_transaction(transaction).await,
        }
    }

    /// Signs a payment root for an escrow contract. The caller has reserved its tick.
    ///
    /// # Errors
    /// Where the signing process is away, or refuses: it signs one root for a tick and goes only
    /// forward.
    pub async fn sign_root(
        &self,
        root: &PaymentRoot,
        chain_id: u64,
        escrow: Address,
    ) -> Result<Signature, ChainError> {
        match self {
            Self::Local(key) => Ok(key.sign_hash(&root.signing_hash(chain_id, escrow))),
            Self::Remote(remote) => remote.sign_root(root, chain_id, escrow).await,
        }
    }

    /// Signs the terms of a lease, for a court of leases.
    ///
    /// # Errors
    /// Where the signing process is away, or refuses.
    pub async fn sign_terms(
        &self,
        terms: LeaseTerms,
        chain_id: u64,
        court: Address,
    ) -> Result<Signature, ChainError> {
        match self {
            Self::Local(key) => Ok(key.sign_hash(&terms.signing_hash(chain_id, court))),
            Self::Remote(remote) => remote.sign_terms(terms, chain_id, court).await,
        }
    }

    /// Signs an acknowledgement, for a court of leases.
    ///
    /// # Errors
    /// Where the signing process is away, or refuses.
    pub async fn sign_ack(
        &self,
        ack: Ack,
        chain_id: u64,
        court: Address,
    ) -> Result<Signature, ChainError> {
        match self {
            Self::Local(key) => Ok(key.sign_hash(&ack.signing_hash(chain_id, court))),
            Self::Remote(remote) => remote.sign_ack(ack, chain_id, court).await,
        }
    }

    /// Signs any hash; only with a key in this process.
    ///
    /// # Errors
    /// [`ChainError::SignerRefused`] where the key is elsewhere.
    pub fn sign_hash(&self, hash: &B256) -> Result<Signature, ChainError> {
        match self {
            Self::Local(key) => Ok(key.sign_hash(hash)),
            Self::Remote(_) => {
                Err(ChainError::SignerRefused("a signing process signs no bare hash".to_owned()))
            }
        }
    }
}

impl From<Key> for Signer {
    fn from(key: Key) -> Self {
        Self::Local(key)
    }
}

impl From<RemoteSigner> for Signer {
    fn from(remote: RemoteSigner) -> Self {
        Self::Remote(Arc::new(remote))
    }
}
