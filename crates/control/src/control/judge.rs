//! After each second's postings: who may go on, who is warned, what is stopped for its money.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use kinesis_protocol::{AccountId, AppId, LeaseId, NanoUsd};
use kinesis_store::{AppState as StoredState, TickPosted};

use super::Control;
use crate::{
    ControlError,
    api::Event,
    budget::{self, Verdict},
    grid::{AppSpec, Spending, Stop},
};

/// What is remembered from one second to the next.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    warned: HashSet<AppId>,
    /// For how long each service was busy when its exposure was looked at last.
    busy: HashMap<LeaseId, u64>,
    /// What jobs' attempts had cost at the tick before.
    accrued: BTreeMap<AppId, NanoUsd>,
}

/// An account's money.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    balance: Option<NanoUsd>,
    /// What is used and not posted yet.
    pending: NanoUsd,
    /// What all it runs may cost until it could be ended.
    reserve: NanoUsd,
}

/// An app that cost something.
struct Costly {
    spec: AppSpec,
    /// What its leases may cost until they could be ended, where it is a service.
    reserve: NanoUsd,
}

/// What an app cost, of what it may cost.
struct Finding {
    verdict: Verdict,
    reason: String,
    spent: NanoUsd,
    most: NanoUsd,
}

impl Control {
    /// Warns and stops what costs more than it may.
    pub(super) async fn judge(
        self: &Arc<Self>,
        judged: &mut Judged,
        posted: &TickPosted,
    ) -> Result<(), ControlError> {
        let mut ticked: BTreeMap<AppId, NanoUsd> = BTreeMap::new();
        for lease in &posted.leases {
            add(ticked.entry(lease.app).or_default(), lease.difference.customer_nanousd());
        }
        let mut accrued: BTreeMap<AppId, NanoUsd> = BTreeMap::new();
        let mut accounts: HashMap<AccountId, Account> = HashMap::new();
        let mut watched = BTreeMap::new();
        {
            let grid = self.grid.lock();
            let mut costly: BTreeSet<AppId> = ticked.keys().copied().collect();
            for exposure in grid.exposures(&mut judged.busy, &|lease| self.observed(lease)) {
                let account = accounts.entry(exposure.account).or_default();
                add(&mut account.pending, exposure.accrued);
                add(&mut account.reserve, exposure.reserve);
                add(accrued.entry(exposure.app).or_default(), exposure.accrued);
                costly.insert(exposure.app);
            }
            for app in costly {
                if let Some(app) = grid.apps().get(&app).filter(|app| app.stop.is_none()) {
                    let account = app.spec.account;
                    accounts.entry(account).or_default().balance = grid.balance(account);
                    let reserve = match app.spec.service() {
                        Some(_) => grid.reserve(app.spec.id, &|lease| self.observed(lease)),
                        None => NanoUsd::ZERO,
                    };
                    watched.insert(app.spec.id, Costly { spec: app.spec.clone(), reserve });
                }
            }
        }
        let before = std::mem::replace(&mut judged.accrued, accrued);
        let mut done = Ok(());
        for (app, costly) in watched {
            let spec = &costly.spec;
            let account = accounts.get(&spec.account).copied().unwrap_or_default();
            let finding = match account.dry() {
                Some(finding) => Ok(Some(finding)),
                None => {
                    let now = judged.accrued.get(&app).copied().unwrap_or_default();
                    let then = before.get(&app).copied().unwrap_or_default();
                    self.weigh(&costly, now, then).await
                }
            };
            // One that cannot be looked at now must not hide the others.
            let followed = match finding {
                Ok(Some(finding)) => self.follow(judged, spec, &finding).await,
                Ok(None) => Ok(()),
                Err(problem) => Err(problem),
            };
            done = done.and(followed);
        }
        done
    }

    /// Looks at an app's budget; `None` where it has none. `accrued` is what a job's attempts cost by
    /// now, `before` what they did a second ago.
    async fn weigh(
        &self,
        costly: &Costly,
        accrued: NanoUsd,
        before: NanoUsd,
    ) -> Result<Option<Finding>, ControlError> {
        let Costly { spec, reserve } = costly;
        let budget = &spec.manifest.budget;
        let Some(most) = budget.usd else { return Ok(None) };
        let (spent, next) = if spec.service().is_some() {
            // Whatever the last second cost: the next one may cost as much as was granted.
            (self.store.spent(spec.id).await?, *reserve)
        } else {
            // What a job did before it was stopped is billed: the next second, and its end.
            let second = (accrued - before).max(NanoUsd::ZERO);
            (self.store.spent_version(spec.version).await? + accrued, second + second)
        };
        let verdict = budget::judge(spent, next, Some(most), budget.warn_percent);
        let reason = if next > NanoUsd::ZERO && verdict == Verdict::Stop {
            format!(
                "it cost {spent} of its budget of {most}, and may cost {next} before it could be \
                 stopped"
            )
        } else {
            format!("it cost {spent} of its budget of {most}")
        };
        Ok(Some(Finding { verdict, reason, spent, most }))
    }

    /// Says what a service with a budget has cost, before anything of it is placed.
    pub(super) async fn look_at_spending(&self, spec: &AppSpec) -> Result<(), ControlError> {
        if spec.service().is_some() && spec.manifest.budget.usd.is_some() {
            let spent = self.store.spent(spec.id).await?;
            self.grid.lock().set_spending(spec.id, Spending { spent, warning: None });
        }
        Ok(())
    }

    async fn follow(
        self: &Arc<Self>,
        judged: &mut Judged,
        spec: &AppSpec,
        finding: &Finding,
    ) -> Result<(), ControlError> {
        let app = spec.id;
        let event = |stopped| Event::Budget {
            app,
            name: spec.manifest.name.clone(),
            spent_nanousd: finding.spent,
            budget_nanousd: finding.most,
            stopped,
        };
        let warning = (finding.verdict == Verdict::Warn).then(|| finding.reason.clone());
        self.grid.lock().set_spending(app, Spending { spent: finding.spent, warning });
        match finding.verdict {
            Verdict::Fine => {}
            Verdict::Warn => {
                if judged.warned.insert(app) {
                    self.tell(event(false));
                }
            }
            Verdict::Stop => {
                let (state, now) = (StoredState::OverBudget, self.clock.now_ms());
                self.store.set_app_state(app, state, Some(&finding.reason), now).await?;
                self.with(|grid, now| grid.stop_app(now, app, Stop::Budget));
                self.tell(event(true));
            }
        }
        Ok(())
    }
}

impl Account {
    /// Why all that it runs is stopped; `None` where it has enough.
    fn dry(&self) -> Option<Finding> {
        let balance = self.balance?;
        let left = balance - self.pending;
        budget::is_dry(left, self.reserve).then(|| Finding {
            verdict: Verdict::Stop,
            reason: format!(
                "the account's balance is used up: {left} is left, and what runs may cost {} \
                 before it could be stopped",
                self.reserve
            ),
            spent: self.pending,
            most: balance,
        })
    }
}

fn add(sum: &mut NanoUsd, more: NanoUsd) {
    *sum = sum.checked_add(more).unwrap_or(NanoUsd(i64::MAX));
}
