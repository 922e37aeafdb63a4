//! What a lease's report leads to.

use kinesis_protocol::{
    Counters, Ending, LeaseReport, LeaseState, NodeId, Workload, message::ToAgent, usage::Traffic,
};

use super::{Effect, Grid, Lease, Mark, Observe, Phase};
use crate::{
    api::Event,
    meter::{self, Bounds, Observed},
};

/// How much a service may have worked between its last record and a utility's restart.
const UNRECORDED_MS: u64 = 5_000;
/// The requests, and the bytes each way, that a service may have had in that time however quiet it
/// was before.
const UNRECORDED_REQUESTS: u64 = 1_000;
const UNRECORDED_BYTES: u64 = 64 << 10;
/// How much longer than its notice a released lease may go on: the release may have to be sent again
/// over another connection.
const RELEASE_LATE_MS: u64 = 10_000;
/// How far apart the marks of a lease are, and how late work may be reported beyond that.
const MARK_MS: u64 = 10_000;
/// An activation that shows no effect for this long is sent again.
const ACTIVATE_AGAIN_MS: u64 = 500;

impl Grid {
    /// Takes in one report; says whether the app has to be looked at.
    pub(super) fn report(
        &mut self,
        now_ms: u64,
        node: NodeId,
        report: &LeaseReport,
        observe: Observe<'_>,
    ) -> bool {
        let Some(lease) = self.leases.get_mut(&report.lease) else { return false };
        if lease.phase == Phase::Placing || lease.phase == Phase::Ended {
            // Its end is on its way to the store; the answer follows.
            return false;
        }
        if lease.node != node || lease.spec.key != report.key {
            self.refuse(node, report, "it is not this node's lease".to_owned());
            return false;
        }
        lease.in_flight = report.in_flight;
        if let Err(reason) = measure(now_ms, lease, report, self.config.drain_ms, observe) {
            self.refuse(node, report, reason);
        }
        self.advance(now_ms, report)
    }

    /// Moves a lease to where its node says it stands.
    fn advance(&mut self, now_ms: u64, report: &LeaseReport) -> bool {
        let Some(lease) = self.leases.get_mut(&report.lease) else { return false };
        let (id, before) = (report.lease, (lease.phase, lease.standby));
        let restored = std::mem::take(&mut lease.restored);
        let node = lease.node;
        let mut cleared = false;
        if let Some(at) = lease.suspected_at_ms
            && now_ms > at + kinesis_protocol::message::HEARTBEAT_MS / 2
        {
            lease.suspected_at_ms = None;
            cleared = true;
        }
        match (report.state, lease.phase) {
            (LeaseState::Ended, _) => {
                let ending = self.ending(now_ms, node, report);
                self.end(now_ms, id, ending);
                return true;
            }
            (_, Phase::Draining) => {}
            (LeaseState::Draining, _) => lease.enter(Phase::Draining, now_ms),
            (LeaseState::Starting, Phase::Asked | Phase::Lost) => {
                lease.enter(Phase::Starting, now_ms);
            }
            (LeaseState::Warm, _) if lease.standby => lease.enter(Phase::Warm, now_ms),
            (LeaseState::Warm, _) => {
                // It was told to take over while it started, or has not heard it yet.
                let again = now_ms.saturating_sub(lease.activated_at_ms) >= ACTIVATE_AGAIN_MS;
                if lease.phase != Phase::Active || again {
                    lease.activated_at_ms = now_ms;
                    lease.enter(Phase::Active, now_ms);
                    self.effects.push(Effect::Send(node, ToAgent::Activate { lease: id }));
                }
            }
            (LeaseState::Active, _) if lease.standby => {
                // Nobody told it to, or nobody wrote it down before a restart: it stays a standby
                // for us, one that takes over if nothing else serves and is replaced if it does.
                lease.claims |= restored;
                lease.enter(Phase::Warm, now_ms);
            }
            (LeaseState::Active, _) => lease.enter(Phase::Active, now_ms),
            (LeaseState::Starting | LeaseState::Unknown, _) => {}
        }
        let Some(lease) = self.leases.get(&id) else { return true };
        let after = (lease.phase, lease.standby);
        if before == after && !cleared {
            return false;
        }
        if matches!(before.0, Phase::Asked | Phase::Starting)
            && matches!(after.0, Phase::Warm | Phase::Active)
        {
            let took = now_ms.saturating_sub(lease.placed_at_ms);
            self.start_ms = (self.start_ms * 3 + took) / 4;
            if let Some(node) = self.nodes.get_mut(&node) {
                (node.late, node.late_until_ms) = (0, 0);
            }
            if let Some(app) = self.apps.get_mut(&lease.spec.key.app) {
                app.late = 0;
            }
        }
        if matches!(after.0, Phase::Warm | Phase::Active)
            && let Some(node) = self.nodes.get_mut(&node)
        {
            node.proven = true;
        }
        let lease = lease.clone();
        self.effects.push(Effect::Routes(lease.spec.key.app));
        if before != after {
            self.tell_lease(&lease);
        }
        if after.0 == Phase::Active
            && let Some(app) = self.apps.get_mut(&lease.spec.key.app)
        {
            app.reason = None;
        }
        true
    }

    pub(super) fn refuse(&mut self, node: NodeId, report: &LeaseReport, reason: String) {
        let now_ms = self.passed_at_ms;
        let Some(known) = self.nodes.get_mut(&node) else { return };
        known.refused_reports = known.refused_reports.saturating_add(1);
        known.refused_at_ms = now_ms;
        let distrusted = known.is_to_be_left();
        // A node that goes on lying is not worth a line for every heartbeat.
        if known.refused_reports <= 100 {
            let lease = report.lease;
            self.effects.push(Effect::Tell(Event::ReportRefused { lease, node, reason }));
        }
        if distrusted {
            // What it serves moves elsewhere in a moment.
            self.unsatisfied(report.key.app, None);
        }
    }

    /// The node granted a lease.
    pub fn granted(&mut self, now_ms: u64, node: NodeId, id: kinesis_protocol::LeaseId) {
        if let Some(lease) = self.leases.get_mut(&id)
            && lease.node == node
            && lease.phase == Phase::Asked
        {
            lease.enter(Phase::Starting, now_ms);
        }
    }

    /// The node refused a lease: it is asked again in a while, others at once.
    pub fn refused(
        &mut self,
        now_ms: u64,
        node: NodeId,
        id: kinesis_protocol::LeaseId,
        reason: &str,
    ) {
        let Some(lease) = self.leases.get(&id) else { return };
        if lease.node != node || lease.phase != Phase::Asked {
            return;
        }
        let app_id = lease.spec.key.app;
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(200).collect();
        if let Some(app) = self.apps.get_mut(&app_id) {
            app.refused.insert(node, (now_ms + self.config.refusal_ms, reason.clone()));
        }
        self.end(now_ms, id, Ending::NodeFailed { reason: format!("refused: {reason}") });
        self.reconcile(now_ms, app_id);
    }
}

/// What may have passed through an earlier run's ingress: what is recorded, and for a few seconds
/// more at the same rate.
fn unrecorded(recorded: &Counters) -> Observed {
    let more = |counted: u64, least: u64| {
        let wall_ms = u128::from(recorded.wall_ms.max(UNRECORDED_MS));
        let same = u128::from(counted) * u128::from(UNRECORDED_MS) / wall_ms;
        counted.saturating_add(u64::try_from(same).unwrap_or(u64::MAX).max(least))
    };
    Observed {
        busy_ms: recorded.wall_ms.saturating_add(UNRECORDED_MS),
        traffic: Traffic {
            rx_bytes: more(recorded.rx_bytes, UNRECORDED_BYTES),
            tx_bytes: more(recorded.tx_bytes, UNRECORDED_BYTES),
            requests: more(recorded.requests, UNRECORDED_REQUESTS),
        },
    }
}

/// What the ingress saw of a service's lease, on top of what an earlier run had believed.
pub(super) fn seen_in_all(lease: &Lease, observe: Observe<'_>) -> Observed {
    let base = &lease.base;
    let seen = observe(lease.spec.lease).unwrap_or_default();
    Observed {
        busy_ms: seen.busy_ms.saturating_add(base.wall_ms),
        traffic: Traffic {
            requests: seen.traffic.requests.saturating_add(base.requests),
            rx_bytes: seen.traffic.rx_bytes.saturating_add(base.rx_bytes),
            tx_bytes: seen.traffic.tx_bytes.saturating_add(base.tx_bytes),
        },
    }
}

/// Believes a report as far as it can be true.
fn measure(
    now_ms: u64,
    lease: &mut Lease,
    report: &LeaseReport,
    drain_ms: u64,
    observe: Observe<'_>,
) -> Result<(), String> {
    let held_ms = now_ms.saturating_sub(lease.placed_at_ms);
    // What was in flight when another took over may still be finished.
    let fenced = lease.fenced_at_ms.map_or(u64::MAX, |at| {
        at.saturating_add(drain_ms + RELEASE_LATE_MS).saturating_sub(lease.placed_at_ms)
    });
    let mut bounds = Bounds {
        granted: &lease.spec.granted,
        held_ms,
        wall_ms_max: None,
        paid_ms: fenced,
        observed: None,
    };
    let [mark, _] = lease.marks;
    let seen = match &lease.spec.workload {
        Workload::Job(job) => {
            bounds.wall_ms_max = Some(job.wall_ms_max);
            Observed { busy_ms: now_ms, ..Observed::default() }
        }
        Workload::Service(_) if lease.restored => {
            // What the ingress of the earlier run saw is gone with it: what was recorded holds, and
            // what the seconds after that allow.
            bounds.wall_ms_max = Some(lease.counters.wall_ms.saturating_add(UNRECORDED_MS));
            let seen = unrecorded(&lease.counters);
            bounds.observed = Some(seen);
            seen
        }
        Workload::Service(_) | Workload::Unknown => {
            let seen = seen_in_all(lease, observe);
            bounds.observed = Some(seen);
            seen
        }
    };
    // Work is reported as it is done, not all at once when its customer's balance is long spent.
    let lately = seen.busy_ms.saturating_sub(mark.seen.busy_ms);
    let most = mark.wall_ms.saturating_add(lately).saturating_add(MARK_MS);
    bounds.paid_ms = bounds.paid_ms.min(most);
    let believed = meter::accept(&lease.counters, &report.counters, &bounds);
    if let Ok(counters) = &believed {
        lease.counters = *counters;
    }
    if lease.restored && !lease.is_job() {
        lease.base = lease.counters;
        let seen = seen_in_all(lease, &|_| None);
        lease.marks = [Mark { at_ms: now_ms, wall_ms: lease.counters.wall_ms, seen }; 2];
    } else if now_ms.saturating_sub(lease.marks[1].at_ms) >= MARK_MS {
        let mark = Mark { at_ms: now_ms, wall_ms: lease.counters.wall_ms, seen };
        lease.marks = [lease.marks[1], mark];
    }
    believed.map(|_| ()).map_err(|refused| refused.to_string())
}
