//! What is shown: the store's record, with what the grid knows this moment laid over it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kinesis_protocol::{Address, AppId, Counters, Ending, LeaseId, Manifest, Replica, VersionId};
use kinesis_store::{
    App, AppKind as StoredKind, AppState as StoredState, Attempt, JobPart, PartState,
};

use super::Control;
use crate::{
    ControlError,
    api::{
        AppKind, AppState, AppView, Bill, BillLine, GridView, JobView, NodeView, PartView,
        ReplicaView, Role, SupplierView, TotalsView, VersionView,
    },
    grid::Phase,
};

/// How long a page's figures are good for.
const PAGE_FOR: Duration = Duration::from_millis(500);
/// How long an app that is over stays on the page.
const OVER_FOR_MS: u64 = 600_000;
/// The most apps on the page.
const PAGE_APPS_MAX: u32 = 200;
/// The most parts of a job on the page.
const PAGE_PARTS_MAX: u32 = 16;
/// The most lines of a bill that are read at a time.
const BILL_LINES_MAX: u32 = 500;
/// How many of an app's versions are shown.
const VERSIONS_SHOWN: u32 = 20;

/// How much of an app is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All parts of a job, with how each ended and what it left.
    Whole,
    /// The first parts, with where they run: what a page has room for.
    Page,
}

impl Control {
    /// What its owner sees of an app.
    pub(super) async fn view_app(&self, app: App) -> Result<AppView, ControlError> {
        self.view_app_to(app, Extent::Whole).await
    }

    async fn view_app_to(&self, app: App, extent: Extent) -> Result<AppView, ControlError> {
        let mut versions = self.store.newest_versions(app.id, VERSIONS_SHOWN).await?;
        versions.reverse();
        let sums = self.store.app_sums(app.id).await?;
        let recorded: HashMap<LeaseId, u64> = sums.open.into_iter().collect();
        let mut replicas = Vec::new();
        let mut requests = sums.requests;
        let (state, mut reason, warning, held) = {
            let grid = self.grid.lock();
            for lease in grid.leases_of(app.id) {
                // What it answered since it was recorded.
                let known = recorded.get(&lease.spec.lease);
                let more = known.map_or(0, |known| lease.counters.requests.saturating_sub(*known));
                requests = requests.saturating_add(more);
                // One whose place was taken is kept only for its node to settle it.
                let replaced = lease.standby || lease.fenced_at_ms.is_some();
                if lease.phase == Phase::Ended || (lease.phase == Phase::Lost && replaced) {
                    continue;
                }
                replicas.push(ReplicaView {
                    replica: lease.spec.key.replica.0,
                    epoch: lease.epoch(),
                    lease: lease.spec.lease,
                    role: if lease.standby { Role::Standby } else { Role::Active },
                    state: lease.phase.as_str().to_owned(),
                    version: lease.version_number,
                    node: lease.node,
                    node_name: lease.info.name.clone(),
                    supplier: lease.info.supplier,
                    tier: lease.info.tier,
                    counters: lease.counters,
                });
            }
            let held = grid.apps().get(&app.id);
            let (state, reason) = match (app.state, held) {
                (StoredState::Running, Some(held)) => {
                    (going(grid.state(app.id)), held.reason.clone())
                }
                // A job that is over, a moment before it is recorded with its reason.
                (StoredState::Running, None) if app.kind == StoredKind::Job => {
                    (AppState::Running, None)
                }
                (StoredState::Running, None) => (AppState::Pending, None),
                (StoredState::Stopped, _) => (AppState::Stopped, None),
                (StoredState::OverBudget, _) => (AppState::OverBudget, None),
                (StoredState::Completed, _) => (AppState::Completed, None),
                (StoredState::Failed, _) => (AppState::Failed, None),
                (StoredState::Deleted, _) => (AppState::Deleted, None),
            };
            let held = held.filter(|held| held.spec.version == app.version);
            let spending = grid.spending(app.id).filter(|_| app.state == StoredState::Running);
            let warning = spending.and_then(|spending| spending.warning.clone());
            (state, reason, warning, held.map(|held| Arc::clone(&held.spec.manifest)))
        };
        reason = app.reason.clone().or(reason);
        replicas.sort_by_key(|lease| (lease.replica, lease.role == Role::Standby, lease.epoch));
        let budget_nanousd = match held {
            Some(manifest) => manifest.budget.usd,
            None => {
                let wanted = self.store.version(app.version).await?;
                Manifest::parse(&wanted.manifest).ok().and_then(|manifest| manifest.budget.usd)
            }
        };
        let job = match app.kind {
            StoredKind::Service => None,
            StoredKind::Job => Some(self.view_job(app.version, extent).await?),
        };
        let service = app.kind == StoredKind::Service;
        Ok(AppView {
            id: app.id,
            account: app.account,
            kind: if service { AppKind::Service } else { AppKind::Job },
            state,
            reason,
            warning,
            url: (service && state != AppState::Deleted)
                .then(|| self.url_template.load().replace("{app}", &app.name)),
            version: app.version_number,
            versions: versions
                .iter()
                .map(|version| VersionView {
                    version: version.number,
                    id: version.id,
                    created_at_ms: version.created_at_ms,
                })
                .collect(),
            replicas,
            requests,
            spent_nanousd: sums.spent_nanousd,
            budget_nanousd,
            job,
            created_at_ms: app.created_at_ms,
            name: app.name,
        })
    }

    async fn view_job(&self, version: VersionId, extent: Extent) -> Result<JobView, ControlError> {
        let whole = extent == Extent::Whole;
        let below = if whole { u32::MAX } else { PAGE_PARTS_MAX };
        let progress = self.store.progress(version).await?;
        let parts = self.store.first_parts(version, below).await?;
        let attempts = self.store.attempts(version, below, whole).await?;
        let mut attempts: HashMap<Replica, Attempt> =
            attempts.into_iter().map(|attempt| (attempt.part, attempt)).collect();
        let parts = parts.into_iter().map(|part| {
            let newest = attempts.remove(&part.part);
            view_part(part, newest)
        });
        Ok(JobView {
            parts_total: progress.parts,
            parts_completed: progress.completed,
            parts: parts.collect(),
        })
    }

    pub(super) async fn bill(
        &self,
        app: &App,
        before: Option<LeaseId>,
    ) -> Result<Bill, ControlError> {
        let known = self.store.bill(app.id, before, BILL_LINES_MAX).await?;
        let mut bill = Bill {
            app: app.id,
            name: app.name.clone(),
            lines: Vec::with_capacity(known.leases.len()),
            next: known.leases.first().map(kinesis_store::Lease::id).filter(|_| known.more),
            customer_nanousd: known.customer_nanousd,
            suppliers_nanousd: known.suppliers_nanousd,
            margin_nanousd: known.margin_nanousd,
            fee_nanousd: known.fee_nanousd,
        };
        for lease in known.leases {
            let posted = lease.posted;
            bill.lines.push(BillLine {
                lease: lease.id(),
                replica: lease.spec.key.replica.0,
                epoch: lease.spec.key.epoch,
                node: lease.node,
                node_name: lease.node_name,
                supplier: lease.supplier,
                tier: lease.tier,
                granted: lease.spec.granted,
                counters: lease.counters,
                prices: lease.spec.prices,
                billed_nanousd: posted.customer_nanousd(),
                supplier_nanousd: posted.supplier_nanousd,
                supplier_nanojoule: posted.supplier_nanojoule,
                ending: lease.ending.as_ref().map(Ending::to_string),
            });
        }
        Ok(bill)
    }

    /// Every node seen since the start.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ControlError> {
        let earned: HashMap<_, _> = self
            .store
            .earnings_all(self.payer.series)
            .await?
            .into_iter()
            .map(|earning| (earning.supplier, earning.cumulative_nanojoule))
            .collect();
        let recent = self.recent.load_full();
        let grid = self.grid.lock();
        let mut held: HashMap<_, u32> = HashMap::new();
        for lease in grid.leases().values().filter(|lease| lease.is_live()) {
            *held.entry(lease.node).or_default() += 1;
        }
        let view = |node: &crate::grid::Node| {
            let info = &node.info;
            let withheld = grid.withheld(info.node).filter(|_| node.is_up()).map(str::to_owned);
            let state = match (node.state(), &withheld) {
                ("up", Some(_)) => "withheld",
                (state, _) => state,
            };
            NodeView {
                node: info.node,
                name: info.name.clone(),
                supplier: info.supplier,
                tier: info.tier,
                region: info.region.clone(),
                state: state.to_owned(),
                paused: node.paused.clone(),
                withheld,
                offered: info.offered,
                free: node.free,
                prices: info.prices,
                benchmark: node.benchmark,
                attributes: info.attributes.clone(),
                leases: held.get(&info.node).copied().unwrap_or_default(),
                earned_nanojoule: earned.get(&info.supplier).copied().unwrap_or_default(),
                earned_last_second_nanojoule: recent
                    .get(&info.supplier)
                    .copied()
                    .unwrap_or_default(),
            }
        };
        Ok(grid.nodes().values().map(view).collect())
    }

    /// The grid on one page. Cheap enough to be called every second for every page that is open.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn grid(&self) -> Result<GridView, ControlError> {
        let mut page = self.page.lock().await;
        if let Some((made, view)) = page.as_ref()
            && made.elapsed() < PAGE_FOR
        {
            return Ok(view.clone());
        }
        let now_ms = self.clock.now_ms();
        let mut apps = Vec::new();
        let since_ms = now_ms.saturating_sub(OVER_FOR_MS);
        for app in self.store.shown_apps(since_ms, PAGE_APPS_MAX).await? {
            apps.push(self.view_app_to(app, Extent::Page).await?);
        }
        let totals = self.store.totals().await?;
        let view = GridView {
            nodes: self.nodes().await?,
            apps,
            root: self.signed.load().as_ref().map(|signed| signed.view()),
            totals: TotalsView {
                customer_nanousd: totals.customer_nanousd,
                suppliers_nanousd: totals.suppliers_nanousd,
                margin_nanousd: totals.margin_nanousd,
                fee_nanousd: totals.fee_nanousd,
                desk_nanojoule: totals.desk_nanojoule,
                suppliers_nanojoule: totals.suppliers_nanojoule,
                fee_nanojoule: totals.fee_nanojoule,
                difference: totals
                    .difference_nanousd
                    .0
                    .saturating_abs()
                    .saturating_add(totals.difference_nanojoule.0.saturating_abs()),
            },
            joule_price: self.price(),
            desk: Some(self.page_desk().await?),
            chain_id: self.payer.chain_id,
            escrow: self.payer.escrow,
            now_ms,
        };
        *page = Some((Instant::now(), view.clone()));
        Ok(view)
    }

    /// What a supplier has earned.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn supplier(&self, supplier: Address) -> Result<SupplierView, ControlError> {
        Ok(SupplierView {
            supplier,
            cumulative_nanojoule: self.store.earned(self.payer.series, supplier).await?,
            payment: self.signed.load().as_ref().and_then(|signed| signed.proof(supplier)),
            joule_price: self.price(),
        })
    }

    /// What a lease has used, as believed, and what of its app is missing: for tests and diagnosis.
    #[must_use]
    pub fn believed(&self, app: AppId) -> Vec<(LeaseId, Counters)> {
        let grid = self.grid.lock();
        grid.leases_of(app).map(|lease| (lease.spec.lease, lease.counters)).collect()
    }
}

/// The state of an app that is wanted as far as the store knows: that it is over is shown with its
/// reason, once both are recorded.
fn going(state: AppState) -> AppState {
    match state {
        AppState::Pending | AppState::Running | AppState::Idle => state,
        AppState::Stopped
        | AppState::OverBudget
        | AppState::Completed
        | AppState::Failed
        | AppState::Deleted => AppState::Running,
    }
}

fn view_part(part: JobPart, newest: Option<Attempt>) -> PartView {
    let completed = part.state == PartState::Completed;
    let state = match part.state {
        PartState::Queued => "queued",
        PartState::Running => "running",
        PartState::Completed => "completed",
        PartState::Failed => "failed",
        PartState::Cancelled => "stopped",
    };
    let mut view = PartView {
        part: part.part.0,
        state: state.to_owned(),
        attempts: part.attempts,
        node: None,
        node_name: None,
        tier: None,
        ending: part.reason.filter(|_| !completed),
        wall_ms: None,
        outputs: Vec::new(),
        result: None,
    };
    let Some(newest) = newest else { return view };
    view.ending = view.ending.or(newest.ending.as_ref().map(Ending::to_string));
    if completed {
        view.wall_ms = Some(newest.counters.wall_ms);
        if let Some(Ending::Completed { outputs, signed, .. }) = newest.ending {
            view.outputs = outputs;
            view.result = signed.map(|signed| *signed);
        }
    }
    view.node = Some(newest.node);
    view.node_name = Some(newest.node_name);
    view.tier = Some(newest.tier);
    view
}
