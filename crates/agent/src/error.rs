//! What can go wrong in the supplier's daemon, for its owner.

use std::{io, path::PathBuf};

/// Why the agent, or a command about it, failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A setting is out of bounds.
    #[error("{field}: {reason}")]
    Config {
        /// Which setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A file or directory of the agent could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, such as `create`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the agent does not hold what it should.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// Another agent already works in this directory.
    #[error("another agent is running in {}; stop it first, or use another --data", path.display())]
    Busy {
        /// The data directory.
        path: PathBuf,
    },
    /// The agent's book of leases could not be read or written.
    #[error("cannot use the agent's book of leases")]
    Book(#[source] Box<redb::Error>),
    /// The book holds a record that cannot be read.
    #[error("the agent's book of leases holds an unreadable record")]
    Record(#[source] serde_json::Error),
    /// The wires failed.
    #[error("the connection to the utility failed")]
    Wire(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The sandboxes failed.
    #[error("the sandboxes failed")]
    Runtime(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The chain could not be read or written.
    #[error("the chain could not be used")]
    Chain(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No agent answers at this directory's control socket.
    #[error("no agent is running in {}; start one with: kinesis supply join", path.display())]
    NotRunning {
        /// The data directory.
        path: PathBuf,
        /// Why the socket did not answer.
        #[source]
        source: io::Error,
    },
    /// The running agent answered something else than was asked.
    #[error("the running agent answered: {0}")]
    Local(String),
    /// The utility does not want this agent.
    #[error("the utility {utility} does not accept this node: {reason}")]
    Rejected {
        /// The utility's node id.
        utility: String,
        /// Why, in its words.
        reason: String,
    },
    /// No payment was ever received here.
    #[error("no payment is stored in {}: nothing was earned yet", path.display())]
    NothingEarned {
        /// The data directory.
        path: PathBuf,
    },
    /// A stored payment does not verify.
    #[error("the payment in {} does not verify: {reason}", path.display())]
    BadPayment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl AgentError {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn wire(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Wire(Box::new(error))
    }

    pub(crate) fn runtime(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Runtime(Box::new(error))
    }

    pub(crate) fn chain(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Chain(Box::new(error))
    }
}

impl<E: Into<redb::Error>> From<E> for AgentError {
    fn from(error: E) -> Self {
        Self::Book(Box::new(error.into()))
    }
}

/// An error and all its causes, in one line for the log and for reasons sent to others.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
