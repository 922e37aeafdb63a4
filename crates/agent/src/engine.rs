//! What the agent needs of sandboxes, as a seam: the leases of [`crate::leases`] are driven through
//! it, by the real [`Runtime`] in production, by a scripted one in tests.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use kinesis_protocol::{Counters, Ending, LeaseId};
use kinesis_runtime::{Exit, Runtime, RuntimeError, Sandbox, StartSpec};
use tokio::net::UnixStream;

use crate::error::chain_of;

/// Why a sandbox did not start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartError {
    /// What was to run cannot run anywhere: the reason is for its author.
    Guest(String),
    /// This node could not start it; another may.
    Node(String),
}

impl StartError {
    pub(crate) fn into_ending(self) -> Ending {
        match self {
            Self::Guest(reason) => Ending::Failed { reason },
            Self::Node(reason) => Ending::NodeFailed { reason },
        }
    }
}

/// Starts sandboxes.
#[async_trait]
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// What confines a sandbox here, by barrier.
    fn isolation(&self) -> BTreeMap<String, String>;
    /// The last counters of leases that an earlier process left behind.
    fn leftovers(&self) -> Vec<(LeaseId, Counters)>;
    /// Removes all that is kept of a lease that has ended.
    fn forget(&self, lease: LeaseId);
    /// Starts a sandbox.
    async fn start(&self, spec: StartSpec) -> Result<Arc<dyn Guest>, StartError>;
}

/// One sandbox. Its methods mean what those of [`Sandbox`] mean; errors are sentences, since they end
/// as the reason of an ending or of a refusal.
#[async_trait]
pub trait Guest: fmt::Debug + Send + Sync + 'static {
    /// Waits until it can be asked, runs, or is frozen.
    async fn ready(&self) -> Result<(), String>;
    /// Goes on.
    fn thaw(&self) -> Result<(), String>;
    /// A connection to its HTTP server.
    async fn connect(&self) -> Result<UnixStream, String>;
    /// What it has used so far.
    fn counters(&self) -> Counters;
    /// Requests in flight.
    fn in_flight(&self) -> u32;
    /// Where its log lies.
    fn log_path(&self) -> PathBuf;
    /// Waits for its end.
    async fn ended(&self) -> Exit;
    /// Finishes what is in flight, then ends.
    fn drain(&self);
    /// Kills it.
    fn kill(&self);
}

#[async_trait]
impl Engine for Runtime {
    fn isolation(&self) -> BTreeMap<String, String> {
        Self::isolation(self)
    }

    fn leftovers(&self) -> Vec<(LeaseId, Counters)> {
        Self::leftovers(self)
    }

    fn forget(&self, lease: LeaseId) {
        Self::forget(self, lease);
    }

    async fn start(&self, spec: StartSpec) -> Result<Arc<dyn Guest>, StartError> {
        match Self::start(self, spec).await {
            Ok(sandbox) => Ok(Arc::new(sandbox)),
            Err(error @ (RuntimeError::Compile(_) | RuntimeError::Spec(_))) => {
                Err(StartError::Guest(chain_of(&error)))
            }
            Err(error) => Err(StartError::Node(chain_of(&error))),
        }
    }
}

#[async_trait]
impl Guest for Sandbox {
    async fn ready(&self) -> Result<(), String> {
        Self::ready(self).await.map_err(|error| chain_of(&error))
    }

    fn thaw(&self) -> Result<(), String> {
        Self::thaw(self).map_err(|error| chain_of(&error))
    }

    async fn connect(&self) -> Result<UnixStream, String> {
        Self::connect(self).await.map_err(|error| chain_of(&error))
    }

    fn counters(&self) -> Counters {
        Self::counters(self)
    }

    fn in_flight(&self) -> u32 {
        Self::in_flight(self)
    }

    fn log_path(&self) -> PathBuf {
        Self::log_path(self).to_owned()
    }

    async fn ended(&self) -> Exit {
        Self::ended(self).await
    }

    fn drain(&self) {
        Self::drain(self);
    }

    fn kill(&self) {
        Self::kill(self);
    }
}
