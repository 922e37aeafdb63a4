//! What leases may cost before anybody could end them, against what their accounts have.
//!
//! Spending is seen a moment late: a node reports twice a second, the ledger is posted every second,
//! and what is told to end may finish what is in flight. So an account must have more than it has
//! spent. Nothing is placed for it that its balance could not bear for `covered_ms` of full use, with
//! some traffic; and what runs is ended when less is left than half of that, and the
//! traffic of the last seconds, cost. A service's budget is held to the same way, as if it were the
//! balance of an account that owns nothing else.

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

/// What an app was found to have cost of its budget.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spending {
    /// How much.
    pub spent: NanoUsd,
    /// What its owner is warned of.
    pub warning: Option<String>,
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

    /// What an app was found to have cost of its budget. Until it is said, nothing was.
    pub fn set_spending(&mut self, app: AppId, spending: Spending) {
        if self.spendings.get(&app) != Some(&spending) {
            self.spendings.insert(app, spending);
        }
    }

    /// What an app was found to have cost, if it was looked at.
    #[must_use]
    pub fn spending(&self, app: AppId) -> Option<&Spending> {
        self.spendings.get(&app)
    }

    /// What further leases of an account may cost together in an hour of full use, so that its
    /// balance lasts for `covered_ms`; `None` where the balance is not known.
    pub(super) fn covered(&self, account: AccountId) -> Option<NanoUsd> {
        let balance = *self.balances.get(&account)?;
        let owned = |app: &AppId| self.apps.get(app).is_some_and(|a| a.spec.account == account);
        let owned = self.leases.values().filter(|lease| owned(&lease.spec.key.app));
        Some(self.bearable(balance, owned))
    }

    /// The same of a service and what is left of its budget; `None` where it has no budget.
    pub(super) fn budgeted(&self, id: AppId) -> Option<NanoUsd> {
        let app = self.apps.get(&id).filter(|app| app.spec.service().is_some())?;
        let spent = self.spendings.get(&id).map_or(NanoUsd::ZERO, |spending| spending.spent);
        let left = app.spec.manifest.budget.usd? - spent;
        Some(self.bearable(left, self.leases_of(id)))
    }

    /// What an hour of further leases may cost, so that `money` bears `covered_ms` of all of them.
    fn bearable<'a>(&'a self, money: NanoUsd, held: impl Iterator<Item = &'a Lease>) -> NanoUsd {
        let held: i128 = held
            .filter(|lease| lease.is_live())
            .map(|lease| i128::from(self.per_hour(lease).0) + self.traffic_per_hour(lease))
            .sum();
        let held = NanoUsd(i64::try_from(held).unwrap_or(i64::MAX));
        (hourly(money, self.config.covered_ms) - held).max(NanoUsd::ZERO)
    }

    /// What a lease in full use costs until it could be ended.
    fn full(&self, lease: &Lease) -> NanoUsd {
        let covered_ms = i128::from(self.config.covered_ms / 2);
        let cost = i128::from(self.per_hour(lease).0) * covered_ms / HOUR_MS;
        NanoUsd(i64::try_from(cost).unwrap_or(i64::MAX))
    }

    /// What all that answers for a service may cost until it could be ended, whether it is asked now
    /// or not: a budget is looked at only while it is spent.
    #[must_use]
    pub fn reserve(&self, id: AppId, observe: Observe<'_>) -> NanoUsd {
        let answers = |lease: &&Lease| {
            let may = matches!(lease.phase, Phase::Active | Phase::Draining | Phase::Lost);
            may && !lease.standby
        };
        self.leases_of(id).filter(answers).fold(NanoUsd::ZERO, |sum, lease| {
            let traffic = unposted(lease, &seen_in_all(lease, observe));
            let more = self.full(lease).checked_add(self.traffic_cost(lease, &traffic));
            more.and_then(|more| sum.checked_add(more)).unwrap_or(NanoUsd(i64::MAX))
        })
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
                let reserve = if works { self.full(lease) } else { NanoUsd::ZERO };
                all.push(Exposure { app, account, accrued, reserve });
                continue;
            }
            let seen = seen_in_all(lease, observe);
            if busy.insert(*id, seen.busy_ms).unwrap_or(lease.base.wall_ms) == seen.busy_ms {
                continue;
            }
            let traffic = self.traffic_cost(lease, &unposted(lease, &seen));
            let reserve = self.full(lease).checked_add(traffic).unwrap_or(NanoUsd(i64::MAX));
            all.push(Exposure { app, account, accrued: NanoUsd::ZERO, reserve });
        }
        busy.retain(|id, _| self.leases.contains_key(id));
        all
    }
}

/// What may be spent in an hour so that `money` lasts for `covered_ms`.
pub(super) fn hourly(money: NanoUsd, covered_ms: u64) -> NanoUsd {
    let most = i128::from(money.0.max(0)) * HOUR_MS / i128::from(covered_ms.max(1));
    NanoUsd(i64::try_from(most).unwrap_or(i64::MAX))
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
