//! What time alone brings: nodes that fall silent, and leases whose nodes are late.

use std::collections::BTreeSet;

use kinesis_protocol::{AppId, Ending, message::ToAgent};

use super::{Effect, Grid, Phase};

/// Why a start was given up.
const LATE: &str = "it was not ready in time";

impl Grid {
    /// Time has passed: call it every few ten milliseconds.
    pub fn passed(&mut self, now_ms: u64) {
        // Where this process itself stood still, frames wait unread: nobody was silent.
        let stalled = now_ms.saturating_sub(self.passed_at_ms);
        if stalled > self.config.silence_ms / 3 {
            for node in self.nodes.values_mut() {
                node.heard_at_ms = (node.heard_at_ms + stalled).min(now_ms);
            }
        }
        self.passed_at_ms = now_ms;
        let mut touched = BTreeSet::new();
        self.silences(now_ms, &mut touched);
        self.overdue(now_ms, &mut touched);
        if now_ms.saturating_sub(self.retried_at_ms) >= 200 {
            self.retried_at_ms = now_ms;
            let again = self.apps.iter().filter(|(_, app)| app.unsatisfied || app.starting);
            touched.extend(again.map(|(id, _)| *id));
        }
        for app in touched {
            self.reconcile(now_ms, app);
        }
    }

    /// Leases whose node has not done in time what it was asked.
    fn overdue(&mut self, now_ms: u64, touched: &mut BTreeSet<AppId>) {
        let mut given_up = Vec::new();
        let mut again = Vec::new();
        for (id, lease) in &self.leases {
            let waited = now_ms.saturating_sub(lease.since_ms);
            let config = &self.config;
            match lease.phase {
                Phase::Asked if waited > config.grant_ms => {
                    given_up.push((*id, "the node did not answer the grant"));
                }
                Phase::Starting if waited > self.ready_ms(lease) => {
                    given_up.push((*id, LATE));
                }
                // The first release may be lost with its connection.
                Phase::Draining if waited > config.drain_ms + 2_000 => again.push(*id),
                Phase::Lost => {
                    touched.insert(lease.spec.key.app);
                    if waited > config.forget_ms {
                        given_up.push((*id, "its node never came back"));
                    }
                }
                _ => {}
            }
        }
        for id in again {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            lease.since_ms = now_ms;
            let release = ToAgent::Release { lease: id, notice_ms: 0 };
            self.effects.push(Effect::Send(lease.node, release));
        }
        for (id, why) in given_up {
            let Some(lease) = self.leases.get(&id) else { continue };
            let (app, node, phase) = (lease.spec.key.app, lease.node, lease.phase);
            touched.insert(app);
            if phase != Phase::Lost {
                let release = ToAgent::Release { lease: id, notice_ms: 0 };
                self.effects.push(Effect::Send(node, release));
                if let Some(app) = self.apps.get_mut(&app) {
                    let until = now_ms + self.config.refusal_ms;
                    app.refused.insert(node, (until, why.to_owned()));
                    app.late = app.late.saturating_add(u32::from(phase == Phase::Starting));
                }
                if let Some(node) = self.nodes.get_mut(&node) {
                    // It keeps others waiting, too: each time for twice as long the last choice.
                    let longer = self.config.late_ms << node.late.min(6);
                    node.late = node.late.saturating_add(1);
                    node.late_until_ms = now_ms + longer;
                }
            }
            self.end(now_ms, id, Ending::NodeFailed { reason: why.to_owned() });
        }
    }
}
