//! The leases of a simulated agent: what is held, and what it pretends to have used.

use std::{collections::BTreeMap, time::Instant};

use kinesis_protocol::{
    Counters, Ending, LeaseId, LeaseReport, LeaseSpec, LeaseState, Prices, Resources, Workload,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::policy::{self, Decision, Holding, Situation};

/// What a request did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Exchange {
    pub rx_bytes: u64,
    pub tx_bytes: u64,
}

#[derive(Debug)]
struct SimLease {
    spec: LeaseSpec,
    state: LeaseState,
    activated: bool,
    /// Counted for work that is over.
    done: Counters,
    in_flight: u32,
    busy_since: Option<Instant>,
    lies: Option<Counters>,
    ending: Option<Ending>,
}

impl SimLease {
    fn counters(&self) -> Counters {
        if let Some(lies) = self.lies {
            return lies;
        }
        let mut counters = self.done;
        if let Some(since) = self.busy_since {
            add_wall(&mut counters, since, &self.spec.granted);
        }
        counters
    }

    fn begin(&mut self) {
        self.in_flight += 1;
        self.busy_since.get_or_insert_with(Instant::now);
    }

    fn finish(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if self.in_flight == 0 {
            self.idle();
        }
    }

    fn idle(&mut self) {
        self.in_flight = 0;
        if let Some(since) = self.busy_since.take() {
            add_wall(&mut self.done, since, &self.spec.granted);
        }
    }

    fn end(&mut self, ending: Ending) {
        if self.ending.is_none() {
            self.idle();
            self.state = LeaseState::Ended;
            self.ending = Some(ending);
        }
    }
}

fn add_wall(counters: &mut Counters, since: Instant, granted: &Resources) {
    let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    counters.wall_ms += ms;
    counters.mem_mib_ms = counters.wall_ms * u64::from(granted.mem_mib);
    counters.cpu_ms = counters.wall_ms / 10 * u64::from(granted.cpu_millis) / 1000;
    counters.energy_mj = counters.cpu_ms * 8;
}

/// All leases of one simulated agent.
#[derive(Debug)]
pub(super) struct SimLeases {
    offered: Resources,
    prices: Prices,
    all: Mutex<BTreeMap<LeaseId, SimLease>>,
    changed: watch::Sender<u64>,
}

impl SimLeases {
    pub(super) fn new(offered: Resources, prices: Prices) -> Self {
        Self { offered, prices, all: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// Wakes whoever reports.
    pub(super) fn touch(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn reports(&self) -> Vec<LeaseReport> {
        self.all
            .lock()
            .values()
            .map(|lease| LeaseReport {
                lease: lease.spec.lease,
                key: lease.spec.key,
                state: lease.state,
                counters: lease.counters(),
                in_flight: lease.in_flight,
                ending: lease.ending.clone(),
            })
            .collect()
    }

    pub(super) fn free(&self) -> Resources {
        policy::free(&self.offered, &self.holdings())
    }

    fn holdings(&self) -> Vec<Holding> {
        self.all
            .lock()
            .values()
            .map(|lease| Holding {
                lease: lease.spec.lease,
                key: lease.spec.key,
                granted: match lease.ending {
                    None => lease.spec.granted,
                    Some(_) => Resources::default(),
                },
            })
            .collect()
    }

    /// Decides as a real agent does; takes the lease where it grants it.
    pub(super) fn grant(&self, spec: &LeaseSpec, refuses: Option<String>) -> Decision {
        let held = self.holdings();
        let newest = held
            .iter()
            .filter(|holding| {
                (holding.key.app, holding.key.replica) == (spec.key.app, spec.key.replica)
            })
            .map(|holding| (holding.key.epoch, holding.lease))
            .max();
        let situation = Situation {
            offered: self.offered,
            prices: self.prices,
            paused: refuses,
            held: &held,
            artifact_bytes_max: u64::MAX,
            newest,
        };
        let decision = policy::decide(&situation, spec);
        if decision == Decision::Grant {
            let lease = SimLease {
                spec: spec.clone(),
                state: LeaseState::Starting,
                activated: !spec.standby,
                done: Counters::default(),
                in_flight: 0,
                busy_since: None,
                lies: None,
                ending: None,
            };
            self.all.lock().insert(spec.lease, lease);
            self.touch();
        }
        decision
    }

    fn with<T>(&self, lease: LeaseId, change: impl FnOnce(&mut SimLease) -> T) -> Option<T> {
        let result = self.all.lock().get_mut(&lease).map(change);
        self.touch();
        result
    }

    /// Its start is over: it is warm, or active. Returns whether a job begins.
    pub(super) fn ready(&self, lease: LeaseId) -> bool {
        let (begins, active) = self
            .with(lease, |lease| {
                if lease.state != LeaseState::Starting {
                    return (false, None);
                }
                lease.state = if lease.activated { LeaseState::Active } else { LeaseState::Warm };
                let job = matches!(lease.spec.workload, Workload::Job(_));
                if job {
                    lease.begin();
                }
                (job, lease.activated.then_some(lease.spec.key))
            })
            .unwrap_or_default();
        self.fence(active);
        begins
    }

    pub(super) fn activate(&self, lease: LeaseId) {
        let active = self.with(lease, |lease| {
            lease.activated = true;
            if lease.state == LeaseState::Warm {
                lease.state = LeaseState::Active;
            }
            (lease.state == LeaseState::Active).then_some(lease.spec.key)
        });
        self.fence(active.flatten());
    }

    /// Ends what an active lease has taken the place of.
    fn fence(&self, active: Option<kinesis_protocol::LeaseKey>) {
        let Some(key) = active else { return };
        for lease in self.all.lock().values_mut() {
            let other = lease.spec.key;
            if (other.app, other.replica) == (key.app, key.replica) && other.epoch < key.epoch {
                lease.end(Ending::Fenced);
            }
        }
        self.touch();
    }

    pub(super) fn end(&self, lease: LeaseId, ending: Ending) {
        self.with(lease, |lease| lease.end(ending));
    }

    pub(super) fn recorded(&self, lease: LeaseId) {
        let mut all = self.all.lock();
        if all.get(&lease).is_some_and(|lease| lease.ending.is_some()) {
            all.remove(&lease);
        }
    }

    pub(super) fn set_counters(&self, lease: LeaseId, counters: Option<Counters>) {
        self.with(lease, |lease| lease.lies = counters);
    }

    pub(super) fn kill_all(&self) {
        for lease in self.all.lock().values_mut() {
            lease.end(Ending::NodeFailed { reason: "the agent restarted".into() });
        }
    }

    /// Whether requests of this epoch are answered: `Ok(false)` while they wait.
    pub(super) fn admits(
        &self,
        lease: LeaseId,
        epoch: kinesis_protocol::Epoch,
    ) -> Result<bool, String> {
        let all = self.all.lock();
        let held = all.get(&lease).ok_or("no such lease here")?;
        if held.spec.key.epoch != epoch {
            return Err(format!("this lease has epoch {}", held.spec.key.epoch));
        }
        match held.state {
            LeaseState::Active => Ok(true),
            LeaseState::Starting | LeaseState::Warm => Ok(false),
            LeaseState::Draining | LeaseState::Ended | LeaseState::Unknown => {
                Err("the lease takes nothing new".into())
            }
        }
    }

    pub(super) fn request_began(&self, lease: LeaseId) {
        if let Some(lease) = self.all.lock().get_mut(&lease) {
            lease.begin();
        }
    }

    pub(super) fn request_ended(&self, lease: LeaseId, exchange: Exchange) {
        if let Some(lease) = self.all.lock().get_mut(&lease) {
            lease.finish();
            lease.done.requests += 1;
            lease.done.rx_bytes += exchange.rx_bytes;
            lease.done.tx_bytes += exchange.tx_bytes;
        }
    }
}
