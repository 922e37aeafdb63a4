//! What must last: each effect of the grid that concerns the store, carried out until it is done.

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kinesis_protocol::{AppId, Ending, LeaseId, lease::LOG_BYTES_MAX, message::StreamOpen};
use kinesis_store::{
    AppState as StoredState, JobCompletion, JobPosted, NewLease, PartState, StoreError,
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

impl Control {
    /// Makes a lease durable, then has its node asked.
    pub(super) async fn place(self: Arc<Self>, lease: Lease) {
        let id = lease.spec.lease;
        let epoch = match self.make_durable(lease).await {
            Ok(epoch) => Some(epoch),
            Err(problem) => {
                warn!(lease = %id, error = ?problem, "a lease could not be recorded");
                None
            }
        };
        self.with(|grid, now| grid.placed(now, id, epoch));
    }

    async fn make_durable(&self, lease: Lease) -> Result<kinesis_protocol::Epoch, StoreError> {
        let key = lease.spec.key;
        let epoch = self.store.next_epoch(key.app, key.replica).await?;
        let mut spec = lease.spec;
        spec.key.epoch = epoch;
        let id = spec.lease;
        let job = matches!(spec.workload, kinesis_protocol::Workload::Job(_));
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
        self.store.insert_lease(&new, lease.placed_at_ms).await?;
        if job && !self.store.start_part(lease.version, key.replica, id).await? {
            let ending = Ending::Released;
            self.store.end_lease(id, &lease.counters, &ending, self.clock.now_ms()).await?;
            return Err(StoreError::Invalid("the part is not queued any more".into()));
        }
        Ok(epoch)
    }

    pub(super) async fn record_activation(self: Arc<Self>, lease: LeaseId) {
        self.until_done("a take-over", || self.store.activate_lease(lease, self.clock.now_ms()))
            .await;
    }

    pub(super) async fn record_end(self: Arc<Self>, over: Over) {
        self.keep_log(&over).await;
        let now = || self.clock.now_ms();
        match &over.part {
            Some(PartOutcome::Completed) => {
                let completion = JobCompletion {
                    lease: over.lease,
                    counters: over.counters,
                    ending: over.ending.clone(),
                    joule_price: self.config.joule_price,
                };
                let posted = self
                    .until_done("a completed part", || {
                        self.store.post_job_completion(&completion, now())
                    })
                    .await;
                if let Some(JobPosted::Billed(posted)) = posted {
                    self.ledger.lock().await.posted(&posted);
                    if let Ok(account) = self.store.account(posted.account).await {
                        let balance = account.balance_nanousd;
                        self.grid.lock().set_balance(account.account, balance);
                    }
                }
            }
            outcome => {
                self.until_done("the end of a lease", || {
                    self.store.end_lease(over.lease, &over.counters, &over.ending, now())
                })
                .await;
                let (version, part, lease) = (over.version, over.key.replica, over.lease);
                match outcome {
                    Some(PartOutcome::Again { reason, counts, not_before_ms }) => {
                        self.until_done("a part's next try", || {
                            self.store.requeue_part(
                                version,
                                part,
                                lease,
                                reason,
                                *counts,
                                *not_before_ms,
                            )
                        })
                        .await;
                    }
                    Some(PartOutcome::Failed { reason }) => {
                        self.until_done("a part's failure", || {
                            self.store.end_part(version, part, PartState::Failed, reason)
                        })
                        .await;
                    }
                    _ => {}
                }
            }
        }
        self.unposted.store(true, Ordering::Release);
        self.with(|grid, _| grid.recorded(over.lease));
        self.traffic.lock().remove(&over.lease);
        self.outputs.lock().remove(&over.lease);
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
            AppState::Pending | AppState::Running | AppState::Idle => return,
        };
        self.until_done("the state of an app", || {
            self.store.set_app_state(app, state, reason.as_deref(), self.clock.now_ms())
        })
        .await;
    }

    /// Writes until it is written. `None` where it never can be: what it concerns is not there, or
    /// the utility shuts down; a restart finds what is missing and does it again.
    async fn until_done<T, F>(&self, what: &str, mut write: impl FnMut() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match write().await {
                Ok(done) => return Some(done),
                Err(problem @ (StoreError::NotFound { .. } | StoreError::Invalid(_))) => {
                    error!(what, error = ?problem, "could not be recorded");
                    return None;
                }
                Err(problem) => warn!(what, error = ?problem, "is recorded again in a moment"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.stopping.cancelled() => return None,
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
        if let Some(dir) = path.parent().map(Path::to_owned).filter(|_| before % PRUNE_EVERY == 0) {
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
