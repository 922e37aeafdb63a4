//! What was earned, what was paid, and whether to go on working on trust.
//!
//! Every tick a utility may send a [`PaymentProof`]. The wallet keeps it only when it is worth
//! having: its signature and proof hold for the chain and escrow the utility named at the start, it
//! is ours, and neither its tick nor its amount goes back. The newest proof of each series lies in
//! a plain file ([`stored`]) from which anybody with the supplier's key can redeem it, without the
//! agent and without the utility.
//!
//! `exposure = earned by our own meter - paid and covered by the escrow`. Past the owner's limit no
//! new lease is granted. A payment above what our meter says lifts `earned` with it (other nodes of
//! the same supplier are paid by the same proof), so it buys the utility no slack.

pub mod stored;

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use kinesis_protocol::{Address, JoulePrice, NanoJoule, NanoUsd, U256, root::PaymentProof};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

pub use self::stored::StoredPayment;
use crate::{AgentError, book::Payer};

/// What a utility said of its payments when it welcomed us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// Who pays.
    pub payer: Payer,
    /// On which chain.
    pub chain_id: u64,
    /// By which escrow contract.
    pub escrow: Address,
}

/// Why a payment was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// It pays somebody else.
    #[error("it pays {0}, not this supplier")]
    NotOurs(Address),
    /// It is of another utility or series than the one that welcomed us.
    #[error("it is of another utility or series than the one that welcomed this node")]
    OtherPayer,
    /// Signature or proof do not hold.
    #[error("its signature or its proof does not hold")]
    Invalid,
    /// Its tick is older than one already held.
    #[error("its tick {got} is older than tick {held}, which is held")]
    OldTick {
        /// The tick of the payment.
        got: u64,
        /// The newest tick held.
        held: u64,
    },
    /// A tick that is held was signed again with another root.
    #[error("tick {tick} was signed twice with different content")]
    Equivocation {
        /// Which tick.
        tick: u64,
    },
    /// It takes back what was paid.
    #[error("its amount {got_wei} wei is less than the {held_wei} wei already held")]
    Decreased {
        /// The amount of the payment.
        got_wei: U256,
        /// The amount held.
        held_wei: U256,
    },
    /// It is below what our own meter says by more than work that is still on its way explains.
    #[error(
        "it pays {paid_nanojoule} of {earned_nanojoule} nano-JOULE that this node's meter counted"
    )]
    Short {
        /// The amount of the payment.
        paid_nanojoule: i64,
        /// What the meter says.
        earned_nanojoule: i64,
    },
}

/// What a payer's escrow covers, in wei, as far as the chain was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cover {
    /// The owner named no RPC: signatures alone are trusted.
    Unchecked,
    /// The chain was not read yet.
    Unknown,
    /// Everything redeemed so far and everything still in the escrow.
    Covers(U256),
}

/// One payer's account, as the owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Who pays.
    pub payer: Payer,
    /// What our own meter says was earned.
    pub earned_nanojoule: NanoJoule,
    /// The newest payment held.
    pub paid_nanojoule: NanoJoule,
    /// Its tick; 0 while there is none.
    pub tick: u64,
    /// Whether the escrow covered the newest root when it was last read; `None` where it was not.
    pub covered: Option<bool>,
    /// Unpaid or uncovered work, in USD at the newest price.
    pub exposure_nanousd: NanoUsd,
    /// The last thing that was wrong with a payment.
    pub alert: Option<String>,
}

#[derive(Debug)]
struct Series {
    terms: Terms,
    price: JoulePrice,
    earned: NanoJoule,
    newest: Option<PaymentProof>,
    cover: Cover,
    alert: Option<String>,
}

impl Series {
    fn paid(&self) -> NanoJoule {
        self.newest.as_ref().map_or(NanoJoule::ZERO, |payment| floor(payment.cumulative_wei))
    }

    fn covered(&self) -> Option<bool> {
        let total = self.newest.as_ref().map_or(U256::ZERO, |payment| payment.signed.root.total);
        match self.cover {
            Cover::Unchecked | Cover::Unknown => None,
            Cover::Covers(wei) => Some(total <= wei),
        }
    }

    fn exposure(&self) -> NanoUsd {
        let secured = match (self.cover, self.covered()) {
            (Cover::Unchecked, _) | (_, Some(true)) => self.paid(),
            _ => NanoJoule::ZERO,
        };
        self.price.to_usd(self.earned - secured).max(NanoUsd::ZERO)
    }
}

/// All payers' accounts.
#[derive(Debug)]
pub struct Wallet {
    supplier: Address,
    exposure_max: NanoUsd,
    dir: PathBuf,
    first_cover: Cover,
    series: Mutex<HashMap<Payer, Series>>,
}

/// What a payment changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The payer's earned sum where the payment lifted it; to be written to the book.
    pub lifted: Option<NanoJoule>,
    /// Whether the escrow should be read again, since the signed total passed what was last seen.
    pub read_escrow: bool,
    /// Something the owner should know although the payment was kept.
    pub alert: Option<PaymentError>,
}

impl Wallet {
    /// A wallet whose newest payments lie in `data_dir`. `checks_chain`: whether there is an RPC to
    /// read escrows from.
    #[must_use]
    pub fn new(
        supplier: Address,
        exposure_max: NanoUsd,
        data_dir: PathBuf,
        checks_chain: bool,
    ) -> Self {
        Self {
            supplier,
            exposure_max,
            dir: data_dir,
            first_cover: if checks_chain { Cover::Unknown } else { Cover::Unchecked },
            series: Mutex::default(),
        }
    }

    /// Takes up a utility's terms, with what was earned and paid before. Its older state stays where
    /// the payer is known already.
    ///
    /// # Errors
    /// Where the stored payment cannot be read.
    pub fn welcome(
        &self,
        terms: Terms,
        price: JoulePrice,
        earned_before: NanoJoule,
    ) -> Result<(), AgentError> {
        let mut all = self.series.lock();
        if let Some(series) = all.get_mut(&terms.payer) {
            // Another chain or contract is another debt: what was paid there does not count here.
            if series.terms != terms {
                series.terms = terms;
                series.newest = stored::load(&self.dir, &terms)?.map(|stored| stored.payment);
                series.earned = series.earned.max(series.paid());
                series.cover = self.first_cover;
            }
            series.price = price;
            return Ok(());
        }
        let newest = stored::load(&self.dir, &terms)?.map(|stored| stored.payment);
        let mut series = Series {
            terms,
            price,
            earned: earned_before,
            newest,
            cover: self.first_cover,
            alert: None,
        };
        series.earned = series.earned.max(series.paid());
        all.insert(terms.payer, series);
        Ok(())
    }

    /// Counts `cost` of work for `payer` as earned, at the newest price; returns the new sum.
    pub fn earn(&self, payer: Payer, cost: NanoUsd) -> Option<NanoJoule> {
        let mut all = self.series.lock();
        let series = all.get_mut(&payer)?;
        series.earned += series.price.to_joule(cost.max(NanoUsd::ZERO));
        Some(series.earned)
    }

    /// Checks a payment, and stores it where it is worth having. Blocks for a disk sync; called for
    /// one payment of a payer at a time.
    ///
    /// # Errors
    /// [`PaymentError`] where it was not taken; the outer error where it could not be stored.
    pub fn receive(
        &self,
        terms: &Terms,
        payment: PaymentProof,
        price: JoulePrice,
    ) -> Result<Result<Accepted, PaymentError>, AgentError> {
        let now = {
            let mut all = self.series.lock();
            let Some(series) = all.get_mut(&terms.payer) else {
                return Ok(Err(PaymentError::OtherPayer));
            };
            series.price = price;
            if let Err(error) =
                check(self.supplier, &series.terms, series.newest.as_ref(), &payment)
            {
                series.alert = Some(error.to_string());
                return Ok(Err(error));
            }
            series.terms
        };
        // Without the lock: grants and heartbeats must not wait for the disk.
        stored::save(&self.dir, &StoredPayment::new(now, payment.clone(), price))?;
        let mut all = self.series.lock();
        let Some(series) = all.get_mut(&terms.payer) else {
            return Ok(Err(PaymentError::OtherPayer));
        };
        let total = payment.signed.root.total;
        series.newest = Some(payment);
        let paid = series.paid();
        let lifted = (paid > series.earned).then_some(paid);
        series.earned = series.earned.max(paid);
        let read_escrow = match series.cover {
            Cover::Unchecked => false,
            Cover::Unknown => true,
            Cover::Covers(wei) => total > wei,
        };
        // Work of the last moments is on its way; only what passes the limit is an alert.
        let unpaid = price.to_usd(series.earned - paid);
        let alert = (unpaid > self.exposure_max).then_some(PaymentError::Short {
            paid_nanojoule: paid.0,
            earned_nanojoule: series.earned.0,
        });
        series.alert = alert.as_ref().map(ToString::to_string);
        Ok(Ok(Accepted { lifted, read_escrow, alert }))
    }

    /// Notes what the chain says of a payer's escrow.
    pub fn cover(&self, payer: Payer, covers_wei: U256) {
        if let Some(series) = self.series.lock().get_mut(&payer) {
            series.cover = Cover::Covers(covers_wei);
        }
    }

    /// Why no lease of `payer` is granted; `None` while they are.
    #[must_use]
    pub fn refusal(&self, payer: Payer) -> Option<String> {
        let all = self.series.lock();
        let series = all.get(&payer)?;
        let exposure = series.exposure();
        if series.covered() == Some(false) {
            return Some(format!(
                "the escrow of {} series {} does not cover what was signed against it",
                payer.utility, payer.series
            ));
        }
        if exposure <= self.exposure_max {
            return None;
        }
        Some(if series.cover == Cover::Unknown {
            format!(
                "the chain could not be asked yet whether the escrow covers work worth {exposure}; \
                 this node works on trust up to {}",
                self.exposure_max
            )
        } else {
            format!(
                "work worth {exposure} is not paid and covered yet; this node works on trust up to {}",
                self.exposure_max
            )
        })
    }

    /// Writes off what is unpaid: the owner goes on in spite of it. Returns the new sums.
    pub fn forgive(&self) -> Vec<(Payer, NanoJoule)> {
        let mut all = self.series.lock();
        all.values_mut()
            .map(|series| {
                series.earned = series.paid();
                series.alert = None;
                (series.terms.payer, series.earned)
            })
            .collect()
    }

    /// The terms of every payer.
    #[must_use]
    pub fn terms(&self) -> Vec<Terms> {
        self.series.lock().values().map(|series| series.terms).collect()
    }

    /// Every account, by payer.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account> {
        let all = self.series.lock();
        let mut accounts: Vec<_> = all
            .values()
            .map(|series| Account {
                payer: series.terms.payer,
                earned_nanojoule: series.earned,
                paid_nanojoule: series.paid(),
                tick: series.newest.as_ref().map_or(0, |payment| payment.signed.root.tick),
                covered: series.covered(),
                exposure_nanousd: series.exposure(),
                alert: series.alert.clone(),
            })
            .collect();
        accounts.sort_unstable_by_key(|account| account.payer);
        accounts
    }
}

/// A shared wallet.
pub(crate) type SharedWallet = Arc<Wallet>;

fn floor(wei: U256) -> NanoJoule {
    NanoJoule::from_wei(wei).unwrap_or(NanoJoule(i64::MAX))
}

/// All that can be said of a payment without our meter.
fn check(
    supplier: Address,
    terms: &Terms,
    held: Option<&PaymentProof>,
    payment: &PaymentProof,
) -> Result<(), PaymentError> {
    let root = &payment.signed.root;
    if payment.supplier != supplier {
        return Err(PaymentError::NotOurs(payment.supplier));
    }
    if root.utility != terms.payer.utility || root.series != terms.payer.series {
        return Err(PaymentError::OtherPayer);
    }
    if !payment.verify(terms.chain_id, terms.escrow) {
        return Err(PaymentError::Invalid);
    }
    let Some(held) = held else { return Ok(()) };
    let before = &held.signed.root;
    if root.tick < before.tick {
        return Err(PaymentError::OldTick { got: root.tick, held: before.tick });
    }
    if root.tick == before.tick && root != before {
        return Err(PaymentError::Equivocation { tick: root.tick });
    }
    if payment.cumulative_wei < held.cumulative_wei {
        return Err(PaymentError::Decreased {
            got_wei: payment.cumulative_wei,
            held_wei: held.cumulative_wei,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
