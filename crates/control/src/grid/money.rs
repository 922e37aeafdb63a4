//! What leases may cost before anybody could end them, against what their accounts have.
//!
//! Spending is seen a moment late: a node reports twice a second, the ledger is posted every second,
//! and what is told to end may finish what is in flight. So an account must have more than it has
//! spent. Nothing is placed for it that its balance could not bear for `covered_ms` of full use, with
//! some traffic; and what runs is ended when less is left than half of that, and the
//! traffic of the last seconds, cost.

use std::collections::HashMap;

use kinesis_protocol::{AccountId, AppId, Counters, LeaseId, NanoUsd, usage::Traffic};

use super::{Grid, Lease, Observe, Phase, report::seen_in_all};
use crate::{meter::Observed, scheduler};

const HOUR_MS: i128 = 3_600_000;

/// What one lease may still cost its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    /// The app.
    pub app: AppId,
    /// Whose money it is.
    pub account: AccountId,
    /// What is believed and posted only when it ends: a job's attempt.
    pub accrued: NanoUsd,
    /// What it may cost until it could be ended.
    pub reserve: NanoUsd,
}

impl Grid {
    /// What an account has left. Nothing is placed for it that could cost more before its spending
    /// is seen; what runs is not touched.
    pub fn set_balance(&mut self, account: AccountId, balance: NanoUsd) {
        self.balances.insert(account, balance);
    }

    /// What an account has left, as it was said last.
    #[must_use]
    pub fn balance(&self, account: AccountId) -> Option<NanoUsd> {
        self.balances.get(&account).copied()
    }

    /// What further leases of an account may cost together in an hour of full use, so that its
    /// balance lasts for `covered_ms`; `None` where the balance is not known.
    pub(super) fn covered(&self, account: AccountId) -> Option<NanoUsd> {
        let balance = i128::from(self.balances.get(&account)?.0.max(0));
        let most = balance * HOUR_MS / i128::from(self.config.covered_ms.max(1));
        let owned = |app: &AppId| self.apps.get(app).is_some_and(|a| a.spec.account == account);
        let held: i128 = self
            .leases
            .values()
            .filter(|lease| lease.is_live() && owned(&lease.spec.key.app))
            .map(|lease| i128::from(self.per_hour(lease).0) + self.traffic_per_hour(lease))
            .sum();
        let left = (most - held).clamp(0, i128::from(i64::MAX));
        Some(NanoUsd(i64::try_from(left).unwrap_or(i64::MAX)))
    }

    fn per_hour(&self, lease: &Lease) -> NanoUsd {
        scheduler::per_hour(&lease.info, &lease.spec.granted, self.config.markup_bp)
    }

    /// What an hour of a service's traffic costs: as it was in the last seconds, and at least what
    /// had to be covered for it to be placed.
    fn traffic_per_hour(&self, lease: &Lease) -> i128 {
        if lease.is_job() {
            return 0;
        }
        let least = scheduler::traffic_per_hour(&lease.spec.prices, self.config.markup_bp);
        let [older, newer] = &lease.marks;
        let passed_ms = i128::from(newer.at_ms.saturating_sub(older.at_ms));
        let traffic = since(&newer.seen.traffic, &older.seen.traffic);
        let cost = i128::from(self.traffic_cost(lease, &traffic).0);
        i128::from(least.0).max(cost * HOUR_MS / passed_ms.max(1))
    }

    fn traffic_cost(&self, lease: &Lease, traffic: &Traffic) -> NanoUsd {
        let counters = Counters {
            rx_bytes: traffic.rx_bytes,
            tx_bytes: traffic.tx_bytes,
            requests: traffic.requests,
            ..Counters::default()
        };
        scheduler::marked_up(lease.spec.prices.cost(&counters), self.config.markup_bp)
    }

    /// What every lease may still cost, but those that cost nothing now. `busy` remembers from one
    /// call to the next for how long each service was busy: one that nobody asked since costs
    /// nothing.
    pub fn exposures(
        &self,
        busy: &mut HashMap<LeaseId, u64>,
        observe: Observe<'_>,
    ) -> Vec<Exposure> {
        let markup_bp = self.config.markup_bp;
        let full = |lease: &Lease| {
            let covered_ms = i128::from(self.config.covered_ms / 2);
            let cost = i128::from(self.per_hour(lease).0) * covered_ms / HOUR_MS;
            NanoUsd(i64::try_from(cost).unwrap_or(i64::MAX))
        };
        let mut all = Vec::new();
        for (id, lease) in &self.leases {
            let app = lease.spec.key.app;
            let Some(account) = self.apps.get(&app).map(|app| app.spec.account) else { continue };
            if matches!(lease.phase, Phase::Placing | Phase::Asked | Phase::Ended) {
                continue;
            }
            if lease.is_job() {
                let share = lease.spec.prices.cost(&lease.counters);
                let accrued = scheduler::marked_up(share, markup_bp);
                let works = lease.phase == Phase::Active;
                let reserve = if works { full(lease) } else { NanoUsd::ZERO };
                all.push(Exposure { app, account, accrued, reserve });
                continue;
            }
            let seen = seen_in_all(lease, observe);
            if busy.insert(*id, seen.busy_ms).unwrap_or(lease.base.wall_ms) == seen.busy_ms {
                continue;
            }
            let traffic = self.traffic_cost(lease, &unposted(lease, &seen));
            let reserve = full(lease).checked_add(traffic).unwrap_or(NanoUsd(i64::MAX));
            all.push(Exposure { app, account, accrued: NanoUsd::ZERO, reserve });
        }
        busy.retain(|id, _| self.leases.contains_key(id));
        all
    }
}

/// The traffic that was seen and not believed yet, and that of the last seconds: as much again may
/// come before anybody could stop it.
fn unposted(lease: &Lease, seen: &Observed) -> Traffic {
    let believed = Traffic {
        rx_bytes: lease.counters.rx_bytes,
        tx_bytes: lease.counters.tx_bytes,
        requests: lease.counters.requests,
    };
    let waiting = since(&seen.traffic, &believed);
    let lately = since(&seen.traffic, &lease.marks[0].seen.traffic);
    Traffic {
        rx_bytes: waiting.rx_bytes.saturating_add(lately.rx_bytes),
        tx_bytes: waiting.tx_bytes.saturating_add(lately.tx_bytes),
        requests: waiting.requests.saturating_add(lately.requests),
    }
}

fn since(now: &Traffic, then: &Traffic) -> Traffic {
    Traffic {
        rx_bytes: now.rx_bytes.saturating_sub(then.rx_bytes),
        tx_bytes: now.tx_bytes.saturating_sub(then.tx_bytes),
        requests: now.requests.saturating_sub(then.requests),
    }
}
