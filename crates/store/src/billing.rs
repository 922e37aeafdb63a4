//! Usage turned into postings, exactly once.
//!
//! For a lease with cumulative counters: supplier share `s = prices.cost(counters)`, margin
//! `m = s.share(margin_bp)`, fee `f = s.share(fee_bp)`; the customer pays `s + m + f`. Each is
//! computed from the cumulative amount, and the difference to what was posted is posted. The
//! supplier's difference converts to JOULE at the tick's price; what the division leaves is carried
//! to the lease's next posting, so nothing is lost to rounding.

use std::collections::{BTreeMap, BTreeSet};

use kinesis_protocol::{
    AccountId, Address, AppId, Counters, JoulePrice, LeaseId, NanoJoule, NanoUsd, Prices,
};
use serde::{Deserialize, Serialize};

use crate::{
    AppKind, LedgerAccount, Store, StoreError, Terms,
    db::{Row, Tx, args, json},
    leases::read_amounts,
    ledger::{Currency, Entry},
    shown,
};

mod attempt;
mod bill;
mod charge;

pub use attempt::{AttemptEnd, AttemptEnded, Then};
pub use bill::AppBill;
use charge::charge;

/// What one lease cost, or a difference of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts {
    /// The supplier's share, in USD.
    pub supplier_nanousd: NanoUsd,
    /// What the utility keeps.
    pub margin_nanousd: NanoUsd,
    /// The protocol's fee.
    pub fee_nanousd: NanoUsd,
    /// The supplier's share, in JOULE.
    pub supplier_nanojoule: NanoJoule,
    /// The protocol's fee, in JOULE.
    pub fee_nanojoule: NanoJoule,
}

impl Amounts {
    /// What the customer pays.
    #[must_use]
    pub fn customer_nanousd(&self) -> NanoUsd {
        self.supplier_nanousd + self.margin_nanousd + self.fee_nanousd
    }

    /// Whether nothing moves.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// A tick of one series.
#[derive(Debug, Clone)]
pub struct TickPosting {
    /// The series.
    pub series: u64,
    /// Its tick, from [`Store::reserve_tick`].
    pub tick: u64,
    /// What one JOULE costs.
    pub joule_price: JoulePrice,
    /// Believed counters; repeats and older ones cost nothing. Leases left out keep what is
    /// recorded, and what is recorded but not posted (a lease that ended, a crash) is posted too.
    pub leases: Vec<(LeaseId, Counters)>,
}

/// What a tick posted for one lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeasePosted {
    /// The lease.
    pub lease: LeaseId,
    /// Its app.
    pub app: AppId,
    /// Who paid.
    pub account: AccountId,
    /// Who was paid.
    pub supplier: Address,
    /// What was posted now.
    pub difference: Amounts,
    /// What was posted for this lease altogether.
    pub posted: Amounts,
}

/// What a tick posted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TickPosted {
    /// Whether this tick had been posted before; then nothing was done.
    pub already: bool,
    /// Every lease for which something was posted.
    pub leases: Vec<LeasePosted>,
    /// The new cumulative earnings, in this series, of every supplier that earned something.
    pub suppliers: Vec<(Address, NanoJoule)>,
    /// The new balance of every account that paid something.
    pub accounts: Vec<(AccountId, NanoUsd)>,
    /// What each app that was charged has cost altogether.
    pub apps: Vec<(AppId, NanoUsd)>,
}

macro_rules! charged_columns {
    () => {
        "SELECT id, app, account, kind, supplier, prices, margin_bp, fee_bp, counters, \
         supplier_nanousd, margin_nanousd, fee_nanousd, supplier_nanojoule, fee_nanojoule, \
         carry_attousd, ended_at_ms FROM leases"
    };
}

/// A lease, as far as charging for it goes.
#[derive(Debug)]
struct Charged {
    lease: LeaseId,
    app: AppId,
    account: AccountId,
    kind: AppKind,
    supplier: Address,
    prices: Prices,
    terms: Terms,
    /// As stored.
    recorded: Counters,
    /// As believed now: never less.
    counters: Counters,
    posted: Amounts,
    carry_attousd: i64,
    ended: bool,
}

impl Charged {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let counters = row.json(8, "lease's counters")?;
        Ok(Self {
            lease: row.parse(0, "lease id")?,
            app: row.parse(1, "app id")?,
            account: row.parse(2, "account id")?,
            kind: row.parse(3, "app kind")?,
            supplier: row.parse(4, "supplier")?,
            prices: row.json(5, "lease's prices")?,
            terms: Terms { margin_bp: row.u32(6)?, fee_bp: row.u32(7)? },
            recorded: counters,
            counters,
            posted: read_amounts(row, 9)?,
            carry_attousd: row.int(14)?,
            ended: row.opt_int(15)?.is_some(),
        })
    }

    /// One lease's.
    async fn of(tx: &mut Tx, lease: LeaseId) -> Result<Option<Self>, StoreError> {
        let sql = concat!(charged_columns!(), " WHERE id = $1");
        tx.one(sql, args![lease.to_string()]).await?.map(|row| Self::read(&row)).transpose()
    }

    async fn keep_counters(&self, tx: &mut Tx) -> Result<(), StoreError> {
        if self.counters != self.recorded {
            tx.run(
                "UPDATE leases SET counters = $2 WHERE id = $1",
                args![self.lease.to_string(), json(&self.counters)],
            )
            .await?;
        }
        Ok(())
    }

    /// Adds what was not posted yet to `entry`, and records it; `None` where there is nothing.
    async fn post(
        self,
        tx: &mut Tx,
        entry: &mut Entry,
        price: JoulePrice,
    ) -> Result<Option<LeasePosted>, StoreError> {
        let (difference, carry) = charge(
            self.prices.cost(&self.counters),
            self.terms,
            &self.posted,
            self.carry_attousd,
            price,
        )?;
        if difference.is_zero() && self.counters == self.recorded && !self.ended {
            return Ok(None);
        }
        let posted = charge::sum(&self.posted, &difference)?;
        tx.run(
            "UPDATE leases SET counters = $2, open = $3, supplier_nanousd = $4, \
             margin_nanousd = $5, fee_nanousd = $6, supplier_nanojoule = $7, \
             fee_nanojoule = $8, carry_attousd = $9 WHERE id = $1",
            args![
                self.lease.to_string(),
                json(&self.counters),
                !self.ended,
                posted.supplier_nanousd.0,
                posted.margin_nanousd.0,
                posted.fee_nanousd.0,
                posted.supplier_nanojoule.0,
                posted.fee_nanojoule.0,
                carry
            ],
        )
        .await?;
        if difference.is_zero() {
            return Ok(None);
        }
        entry.usd(LedgerAccount::Customer(self.account), -difference.customer_nanousd())?;
        entry.usd(LedgerAccount::Desk, difference.supplier_nanousd)?;
        entry.usd(LedgerAccount::Margin, difference.margin_nanousd)?;
        entry.usd(LedgerAccount::Fee, difference.fee_nanousd)?;
        entry.joule(
            LedgerAccount::Desk,
            -(difference.supplier_nanojoule + difference.fee_nanojoule),
        )?;
        entry.joule(LedgerAccount::Supplier(self.supplier), difference.supplier_nanojoule)?;
        entry.joule(LedgerAccount::Fee, difference.fee_nanojoule)?;
        Ok(Some(LeasePosted {
            lease: self.lease,
            app: self.app,
            account: self.account,
            supplier: self.supplier,
            difference,
            posted,
        }))
    }
}

/// Adds what was posted to what suppliers ever earned. Returns the new sums.
async fn earn(
    tx: &mut Tx,
    series: u64,
    posted: &[LeasePosted],
) -> Result<Vec<(Address, NanoJoule)>, StoreError> {
    let mut by_supplier: BTreeMap<Address, i64> = BTreeMap::new();
    for lease in posted {
        let sum = by_supplier.entry(lease.supplier).or_default();
        let more = lease.difference.supplier_nanojoule.0;
        *sum = sum.checked_add(more).ok_or(StoreError::Overflow)?;
    }
    let mut cumulative = Vec::with_capacity(by_supplier.len());
    for (supplier, more) in by_supplier.into_iter().filter(|(_, more)| *more != 0) {
        let row = tx
            .one(
                "INSERT INTO earnings (series, supplier, cumulative_nanojoule) \
                 VALUES ($1, $2, $3) ON CONFLICT (series, supplier) DO UPDATE SET \
                 cumulative_nanojoule = earnings.cumulative_nanojoule \
                 + excluded.cumulative_nanojoule RETURNING cumulative_nanojoule",
                args![series, format!("{supplier:#x}"), more],
            )
            .await?
            .ok_or_else(|| StoreError::corrupt("earning", supplier))?;
        cumulative.push((supplier, NanoJoule(row.int(0)?)));
    }
    Ok(cumulative)
}

/// Adds what was posted to what apps cost. Returns the new sums.
async fn spend(tx: &mut Tx, posted: &[LeasePosted]) -> Result<Vec<(AppId, NanoUsd)>, StoreError> {
    let apps: BTreeSet<AppId> = posted.iter().map(|lease| lease.app).collect();
    let mut spent = Vec::with_capacity(apps.len());
    for app in apps {
        let of_it = || posted.iter().filter(|lease| lease.app == app).map(|lease| lease.difference);
        let more: NanoUsd = of_it().map(|more| more.customer_nanousd()).sum();
        let suppliers: NanoUsd = of_it().map(|more| more.supplier_nanousd).sum();
        let margin: NanoUsd = of_it().map(|more| more.margin_nanousd).sum();
        let row = tx
            .one(
                "UPDATE apps SET spent_nanousd = spent_nanousd + $2, \
                 suppliers_nanousd = suppliers_nanousd + $3, \
                 margin_nanousd = margin_nanousd + $4 WHERE id = $1 RETURNING spent_nanousd",
                args![app.to_string(), more.0, suppliers.0, margin.0],
            )
            .await?
            .ok_or_else(|| StoreError::not_found("app", app))?;
        spent.push((app, NanoUsd(row.int(0)?)));
    }
    Ok(spent)
}

impl Store {
    /// Posts what the leases of a series used since they were posted last, in one transaction.
    /// Jobs' attempts are recorded but not posted: [`Store::end_attempt`] does.
    ///
    /// # Errors
    /// Where the tick was not reserved or the database fails; then nothing was posted.
    pub async fn post_tick(
        &self,
        posting: &TickPosting,
        at_ms: u64,
    ) -> Result<TickPosted, StoreError> {
        let (series, tick) = (posting.series, posting.tick);
        let mut tx = self.db.begin().await?;
        let row =
            tx.one("SELECT reserved, posted FROM ticks WHERE series = $1", args![series]).await?;
        let (reserved, posted) = match row {
            Some(row) => (row.uint(0)?, row.uint(1)?),
            None => (0, 0),
        };
        if tick == 0 || tick > reserved {
            return Err(StoreError::NotReserved { series, tick });
        }
        if tick <= posted {
            return Ok(TickPosted { already: true, ..TickPosted::default() });
        }

        let sql = concat!(charged_columns!(), " WHERE series = $1 AND open = 1 ORDER BY id");
        let mut open: BTreeMap<LeaseId, Charged> = BTreeMap::new();
        for row in &tx.all(sql, args![series]).await? {
            let lease = Charged::read(row)?;
            open.insert(lease.lease, lease);
        }
        for (lease, reported) in &posting.leases {
            if !open.contains_key(lease) {
                // It ended and was posted, and its agent came back with more.
                let sql = concat!(charged_columns!(), " WHERE id = $1 AND series = $2");
                let Some(row) = tx.one(sql, args![lease.to_string(), series]).await? else {
                    continue;
                };
                open.insert(*lease, Charged::read(&row)?);
            }
            if let Some(charged) = open.get_mut(lease) {
                charged.counters = charged.counters.max(reported);
            }
        }

        let mut entry = Entry::default();
        let mut done = Vec::new();
        let mut requests: BTreeMap<AppId, u64> = BTreeMap::new();
        for lease in open.into_values() {
            let more = lease.counters.requests.saturating_sub(lease.recorded.requests);
            let sum = requests.entry(lease.app).or_default();
            *sum = sum.saturating_add(more);
            if lease.kind == AppKind::Job {
                lease.keep_counters(&mut tx).await?;
            } else {
                done.extend(lease.post(&mut tx, &mut entry, posting.joule_price).await?);
            }
        }
        let id = format!("tick:{series}:{tick}");
        let price = Some(posting.joule_price);
        let balances = entry.post_at(&mut tx, &id, "tick", price, at_ms).await?;
        let suppliers = earn(&mut tx, series, &done).await?;
        let apps = spend(&mut tx, &done).await?;
        for (app, more) in requests {
            shown::count_requests(&mut tx, &app.to_string(), more).await?;
        }
        tx.run("UPDATE ticks SET posted = $2 WHERE series = $1", args![series, tick]).await?;
        tx.commit().await?;
        let accounts = balances
            .into_iter()
            .filter_map(|(who, what, balance)| match who {
                LedgerAccount::Customer(account) if what == Currency::Usd => {
                    Some((account, NanoUsd(balance)))
                }
                _ => None,
            })
            .collect();
        Ok(TickPosted { already: false, leases: done, suppliers, accounts, apps })
    }

    /// What an app cost its customer so far.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn spent(&self, app: AppId) -> Result<NanoUsd, StoreError> {
        let row = self
            .db
            .one("SELECT spent_nanousd FROM apps WHERE id = $1", args![app.to_string()])
            .await?
            .ok_or_else(|| StoreError::not_found("app", app))?;
        Ok(NanoUsd(row.int(0)?))
    }

    /// What one version of an app cost its customer so far.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn spent_version(
        &self,
        version: kinesis_protocol::VersionId,
    ) -> Result<NanoUsd, StoreError> {
        let row = self
            .db
            .one(
                "SELECT COALESCE(CAST(SUM(supplier_nanousd + margin_nanousd + fee_nanousd) \
                 AS BIGINT), 0) FROM leases WHERE version = $1",
                args![version.to_string()],
            )
            .await?;
        row.map_or(Ok(NanoUsd::ZERO), |row| Ok(NanoUsd(row.int(0)?)))
    }
}
