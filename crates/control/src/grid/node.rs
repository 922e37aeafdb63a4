//! Nodes come, speak, fall silent and go.

use std::{collections::BTreeSet, sync::Arc};

use kinesis_protocol::{
    AppId, Benchmark, Ending, LeaseId, LeaseReport, LeaseState, NodeId, NodeInfo, Resources,
    message::ToAgent,
};

use super::{Effect, Grid, Node, Observe, Phase};
use crate::api::Event;

/// A report that could not be true this often, and the node gets no new lease.
pub(super) const REFUSED_REPORTS_MAX: u32 = 3;
/// For how long what it reported wrongly is held against a node.
const REFUSED_REPORTS_MS: u64 = 6 * 3_600_000;
/// How many nodes that are away and hold nothing are remembered.
const AWAY_MAX: usize = 1_000;
/// Heartbeats in a row that must not name a lease before it counts as gone.
const MISSED_MAX: u8 = 3;

impl Grid {
    /// A node said hello over a new connection. Its leases are taken up again; what it holds no
    /// more is over, and what nobody knows is released.
    pub fn node_joined(
        &mut self,
        now_ms: u64,
        session: u64,
        info: NodeInfo,
        reports: &[LeaseReport],
        observe: Observe<'_>,
    ) {
        let id = info.node;
        let name = info.name.clone();
        let free = info.offered;
        let before = self.nodes.remove(&id);
        let node = Node {
            session,
            connected: true,
            silent: false,
            leaving: false,
            heard_at_ms: now_ms,
            seq: 0,
            free,
            paused: before.as_ref().and_then(|node| node.paused.clone()),
            benchmark: before.as_ref().and_then(|node| node.benchmark),
            disproved: before.as_ref().is_some_and(|node| node.disproved),
            refused_reports: before.as_ref().map_or(0, |node| node.refused_reports),
            refused_at_ms: before.as_ref().map_or(0, |node| node.refused_at_ms),
            proven: before.as_ref().is_some_and(|node| node.proven),
            late: before.as_ref().map_or(0, |node| node.late),
            late_until_ms: before.as_ref().map_or(0, |node| node.late_until_ms),
            info: Arc::new(info),
        };
        self.nodes.insert(id, node);
        self.effects.push(Effect::Tell(Event::NodeJoined { node: id, name }));
        let mut touched = self.hear(now_ms, id, reports, observe);
        let held: BTreeSet<LeaseId> = reports.iter().map(|report| report.lease).collect();
        let mut gone = Vec::new();
        for (lease_id, lease) in self.leases.iter_mut().filter(|(_, lease)| lease.node == id) {
            // What it holds is in none of its figures yet: it said only what it offers.
            lease.counted = false;
            if lease.phase == Phase::Active && !lease.standby {
                // The connection before may never have been noticed as lost: its routes go over it.
                self.effects.push(Effect::Routes(lease.spec.key.app));
            }
            let placing = matches!(lease.phase, Phase::Placing | Phase::Ended);
            if !held.contains(lease_id) && !placing {
                gone.push(*lease_id);
            }
        }
        for lease in gone {
            touched.extend(self.leases.get(&lease).map(|lease| lease.spec.key.app));
            let reason = "the node came back without it".to_owned();
            self.end(now_ms, lease, Ending::NodeFailed { reason });
        }
        // A new place may serve whatever waits.
        touched.extend(self.apps.iter().filter(|(_, app)| app.unsatisfied).map(|(id, _)| *id));
        for app in self.apps.values_mut() {
            app.refused.remove(&id);
        }
        for app in touched {
            self.reconcile(now_ms, app);
        }
    }

    /// A heartbeat.
    #[expect(clippy::too_many_arguments, reason = "they are the heartbeat's fields")]
    pub fn node_heard(
        &mut self,
        now_ms: u64,
        id: NodeId,
        session: u64,
        seq: u64,
        free: Resources,
        paused: Option<String>,
        reports: &[LeaseReport],
        observe: Observe<'_>,
    ) {
        let Some(node) = self.nodes.get_mut(&id).filter(|n| n.session == session && n.connected)
        else {
            return;
        };
        node.heard_at_ms = now_ms;
        node.seq = seq;
        if now_ms.saturating_sub(node.refused_at_ms) > REFUSED_REPORTS_MS {
            node.refused_reports = 0;
        }
        // More than it offers is not believed.
        let offered = node.info.offered;
        let least = |free: u32, offered: u32| free.min(offered);
        node.free = Resources {
            cpu_millis: least(free.cpu_millis, offered.cpu_millis),
            mem_mib: least(free.mem_mib, offered.mem_mib),
            disk_mib: least(free.disk_mib, offered.disk_mib),
            gpus: least(free.gpus, offered.gpus),
            vram_mib: least(free.vram_mib, offered.vram_mib),
        };
        node.paused = paused.map(|reason| reason.chars().take(200).collect());
        let mut touched = self.hear(now_ms, id, reports, observe);
        let held: BTreeSet<LeaseId> = reports.iter().map(|report| report.lease).collect();
        let mut gone = Vec::new();
        for (lease_id, lease) in self.leases.iter_mut().filter(|(_, lease)| lease.node == id) {
            if held.contains(lease_id) {
                lease.missed = 0;
                lease.counted = true;
            } else if matches!(
                lease.phase,
                Phase::Starting | Phase::Warm | Phase::Active | Phase::Draining | Phase::Lost
            ) {
                lease.missed = lease.missed.saturating_add(1);
                if lease.missed >= MISSED_MAX {
                    gone.push(*lease_id);
                }
            }
        }
        for lease in gone {
            touched.extend(self.leases.get(&lease).map(|lease| lease.spec.key.app));
            let reason = "the node does not hold it any more".to_owned();
            self.end(now_ms, lease, Ending::NodeFailed { reason });
        }
        for app in touched {
            self.reconcile(now_ms, app);
        }
    }

    /// Takes in reports; returns the apps they concern in more than their counters.
    fn hear(
        &mut self,
        now_ms: u64,
        node: NodeId,
        reports: &[LeaseReport],
        observe: Observe<'_>,
    ) -> BTreeSet<AppId> {
        let mut touched = BTreeSet::new();
        for report in reports {
            if self.leases.contains_key(&report.lease) {
                if self.report(now_ms, node, report, observe) {
                    touched.insert(report.key.app);
                }
            } else {
                // Nobody knows it: recorded as over already, or it has outlived its app.
                let lease = report.lease;
                let answer = if report.state == LeaseState::Ended {
                    ToAgent::Recorded { lease }
                } else {
                    ToAgent::Release { lease, notice_ms: 0 }
                };
                self.effects.push(Effect::Send(node, answer));
            }
        }
        touched
    }

    /// A node said that it leaves: its leases move away, and it gets no new one.
    pub fn node_leaving(&mut self, now_ms: u64, id: NodeId, session: u64) {
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.session == session) else {
            return;
        };
        node.leaving = true;
        for app in self.apps_on(id) {
            self.reconcile(now_ms, app);
        }
    }

    /// A node's speed is proven.
    pub fn node_benchmarked(&mut self, id: NodeId, benchmark: Benchmark) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.benchmark = Some(benchmark);
            node.disproved = false;
        }
    }

    /// A node answered a benchmark with work that was not done: it gets no lease, over this
    /// connection or another, until it has answered one truly.
    pub fn node_disproved(&mut self, now_ms: u64, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        (node.benchmark, node.disproved) = (None, true);
        for app in self.apps_on(id) {
            self.reconcile(now_ms, app);
        }
    }

    /// A node's connection is gone, its process died, or it was given up.
    pub fn node_lost(&mut self, now_ms: u64, id: NodeId, session: u64, reason: &str) {
        let Some(node) =
            self.nodes.get_mut(&id).filter(|node| node.session == session && node.connected)
        else {
            return;
        };
        node.connected = false;
        let touched = self.lose_leases(now_ms, id);
        for app in touched {
            self.reconcile(now_ms, app);
        }
        self.effects.push(Effect::Close(id, reason.to_owned()));
        let name = self.nodes.get(&id).map(|node| node.info.name.clone()).unwrap_or_default();
        let reason = reason.to_owned();
        self.effects.push(Effect::Tell(Event::NodeLost { node: id, name, reason }));
        self.forget_away();
    }

    /// Forgets nodes that are away and hold nothing, those first that were heard longest ago: a key
    /// costs nothing, and whoever makes many must not fill this map.
    fn forget_away(&mut self) {
        if self.nodes.values().filter(|node| !node.connected).count() <= AWAY_MAX {
            return;
        }
        let holding: BTreeSet<NodeId> = self.leases.values().map(|lease| lease.node).collect();
        let mut away: Vec<(u64, NodeId)> = self
            .nodes
            .iter()
            .filter(|(id, node)| !node.connected && !holding.contains(id))
            .map(|(id, node)| (node.heard_at_ms, *id))
            .collect();
        // A few more than it must be, so that not every loss has to look.
        away.sort_unstable();
        away.truncate(away.len().saturating_sub(AWAY_MAX * 9 / 10));
        for (_, id) in away {
            self.nodes.remove(&id);
        }
        self.withheld.retain(|id, _| self.nodes.contains_key(id));
    }

    /// Nodes that have said nothing for too long. Their connection is closed, so that whatever
    /// waits on it fails now; an agent that lives dials again.
    pub(super) fn silences(&mut self, now_ms: u64, touched: &mut BTreeSet<AppId>) {
        let silence_ms = self.config.silence_ms;
        let silent: Vec<(NodeId, u64)> = self
            .nodes
            .iter()
            .filter(|(_, n)| n.is_up() && now_ms.saturating_sub(n.heard_at_ms) > silence_ms)
            .map(|(id, node)| (*id, node.session))
            .collect();
        for (id, session) in silent {
            let reason = format!("silent for {silence_ms} ms");
            touched.extend(self.apps_on(id));
            self.node_lost(now_ms, id, session, &reason);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.silent = true;
            }
        }
    }

    fn apps_on(&self, id: NodeId) -> BTreeSet<AppId> {
        self.leases.values().filter(|l| l.node == id).map(|l| l.spec.key.app).collect()
    }

    fn lose_leases(&mut self, now_ms: u64, id: NodeId) -> BTreeSet<AppId> {
        let mut touched = BTreeSet::new();
        let mut never_granted = Vec::new();
        for (lease_id, lease) in self.leases.iter_mut().filter(|(_, lease)| lease.node == id) {
            match lease.phase {
                Phase::Placing | Phase::Ended | Phase::Lost => continue,
                Phase::Asked => never_granted.push(*lease_id),
                _ => {}
            }
            if lease.phase == Phase::Active && !lease.standby {
                self.effects.push(Effect::Routes(lease.spec.key.app));
            }
            lease.enter(Phase::Lost, now_ms);
            touched.insert(lease.spec.key.app);
        }
        // A job's grant that was not answered may have begun; its part waits like any other. A
        // service is simply placed elsewhere.
        for lease in never_granted {
            let runs = self.apps.values().any(|app| app.parts.iter().any(|part| part.has(lease)));
            if !runs {
                let reason = "the node was lost before it answered".to_owned();
                self.end(now_ms, lease, Ending::NodeFailed { reason });
            }
        }
        touched
    }
}
