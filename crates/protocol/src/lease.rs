//! A lease: the fenced right of one epoch of one replica to run on one node, and how it ended.
//!
//! ```text
//!            grant                 activate              work done, told to stop, or failed
//! (asked) ---------> Starting --> Warm ---------> Active ---------> Draining --> Ended
//!     \-> refused        \----------------------^
//!                         (granted without standby)
//! ```
//!
//! An agent that holds an older epoch of a replica refuses its requests; results of an older epoch
//! are dropped. A lease outlives the connection to its utility for its term.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    id::{AppId, ContentHash, Epoch, LeaseId, Replica},
    price::Prices,
    resources::Resources,
    result::{AuditTerms, SignedResult},
    sla::SlaOffer,
    usage::Counters,
};

/// What a lease is for: the fencing key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseKey {
    /// The app.
    pub app: AppId,
    /// Which of its replicas; for a job, which part.
    pub replica: Replica,
    /// Which attempt at that replica. Only the newest counts.
    pub epoch: Epoch,
}

impl fmt::Display for LeaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.app, self.replica, self.epoch)
    }
}

/// A file a guest finds in its file system, read-only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFile {
    /// Its path below `/data`, relative, without `.` or `..`.
    pub path: String,
    /// Its content.
    pub hash: ContentHash,
    /// Its length in bytes.
    pub bytes: u64,
}

/// Whether each request gets an instance of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Instance {
    /// A new instance for every request: nothing is left of the one before.
    #[default]
    Fresh,
    /// Instances are kept and answer one request after another: a loaded model, state in memory.
    Kept,
}

/// What runs under a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Workload {
    /// Answers HTTP: a component that exports `wasi:http/incoming-handler`.
    Service(ServiceWorkload),
    /// Ends: a component that exports `wasi:cli/run`.
    Job(JobWorkload),
    /// A kind that this version does not know: its lease is refused, and no other.
    #[serde(other)]
    Unknown,
}

/// What a workload of an unknown kind has.
static NOTHING: Program = Program {
    component: ContentHash([0; 32]),
    component_bytes: 0,
    env: BTreeMap::new(),
    files: Vec::new(),
    network: Vec::new(),
};

/// What services and jobs have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The WebAssembly component.
    pub component: ContentHash,
    /// Its length in bytes.
    pub component_bytes: u64,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Files below `/data`.
    #[serde(default)]
    pub files: Vec<GuestFile>,
    /// `host:port` pairs the guest may connect to. Empty: no network at all.
    #[serde(default)]
    pub network: Vec<String>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceWorkload {
    /// The program.
    #[serde(flatten)]
    pub program: Program,
    /// Whether instances are kept.
    #[serde(default)]
    pub instance: Instance,
    /// Requests a replica answers at once.
    pub concurrency: u32,
    /// The longest a request may take.
    pub request_ms_max: u64,
}

/// One part of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobWorkload {
    /// The program.
    #[serde(flatten)]
    pub program: Program,
    /// Arguments after the program's name. `KINESIS_PART` and `KINESIS_PARTS` are in `env`.
    #[serde(default)]
    pub args: Vec<String>,
    /// The longest it may run.
    pub wall_ms_max: u64,
    /// With a seed the guest's clocks and randomness are fixed and its fuel is counted, so that
    /// two nodes produce the same bytes and the same fuel.
    #[serde(default)]
    pub seed: Option<u64>,
}

impl Workload {
    /// The program of either kind; of an unknown kind an empty one.
    #[must_use]
    pub const fn program(&self) -> &Program {
        match self {
            Self::Service(service) => &service.program,
            Self::Job(job) => &job.program,
            Self::Unknown => &NOTHING,
        }
    }
}

/// The most bytes of logs kept for one lease.
pub const LOG_BYTES_MAX: u64 = 4 << 20;
/// The most bytes of output files one part of a job may leave.
pub const OUTPUT_BYTES_MAX: u64 = 256 << 20;
/// The most output files one part of a job may leave.
pub const OUTPUT_FILES_MAX: usize = 1_000;

/// What a utility asks a node to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseSpec {
    /// The lease's id, chosen by the utility.
    pub lease: LeaseId,
    /// What it is for.
    #[serde(flatten)]
    pub key: LeaseKey,
    /// The app's name, for the owner of the node.
    pub app_name: String,
    /// Whether it is to wait, warm and frozen, until it is activated.
    #[serde(default)]
    pub standby: bool,
    /// What runs.
    pub workload: Workload,
    /// What it may use.
    pub granted: Resources,
    /// What its use costs; must be what the node asks.
    pub prices: Prices,
    /// How long it goes on without hearing from its utility, in milliseconds.
    pub term_ms: u64,
    /// What is promised about it, signed by the utility; `None`: nothing that a court enforces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla: Option<SlaOffer>,
    /// How the result of a deterministic job is to be signed; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditTerms>,
}

/// Where a lease stands, as its agent sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// Artifacts are fetched, the component is compiled, the sandbox is started.
    Starting,
    /// Ready and frozen: uses no CPU until activated.
    Warm,
    /// Serving, or running.
    Active,
    /// Finishes what is in flight, takes nothing new.
    Draining,
    /// Over; the report's `ending` says how.
    Ended,
    /// A state that this version does not know: the lease is taken to stand where it stood.
    #[serde(other)]
    Unknown,
}

/// Why a lease is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// A job's guest returned success.
    Completed {
        /// What the job left, by path.
        #[serde(default)]
        outputs: Vec<GuestFile>,
        /// Fuel it used, in deterministic mode.
        #[serde(default)]
        fuel: Option<u64>,
        /// What the supplier signed of it, where the lease asked for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed: Option<Box<SignedResult>>,
    },
    /// The guest failed: an exit code, a trap, a limit. `reason` is for its author.
    Failed {
        /// What happened.
        reason: String,
    },
    /// The utility asked for it.
    Released,
    /// The node could not go on: its owner took it back, its disk is full, a restart.
    NodeFailed {
        /// What happened.
        reason: String,
    },
    /// The utility was not heard from for the lease's term.
    Expired,
    /// A newer epoch took its place.
    Fenced,
    /// An ending that this version does not know.
    #[serde(other)]
    Unknown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed { .. } => f.write_str("completed"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Released => f.write_str("released"),
            Self::NodeFailed { reason } => write!(f, "node failed: {reason}"),
            Self::Expired => f.write_str("expired"),
            Self::Fenced => f.write_str("fenced by a newer epoch"),
            Self::Unknown => f.write_str("ended for a reason this version does not know"),
        }
    }
}

/// What an agent says of one lease. Repeats cost nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReport {
    /// Which lease.
    pub lease: LeaseId,
    /// Its fencing key.
    #[serde(flatten)]
    pub key: LeaseKey,
    /// Where it stands.
    pub state: LeaseState,
    /// Everything it has used so far.
    pub counters: Counters,
    /// Requests in flight.
    #[serde(default)]
    pub in_flight: u32,
    /// How it ended, once it has.
    #[serde(default)]
    pub ending: Option<Ending>,
}
