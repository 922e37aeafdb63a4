//! What happens, for whoever watches.

use kinesis_protocol::{AppId, Epoch, LeaseId, NanoUsd, NodeId, U256};
use serde::{Deserialize, Serialize};

use super::AppState;

/// Something that happened, for pages that watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A node joined or came back.
    NodeJoined {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A node was lost, or left.
    NodeLost {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
        /// How it was noticed.
        reason: String,
    },
    /// A lease changed its state.
    Lease {
        /// The app.
        app: AppId,
        /// The lease.
        lease: LeaseId,
        /// Which replica, or part.
        replica: u32,
        /// Its fencing number.
        epoch: Epoch,
        /// The node.
        node: NodeId,
        /// Its new state.
        state: String,
    },
    /// A standby took over.
    TakeOver {
        /// The app.
        app: AppId,
        /// Which replica.
        replica: u32,
        /// The lease that was lost.
        from: LeaseId,
        /// The lease that serves now.
        to: LeaseId,
        /// The node that serves now.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// An app changed: deployed, stopped, scaled, completed.
    App {
        /// The app.
        app: AppId,
        /// Its name.
        name: String,
        /// Where it stands now.
        state: AppState,
    },
    /// An app's spending passed its warning mark, or its budget.
    Budget {
        /// The app.
        app: AppId,
        /// Its name.
        name: String,
        /// What it cost.
        spent_nanousd: NanoUsd,
        /// What it may cost.
        budget_nanousd: NanoUsd,
        /// Whether it was stopped for it.
        stopped: bool,
    },
    /// A usage report was not believed.
    ReportRefused {
        /// The lease.
        lease: LeaseId,
        /// The node.
        node: NodeId,
        /// Which counter, and by how much.
        reason: String,
    },
    /// A root was signed.
    Tick {
        /// Its number.
        tick: u64,
        /// All it pays, in wei of JOULE.
        total_wei: U256,
    },
}
