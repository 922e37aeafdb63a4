//! What an earlier run left: apps, leases, parts, the newest root.

use std::{
    collections::{BTreeMap, HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use kinesis_protocol::{Counters, LeaseId, Manifest, NodeInfo, VersionId};
use kinesis_store::{AppKind, JobPart, LeaseRole, PartState, Version};
use tracing::{error, warn};

use super::{Control, ledger::SignedTree};
use crate::{
    ControlError,
    api::ArtifactRef,
    grid::{AppSpec, Lease, Mark, PartPhase, PartSlot, Phase},
};

impl Control {
    /// The newest root, if the tree over what is posted still is its tree; otherwise the first tick
    /// signs a new one.
    pub(super) async fn restore_payments(&self) -> Result<(), ControlError> {
        let mut ledger = self.ledger.lock().await;
        let tree = self.payment_tree(&mut ledger.owed).await?;
        *self.owed_total.lock() = tree.total_wei();
        let newest = self.store.newest_root(self.payer.series).await?;
        if let Some((signed, signed_at_ms)) = newest
            && signed.root.root == tree.root()
            && signed.verify(self.payer.chain_id, self.payer.escrow)
        {
            self.signed.store(Some(Arc::new(SignedTree { tree, signed, signed_at_ms })));
        }
        ledger.look_again();
        Ok(())
    }

    pub(super) async fn restore_grid(self: &Arc<Self>) -> Result<(), ControlError> {
        let now = self.clock.now_ms();
        let mut versions: HashMap<VersionId, Version> = HashMap::new();
        let mut unfinished: HashSet<LeaseId> = HashSet::new();
        for lease in self.store.unfinished_leases(self.payer.series).await? {
            unfinished.insert(lease.id());
            let number = match versions.entry(lease.version) {
                Entry::Occupied(known) => known.get().number,
                Entry::Vacant(unknown) => {
                    unknown.insert(self.store.version(lease.version).await?).number
                }
            };
            let lease = restored(lease, number, now);
            self.with(|grid, _| grid.restore(lease));
        }
        for account in self.store.accounts().await? {
            self.grid.lock().set_balance(account.account, account.balance_nanousd);
        }
        for app in self.store.running_apps().await? {
            let version = self.store.version(app.version).await?;
            let spec = match spec(app.account, &version) {
                Ok(spec) => spec,
                Err(problem) => {
                    error!(app = app.name, error = %problem, "an app cannot be read any more");
                    continue;
                }
            };
            let parts = match app.kind {
                AppKind::Job => self.restore_parts(&spec, &unfinished).await?,
                AppKind::Service => Vec::new(),
            };
            self.look_at_spending(&spec).await?;
            self.with(|grid, now| grid.set_app(now, spec, parts));
        }
        Ok(())
    }

    /// A job's parts. One whose attempt was recorded as over just before the crash is queued again.
    pub(super) async fn restore_parts(
        &self,
        spec: &AppSpec,
        unfinished: &HashSet<LeaseId>,
    ) -> Result<Vec<PartSlot>, ControlError> {
        let retries = match &spec.manifest.kind {
            kinesis_protocol::manifest::Kind::Job(job) => job.retries,
            kinesis_protocol::manifest::Kind::Service(_) => 0,
        };
        let mut slots = Vec::new();
        for part in self.store.job_parts(spec.version).await? {
            let running = part.state == PartState::Running;
            let open = |lease: &LeaseId| unfinished.contains(lease);
            let (lease, beside) = (part.lease.filter(open), part.beside.filter(open));
            match lease.or(beside) {
                None if running => slots.push(self.requeue(&part, retries).await?),
                first => slots.push(PartSlot {
                    beside: beside.filter(|_| running && lease.is_some()),
                    ..slot(&part, first)
                }),
            }
        }
        Ok(slots)
    }

    async fn requeue(&self, part: &JobPart, retries: u32) -> Result<PartSlot, ControlError> {
        warn!(app = %part.app, part = %part.part, "a part's attempt was lost in a restart");
        let reason = part.reason.clone().unwrap_or_else(|| "its attempt ended".to_owned());
        let phase = if part.attempts > retries {
            let failed = PartState::Failed;
            self.store.end_part(part.version, part.part, failed, &reason).await?;
            PartPhase::Failed
        } else {
            if let Some(lease) = part.lease {
                self.store.requeue_part(part.version, part.part, lease, &reason, true, 0).await?;
            }
            PartPhase::Queued { not_before_ms: 0 }
        };
        Ok(PartSlot { phase, attempts: part.attempts, reason: Some(reason), ..PartSlot::queued() })
    }
}

fn slot(part: &JobPart, lease: Option<LeaseId>) -> PartSlot {
    let (phase, attempts) = match (part.state, lease) {
        // The attempt under way counts once it has failed.
        (PartState::Running, Some(lease)) => {
            (PartPhase::Running(lease), part.attempts.saturating_sub(1))
        }
        (PartState::Completed, _) => (PartPhase::Completed, part.attempts),
        (PartState::Failed | PartState::Cancelled, _) => (PartPhase::Failed, part.attempts),
        (PartState::Queued | PartState::Running, _) => {
            (PartPhase::Queued { not_before_ms: part.not_before_ms }, part.attempts)
        }
    };
    PartSlot { phase, attempts, reason: part.reason.clone(), ..PartSlot::queued() }
}

/// What a version asks for.
pub(super) fn spec(
    account: kinesis_protocol::AccountId,
    version: &Version,
) -> Result<AppSpec, ControlError> {
    let artifacts: BTreeMap<String, ArtifactRef> = version
        .artifacts
        .iter()
        .map(|(path, artifact)| {
            (path.clone(), ArtifactRef { hash: artifact.hash, bytes: artifact.bytes })
        })
        .collect();
    Ok(AppSpec {
        id: version.app,
        account,
        version: version.id,
        version_number: version.number,
        manifest: Arc::new(Manifest::parse(&version.manifest)?),
        artifacts: Arc::new(artifacts),
    })
}

/// A lease of an earlier run: lost until its node reports it.
fn restored(lease: kinesis_store::Lease, version_number: u32, now: u64) -> Lease {
    let counters: Counters = lease.counters;
    let info = NodeInfo {
        node: lease.node,
        name: lease.node_name,
        supplier: lease.supplier,
        tier: lease.tier,
        region: String::new(),
        offered: lease.spec.granted,
        prices: lease.spec.prices,
        attributes: BTreeMap::new(),
    };
    Lease {
        version: lease.version,
        version_number,
        node: lease.node,
        info: Arc::new(info),
        hedge: false,
        claims: false,
        marks: Mark::start(lease.created_at_ms.min(now)),
        standby: lease.role == LeaseRole::Standby,
        phase: Phase::Lost,
        since_ms: now,
        placed_at_ms: lease.created_at_ms.min(now),
        activated_at_ms: 0,
        fenced_at_ms: None,
        suspected_at_ms: None,
        counted: false,
        cancelled: false,
        restored: true,
        missed: 0,
        counters,
        base: counters,
        in_flight: 0,
        spec: lease.spec,
    }
}
