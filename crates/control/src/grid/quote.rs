//! What would happen if this were deployed now: the scheduler's answers, nothing changed.

use std::collections::BTreeMap;

use kinesis_protocol::{NanoUsd, NodeId, Replica, Resources};

use super::{AppSpec, Grid, reconcile::explain};
use crate::{
    api::{Quote, QuotePlacement, Refusal, Role},
    scheduler,
};

/// A warm start of artifacts that are at hand, in milliseconds; and bytes fetched in one of them.
const FETCH_BYTES_PER_MS: u64 = 50_000;

impl Grid {
    /// Where an app would run, at what price, how soon, or why not.
    #[must_use]
    pub fn quote(&self, spec: &AppSpec) -> Quote {
        let mut taken: BTreeMap<NodeId, Resources> = BTreeMap::new();
        let mut refusals: BTreeMap<NodeId, String> = BTreeMap::new();
        let mut placements = Vec::new();
        let (mut total, mut advice) = (NanoUsd::ZERO, None);
        let (count, warm) = match spec.service() {
            Some(service) => (service.min.max(1), service.warm),
            None => (self.parts(spec), 0),
        };
        let mut covered = self.covered(spec.account);
        for replica in (0..count).map(Replica) {
            let mut held = Vec::new();
            for copy in 0..=warm {
                let role = if copy == 0 { Role::Active } else { Role::Standby };
                let mut request = spec.request(replica, self.config.markup_bp);
                request.covered = covered;
                request.other_than.clone_from(&held);
                let nodes = self.candidates().map(|mut node| {
                    if let Some(taken) = taken.get(&node.info.node) {
                        node.free = node.free.saturating_sub(taken);
                    }
                    node
                });
                let choice = scheduler::choose(&request, nodes);
                let node = choice.node.and_then(|id| self.nodes.get(&id));
                if let Some(node) = node {
                    held.push(node.info.supplier);
                    let sum = taken.entry(node.info.node).or_default();
                    *sum = sum.saturating_add(&request.wanted);
                } else if advice.is_none() {
                    let what = if copy == 0 { "no node" } else { "no standby" };
                    advice = Some(explain(what, &choice.refusals));
                }
                if copy == 0 {
                    refusals.extend(choice.refusals);
                }
                let per_hour = node.map_or(NanoUsd::ZERO, |node| {
                    scheduler::per_hour(&node.info, &request.wanted, self.config.markup_bp)
                });
                covered = covered.map(|covered| (covered - per_hour).max(NanoUsd::ZERO));
                if copy == 0 {
                    // A standby is frozen and costs nothing until it takes over.
                    total = total.checked_add(per_hour).unwrap_or(NanoUsd(i64::MAX));
                }
                placements.push(QuotePlacement {
                    replica: replica.0,
                    role,
                    node: node.map(|node| node.info.node),
                    node_name: node.map(|node| node.info.name.clone()),
                    tier: node.map(|node| node.info.tier),
                    per_hour_nanousd: per_hour,
                });
            }
        }
        // They are what the customer says: nothing was uploaded for a quote.
        let bytes = spec.artifacts.values().fold(0_u64, |sum, a| sum.saturating_add(a.bytes));
        let name =
            |id: &NodeId| self.nodes.get(id).map(|node| node.info.name.clone()).unwrap_or_default();
        Quote {
            placeable: placements.iter().all(|placement| placement.node.is_some()),
            placements,
            per_hour_nanousd: total,
            ready_in_ms: self.start_ms.saturating_add(bytes / FETCH_BYTES_PER_MS),
            refusals: refusals
                .into_iter()
                .map(|(node, reason)| Refusal { node, node_name: name(&node), reason })
                .collect(),
            advice,
        }
    }

    fn parts(&self, spec: &AppSpec) -> u32 {
        match &spec.manifest.kind {
            kinesis_protocol::manifest::Kind::Job(job) => {
                u32::try_from(job.parts.len()).unwrap_or(u32::MAX)
            }
            kinesis_protocol::manifest::Kind::Service(_) => 0,
        }
    }
}
