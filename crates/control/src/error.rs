//! Why control did not do as asked. What a person sees says what was wrong and what to do next;
//! the portal maps the kinds to statuses.

use kinesis_protocol::ManifestError;

use crate::settle::SettleError;

/// Why control did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The caller proves itself as nobody.
    #[error("the API key is not known here; open an account with `kinesis account open NAME`")]
    Unauthorised,
    /// There is no such thing, or it is not the caller's.
    #[error("there is no {what} \"{name}\"{next}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        name: String,
        /// What to do next, with what separates it from the sentence; may be empty.
        next: &'static str,
    },
    /// The manifest is wrong.
    #[error("the manifest is not valid")]
    Manifest(#[from] ManifestError),
    /// Something else in the request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// There is no money for it.
    #[error("{0}")]
    Payment(String),
    /// A limit is reached.
    #[error("{0}")]
    Limit(String),
    /// The node that would have to answer cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// The store failed.
    #[error("the store did not do as asked")]
    Store(#[from] kinesis_store::StoreError),
    /// The terms of leases cannot be read.
    #[error("the directory of leases' terms cannot be read")]
    Agreements(#[source] kinesis_chain::ChainError),
    /// The chain failed.
    #[error("the payment could not be settled")]
    Settle(#[from] SettleError),
    /// A socket could not be bound.
    #[error("the lifeline could not listen on {addr}")]
    Listen {
        /// Where.
        addr: std::net::SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}
