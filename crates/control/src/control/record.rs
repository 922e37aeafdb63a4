//! What must last: each effect of the grid that concerns the store, carried out until it is done.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kinesis_protocol::{
    AppId, Ending, Epoch, LeaseId, SlaOffer, Workload, lease::LOG_BYTES_MAX, message::StreamOpen,
};
use kinesis_store::{
    AppState as StoredState, AttemptEnd, AttemptEnded, NewLease, StoreError, Then,
};
use tokio::io::AsyncReadExt;
use tracing::{error, warn};

use super::Control;
use crate::{
    api::AppState,
    grid::{Lease, Over, PartOutcome},
};

/// How long a lease's log may take to arrive once it is over.
const LOG_TIMEOUT: Duration = Duration::from_secs(5);
/// Old logs are looked for after so many new ones.
const PRUNE_EVERY: u64 = 16;
/// The pause before a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Why something was not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unwritten {
    /// It never can be: what it concerns is not there any more.
    Never,
    /// The utility stops first: a restart finds what is missing and does it again.
    Stopping,
    /// The terms that belong to it were not signed by the utility itself.
    Unsigned(String),
}

impl Control {
    /// Makes a lease durable, then has its node asked.
    pub(super) async fn place(self: Arc<Self>, lease: Lease) {
        let id = lease.spec.lease;
        let (epoch, sla) = match self.make_durable(lease).await {
            Ok((epoch, sla)) => (Some(epoch), sla),
            Err(Unwritten::Unsigned(reason)) => {
                warn!(lease = %id, reason, "a lease is given up");
                return self.with(|grid, now| grid.unoffered(now, id, &reason));
            }
            Err(problem) => {
                warn!(lease = %id, ?problem, "a lease could not be recorded");
                (None, None)
            }
        };
        self.with(|grid, now| {
            grid.offer(id, sla);
            grid.placed(now, id, epoch);
        });
    }

    /// Gives a lease its epoch and writes it down, a job's with its part. Every step may be repeated,
    /// and is until it is done: half of it would leave a part that waits for nobody.
    async fn make_durable(&self, lease: Lease) -> Result<(Epoch, Option<SlaOffer>), Unwritten> {
        let key = lease.spec.key;
        let next = || self.store.next_epoch(key.app, key.replica);
        let epoch = self.until_done("an epoch", next).await?;
        let mut spec = lease.spec;
        spec.key.epoch = epoch;
        spec.sla = self.offer_terms(&spec, lease.info.supplier).await?;
        let sla = spec.sla;
        let id = spec.lease;
        let job = matches!(spec.workload, Workload::Job(_));
        let new = NewLease {
            spec,
            version: lease.version,
            series: self.payer.series,
            node: lease.node,
            node_name: lease.info.name.clone(),
            supplier: lease.info.supplier,
            tier: lease.info.tier,
            terms: self.terms,
        };
        let insert = || self.store.insert_lease(&new, lease.placed_at_ms);
        self.until_done("a lease", insert).await?;
        let start = async || match lease.hedge {
            true => self.store.start_beside(lease.version, key.replica, id).await,
            false => self.store.start_part(lease.version, key.replica, id).await,
        };
        if job && !self.until_done("a part's start", start).await? {
            // Its job was stopped, or replaced, or its part completed, a moment ago.
            let released = Ending::Released;
            let end = || self.store.end_lease(id, &lease.counters, &released, self.clock.now_ms());
            self.until_done("the end of a lease", end).await?;
            return Err(Unwritten::Never);
        }
        Ok((epoch, sla))
    }

    pub(super) async fn record_activation(self: Arc<Self>, lease: LeaseId) {
        // Where it cannot be, a restart takes it for a standby that has to be told again.
        let activate = || self.store.activate_lease(lease, self.clock.now_ms());
        let _ = self.until_done("a take-over", activate).await;
    }

    /// Records the end of a lease, keeps its log, and only then lets its node, and the grid, forget
    /// it: an app whose ends are not recorded is not shown as over.
    pub(super) async fn record_end(self: Arc<Self>, over: Over) {
        let written = if over.job {
            self.record_attempt(&over).await
        } else {
            let now = || self.clock.now_ms();
            let end = || self.store.end_lease(over.lease, &over.counters, &over.ending, now());
            self.until_done("the end of a lease", end).await.map(drop)
        };
        if written == Err(Unwritten::Stopping) {
            // Its node says it again after the restart.
            return;
        }
        self.unposted.store(true, Ordering::Release);
        self.keep_log(&over).await;
        self.with(|grid, _| grid.recorded(over.lease));
        self.traffic.lock().remove(&over.lease);
        self.outputs.lock().remove(&over.lease);
    }

    /// Records the end of an attempt, with what follows for its part and its bill.
    async fn record_attempt(&self, over: &Over) -> Result<(), Unwritten> {
        let then = match &over.part {
            Some(PartOutcome::Again { counts, not_before_ms }) => {
                Then::Again { counts: *counts, not_before_ms: *not_before_ms }
            }
            Some(PartOutcome::Failed) => Then::Failed,
            Some(PartOutcome::Other) => Then::Other,
            Some(PartOutcome::Completed) => Then::Nothing,
            None if matches!(over.ending, Ending::Completed { .. }) => Then::TooLate,
            None => Then::Nothing,
        };
        let end = AttemptEnd {
            lease: over.lease,
            counters: over.counters,
            ending: over.ending.clone(),
            then,
            joule_price: self.price(),
        };
        let write = || self.store.end_attempt(&end, self.clock.now_ms());
        let ended = self.until_done("an attempt's end", write).await?;
        if let AttemptEnded::Already(_) = ended {
            // Maybe by a try of just now, of which nothing was heard.
            self.ledger.lock().await.owed.read_all_again();
        } else if let AttemptEnded::Billed(posted) = ended {
            self.ledger.lock().await.posted(&posted);
            if let Ok(account) = self.store.account(posted.account).await {
                let balance = account.balance_nanousd;
                self.grid.lock().set_balance(account.account, balance);
            }
        }
        Ok(())
    }

    pub(super) async fn record_state(
        self: Arc<Self>,
        app: AppId,
        state: AppState,
        reason: Option<String>,
    ) {
        let state = match state {
            AppState::Completed => StoredState::Completed,
            AppState::Failed => StoredState::Failed,
            AppState::OverBudget => StoredState::OverBudget,
            AppState::Stopped => StoredState::Stopped,
            AppState::Pending | AppState::Running | AppState::Idle | AppState::Deleted => return,
        };
        // Where it cannot be, a restart finds all parts over and says so again.
        let change =
            || self.store.set_app_state(app, state, reason.as_deref(), self.clock.now_ms());
        let _ = self.until_done("the state of an app", change).await;
    }

    /// Writes until it is written, or never can be.
    async fn until_done<T, F>(
        &self,
        what: &str,
        mut write: impl FnMut() -> F,
    ) -> Result<T, Unwritten>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match write().await {
                Ok(done) => return Ok(done),
                Err(
                    problem @ (StoreError::NotFound { .. }
                    | StoreError::Invalid(_)
                    | StoreError::StaleEpoch(_)),
                ) => {
                    error!(what, error = ?problem, "could not be recorded");
                    return Err(Unwritten::Never);
                }
                Err(problem) => warn!(what, error = ?problem, "is recorded again in a moment"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.stopping.cancelled() => return Err(Unwritten::Stopping),
            }
        }
    }

    /// Fetches the log of a lease that is over, before its node may forget it.
    async fn keep_log(&self, over: &Over) {
        let Some(path) = self.log_path(over.lease) else { return };
        let link = self.sessions.lock().get(&over.node).map(|session| session.link.clone());
        let Some(link) = link.filter(|link| !link.is_closed()) else { return };
        let fetch = async {
            let open = StreamOpen::Logs { lease: over.lease, offset: 0 };
            let (stream, _) = link.open_answered(&open).await.ok()?;
            let mut log = Vec::new();
            stream.take(LOG_BYTES_MAX).read_to_end(&mut log).await.ok()?;
            Some(log)
        };
        let Ok(Some(log)) = tokio::time::timeout(LOG_TIMEOUT, fetch).await else { return };
        if let Err(problem) = tokio::fs::write(&path, log).await {
            warn!(path = %path.display(), error = %problem, "a log could not be kept");
        }
        let before = self.logs_kept.fetch_add(1, Ordering::Relaxed);
        if let Some(dir) =
            path.parent().map(Path::to_owned).filter(|_| before.is_multiple_of(PRUNE_EVERY))
        {
            let bytes_max = self.config.log_bytes_max;
            let pruned = tokio::task::spawn_blocking(move || prune_logs(&dir, bytes_max)).await;
            if let Ok(Err(problem)) = pruned {
                warn!(error = %problem, "old logs could not be removed");
            }
        }
    }

    /// Where the log of a lease that is over is kept.
    pub(super) fn log_path(&self, lease: LeaseId) -> Option<std::path::PathBuf> {
        self.config.log_dir.as_ref().map(|dir| dir.join(format!("{lease}.log")))
    }
}

/// Removes the oldest files of a directory, until what stays is at most `bytes_max` long.
fn prune_logs(dir: &Path, bytes_max: u64) -> io::Result<()> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // Another call may have removed it.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_file() {
            logs.push((meta.modified()?, meta.len(), entry.path()));
        }
    }
    logs.sort_unstable();
    let mut sum = 0_u64;
    for (_, bytes, path) in logs.into_iter().rev() {
        sum = sum.saturating_add(bytes);
        if sum > bytes_max {
            std::fs::remove_file(path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
        }
    }
    Ok(())
}
