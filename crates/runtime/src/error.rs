//! What can go wrong on the agent's side of a sandbox.

use std::{io, path::PathBuf};

/// Why a sandbox could not be opened, started or reached.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A file or directory could not be used.
    #[error("{action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A child process could not be started.
    #[error("start the runner {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The socket to a child failed.
    #[error("talk to the sandbox")]
    Channel(#[source] io::Error),
    /// A child said something else than what was due, or ended before it was ready.
    #[error("the sandbox did not start: {0}")]
    Start(String),
    /// The component could not be compiled; the reason is for its author.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// The lease asks for something that no sandbox can give.
    #[error("{0}")]
    Spec(String),
    /// Barriers are missing and the policy asks for all of them.
    #[error("this machine lacks {0}; allow it to run with less, or mend it")]
    Isolation(String),
    /// There is a sandbox for this lease already.
    #[error("lease {0} has a sandbox already")]
    Duplicate(kinesis_protocol::LeaseId),
    /// The sandbox is over.
    #[error("the sandbox has ended")]
    Ended,
}

impl RuntimeError {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
