//! Once a second: post what was used, sign what is owed, hand out the proofs, judge the budgets.
//!
//! The order keeps every crash harmless. A tick's number is reserved before anything is posted under
//! it; postings follow cumulative counters, so posting again posts nothing; a root is signed only
//! over what is posted and covered by the escrow, and is kept before a supplier sees it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use kinesis_protocol::{
    AccountId, Address, AppId, Counters, LeaseId, NanoJoule, NanoUsd, PaymentRoot, PaymentTree,
    SignedRoot, U256, Workload, message::ToAgent, root::PaymentProof,
};
use kinesis_store::{AppState as StoredState, LeasePosted, TickPosted, TickPosting};
use tracing::warn;

use super::Control;
use crate::{
    ControlError, Cover,
    api::{Event, RootView},
    budget::{self, Verdict},
    grid::Stop,
};

/// What the ledger remembers between two ticks. The store knows better after a restart.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    posted: HashMap<LeaseId, Counters>,
    /// What suppliers earned since the tick before.
    pub(super) earned: HashMap<Address, NanoJoule>,
    warned: HashSet<AppId>,
    unsigned: bool,
}

impl Ledger {
    pub(super) fn posted(&mut self, posted: &LeasePosted) {
        *self.earned.entry(posted.supplier).or_default() += posted.difference.supplier_nanojoule;
    }

    /// Something may be unsigned: look at the earnings at the next tick.
    pub(super) fn look_again(&mut self) {
        self.unsigned = true;
    }
}

/// A root that was signed, with its tree.
#[derive(Debug)]
pub(crate) struct SignedTree {
    pub(super) tree: PaymentTree,
    pub(super) signed: SignedRoot,
    pub(super) amounts: BTreeMap<Address, U256>,
    pub(super) signed_at_ms: u64,
}

impl SignedTree {
    pub(super) fn proof(&self, supplier: Address) -> Option<PaymentProof> {
        let (cumulative_wei, proof) = self.tree.prove(supplier)?;
        Some(PaymentProof { signed: self.signed.clone(), supplier, cumulative_wei, proof })
    }

    pub(super) fn view(&self) -> RootView {
        let root = &self.signed.root;
        RootView {
            utility: root.utility,
            series: root.series,
            tick: root.tick,
            root: root.root,
            total_wei: root.total,
            payees: u32::try_from(self.amounts.len()).unwrap_or(u32::MAX),
            signed_at_ms: self.signed_at_ms,
        }
    }
}

/// Whether an escrow that looks like this covers `total`, with the contract's fee on top of what is
/// still to be redeemed.
pub(super) fn covers(cover: &Cover, total_wei: U256, fee_bp: u32) -> bool {
    owed(cover, total_wei, fee_bp) <= cover.available_wei
}

/// What is still to be redeemed of `total`, fee included.
pub(super) fn owed(cover: &Cover, total_wei: U256, fee_bp: u32) -> U256 {
    let net = total_wei.saturating_sub(cover.redeemed_wei);
    // Rounded up, since the contract may round each redemption by itself.
    net + (net * U256::from(fee_bp)).div_ceil(U256::from(10_000))
}

impl Control {
    /// The tree over everything earned so far, with its payees.
    pub(super) async fn payment_tree(
        &self,
    ) -> Result<(PaymentTree, BTreeMap<Address, U256>), ControlError> {
        let earnings = self.store.earnings_all(self.payer.series).await?;
        let amounts: BTreeMap<Address, U256> = earnings
            .into_iter()
            .map(|earning| (earning.supplier, earning.cumulative_nanojoule.to_wei()))
            .filter(|(_, wei)| !wei.is_zero())
            .collect();
        let payees = amounts.iter().map(|(supplier, wei)| (*supplier, *wei)).collect();
        let tree = PaymentTree::new(payees)
            .map_err(|error| ControlError::Invalid(format!("no payment tree: {error}")))?;
        Ok((tree, amounts))
    }

    /// One tick.
    pub(super) async fn tick(self: &Arc<Self>) -> Result<(), ControlError> {
        let mut ledger = self.ledger.lock().await;
        let used: Vec<(LeaseId, Counters)> =
            self.grid.lock().counters().map(|(id, counters)| (id, *counters)).collect();
        let held: HashSet<LeaseId> = used.iter().map(|(lease, _)| *lease).collect();
        ledger.posted.retain(|lease, _| held.contains(lease));
        let nothing = Counters::default();
        let changed: Vec<(LeaseId, Counters)> = used
            .into_iter()
            .filter(|(lease, now)| ledger.posted.get(lease).unwrap_or(&nothing) != now)
            .collect();
        let ended = self.unposted.swap(false, Ordering::AcqRel);
        let earned = std::mem::take(&mut ledger.earned);
        let mut recent = earned;
        let mut reserved = None;
        if !changed.is_empty() || ended {
            let posting = TickPosting {
                series: self.payer.series,
                tick: self.store.reserve_tick(self.payer.series).await?,
                joule_price: self.config.joule_price,
                leases: changed.clone(),
            };
            reserved = Some(posting.tick);
            let posted = match self.store.post_tick(&posting, self.clock.now_ms()).await {
                Ok(posted) => posted,
                Err(error) => {
                    // The counters are cumulative: the next tick posts all of it.
                    self.unposted.store(true, Ordering::Release);
                    return Err(error.into());
                }
            };
            {
                let mut grid = self.grid.lock();
                for (account, balance) in &posted.accounts {
                    grid.set_balance(*account, *balance);
                }
            }
            ledger.posted.extend(changed);
            ledger.unsigned = true;
            for lease in &posted.leases {
                *recent.entry(lease.supplier).or_default() += lease.difference.supplier_nanojoule;
            }
            self.judge_budgets(&mut ledger, &posted).await?;
        }
        self.recent.store(Arc::new(recent));
        if ledger.unsigned {
            ledger.unsigned = !self.sign(reserved).await?;
        }
        Ok(())
    }

    /// Signs what is owed, if it is more than was signed last. Says whether everything owed is
    /// signed.
    async fn sign(self: &Arc<Self>, reserved: Option<u64>) -> Result<bool, ControlError> {
        let (tree, amounts) = self.payment_tree().await?;
        let before = self.signed.load_full();
        let last = before.as_ref().map(|signed| signed.signed.root.root).unwrap_or_default();
        if tree.root() == last {
            return Ok(true);
        }
        let total = tree.total_wei();
        *self.owed_total.lock() = total;
        let covered = {
            let cover = self.cover.lock();
            cover.as_ref().is_some_and(|cover| covers(cover, total, self.terms.fee_bp))
        };
        if !covered {
            // Signing more than the escrow holds can be proven and is slashed.
            warn!("the escrow does not cover what is owed: nothing is signed until it does");
            self.fund.notify_one();
            return Ok(false);
        }
        let tick = match reserved {
            Some(tick) => tick,
            None => self.store.reserve_tick(self.payer.series).await?,
        };
        let root = PaymentRoot {
            utility: self.payer.utility,
            series: self.payer.series,
            tick,
            root: tree.root(),
            total,
        };
        let signed = self.settle.sign(root)?;
        let signed_at_ms = self.clock.now_ms();
        self.store.save_root(&signed, signed_at_ms).await?;
        let signed = Arc::new(SignedTree { tree, signed, amounts, signed_at_ms });
        self.signed.store(Some(Arc::clone(&signed)));
        self.hand_out(before.as_deref(), &signed);
        self.tell(Event::Tick { tick, total_wei: total });
        Ok(true)
    }

    /// Sends every supplier whose amount changed its own proof, to all of its nodes.
    fn hand_out(self: &Arc<Self>, before: Option<&SignedTree>, signed: &SignedTree) {
        let nodes: Vec<_> = {
            let grid = self.grid.lock();
            let up = grid.nodes().values().filter(|node| node.is_up());
            up.map(|node| (node.info.node, node.info.supplier)).collect()
        };
        for (node, supplier) in nodes {
            let old = before.and_then(|before| before.amounts.get(&supplier));
            let new = signed.amounts.get(&supplier);
            if new.is_some()
                && old != new
                && let Some(payment) = signed.proof(supplier)
            {
                let joule_price = self.config.joule_price;
                self.send(node, ToAgent::Payment { payment, joule_price });
            }
        }
    }

    /// The newest payment of a supplier, for a node of it that has just joined.
    pub(super) fn payment_for(&self, supplier: Address) -> Option<ToAgent> {
        let payment = self.signed.load().as_ref()?.proof(supplier)?;
        Some(ToAgent::Payment { payment, joule_price: self.config.joule_price })
    }

    /// Warns and stops what costs more than it may.
    async fn judge_budgets(
        self: &Arc<Self>,
        ledger: &mut Ledger,
        posted: &TickPosted,
    ) -> Result<(), ControlError> {
        let mut ticked: BTreeMap<AppId, NanoUsd> = BTreeMap::new();
        for lease in &posted.leases {
            *ticked.entry(lease.app).or_default() += lease.difference.customer_nanousd();
        }
        // Attempts at jobs are posted when they complete; until then their cost is known all the same.
        let mut accrued: BTreeMap<AppId, NanoUsd> = BTreeMap::new();
        let mut by_account: HashMap<AccountId, NanoUsd> = HashMap::new();
        let mut watched = BTreeMap::new();
        {
            let grid = self.grid.lock();
            for lease in grid.leases().values() {
                let app = lease.spec.key.app;
                let Some(account) = grid.apps().get(&app).map(|app| app.spec.account) else {
                    continue;
                };
                if matches!(lease.spec.workload, Workload::Job(_)) && lease.is_live() {
                    let share = lease.spec.prices.cost(&lease.counters);
                    let cost =
                        share + share.share(self.terms.margin_bp) + share.share(self.terms.fee_bp);
                    *accrued.entry(app).or_default() += cost;
                    *by_account.entry(account).or_default() += cost;
                }
            }
            for app in ticked.keys().chain(accrued.keys()) {
                if let Some(app) = grid.apps().get(app).filter(|app| app.stop.is_none()) {
                    watched.insert(app.spec.id, app.spec.clone());
                }
            }
        }
        for (app, spec) in watched {
            let extra = accrued.get(&app).copied().unwrap_or_default();
            let recorded = if spec.service().is_some() {
                match posted.apps.iter().find(|(posted, _)| *posted == app) {
                    Some((_, spent)) => *spent,
                    None => self.store.spent(app).await?,
                }
            } else {
                self.store.spent_version(spec.version).await?
            };
            let balance = match posted.accounts.iter().find(|(id, _)| *id == spec.account) {
                Some((_, balance)) => *balance,
                None => self.store.account(spec.account).await?.balance_nanousd,
            };
            let pending = by_account.get(&spec.account).copied().unwrap_or_default();
            let spent = recorded + extra;
            let budget = &spec.manifest.budget;
            let last = ticked.get(&app).copied().unwrap_or_default();
            let verdict =
                budget::judge(spent, last, budget.usd, budget.warn_percent, balance - pending);
            let event = |stopped| Event::Budget {
                app,
                name: spec.manifest.name.clone(),
                spent_nanousd: spent,
                budget_nanousd: budget.usd.unwrap_or(balance),
                stopped,
            };
            match verdict {
                Verdict::Fine => {}
                Verdict::Warn => {
                    if ledger.warned.insert(app) {
                        self.tell(event(false));
                    }
                }
                Verdict::Stop => {
                    let alone = NanoUsd(i64::MAX);
                    let by_budget =
                        budget::judge(spent, last, budget.usd, budget.warn_percent, alone);
                    let reason = match budget.usd {
                        Some(budget) if by_budget == Verdict::Stop => {
                            format!("it cost {spent} of its budget of {budget}")
                        }
                        _ => "the account's balance is used up".to_owned(),
                    };
                    let state = StoredState::OverBudget;
                    let now = self.clock.now_ms();
                    self.store.set_app_state(app, state, Some(&reason), now).await?;
                    self.with(|grid, now| grid.stop_app(now, app, Stop::Budget));
                    self.tell(event(true));
                }
            }
        }
        Ok(())
    }

    /// Keeps the escrow funded, and knows what it holds.
    pub(super) async fn treasure(self: Arc<Self>) {
        loop {
            if let Err(problem) = self.fund_escrow().await {
                warn!(error = ?problem, "the escrow could not be looked after");
            }
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_secs(2)) => {}
                () = self.fund.notified() => {
                    // Asked for every tick while the chain is away: not faster than this.
                    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                }
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Reads the escrow and tops it up where it covers too little beyond what is owed.
    pub(super) async fn fund_escrow(&self) -> Result<(), ControlError> {
        let cover = self.settle.cover().await?;
        *self.cover.lock() = Some(cover);
        let wanted = owed(&cover, *self.owed_total.lock(), self.terms.fee_bp)
            + self.config.escrow_margin.to_wei();
        if cover.available_wei >= wanted {
            return Ok(());
        }
        let missing = wanted - cover.available_wei;
        let amount = missing.max(self.config.escrow_deposit.to_wei());
        let amount = amount.min(self.settle.balance().await?);
        if amount.is_zero() {
            return Err(ControlError::Payment(
                "the desk has no JOULE left to deposit into the escrow".into(),
            ));
        }
        self.settle.deposit(amount).await?;
        *self.cover.lock() = Some(self.settle.cover().await?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cover_counts_the_fee_and_what_was_redeemed() {
        let wei = |n: u64| U256::from(n);
        let cover = Cover { redeemed_wei: wei(1_000), available_wei: wei(1_050) };
        assert!(covers(&cover, wei(2_000), 500));
        assert!(!covers(&cover, wei(2_001), 500));
        assert_eq!(owed(&cover, wei(900), 500), U256::ZERO);
    }
}
