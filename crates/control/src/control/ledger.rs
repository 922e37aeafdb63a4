//! Once a second: post what was used, judge the budgets, sign what is owed, hand out the proofs.
//!
//! The order keeps every crash harmless. A tick's number is reserved before anything is posted under
//! it; postings follow cumulative counters, so posting again posts nothing; a root is signed only
//! over what is posted and covered by the escrow, and is kept before a supplier sees it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

use kinesis_protocol::{
    Address, Counters, LeaseId, NanoJoule, PaymentRoot, PaymentTree, SignedRoot, U256,
    message::ToAgent, root::PaymentProof,
};
use kinesis_store::{LeasePosted, TickPosted, TickPosting};
use tracing::warn;

use super::{Control, judge::Judged, owed::Owed};
use crate::{
    ControlError, Cover,
    api::{Event, RootView},
};

/// What the ledger remembers between two ticks. The store knows better after a restart.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    posted: HashMap<LeaseId, Counters>,
    /// What suppliers earned since the tick before.
    pub(super) earned: HashMap<Address, NanoJoule>,
    pub(super) judged: Judged,
    pub(super) owed: Owed,
    unsigned: bool,
}

impl Ledger {
    pub(super) fn posted(&mut self, posted: &LeasePosted) {
        *self.earned.entry(posted.supplier).or_default() += posted.difference.supplier_nanojoule;
        self.owed.read_again(posted.supplier);
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
            payees: u32::try_from(self.tree.len()).unwrap_or(u32::MAX),
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
    /// One tick.
    pub(super) async fn tick(self: &Arc<Self>) -> Result<(), ControlError> {
        let mut ledger = self.ledger.lock().await;
        self.turn_price();
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
        let mut posted = TickPosted::default();
        if !changed.is_empty() || ended {
            let posting = TickPosting {
                series: self.payer.series,
                tick: self.store.reserve_tick(self.payer.series).await?,
                joule_price: self.price(),
                leases: changed.clone(),
            };
            reserved = Some(posting.tick);
            posted = match self.store.post_tick(&posting, self.clock.now_ms()).await {
                Ok(posted) => posted,
                Err(error) => {
                    // The counters are cumulative: the next tick posts all of it.
                    self.unposted.store(true, Ordering::Release);
                    // It may have been posted all the same.
                    ledger.owed.read_all_again();
                    return Err(error.into());
                }
            };
            {
                let mut grid = self.grid.lock();
                for (account, balance) in &posted.accounts {
                    grid.set_balance(*account, *balance);
                }
            }
            if posted.already {
                ledger.owed.read_all_again();
            }
            for (supplier, cumulative) in &posted.suppliers {
                ledger.owed.earned(*supplier, *cumulative);
            }
            ledger.posted.extend(changed);
            ledger.unsigned = true;
            for lease in &posted.leases {
                *recent.entry(lease.supplier).or_default() += lease.difference.supplier_nanojoule;
            }
        }
        if let Err(problem) = self.judge(&mut ledger.judged, &posted).await {
            // What is owed is signed all the same.
            warn!(error = ?problem, "budgets are looked at again in a moment");
        }
        self.recent.store(Arc::new(recent));
        if ledger.unsigned {
            ledger.unsigned = !self.sign(&mut ledger.owed, reserved).await?;
        }
        Ok(())
    }

    /// Signs what is owed, if it is more than was signed last. Says whether everything owed is
    /// signed.
    async fn sign(
        self: &Arc<Self>,
        owed: &mut Owed,
        reserved: Option<u64>,
    ) -> Result<bool, ControlError> {
        let tree = self.payment_tree(owed).await?;
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
        let signed = self.settle.sign(root).await?;
        let signed_at_ms = self.clock.now_ms();
        self.store.save_root(&signed, signed_at_ms).await?;
        let signed = Arc::new(SignedTree { tree, signed, signed_at_ms });
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
            let old = before.and_then(|before| before.tree.amount(supplier));
            let new = signed.tree.amount(supplier);
            if new.is_some()
                && old != new
                && let Some(payment) = signed.proof(supplier)
            {
                let joule_price = self.price();
                self.send(node, ToAgent::Payment { payment, joule_price });
            }
        }
    }

    /// The newest payment of a supplier, for a node of it that has just joined.
    pub(super) fn payment_for(&self, supplier: Address) -> Option<ToAgent> {
        let payment = self.signed.load().as_ref()?.proof(supplier)?;
        Some(ToAgent::Payment { payment, joule_price: self.price() })
    }

    /// Keeps the escrow funded, and knows what it holds.
    pub(super) async fn treasure(self: Arc<Self>) {
        loop {
            if let Err(problem) = self.settle.settle().await {
                warn!(error = ?problem, "what was sent to the chain could not be looked after");
            }
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
        let _one = self.depositing.lock().await;
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
        if amount.is_zero() && self.settle.market().is_some() {
            // The desk buys some, or says why it does not.
            return Ok(());
        }
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
