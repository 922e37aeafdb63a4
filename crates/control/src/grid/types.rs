//! What the grid holds and how it behaves: nodes, leases, and the effects it asks for.

use std::sync::Arc;

use kinesis_protocol::{
    AppId, Benchmark, Counters, Ending, Epoch, LeaseId, LeaseSpec, NodeId, Resources, VersionId,
    lease::{LeaseKey, Workload},
    message::ToAgent,
    resources::NodeInfo,
};

use crate::{
    api::{AppState, Event},
    meter::Observed,
};

/// How the grid behaves. Times in milliseconds.
#[derive(Debug, Clone)]
pub struct GridConfig {
    /// Without a frame for this long, a node counts as silent.
    pub silence_ms: u64,
    /// After a start, leases of an earlier run are left alone for this long.
    pub grace_ms: u64,
    /// How long a released lease may finish.
    pub drain_ms: u64,
    /// A lease's term.
    pub term_ms: u64,
    /// A node that has not answered a grant for this long is passed over.
    pub grant_ms: u64,
    /// A granted lease that is not ready after this long is given up: at first, for nothing that
    /// would have to be fetched and compiled; twice as long after each start that was given up.
    pub ready_ms: u64,
    /// The longest that is waited for a granted lease.
    pub start_ms: u64,
    /// How long a node that did not get ready in time is chosen last; twice as long each time.
    pub late_ms: u64,
    /// How long a job's part waits for its lost node before it is tried elsewhere.
    pub patience_ms: u64,
    /// How long a node that refused a lease is not asked for the same app again.
    pub refusal_ms: u64,
    /// How long a lost lease is remembered for its node to come back and settle it.
    pub forget_ms: u64,
    /// For how long an account's balance must last when all it runs is in full use: until its
    /// spending was seen, and what was told to end has ended.
    pub covered_ms: u64,
    /// Margin and fee on top of the supplier's share, in ten-thousandths.
    pub markup_bp: u32,
}

impl Default for GridConfig {
    fn default() -> Self {
        Self {
            silence_ms: kinesis_protocol::message::SILENCE_MS,
            grace_ms: 3_000,
            drain_ms: 5_000,
            term_ms: 60_000,
            grant_ms: 5_000,
            ready_ms: 20_000,
            start_ms: 180_000,
            late_ms: 60_000,
            patience_ms: 3_000,
            refusal_ms: 5_000,
            forget_ms: 86_400_000,
            covered_ms: 60_000,
            markup_bp: 1_500,
        }
    }
}

/// What the grid wants done, in order. `Send` and `Routes` are to be carried out at once.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few at a time, and carried out at once")]
pub enum Effect {
    /// Send this to a node, over its newest connection.
    Send(NodeId, ToAgent),
    /// Give this lease an epoch and make it durable, then call [`super::Grid::placed`].
    Place(LeaseId),
    /// Record that a standby took over.
    Activated(LeaseId),
    /// Record that a lease is over, then call [`super::Grid::recorded`].
    Ended(Box<Over>),
    /// The routes of an app changed.
    Routes(AppId),
    /// Record that an app is over, or over its budget.
    State(AppId, AppState, Option<String>),
    /// Something to tell whoever watches.
    Tell(Event),
    /// Close the connection to a node that was given up, so that what waits on it fails now.
    Close(NodeId, String),
}

/// A lease that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Over {
    /// The lease.
    pub lease: LeaseId,
    /// What it was for.
    pub key: LeaseKey,
    /// Whether it was an attempt at a job's part.
    pub job: bool,
    /// The version it ran.
    pub version: VersionId,
    /// Where it ran.
    pub node: NodeId,
    /// How it ended.
    pub ending: Ending,
    /// Everything it used, as believed.
    pub counters: Counters,
    /// What follows for its part; `None` for services, attempts that were superseded, and jobs that
    /// were stopped.
    pub part: Option<PartOutcome>,
}

/// What follows from an attempt's end for its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartOutcome {
    /// It is done.
    Completed,
    /// Another attempt at it goes on.
    Other,
    /// Try again, not before this time.
    Again {
        /// Whether this attempt counts towards the retries.
        counts: bool,
        /// Not before.
        not_before_ms: u64,
    },
    /// It failed for good.
    Failed,
}

/// A node, as known since the utility started.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it says of itself.
    pub info: Arc<NodeInfo>,
    /// Which of its connections is the newest.
    pub session: u64,
    /// Whether that connection stands.
    pub connected: bool,
    /// Whether it was given up because it said nothing for too long.
    pub silent: bool,
    /// Whether it has announced that it leaves.
    pub leaving: bool,
    /// When it was heard last.
    pub heard_at_ms: u64,
    /// The newest heartbeat's number.
    pub seq: u64,
    /// What it said is free.
    pub free: Resources,
    /// Why it takes nothing new.
    pub paused: Option<String>,
    /// What it proved of its speed.
    pub benchmark: Option<Benchmark>,
    /// Whether it was asked for that and answered with work that was not done.
    pub disproved: bool,
    /// Reports of it that could not be true.
    pub refused_reports: u32,
    /// When the last of them came.
    pub refused_at_ms: u64,
    /// Whether a lease ever became ready on it.
    pub proven: bool,
    /// Leases in a row that it granted and that were not ready in time.
    pub late: u32,
    /// Until when it is chosen last for that.
    pub late_until_ms: u64,
}

impl Node {
    /// Whether it can be relied on now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.connected
    }

    /// Whether what it holds had better move elsewhere: it leaves, or says what cannot be true.
    #[must_use]
    pub fn is_to_be_left(&self) -> bool {
        self.leaving || self.disproved || self.refused_reports >= super::node::REFUSED_REPORTS_MAX
    }

    /// The word for where it stands.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self { connected: false, silent: true, .. } => "silent",
            Self { connected: false, .. } => "away",
            Self { leaving: true, .. } => "leaving",
            Self { paused: Some(_), .. } => "paused",
            _ => "up",
        }
    }
}

/// Where a lease stands, as the utility sees it.
///
/// ```text
/// Placing -> Asked -> Starting -> Warm -> Active -> Draining -> Ended
///                \________________\_______\___________/ Lost (its node is) \-> Ended
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Being made durable.
    Placing,
    /// The node was asked.
    Asked,
    /// The node granted it.
    Starting,
    /// Ready, frozen.
    Warm,
    /// Serving, or at work.
    Active,
    /// Told to end.
    Draining,
    /// Its node is lost; it may come back.
    Lost,
    /// Over; being recorded.
    Ended,
}

impl Phase {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Placing => "placing",
            Self::Asked | Self::Starting => "starting",
            Self::Warm => "warm",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Lost => "lost",
            Self::Ended => "ended",
        }
    }
}

/// A lease.
#[derive(Debug, Clone)]
pub struct Lease {
    /// What was asked of the node. Its epoch is zero until the lease is placed.
    pub spec: LeaseSpec,
    /// The version it runs, and its number.
    pub version: VersionId,
    /// The version's number.
    pub version_number: u32,
    /// The node.
    pub node: NodeId,
    /// The node as it described itself when the lease was placed.
    pub info: Arc<NodeInfo>,
    /// Whether it waits to take over. `spec.standby` says what was asked.
    pub standby: bool,
    /// Where it stands.
    pub phase: Phase,
    /// When its phase changed last.
    pub since_ms: u64,
    /// When it was placed, on the utility's clock.
    pub placed_at_ms: u64,
    /// When it was told to take over, last.
    pub activated_at_ms: u64,
    /// When a newer epoch took over; it is paid for nothing later but what it had to finish.
    pub fenced_at_ms: Option<u64>,
    /// When the ingress saw it fail; cleared by its next report.
    pub suspected_at_ms: Option<u64>,
    /// Whether the node's `free` accounts for it already.
    pub counted: bool,
    /// Whether it was given up before it was placed.
    pub cancelled: bool,
    /// Whether it was read from the store and has not been reported since.
    pub restored: bool,
    /// Heartbeats in a row that did not name it.
    pub missed: u8,
    /// What it used, as believed.
    pub counters: Counters,
    /// What it had used when this run of the utility first heard of it: what the ingress of this
    /// run saw comes on top.
    pub base: Counters,
    /// Requests in flight, as its node says.
    pub in_flight: u32,
    /// Whether it was placed beside another that is slow to start: the first that is ready stays.
    pub hedge: bool,
    /// Whether its node says that it serves, when it is a standby as far as anybody recorded.
    pub claims: bool,
    /// What was known of it some seconds ago, and some seconds before that.
    pub marks: [Mark; 2],
}

/// What was known of a lease at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// When.
    pub at_ms: u64,
    /// The working time that was believed.
    pub wall_ms: u64,
    /// What the ingress had seen.
    pub seen: Observed,
}

impl Mark {
    /// Nothing yet.
    #[must_use]
    pub fn start(at_ms: u64) -> [Self; 2] {
        [Self { at_ms, ..Self::default() }; 2]
    }
}

impl Lease {
    /// Whether it serves or may come to serve without the node coming back from the dead.
    #[must_use]
    pub fn is_live(&self) -> bool {
        match self.phase {
            Phase::Placing => !self.cancelled,
            Phase::Asked | Phase::Starting | Phase::Warm | Phase::Active => true,
            Phase::Draining | Phase::Lost | Phase::Ended => false,
        }
    }

    /// Whether it is on its way to be ready.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.is_live() && matches!(self.phase, Phase::Placing | Phase::Asked | Phase::Starting)
    }

    /// Whether it is an attempt at a job's part.
    #[must_use]
    pub fn is_job(&self) -> bool {
        matches!(self.spec.workload, Workload::Job(_))
    }

    /// Its fencing number.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.spec.key.epoch
    }

    /// Whether it has one yet.
    #[must_use]
    pub fn has_epoch(&self) -> bool {
        self.phase != Phase::Placing
    }

    pub(super) fn enter(&mut self, phase: Phase, now_ms: u64) {
        if self.phase != phase {
            self.phase = phase;
            self.since_ms = now_ms;
        }
    }
}
