//! What others see of the grid: an app's routes, its state, what its leases used.

use std::collections::BTreeMap;

use kinesis_protocol::{AppId, Counters, Epoch, LeaseId, NodeId, Replica};

use super::{Grid, Lease, PartPhase, Phase, Stop};
use crate::api::AppState;

/// One app's routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRoutes {
    /// Its name.
    pub name: String,
    /// Host names it answers to besides its own.
    pub hosts: Vec<String>,
    /// Where it stands.
    pub state: AppState,
    /// The longest a request may take.
    pub request_ms_max: u64,
    /// Requests a replica answers at once.
    pub concurrency: u32,
    /// What serves.
    pub serving: Vec<Serving>,
}

/// One replica that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// The lease.
    pub lease: LeaseId,
    /// Which replica.
    pub replica: Replica,
    /// Its fencing number.
    pub epoch: Epoch,
    /// The node.
    pub node: NodeId,
    /// Whether it may be chosen now.
    pub usable: bool,
}

impl Grid {
    /// A service's routes; `None` for jobs, and for apps that are unknown, over or deleted.
    #[must_use]
    pub fn routes(&self, id: AppId) -> Option<AppRoutes> {
        let app = self.apps.get(&id).filter(|app| app.stop != Some(Stop::Deleted))?;
        let service = app.spec.service()?;
        let mut serving: BTreeMap<Replica, &Lease> = BTreeMap::new();
        for lease in self.leases_of(id) {
            if lease.phase == Phase::Active && !lease.standby {
                let best = serving.entry(lease.spec.key.replica).or_insert(lease);
                if lease.epoch() > best.epoch() {
                    *best = lease;
                }
            }
        }
        let serving = serving.into_values().map(|lease| Serving {
            lease: lease.spec.lease,
            replica: lease.spec.key.replica,
            epoch: lease.epoch(),
            node: lease.node,
            usable: lease.suspected_at_ms.is_none(),
        });
        Some(AppRoutes {
            name: app.spec.manifest.name.clone(),
            hosts: app.spec.manifest.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            state: self.state(id),
            request_ms_max: service.request_ms_max,
            concurrency: service.concurrency,
            serving: if app.stop.is_some() { Vec::new() } else { serving.collect() },
        })
    }

    /// Where an app stands.
    #[must_use]
    pub fn state(&self, id: AppId) -> AppState {
        let Some(app) = self.apps.get(&id) else { return AppState::Stopped };
        match app.stop {
            Some(Stop::Owner) => return AppState::Stopped,
            Some(Stop::Deleted) => return AppState::Deleted,
            Some(Stop::Budget) => return AppState::OverBudget,
            Some(Stop::Over) | None => {}
        }
        if let Some(scale) = app.scale {
            let serves = self.leases_of(id).any(|l| l.phase == Phase::Active && !l.standby);
            return match (serves, scale.replicas) {
                (true, _) => AppState::Running,
                (false, 0) => AppState::Idle,
                (false, _) => AppState::Pending,
            };
        }
        let is = |phase: fn(&PartPhase) -> bool| app.parts.iter().any(|part| phase(&part.phase));
        // What is over and not recorded yet is on no bill.
        let recording = self.leases_of(id).any(|lease| lease.phase == Phase::Ended);
        if recording || is(|p| matches!(p, PartPhase::Running(_))) {
            AppState::Running
        } else if is(|p| matches!(p, PartPhase::Queued { .. })) {
            AppState::Pending
        } else if is(|p| *p == PartPhase::Failed) {
            AppState::Failed
        } else {
            AppState::Completed
        }
    }

    /// What all leases used, as believed: for the tick.
    pub fn counters(&self) -> impl Iterator<Item = (LeaseId, &Counters)> {
        self.leases
            .iter()
            .filter(|(_, lease)| lease.has_epoch() && lease.phase != Phase::Ended)
            .map(|(id, lease)| (*id, &lease.counters))
    }
}
