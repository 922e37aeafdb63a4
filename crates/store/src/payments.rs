//! Ticks, signed roots, what suppliers earned, and what was paid out in USD.

use kinesis_protocol::{Address, NanoJoule, NanoUsd, SignedRoot};
use serde::{Deserialize, Serialize};

use crate::{
    LedgerAccount, Store, StoreError,
    db::{Row, Tx, args, json},
    ledger::Entry,
};

/// How many signed roots of a series are kept.
const ROOTS_KEPT: u64 = 100;

/// What a supplier ever earned in one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earning {
    /// The supplier.
    pub supplier: Address,
    /// Everything it ever earned.
    pub cumulative_nanojoule: NanoJoule,
}

/// A supplier's withdrawal in USD: it gives the right to redeem, the utility pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// The series it was redeemed from.
    pub series: u64,
    /// The supplier.
    pub supplier: Address,
    /// The cumulative amount it redeems up to: with series and supplier, the withdrawal's key.
    pub cumulative_nanojoule: NanoJoule,
    /// What was redeemed to the utility; `None` until it is finished.
    pub redeemed_nanojoule: Option<NanoJoule>,
    /// What was paid for it; `None` until it is finished.
    pub paid_nanousd: Option<NanoUsd>,
    /// The transaction on chain, as hex, where one was needed.
    pub transaction: Option<String>,
    /// When it was asked for.
    pub created_at_ms: u64,
}

macro_rules! withdrawal_columns {
    () => {
        "SELECT series, supplier, cumulative_nanojoule, redeemed_nanojoule, paid_nanousd, txn, \
         created_at_ms FROM withdrawals"
    };
}

fn read(row: &Row) -> Result<Withdrawal, StoreError> {
    Ok(Withdrawal {
        series: row.uint(0)?,
        supplier: row.parse(1, "supplier")?,
        cumulative_nanojoule: NanoJoule(row.int(2)?),
        redeemed_nanojoule: row.opt_int(3)?.map(NanoJoule),
        paid_nanousd: row.opt_int(4)?.map(NanoUsd),
        transaction: row.opt_text(5)?,
        created_at_ms: row.uint(6)?,
    })
}

async fn find(
    tx: &mut Tx,
    series: u64,
    supplier: &str,
    cumulative: NanoJoule,
) -> Result<Option<Withdrawal>, StoreError> {
    let sql = concat!(
        withdrawal_columns!(),
        " WHERE series = $1 AND supplier = $2 AND cumulative_nanojoule = $3"
    );
    let row = tx.one(sql, args![series, supplier, cumulative.0]).await?;
    row.map(|row| read(&row)).transpose()
}

impl Store {
    /// The next tick of a series: larger than every one before, durable when this returns, and so
    /// before it is signed.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn reserve_tick(&self, series: u64) -> Result<u64, StoreError> {
        let mut tx = self.db.begin().await?;
        let row = tx
            .one(
                "INSERT INTO ticks (series, reserved, posted) VALUES ($1, 1, 0) \
                 ON CONFLICT (series) DO UPDATE SET reserved = ticks.reserved + 1 \
                 RETURNING reserved",
                args![series],
            )
            .await?
            .ok_or_else(|| StoreError::corrupt("tick", "none was returned"))?;
        let tick = row.uint(0)?;
        tx.commit().await?;
        Ok(tick)
    }

    /// Keeps a signed root. The same root again changes nothing.
    ///
    /// # Errors
    /// Where its tick was not reserved, or was signed with another root.
    pub async fn save_root(&self, root: &SignedRoot, at_ms: u64) -> Result<(), StoreError> {
        let (series, tick) = (root.root.series, root.root.tick);
        let mut tx = self.db.begin().await?;
        let row = tx.one("SELECT reserved FROM ticks WHERE series = $1", args![series]).await?;
        let reserved = row.map_or(Ok(0), |row| row.uint(0))?;
        if tick == 0 || tick > reserved {
            return Err(StoreError::NotReserved { series, tick });
        }
        let sql = "SELECT tick, signed FROM roots WHERE series = $1 AND tick >= $2 ORDER BY tick";
        match tx.all(sql, args![series, tick]).await?.first() {
            Some(row) if row.uint(0)? == tick => {
                let saved: SignedRoot = row.json(1, "signed root")?;
                // Another signature over the same content is no equivocation.
                return if saved.root == root.root {
                    Ok(())
                } else {
                    Err(StoreError::Equivocation { series, tick })
                };
            }
            // A later one is saved: whatever was signed for this one is not known any more.
            Some(_) => return Err(StoreError::Equivocation { series, tick }),
            None => {}
        }
        tx.run(
            "INSERT INTO roots (series, tick, signed, at_ms) VALUES ($1, $2, $3, $4)",
            args![series, tick, json(root), at_ms],
        )
        .await?;
        tx.run(
            "DELETE FROM roots WHERE series = $1 AND tick <= $2",
            args![series, tick.saturating_sub(ROOTS_KEPT)],
        )
        .await?;
        tx.commit().await
    }

    /// The newest signed root of a series, with the time it was saved.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn newest_root(&self, series: u64) -> Result<Option<(SignedRoot, u64)>, StoreError> {
        let row = self
            .db
            .one(
                "SELECT signed, at_ms FROM roots WHERE series = $1 ORDER BY tick DESC LIMIT 1",
                args![series],
            )
            .await?;
        row.map(|row| Ok((row.json(0, "signed root")?, row.uint(1)?))).transpose()
    }

    /// What every supplier ever earned in a series, in ascending order of address: the leaves of
    /// the payment tree.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn earnings_all(&self, series: u64) -> Result<Vec<Earning>, StoreError> {
        let rows = self
            .db
            .all(
                "SELECT supplier, cumulative_nanojoule FROM earnings WHERE series = $1 \
                 ORDER BY supplier",
                args![series],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Earning {
                    supplier: row.parse(0, "supplier")?,
                    cumulative_nanojoule: NanoJoule(row.int(1)?),
                })
            })
            .collect()
    }

    /// What one supplier ever earned in a series.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn earned(&self, series: u64, supplier: Address) -> Result<NanoJoule, StoreError> {
        let row = self
            .db
            .one(
                "SELECT cumulative_nanojoule FROM earnings WHERE series = $1 AND supplier = $2",
                args![series, format!("{supplier:#x}")],
            )
            .await?;
        row.map_or(Ok(NanoJoule::ZERO), |row| Ok(NanoJoule(row.int(0)?)))
    }

    /// Records that a supplier asks for USD up to a cumulative amount, before anything is redeemed.
    /// Asked again it returns what was recorded, finished or not.
    ///
    /// # Errors
    /// Where the amount is more than it earned.
    pub async fn begin_withdrawal(
        &self,
        series: u64,
        supplier: Address,
        cumulative: NanoJoule,
        at_ms: u64,
    ) -> Result<Withdrawal, StoreError> {
        let key = format!("{supplier:#x}");
        let mut tx = self.db.begin().await?;
        if let Some(known) = find(&mut tx, series, &key, cumulative).await? {
            return Ok(known);
        }
        let row = tx
            .one(
                "SELECT cumulative_nanojoule FROM earnings WHERE series = $1 AND supplier = $2",
                args![series, key.as_str()],
            )
            .await?;
        let earned = row.map_or(Ok(NanoJoule::ZERO), |row| row.int(0).map(NanoJoule))?;
        if cumulative <= NanoJoule::ZERO || cumulative > earned {
            return Err(StoreError::Invalid(format!(
                "{supplier:#x} has earned {earned} JOULE in series {series}, not {cumulative}"
            )));
        }
        tx.run(
            "INSERT INTO withdrawals (series, supplier, cumulative_nanojoule, created_at_ms) \
             VALUES ($1, $2, $3, $4)",
            args![series, key.as_str(), cumulative.0, at_ms],
        )
        .await?;
        let begun = find(&mut tx, series, &key, cumulative).await?;
        tx.commit().await?;
        begun.ok_or_else(|| StoreError::not_found("withdrawal", cumulative))
    }

    /// Posts what was redeemed and paid for a withdrawal, once; finished again it returns what was
    /// recorded first.
    ///
    /// # Errors
    /// Where it was not begun, or an amount is negative.
    #[expect(
        clippy::too_many_arguments,
        reason = "three name the withdrawal, three say what was done"
    )]
    pub async fn finish_withdrawal(
        &self,
        series: u64,
        supplier: Address,
        cumulative: NanoJoule,
        redeemed: NanoJoule,
        paid: NanoUsd,
        transaction: Option<&str>,
        at_ms: u64,
    ) -> Result<Withdrawal, StoreError> {
        if redeemed < NanoJoule::ZERO || paid < NanoUsd::ZERO || redeemed > cumulative {
            return Err(StoreError::Invalid(format!(
                "a withdrawal up to {cumulative} JOULE does not redeem {redeemed} for {paid}"
            )));
        }
        let key = format!("{supplier:#x}");
        let mut tx = self.db.begin().await?;
        let begun = find(&mut tx, series, &key, cumulative)
            .await?
            .ok_or_else(|| StoreError::not_found("withdrawal", cumulative))?;
        if begun.paid_nanousd.is_some() {
            return Ok(begun);
        }
        let mut entry = Entry::default();
        entry.joule(LedgerAccount::World, -redeemed)?;
        entry.joule(LedgerAccount::Purse, redeemed)?;
        entry.usd(LedgerAccount::Purse, -paid)?;
        entry.usd(LedgerAccount::World, paid)?;
        let id = format!("withdrawal:{series}:{key}:{}", cumulative.0);
        entry.post(&mut tx, &id, "withdrawal", at_ms).await?;
        tx.run(
            "UPDATE withdrawals SET redeemed_nanojoule = $4, paid_nanousd = $5, txn = $6 \
             WHERE series = $1 AND supplier = $2 AND cumulative_nanojoule = $3",
            args![series, key.as_str(), cumulative.0, redeemed.0, paid.0, transaction],
        )
        .await?;
        let finished = find(&mut tx, series, &key, cumulative).await?;
        tx.commit().await?;
        finished.ok_or_else(|| StoreError::not_found("withdrawal", cumulative))
    }

    /// All withdrawals of a supplier in a series, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn withdrawals(
        &self,
        series: u64,
        supplier: Address,
    ) -> Result<Vec<Withdrawal>, StoreError> {
        let sql = concat!(
            withdrawal_columns!(),
            " WHERE series = $1 AND supplier = $2 ORDER BY cumulative_nanojoule"
        );
        let rows = self.db.all(sql, args![series, format!("{supplier:#x}")]).await?;
        rows.iter().map(read).collect()
    }
}
