//! The state machine: nodes, apps and leases in memory, without any I/O.
//!
//! It is told what happened ([`Grid::node_heard`], [`Grid::node_lost`], [`Grid::suspect`],
//! [`Grid::passed`], …) and the time it happened; [`Grid::drain`] returns what follows. Reconciling
//! an app ([`reconcile`]) compares what is wanted with what is held and is idempotent, so it runs
//! after everything that may concern the app, and again as time passes.
//!
//! Invariants:
//! * A lease is granted only after [`Grid::placed`] said that it is durable, with an epoch above
//!   every earlier one of its replica.
//! * Of a replica's leases the one that serves is the active one with the highest epoch; every one
//!   below it is released, or fenced until its node comes back.
//! * A standby is never on the supplier that serves.
//! * A take-over waits for nothing: the loss of a node yields `Send(Activate)` and `Routes` at once.

mod app;
mod money;
mod node;
mod parts;
mod place;
mod quote;
mod reconcile;
mod report;
mod result;
mod standing;
mod time;
mod types;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use kinesis_protocol::{
    AccountId, AppId, Ending, Epoch, LeaseId, NanoUsd, NodeId, message::ToAgent,
};

pub use app::{App, AppSpec, PartPhase, PartSlot, Stop};
pub use money::{Exposure, Spending};
pub use quote::Snapshot;
pub use result::Audited;
pub use standing::is_held;
pub use types::{Effect, GridConfig, Lease, Mark, Node, Over, PartOutcome, Phase};
pub use view::{AppRoutes, Serving};

use crate::{
    api::{AppState, Event},
    autoscale::Scale,
    meter::Observed,
};

/// What the ingress saw of a lease; `None` where it saw nothing of it.
pub type Observe<'a> = &'a dyn Fn(LeaseId) -> Option<Observed>;

/// The state machine.
pub struct Grid {
    config: GridConfig,
    new_lease_id: Box<dyn FnMut() -> LeaseId + Send>,
    nodes: BTreeMap<NodeId, Node>,
    apps: BTreeMap<AppId, App>,
    leases: BTreeMap<LeaseId, Lease>,
    by_app: BTreeMap<AppId, BTreeSet<LeaseId>>,
    balances: BTreeMap<AccountId, NanoUsd>,
    spendings: BTreeMap<AppId, Spending>,
    audited: Option<Audited>,
    /// Why nodes get no new lease, beside what they say themselves.
    withheld: BTreeMap<NodeId, String>,
    effects: Vec<Effect>,
    grace_until_ms: u64,
    passed_at_ms: u64,
    retried_at_ms: u64,
    /// How long a start took lately, in milliseconds.
    start_ms: u64,
}

impl std::fmt::Debug for Grid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grid")
            .field("nodes", &self.nodes.len())
            .field("apps", &self.apps.len())
            .field("leases", &self.leases.len())
            .finish_non_exhaustive()
    }
}

impl Grid {
    /// An empty grid at `now_ms`. `new_lease_id` must never repeat itself.
    #[must_use]
    pub fn new(
        config: GridConfig,
        now_ms: u64,
        new_lease_id: Box<dyn FnMut() -> LeaseId + Send>,
    ) -> Self {
        Self {
            grace_until_ms: now_ms + config.grace_ms,
            config,
            new_lease_id,
            nodes: BTreeMap::new(),
            apps: BTreeMap::new(),
            leases: BTreeMap::new(),
            by_app: BTreeMap::new(),
            balances: BTreeMap::new(),
            spendings: BTreeMap::new(),
            audited: None,
            withheld: BTreeMap::new(),
            effects: Vec::new(),
            passed_at_ms: now_ms,
            retried_at_ms: now_ms,
            start_ms: 1_500,
        }
    }

    /// What is to be done since the last call, in order.
    #[must_use]
    pub fn drain(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeId, Node> {
        &self.nodes
    }

    /// All apps.
    #[must_use]
    pub fn apps(&self) -> &BTreeMap<AppId, App> {
        &self.apps
    }

    /// All leases that are not recorded as over.
    #[must_use]
    pub fn leases(&self) -> &BTreeMap<LeaseId, Lease> {
        &self.leases
    }

    /// An app's leases, oldest id first.
    pub fn leases_of(&self, app: AppId) -> impl Iterator<Item = &Lease> {
        self.by_app.get(&app).into_iter().flatten().filter_map(|id| self.leases.get(id))
    }

    // What is wanted.

    /// Wants this version of an app; of a job, with its parts as the store has them.
    pub fn set_app(&mut self, now_ms: u64, spec: AppSpec, parts: Vec<PartSlot>) {
        let id = spec.id;
        let scale = spec.service().map(|service| match self.apps.get(&id) {
            Some(App { scale: Some(scale), stop: None, .. }) => {
                let mut scale = *scale;
                scale.observe(service, 0, now_ms);
                scale
            }
            _ => Scale::new(service, now_ms),
        });
        let app = App {
            scale,
            parts,
            stop: None,
            refused: BTreeMap::new(),
            avoid: BTreeMap::new(),
            failures: 0,
            late: 0,
            not_before_ms: 0,
            reason: None,
            told: AppState::Pending,
            unsatisfied: false,
            starting: false,
            spec,
        };
        self.apps.insert(id, app);
        self.effects.push(Effect::Routes(id));
        self.reconcile(now_ms, id);
        self.settle(id);
    }

    /// Takes over a lease of an earlier run, in phase [`Phase::Lost`]. Call before any app is set.
    pub fn restore(&mut self, lease: Lease) {
        let (id, app) = (lease.spec.lease, lease.spec.key.app);
        self.by_app.entry(app).or_default().insert(id);
        self.leases.insert(id, lease);
    }

    /// Wants nothing of an app any more.
    pub fn stop_app(&mut self, now_ms: u64, app: AppId, stop: Stop) {
        if let Some(app) = self.apps.get_mut(&app) {
            app.stop = Some(stop);
        }
        self.reconcile(now_ms, app);
        self.settle(app);
    }

    /// An app is deleted: what is left of it answers to no host any more.
    pub fn delete_app(&mut self, now_ms: u64, app: AppId) {
        self.stop_app(now_ms, app, Stop::Deleted);
        self.effects.push(Effect::Routes(app));
    }

    /// Somebody waits for a service.
    pub fn wake(&mut self, now_ms: u64, app: AppId) {
        let Some(scale) = self.apps.get_mut(&app).and_then(|app| app.scale.as_mut()) else {
            return;
        };
        let slept = scale.replicas == 0;
        scale.wake(now_ms);
        if slept {
            self.reconcile(now_ms, app);
        }
    }

    /// How many requests are in flight to a service.
    pub fn load(&mut self, now_ms: u64, id: AppId, in_flight: u64) {
        let Some(app) = self.apps.get_mut(&id) else { return };
        let (Some(scale), Some(service), None) = (&mut app.scale, app.spec.service(), app.stop)
        else {
            return;
        };
        let before = scale.replicas;
        if scale.observe(service, in_flight, now_ms) != before {
            self.reconcile(now_ms, id);
        }
    }

    // What the store says.

    /// A lease is durable under this epoch: its node is asked. `None`: it could not be made
    /// durable, and is forgotten.
    pub fn placed(&mut self, now_ms: u64, id: LeaseId, epoch: Option<Epoch>) {
        let Some(lease) = self.leases.get_mut(&id).filter(|l| l.phase == Phase::Placing) else {
            return;
        };
        let (app, node) = (lease.spec.key.app, lease.node);
        let Some(epoch) = epoch else {
            self.forget(id);
            if let Some(app) = self.apps.get_mut(&app) {
                app.not_before_ms = now_ms + 500;
                app.unsatisfied = true;
                for part in app.parts.iter_mut().filter(|part| part.has(id)) {
                    let other = part.beside.take().filter(|other| *other != id);
                    if part.phase == PartPhase::Running(id) {
                        let queued = PartPhase::Queued { not_before_ms: now_ms + 500 };
                        part.phase = other.map_or(queued, PartPhase::Running);
                    }
                }
            }
            // It may have been the last of an app that is stopped.
            self.tell_state(app);
            self.settle(app);
            return;
        };
        lease.spec.key.epoch = epoch;
        lease.enter(Phase::Asked, now_ms);
        let cancelled = lease.cancelled;
        let grant = ToAgent::Grant { spec: lease.spec.clone() };
        if cancelled {
            self.end(now_ms, id, Ending::Released);
        } else if self.nodes.get(&node).is_some_and(Node::is_up) {
            self.effects.push(Effect::Send(node, grant));
        } else {
            let reason = "the node was lost before it was asked".to_owned();
            self.end(now_ms, id, Ending::NodeFailed { reason });
        }
        self.reconcile(now_ms, app);
    }

    /// A lease's end is recorded: its node may forget it, and so does the grid.
    pub fn recorded(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(&id).filter(|l| l.phase == Phase::Ended) else { return };
        let app = lease.spec.key.app;
        self.effects.push(Effect::Send(lease.node, ToAgent::Recorded { lease: id }));
        self.forget(id);
        self.tell_state(app);
        self.settle(app);
    }

    /// Records that a job is over once all its parts are, and all their ends are recorded.
    fn settle(&mut self, id: AppId) {
        let state = self.state(id);
        let Some(app) = self.apps.get_mut(&id) else { return };
        let over = matches!(state, AppState::Completed | AppState::Failed) && app.scale.is_none();
        if app.stop.is_none() && over {
            app.stop = Some(Stop::Over);
            let reason = app
                .parts
                .iter()
                .zip(0_u32..)
                .find(|(part, _)| part.phase == PartPhase::Failed)
                .map(|(part, number)| {
                    format!("part {number} {}", part.reason.as_deref().unwrap_or("failed"))
                });
            self.effects.push(Effect::State(id, state, reason));
        }
        // What is over is the store's to remember.
        if app.stop.is_some() && !self.by_app.contains_key(&id) {
            self.apps.remove(&id);
            self.spendings.remove(&id);
            self.effects.push(Effect::Routes(id));
        }
    }

    fn forget(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            let app = lease.spec.key.app;
            if let Some(all) = self.by_app.get_mut(&app) {
                all.remove(&id);
                if all.is_empty() {
                    self.by_app.remove(&app);
                }
            }
        }
    }

    // What the ingress says.

    /// The ingress saw a stream to this lease fail.
    pub fn suspect(&mut self, now_ms: u64, id: LeaseId) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if lease.phase != Phase::Active || lease.standby {
            return;
        }
        lease.suspected_at_ms = Some(now_ms);
        let app = lease.spec.key.app;
        self.effects.push(Effect::Routes(app));
        self.reconcile(now_ms, app);
    }

    /// A lease is over.
    fn end(&mut self, now_ms: u64, id: LeaseId, ending: Ending) {
        let Some(lease) = self.leases.get_mut(&id).filter(|l| l.phase != Phase::Ended) else {
            return;
        };
        let served = lease.phase == Phase::Active && !lease.standby;
        let wanted_to_end = lease.phase == Phase::Draining;
        let granted = !matches!(lease.phase, Phase::Placing | Phase::Asked);
        lease.enter(Phase::Ended, now_ms);
        let lease = lease.clone();
        let app_id = lease.spec.key.app;
        let job = lease.is_job();
        let part = if job {
            self.attempt_ended(now_ms, &lease, &ending, granted)
        } else {
            if !wanted_to_end && granted {
                self.service_failed(now_ms, &lease, &ending);
            }
            None
        };
        self.tell_lease(&lease);
        self.effects.push(Effect::Ended(Box::new(Over {
            lease: id,
            key: lease.spec.key,
            job,
            version: lease.version,
            node: lease.node,
            ending,
            counters: lease.counters,
            part,
        })));
        if served {
            self.effects.push(Effect::Routes(app_id));
        }
    }

    /// A service's lease ended by itself: wait a little longer after every failure in a row.
    fn service_failed(&mut self, now_ms: u64, lease: &Lease, ending: &Ending) {
        let Some(app) = self.apps.get_mut(&lease.spec.key.app) else { return };
        let lived = now_ms.saturating_sub(lease.placed_at_ms);
        app.failures = if lived > 60_000 { 1 } else { app.failures.saturating_add(1) };
        if app.failures > 1 {
            // A guest that fails at once fails again; a node that failed says little about the next.
            let guest = matches!(ending, Ending::Failed { .. });
            let steps = app.failures.min(if guest { 7 } else { 3 });
            app.not_before_ms = now_ms + (100_u64 << steps);
        }
        app.avoid.insert(lease.node, now_ms + 30_000);
        app.reason = Some(format!("its last run {ending}"));
    }

    fn tell_lease(&mut self, lease: &Lease) {
        self.effects.push(Effect::Tell(Event::Lease {
            app: lease.spec.key.app,
            lease: lease.spec.lease,
            replica: lease.spec.key.replica.0,
            epoch: lease.epoch(),
            node: lease.node,
            state: lease.phase.as_str().to_owned(),
        }));
    }
}
