//! Whom nothing is placed on for want of stake, and leases whose terms were not signed.

use kinesis_protocol::{AppId, Ending, LeaseId, NodeId, SlaOffer, message::ToAgent};

use super::{Effect, Grid, Lease, Phase};

/// For how long nothing of an app is placed after its terms could not be signed.
const UNOFFERED_MS: u64 = 10_000;

impl Grid {
    /// Says why a node gets no new lease, or that it gets them. What it holds stays. May be said of a
    /// node before it has joined.
    pub fn node_standing(&mut self, now_ms: u64, id: NodeId, withheld: Option<String>) {
        let before = match withheld {
            Some(reason) => self.withheld.insert(id, reason),
            None => self.withheld.remove(&id),
        };
        if before.is_some() && !self.withheld.contains_key(&id) {
            // A new place may serve whatever waits.
            let waiting: Vec<AppId> =
                self.apps.iter().filter(|(_, app)| app.unsatisfied).map(|(id, _)| *id).collect();
            for app in waiting {
                self.reconcile(now_ms, app);
            }
        }
    }

    /// Why a node gets no new lease, beside what it says itself.
    #[must_use]
    pub fn withheld(&self, id: NodeId) -> Option<&str> {
        self.withheld.get(&id).map(String::as_str)
    }

    /// The terms that go with a lease that is being placed.
    pub fn offer(&mut self, id: LeaseId, sla: Option<SlaOffer>) {
        if let Some(lease) = self.leases.get_mut(&id).filter(|l| l.phase == Phase::Placing) {
            lease.spec.sla = sla;
        }
    }

    /// The terms of a lease that is being placed cannot be signed here: it is given up, its customer
    /// reads why, and nothing of its app is placed for a while.
    pub fn unoffered(&mut self, now_ms: u64, id: LeaseId, reason: &str) {
        let Some(lease) = self.leases.get(&id).filter(|l| l.phase == Phase::Placing) else {
            return;
        };
        let app_id = lease.spec.key.app;
        self.placed(now_ms, id, None);
        if let Some(app) = self.apps.get_mut(&app_id) {
            app.not_before_ms = now_ms + UNOFFERED_MS;
            app.reason = Some(reason.to_owned());
        }
        self.reconcile(now_ms, app_id);
    }

    /// The lease was granted, and its terms were not signed: it ends, and is asked for elsewhere.
    pub fn unsigned(&mut self, now_ms: u64, node: NodeId, id: LeaseId, reason: &str) {
        let Some(lease) = self.leases.get(&id).filter(|lease| lease.node == node) else { return };
        if !lease.is_live() {
            return;
        }
        let app_id = lease.spec.key.app;
        if let Some(app) = self.apps.get_mut(&app_id) {
            app.refused.insert(node, (now_ms + self.config.refusal_ms, reason.to_owned()));
        }
        self.effects.push(Effect::Send(node, ToAgent::Release { lease: id, notice_ms: 0 }));
        self.end(now_ms, id, Ending::NodeFailed { reason: format!("refused: {reason}") });
        self.reconcile(now_ms, app_id);
    }

    /// Asks a node again for a lease that it holds: it signs the same terms again.
    pub fn ask_again(&mut self, id: LeaseId) {
        let Some(lease) = self.leases.get(&id).filter(|lease| is_held(lease)) else { return };
        let grant = ToAgent::Grant { spec: lease.spec.clone() };
        self.effects.push(Effect::Send(lease.node, grant));
    }
}

/// Whether its node has said that it holds it.
#[must_use]
pub fn is_held(lease: &Lease) -> bool {
    matches!(lease.phase, Phase::Starting | Phase::Warm | Phase::Active | Phase::Draining)
}
