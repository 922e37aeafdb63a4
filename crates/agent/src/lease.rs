//! One lease that this agent holds, and everything that may be asked of it while it runs.
//!
//! ```text
//!                started()                   activate()
//! Starting --------------------> Warm ----------------------> Active
//!     |    \------------------------------------------------^   |
//!     |      (no standby, or activated before it was ready)     | stop()
//!     | stop()                                                  v
//!     \-------------------------------> Ended <------------- Draining
//! ```
//!
//! [`drive`] is the task that moves it along; everything else only leaves a mark ([`Lease::stop`])
//! or, where every microsecond counts, acts at once ([`Lease::activate`]). Counters that are
//! reported are those in the book, never newer ones.

pub(crate) mod drive;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use kinesis_protocol::{
    Ending, Epoch, LeaseReport, LeaseSpec, LeaseState, NodeId, Resources, Workload,
};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use crate::{
    book::{LeaseRecord, Meter, Payer},
    engine::Guest,
    policy::Holding,
};

/// How long a stream waits for a lease that is starting or warm to become active.
const ADMISSION_WAIT: Duration = Duration::from_secs(5);

/// Wakes whoever reports leases: a count that grows with every change.
pub(crate) type Changes = Arc<watch::Sender<u64>>;

/// That a lease is to end, and by when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub ending: Ending,
    pub deadline: Instant,
}

/// A lease.
#[derive(Debug)]
pub(crate) struct Lease {
    pub utility: NodeId,
    pub payer: Payer,
    pub spec: LeaseSpec,
    state: watch::Sender<LeaseState>,
    stop: watch::Sender<Option<Stop>>,
    guest: OnceLock<Arc<dyn Guest>>,
    inner: Mutex<Inner>,
    changes: Changes,
}

#[derive(Debug)]
struct Inner {
    activated: bool,
    /// As the book holds it.
    meter: Meter,
    ending: Option<Ending>,
}

impl Lease {
    /// A lease that begins, or one that the book remembers.
    pub(crate) fn new(record: LeaseRecord, meter: Meter, changes: Changes) -> Self {
        let LeaseRecord { utility, payer, spec, ending } = record;
        let state = if ending.is_some() { LeaseState::Ended } else { LeaseState::Starting };
        let inner = Inner { activated: !spec.standby, meter, ending };
        Self {
            utility,
            payer,
            spec,
            state: watch::Sender::new(state),
            stop: watch::Sender::new(None),
            guest: OnceLock::new(),
            inner: Mutex::new(inner),
            changes,
        }
    }

    pub(crate) fn state(&self) -> LeaseState {
        *self.state.borrow()
    }

    /// Follows its state.
    pub(crate) fn states(&self) -> watch::Receiver<LeaseState> {
        self.state.subscribe()
    }

    pub(crate) fn is_job(&self) -> bool {
        matches!(self.spec.workload, Workload::Job(_))
    }

    pub(crate) fn guest(&self) -> Option<&Arc<dyn Guest>> {
        self.guest.get()
    }

    pub(crate) fn meter(&self) -> Meter {
        self.inner.lock().meter
    }

    /// Publishes what was written to the book.
    pub(crate) fn written(&self, meter: Meter) {
        self.inner.lock().meter = meter;
    }

    /// The record the book holds, with this ending.
    pub(crate) fn record(&self, ending: Option<Ending>) -> LeaseRecord {
        LeaseRecord { utility: self.utility, payer: self.payer, spec: self.spec.clone(), ending }
    }

    pub(crate) fn holding(&self) -> Holding {
        let over = self.state() == LeaseState::Ended;
        let granted = if over { Resources::default() } else { self.spec.granted };
        Holding { lease: self.spec.lease, key: self.spec.key, granted }
    }

    pub(crate) fn report(&self) -> LeaseReport {
        let inner = self.inner.lock();
        LeaseReport {
            lease: self.spec.lease,
            key: self.spec.key,
            state: self.state(),
            counters: inner.meter.counters,
            in_flight: self.guest.get().map_or(0, |guest| guest.in_flight()),
            ending: inner.ending.clone(),
        }
    }

    fn enter(&self, state: LeaseState) {
        self.state.send_replace(state);
        self.changes.send_modify(|n| *n += 1);
    }

    /// Thaws a standby at once; remembers it where the lease is still starting. Returns whether it
    /// became active now.
    ///
    /// # Errors
    /// Why it cannot be thawed.
    pub(crate) fn activate(&self) -> Result<bool, String> {
        let mut inner = self.inner.lock();
        inner.activated = true;
        if self.state() != LeaseState::Warm {
            // One that is still starting need not be frozen first; where this fails, so does
            // the thaw that follows once it is ready.
            if let Some(guest) = self.guest.get().filter(|_| self.state() == LeaseState::Starting) {
                let _ = guest.thaw();
            }
            return Ok(false);
        }
        if let Some(guest) = self.guest.get() {
            guest.thaw()?;
        }
        self.enter(LeaseState::Active);
        Ok(true)
    }

    /// The guest exists; it may not be ready yet.
    fn spawned(&self, guest: Arc<dyn Guest>) {
        let fresh = self.guest.set(guest).is_ok();
        debug_assert!(fresh, "a lease has one guest");
    }

    /// The guest is ready: warm, or active. Returns whether it is active.
    fn started(&self) -> Result<bool, String> {
        let inner = self.inner.lock();
        if self.spec.standby && !inner.activated {
            self.enter(LeaseState::Warm);
            return Ok(false);
        }
        if self.spec.standby
            && let Some(guest) = self.guest.get()
        {
            guest.thaw()?;
        }
        self.enter(LeaseState::Active);
        Ok(true)
    }

    /// It takes nothing new from now on.
    fn draining(&self) {
        // Under the lock, so that no activation slips in between.
        let _inner = self.inner.lock();
        self.enter(LeaseState::Draining);
    }

    fn ended(&self, ending: Ending, meter: Meter) {
        let mut inner = self.inner.lock();
        inner.ending = Some(ending);
        inner.meter = meter;
        self.enter(LeaseState::Ended);
    }

    /// Asks it to end, after `notice` at the latest. The first reason stays, the earliest deadline
    /// counts.
    pub(crate) fn stop(&self, ending: Ending, notice: Duration) {
        let deadline = Instant::now() + notice.min(Duration::from_secs(24 * 3600));
        self.stop.send_if_modified(|stop| match stop {
            None => {
                *stop = Some(Stop { ending, deadline });
                true
            }
            Some(stop) if deadline < stop.deadline => {
                stop.deadline = deadline;
                true
            }
            Some(_) => false,
        });
    }

    /// Waits until it is asked to end.
    async fn stopped(&self) -> Stop {
        let mut stops = self.stop.subscribe();
        match stops.wait_for(Option::is_some).await.map(|stop| stop.clone()) {
            Ok(Some(stop)) => stop,
            // The sender lives in `self`.
            _ => std::future::pending().await,
        }
    }

    /// Waits until the deadline of the stop that was asked for, which may come nearer meanwhile.
    async fn out_of_time(&self) {
        let mut stops = self.stop.subscribe();
        loop {
            let deadline = stops.borrow_and_update().as_ref().map(|stop| stop.deadline);
            let Some(deadline) = deadline else { return std::future::pending().await };
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                _ = stops.changed() => {}
            }
        }
    }

    /// Lets a stream of this epoch in: waits while the lease is starting or warm, for
    /// [`ADMISSION_WAIT`] at most.
    ///
    /// # Errors
    /// Why not, for the other end.
    pub(crate) async fn admit(&self, epoch: Epoch) -> Result<&Arc<dyn Guest>, String> {
        if self.spec.key.epoch != epoch {
            return Err(format!("this lease has epoch {}, not {epoch}", self.spec.key.epoch));
        }
        if self.is_job() {
            return Err("a job takes no requests".into());
        }
        let mut state = self.state();
        if matches!(state, LeaseState::Starting | LeaseState::Warm) {
            let mut states = self.states();
            let settled =
                states.wait_for(|state| !matches!(state, LeaseState::Starting | LeaseState::Warm));
            state = match tokio::time::timeout(ADMISSION_WAIT, settled).await {
                Ok(Ok(state)) => *state,
                _ => return Err("the lease did not become active in time".into()),
            };
        }
        match (state, self.guest.get()) {
            (LeaseState::Active, Some(guest)) => Ok(guest),
            _ => Err("the lease takes nothing new: it is draining or over".into()),
        }
    }
}
