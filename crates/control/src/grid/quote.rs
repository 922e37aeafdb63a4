//! What would happen if this were deployed now: the scheduler's answers, nothing changed.

use std::collections::{BTreeMap, HashMap};

use kinesis_protocol::{AccountId, NanoUsd, NodeId, Replica, manifest::Kind};

use super::{AppSpec, Grid, money::hourly, place::explain};
use crate::{
    api::{Quote, QuotePlacement, Refusal, Role},
    scheduler::{self, Candidate, Request},
};

/// A warm start of artifacts that are at hand, in milliseconds; and bytes fetched in one of them.
const FETCH_BYTES_PER_MS: u64 = 50_000;

/// The fleet at one moment, as one account sees it: a quote takes its time without the grid.
#[derive(Debug, Clone)]
pub struct Snapshot {
    fleet: Vec<Candidate>,
    covered: Option<NanoUsd>,
    covered_ms: u64,
    markup_bp: u32,
    start_ms: u64,
}

impl Grid {
    /// The fleet as it is now.
    #[must_use]
    pub fn snapshot(&self, now_ms: u64, account: AccountId) -> Snapshot {
        Snapshot {
            fleet: self.fleet(now_ms),
            covered: self.covered(account),
            covered_ms: self.config.covered_ms,
            markup_bp: self.config.markup_bp,
            start_ms: self.start_ms,
        }
    }
}

/// What a quote has found so far.
#[derive(Default)]
struct Found {
    placements: Vec<QuotePlacement>,
    refusals: BTreeMap<NodeId, String>,
    total: NanoUsd,
    advice: Option<String>,
}

impl Snapshot {
    /// Where an app would run, at what price, how soon, or why not.
    #[must_use]
    pub fn quote(mut self, spec: &AppSpec) -> Quote {
        let mut found = Found::default();
        match &spec.manifest.kind {
            Kind::Job(job) => self.parts(spec, job.parts.len(), &mut found),
            Kind::Service(service) => {
                let budget = spec.manifest.budget.usd;
                let mut budgeted = budget.map(|usd| hourly(usd, self.covered_ms));
                for replica in (0..service.min.max(1)).map(Replica) {
                    self.replica(spec, replica, service.warm, &mut budgeted, &mut found);
                }
            }
        }
        // They are what the customer says: nothing was uploaded for a quote.
        let bytes = spec.artifacts.values().fold(0_u64, |sum, a| sum.saturating_add(a.bytes));
        let names: HashMap<NodeId, &str> =
            self.fleet.iter().map(|node| (node.info.node, node.info.name.as_str())).collect();
        Quote {
            placeable: found.placements.iter().all(|placement| placement.node.is_some()),
            placements: found.placements,
            per_hour_nanousd: found.total,
            ready_in_ms: self.start_ms.saturating_add(bytes / FETCH_BYTES_PER_MS),
            refusals: found
                .refusals
                .into_iter()
                .map(|(node, reason)| {
                    let node_name = names.get(&node).copied().unwrap_or_default().to_owned();
                    Refusal { node, node_name, reason }
                })
                .collect(),
            advice: found.advice,
        }
    }

    /// The parts of a job: those of one tier ask for the same.
    fn parts(&mut self, spec: &AppSpec, count: usize, found: &mut Found) {
        let mut alike: BTreeMap<_, (Request, Vec<Replica>)> = BTreeMap::new();
        for part in (0..u32::try_from(count).unwrap_or(u32::MAX)).map(Replica) {
            let request = spec.request(part, self.markup_bp);
            alike.entry(request.tier).or_insert_with(|| (request, Vec::new())).1.push(part);
        }
        for (mut request, parts) in alike.into_values() {
            request.covered = self.covered;
            found.refusals.extend(scheduler::refusals(&request, &self.fleet));
            let picked = scheduler::spread(&request, &mut self.fleet, parts.len());
            for (n, part) in parts.into_iter().enumerate() {
                let at = picked.get(n).copied();
                self.placed(&request, part, Role::Active, at, found);
            }
            request.covered = self.covered;
            if found.placements.iter().any(|placement| placement.node.is_none()) {
                self.explain("no node", &request, found);
            }
        }
        found.placements.sort_by_key(|placement| placement.replica);
    }

    /// One replica of a service, with its standbys.
    fn replica(
        &mut self,
        spec: &AppSpec,
        replica: Replica,
        warm: u32,
        budgeted: &mut Option<NanoUsd>,
        found: &mut Found,
    ) {
        let mut request = spec.request(replica, self.markup_bp);
        for copy in 0..=warm {
            let role = if copy == 0 { Role::Active } else { Role::Standby };
            (request.covered, request.budgeted) = (self.covered, *budgeted);
            let at = scheduler::choose(&request, &self.fleet);
            if replica.0 == 0 && copy == 0 {
                found.refusals.extend(scheduler::refusals(&request, &self.fleet));
            }
            if at.is_none() {
                let what = if copy == 0 { "no node" } else { "no standby" };
                self.explain(what, &request, found);
            }
            if let Some(node) = at.and_then(|at| self.fleet.get_mut(at)) {
                request.other_than.push(node.info.supplier);
                node.take(&request.wanted);
            }
            let at_risk = self.placed(&request, replica, role, at, found);
            *budgeted = budgeted.map(|left| (left - at_risk).max(NanoUsd::ZERO));
        }
    }

    fn explain(&self, what: &str, request: &Request, found: &mut Found) {
        if found.advice.is_some() {
            return;
        }
        let refusals = scheduler::refusals(request, &self.fleet);
        found.advice = Some(explain(what, &refusals));
        for (node, reason) in refusals {
            found.refusals.entry(node).or_insert(reason);
        }
    }

    /// Writes down where it goes; returns what an hour of it may cost.
    fn placed(
        &mut self,
        request: &Request,
        replica: Replica,
        role: Role,
        at: Option<usize>,
        found: &mut Found,
    ) -> NanoUsd {
        let info = at.and_then(|at| self.fleet.get(at)).map(|node| &node.info);
        let per_hour = info.map_or(NanoUsd::ZERO, |info| {
            scheduler::per_hour(info, &request.wanted, self.markup_bp)
        });
        let at_risk = info.filter(|_| request.traffic).map_or(per_hour, |info| {
            let traffic = scheduler::traffic_per_hour(&info.prices, self.markup_bp);
            per_hour.checked_add(traffic).unwrap_or(NanoUsd(i64::MAX))
        });
        if role == Role::Active {
            // A standby is frozen and costs nothing until it takes over.
            found.total = found.total.checked_add(per_hour).unwrap_or(NanoUsd(i64::MAX));
        }
        found.placements.push(QuotePlacement {
            replica: replica.0,
            role,
            node: info.map(|info| info.node),
            node_name: info.map(|info| info.name.clone()),
            tier: info.map(|info| info.tier),
            per_hour_nanousd: per_hour,
        });
        self.covered = self.covered.map(|covered| (covered - at_risk).max(NanoUsd::ZERO));
        at_risk
    }
}
