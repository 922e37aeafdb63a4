//! The processes of a grid, composed from the crates.

pub(crate) mod chain;
pub(crate) mod join;
pub(crate) mod signer;
pub(crate) mod supervisor;
pub(crate) mod up;
pub(crate) mod utility;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, Result};

/// Ctrl-C and SIGTERM, heard from the moment this is made.
#[derive(Debug)]
pub(crate) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(crate) fn listen() -> Result<Self> {
        let hear = |kind| signal(kind).map_err(Error::io("listen for signals"));
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
        })
    }

    /// The next time somebody wants this process to stop. Cancel-safe.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Raises the number of files that may be open to what the machine allows: every connection is one.
pub(crate) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(e) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(error = %e, soft, hard, "the limit of open files stays as it is");
    }
}
