//! What the ingress sees: a snapshot of every app's live replicas, swapped whole.
//!
//! A replica's [`ReplicaRoute`] keeps its identity from one snapshot to the next, so that its
//! pooled streams and its traffic counts stay with it for as long as its connection lives.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use kinesis_protocol::{AppId, Epoch, LeaseId, NodeId, Replica};
use kinesis_wire::{
    Link,
    http::{LeaseClient, LeaseTraffic},
};

use crate::api::AppState;

/// Every app's routes at one moment.
#[derive(Debug, Default)]
pub struct Routes {
    /// By host: `NAME` (without the ingress' own suffix) and custom hosts, in lowercase.
    pub hosts: HashMap<String, Arc<AppRoute>>,
    /// By app.
    pub apps: HashMap<AppId, Arc<AppRoute>>,
}

impl Routes {
    /// The app that answers to a host: `suffix` is what follows an app's name, such as
    /// `.localhost`. The port must be cut off already.
    #[must_use]
    pub fn find(&self, host: &str, suffix: &str) -> Option<&Arc<AppRoute>> {
        let own = host
            .strip_suffix(suffix)
            .and_then(|name| self.hosts.get(name).filter(|route| route.name == name));
        own.or_else(|| {
            self.hosts.get(host).filter(|route| route.hosts.iter().any(|own| own == host))
        })
    }
}

/// One service's routes.
#[derive(Debug)]
pub struct AppRoute {
    /// The app.
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// Host names it answers to besides its own.
    pub hosts: Vec<String>,
    /// Where it stands: `Stopped` and `OverBudget` are to be answered without waiting.
    pub state: AppState,
    /// Its replicas that hold an active lease. Empty while it is idle or nothing could be placed.
    pub replicas: Vec<Arc<ReplicaRoute>>,
    /// The longest a request may take.
    pub request_ms_max: u64,
}

impl AppRoute {
    /// Every key it has in [`Routes::hosts`].
    pub fn answers_to(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.hosts.iter().map(String::as_str))
    }
}

/// One replica's active lease.
pub struct ReplicaRoute {
    /// The lease.
    pub lease: LeaseId,
    /// Which replica.
    pub replica: Replica,
    /// Its fencing number.
    pub epoch: Epoch,
    /// The node.
    pub node: NodeId,
    /// The connection to it.
    pub link: Link,
    /// What the ingress counted for this lease.
    pub traffic: Arc<LeaseTraffic>,
    /// Requests it answers at once.
    pub concurrency: u32,
    /// Whether it may be chosen. Cleared at once when the node is lost or suspected.
    pub usable: AtomicBool,
    /// The streams kept to it.
    pub client: LeaseClient,
    /// Which of the node's connections `link` is.
    pub session: u64,
}

impl ReplicaRoute {
    /// Whether it may be chosen now.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.usable.load(Ordering::Acquire) && !self.link.is_closed()
    }
}

impl std::fmt::Debug for ReplicaRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaRoute")
            .field("lease", &self.lease)
            .field("replica", &self.replica)
            .field("epoch", &self.epoch)
            .field("node", &self.node)
            .field("usable", &self.is_usable())
            .finish_non_exhaustive()
    }
}
