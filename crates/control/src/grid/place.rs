//! Finding a node, and asking it.

use std::{collections::BTreeMap, sync::Arc};

use kinesis_protocol::{
    Address, AppId, Counters, Epoch, LeaseSpec, NodeId, Replica, Resources, Tier, Workload,
    lease::LeaseKey,
};

use super::{App, Effect, Grid, Lease, Mark, Node, PartPhase, Phase, node::REFUSED_REPORTS_MAX};
use crate::scheduler::{self, Candidate, Request};

/// How much of what has to be fetched and compiled a slow machine gets ready in a millisecond.
const READY_BYTES_PER_MS: u64 = 250;

/// What a lease is placed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve, or work, as soon as it is ready.
    Serve,
    /// The same, beside another that is slow to start.
    Hedge,
    /// To wait on another supplier.
    Stand,
    /// The same, beside another that is slow to start.
    StandBeside,
    /// To take over from an older version, wherever there is room.
    Succeed,
}

impl Purpose {
    const fn stands_by(self) -> bool {
        matches!(self, Self::Stand | Self::StandBeside | Self::Succeed)
    }

    const fn is_beside(self) -> bool {
        matches!(self, Self::Hedge | Self::StandBeside)
    }
}

/// What makes parts of a job ask for different nodes.
type Wish = (Option<Tier>, Vec<(NodeId, Address)>, Vec<Address>);

impl Grid {
    /// Asks for one lease. Says whether a node was found.
    pub(super) fn place(
        &mut self,
        now_ms: u64,
        id: AppId,
        replica: Replica,
        purpose: Purpose,
    ) -> bool {
        let Some(request) = self.request(id, replica, purpose) else { return false };
        if self.apps.get(&id).is_some_and(|app| app.not_before_ms > now_ms) {
            self.unsatisfied(id, None);
            return false;
        }
        let fleet = self.fleet(now_ms);
        if let Some(at) = scheduler::choose(&request, &fleet) {
            return self.ask(now_ms, id, replica, purpose, &fleet[at], request.wanted);
        }
        let what = match purpose {
            Purpose::Stand => "no standby",
            Purpose::Serve | Purpose::Succeed => "no node",
            // One is on its way.
            Purpose::Hedge | Purpose::StandBeside => return false,
        };
        let refusals = scheduler::refusals(&request, &fleet);
        self.unsatisfied(id, Some(explain(what, &refusals)));
        false
    }

    /// Asks for a lease for each of these parts of a job, for the same purpose. Says whether nodes were
    /// found for all. The fleet is looked at once for all that ask for the same.
    pub(super) fn place_parts(
        &mut self,
        now_ms: u64,
        id: AppId,
        due: Vec<Replica>,
        purpose: Purpose,
    ) -> bool {
        if due.is_empty() {
            return true;
        }
        if self.apps.get(&id).is_some_and(|app| app.not_before_ms > now_ms) {
            return false;
        }
        let mut alike: BTreeMap<Wish, (Request, Vec<Replica>)> = BTreeMap::new();
        for part in due {
            let Some(request) = self.request(id, part, purpose) else { return false };
            let failed_on = self.part(id, part).map(|part| part.failed_on.iter().copied());
            let failed_on = failed_on.into_iter().flatten().collect();
            let wish = (request.tier, failed_on, request.other_than.clone());
            alike.entry(wish).or_insert_with(|| (request, Vec::new())).1.push(part);
        }
        let mut fleet = self.fleet(now_ms);
        let mut all = true;
        for (mut request, parts) in alike.into_values() {
            request.covered = self.apps.get(&id).and_then(|app| self.covered(app.spec.account));
            let picked = scheduler::spread(&request, &mut fleet, parts.len());
            if picked.len() < parts.len() {
                all = false;
            }
            if picked.len() < parts.len() && !purpose.is_beside() {
                let refusals = scheduler::refusals(&request, &fleet);
                self.unsatisfied(id, Some(explain("no node", &refusals)));
            }
            for (part, at) in parts.into_iter().zip(picked) {
                all &= self.ask(now_ms, id, part, purpose, &fleet[at], request.wanted);
            }
        }
        all
    }

    fn part(&self, id: AppId, part: Replica) -> Option<&super::PartSlot> {
        let part = usize::try_from(part.0).ok()?;
        self.apps.get(&id)?.parts.get(part)
    }

    /// Makes a lease, to be written down and asked for. Says whether it could be.
    fn ask(
        &mut self,
        now_ms: u64,
        id: AppId,
        replica: Replica,
        purpose: Purpose,
        node: &Candidate,
        granted: Resources,
    ) -> bool {
        let Some(app) = self.apps.get(&id) else { return false };
        let Some(workload) = app.spec.workload(replica) else { return false };
        let audit = self.audit_terms(&workload, &granted);
        let lease_id = (self.new_lease_id)();
        let lease = Lease {
            spec: LeaseSpec {
                lease: lease_id,
                key: LeaseKey { app: id, replica, epoch: Epoch(0) },
                app_name: app.spec.manifest.name.clone(),
                standby: purpose.stands_by(),
                workload,
                granted,
                prices: node.info.prices,
                term_ms: self.config.term_ms,
                audit,
                sla: None,
            },
            version: app.spec.version,
            version_number: app.spec.version_number,
            node: node.info.node,
            info: Arc::clone(&node.info),
            standby: purpose.stands_by(),
            phase: Phase::Placing,
            since_ms: now_ms,
            placed_at_ms: now_ms,
            activated_at_ms: now_ms,
            fenced_at_ms: None,
            suspected_at_ms: None,
            counted: false,
            cancelled: false,
            restored: false,
            missed: 0,
            counters: Counters::default(),
            base: Counters::default(),
            in_flight: 0,
            hedge: purpose.is_beside(),
            claims: false,
            marks: Mark::start(now_ms),
        };
        self.by_app.entry(id).or_default().insert(lease_id);
        self.leases.insert(lease_id, lease);
        if let Some(part) = self
            .apps
            .get_mut(&id)
            .and_then(|app| app.parts.get_mut(usize::try_from(replica.0).unwrap_or(usize::MAX)))
        {
            match purpose {
                Purpose::Hedge => part.beside = Some(lease_id),
                _ => part.phase = PartPhase::Running(lease_id),
            }
        }
        self.effects.push(Effect::Place(lease_id));
        true
    }

    pub(super) fn unsatisfied(&mut self, id: AppId, reason: Option<String>) {
        if let Some(app) = self.apps.get_mut(&id) {
            app.unsatisfied = true;
            if reason.is_some() {
                app.reason = reason;
            }
        }
    }

    /// What the scheduler is asked, given what the app holds already; for a job's part without what
    /// the account's balance covers.
    fn request(&self, id: AppId, replica: Replica, purpose: Purpose) -> Option<Request> {
        let App { spec, refused, avoid, parts, late, .. } = self.apps.get(&id)?;
        let mut request = spec.request(replica, self.config.markup_bp);
        request.refused_by =
            refused.iter().map(|(node, (_, reason))| (*node, reason.clone())).collect();
        request.avoid = avoid.keys().copied().collect();
        request.urgent = *late > 0 || purpose.is_beside();
        if let Some(part) = self.part(id, replica) {
            request.avoid.extend(part.failed_on.iter().map(|(node, _)| *node));
            request.avoid_suppliers =
                part.failed_on.iter().map(|(_, supplier)| *supplier).collect();
        }
        if !parts.is_empty() {
            if purpose == Purpose::Hedge {
                let held = self.leases_of(id).filter(|lease| lease.spec.key.replica == replica);
                request.other_than = held.map(|lease| lease.info.supplier).collect();
            }
            return Some(request);
        }
        request.covered = self.covered(spec.account);
        request.budgeted = self.budgeted(id);
        for lease in self.leases_of(id).filter(|lease| lease.is_live()) {
            let supplier = lease.info.supplier;
            let same = lease.spec.key.replica == replica;
            if same && matches!(purpose, Purpose::Stand | Purpose::StandBeside | Purpose::Hedge) {
                request.other_than.push(supplier);
            } else {
                // Replicas, and versions that follow each other, are better off apart.
                request.spread_from.push(supplier);
            }
        }
        Some(request)
    }

    /// All nodes as the scheduler sees them.
    pub(super) fn fleet(&self, now_ms: u64) -> Vec<Candidate> {
        let mut held: BTreeMap<NodeId, (u32, Resources)> = BTreeMap::new();
        for lease in self.leases.values().filter(|lease| lease.is_live()) {
            let (count, uncounted) = held.entry(lease.node).or_default();
            *count += 1;
            if !lease.counted {
                *uncounted = uncounted.saturating_add(&lease.spec.granted);
            }
        }
        let candidate = |(id, node): (&NodeId, &Node)| {
            let (leases, uncounted) = held.get(id).copied().unwrap_or_default();
            Candidate {
                info: Arc::clone(&node.info),
                free: node.free.saturating_sub(&uncounted),
                closed: closed(node).or_else(|| self.withheld(*id).map(str::to_owned)),
                benchmark: node.benchmark,
                leases,
                proven: node.proven,
                late: now_ms < node.late_until_ms,
            }
        };
        self.nodes.iter().map(candidate).collect()
    }

    /// How long a lease may take from its grant until it is ready: longer for what has to be fetched
    /// and compiled, and the longer the more starts of its app were given up.
    pub(super) fn ready_ms(&self, lease: &Lease) -> u64 {
        let bytes = bytes(&lease.spec.workload);
        let late = self.apps.get(&lease.spec.key.app).map_or(0, |app| app.late);
        let usual = self.config.ready_ms.max(self.start_ms.saturating_mul(4));
        let first = usual.saturating_add(bytes / READY_BYTES_PER_MS);
        first.saturating_mul(1 << late.min(10)).min(self.config.start_ms)
    }
}

/// All that a workload has to have at hand.
fn bytes(workload: &Workload) -> u64 {
    let program = workload.program();
    let files = program.files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
    files.saturating_add(program.component_bytes)
}

/// Why a node takes nothing now.
fn closed(node: &Node) -> Option<String> {
    if !node.is_up() {
        Some("it is away".to_owned())
    } else if node.leaving {
        Some("it is leaving".to_owned())
    } else if node.disproved {
        Some("it answered the benchmark with work that was not done".to_owned())
    } else if node.refused_reports >= REFUSED_REPORTS_MAX {
        Some("it reported usage that cannot be true".to_owned())
    } else {
        node.paused.as_ref().map(|reason| format!("it takes nothing new: {reason}"))
    }
}

/// Many refusals in one sentence: the commonest first.
pub(super) fn explain(what: &str, refusals: &[(NodeId, String)]) -> String {
    if refusals.is_empty() {
        return format!("{what}: no supplier has joined yet");
    }
    if let [(_, reason)] = refusals {
        return format!("{what}: {reason} (there is one node)");
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, reason) in refusals {
        *reasons.entry(reason).or_default() += 1;
    }
    let mut reasons: Vec<(&str, usize)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let reasons: Vec<String> =
        reasons.iter().take(3).map(|(reason, count)| format!("{count} x {reason}")).collect();
    format!("{what}: of {} nodes: {}", refusals.len(), reasons.join("; "))
}
