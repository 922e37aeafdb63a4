//! Double entry: every transaction sums to zero per currency, every balance is the sum of its
//! postings.

use std::{collections::BTreeMap, fmt};

use kinesis_protocol::{AccountId, Address, JoulePrice, NanoJoule, NanoUsd};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    db::{Row, Tx, args},
};

mod audit;

/// Whose money it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LedgerAccount {
    /// A customer's balance.
    Customer(AccountId),
    /// A supplier's earnings, in JOULE.
    Supplier(Address),
    /// The utility's exchange: takes suppliers' shares in USD, gives JOULE.
    Desk,
    /// What the utility keeps.
    Margin,
    /// The protocol's fee.
    Fee,
    /// The utility's own purse: JOULE bought on the market or back from suppliers, USD paid for it.
    Purse,
    /// The market of USD and JOULE: the other side of the purse's trades.
    Market,
    /// The world outside: deposits come from it, withdrawals go to it.
    World,
}

/// All usage ever posted. Both differences are zero, or something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// What customers paid: what came in less what they have left.
    pub customer_nanousd: NanoUsd,
    /// What suppliers got of it.
    pub suppliers_nanousd: NanoUsd,
    /// What the utility kept.
    pub margin_nanousd: NanoUsd,
    /// The protocol's fee.
    pub fee_nanousd: NanoUsd,
    /// Customers less all the others.
    pub difference_nanousd: NanoUsd,
    /// What the desk gave in JOULE.
    pub desk_nanojoule: NanoJoule,
    /// What suppliers got in JOULE.
    pub suppliers_nanojoule: NanoJoule,
    /// The protocol's fee in JOULE.
    pub fee_nanojoule: NanoJoule,
    /// Desk less the others.
    pub difference_nanojoule: NanoJoule,
}

/// The whole ledger read again from its postings, and compared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Audit {
    /// Transactions read.
    pub transactions: u64,
    /// Every disagreement found, in words. Empty: the ledger is exact.
    pub findings: Vec<String>,
}

impl fmt::Display for LedgerAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Customer(account) => write!(f, "customer:{account}"),
            Self::Supplier(supplier) => write!(f, "supplier:{supplier:#x}"),
            Self::Desk => f.write_str("utility:desk"),
            Self::Margin => f.write_str("utility:margin"),
            Self::Fee => f.write_str("protocol:fee"),
            Self::Purse => f.write_str("utility:purse"),
            Self::Market => f.write_str("market"),
            Self::World => f.write_str("world"),
        }
    }
}

/// What an amount is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Currency {
    Usd,
    Joule,
}

impl Currency {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Usd => "USD",
            Self::Joule => "JOULE",
        }
    }
}

/// A ledger transaction that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Entry(BTreeMap<(LedgerAccount, Currency), i64>);

impl Entry {
    fn add(&mut self, who: LedgerAccount, what: Currency, amount: i64) -> Result<(), StoreError> {
        let sum = self.0.entry((who, what)).or_default();
        *sum = sum.checked_add(amount).ok_or(StoreError::Overflow)?;
        Ok(())
    }

    pub(crate) fn usd(&mut self, who: LedgerAccount, amount: NanoUsd) -> Result<(), StoreError> {
        self.add(who, Currency::Usd, amount.0)
    }

    pub(crate) fn joule(
        &mut self,
        who: LedgerAccount,
        amount: NanoJoule,
    ) -> Result<(), StoreError> {
        self.add(who, Currency::Joule, amount.0)
    }

    /// Whether every currency sums to zero.
    fn balanced(&self) -> bool {
        [Currency::Usd, Currency::Joule].into_iter().all(|currency| {
            let of_it = self.0.iter().filter(|((_, what), _)| *what == currency);
            of_it.map(|(_, amount)| i128::from(*amount)).sum::<i128>() == 0
        })
    }

    /// Posts it under an id that was never used. Nothing is written where nothing moves. Returns
    /// the new balance of every account that moved.
    pub(crate) async fn post(
        self,
        tx: &mut Tx,
        id: &str,
        kind: &str,
        at_ms: u64,
    ) -> Result<Vec<(LedgerAccount, Currency, i64)>, StoreError> {
        self.post_at(tx, id, kind, None, at_ms).await
    }

    /// [`Self::post`], with the price that it converted at.
    pub(crate) async fn post_at(
        self,
        tx: &mut Tx,
        id: &str,
        kind: &str,
        price: Option<JoulePrice>,
        at_ms: u64,
    ) -> Result<Vec<(LedgerAccount, Currency, i64)>, StoreError> {
        if !self.balanced() {
            return Err(StoreError::corrupt("ledger transaction", format!("{id} is not balanced")));
        }
        let mut balances = Vec::with_capacity(self.0.len());
        if self.0.values().all(|amount| *amount == 0) {
            return Ok(balances);
        }
        tx.run(
            "INSERT INTO ledger_transactions (id, kind, at_ms, price_nanousd) \
             VALUES ($1, $2, $3, $4)",
            args![id, kind, at_ms, price.map(JoulePrice::nanousd)],
        )
        .await?;
        for ((who, what), amount) in self.0.into_iter().filter(|(_, amount)| *amount != 0) {
            let account = who.to_string();
            tx.run(
                "INSERT INTO ledger_postings (txn, account, currency, amount) \
                 VALUES ($1, $2, $3, $4)",
                args![id, account.as_str(), what.as_str(), amount],
            )
            .await?;
            let row = tx
                .one(
                    "INSERT INTO ledger_balances (account, currency, balance) \
                     VALUES ($1, $2, $3) ON CONFLICT (account, currency) \
                     DO UPDATE SET balance = ledger_balances.balance + excluded.balance \
                     RETURNING balance",
                    args![account, what.as_str(), amount],
                )
                .await?
                .ok_or_else(|| StoreError::corrupt("balance", who))?;
            // An overflow is an error on PostgreSQL and no longer an integer on SQLite.
            balances.push((who, what, row.int(0)?));
        }
        Ok(balances)
    }
}

fn totals_of(rows: &[Row]) -> Result<Totals, StoreError> {
    let mut sums = BTreeMap::new();
    for row in rows {
        sums.insert((row.text(0)?, row.text(1)?), row.int(2)?);
    }
    let sum = |who: &str, what: Currency| {
        sums.get(&(who.to_owned(), what.as_str().to_owned())).copied().unwrap_or(0)
    };
    let usd = |who| sum(who, Currency::Usd);
    let joule = |who| NanoJoule(sum(who, Currency::Joule));
    // What the world gave, less what the purse gave back to it or to the market, is what was
    // deposited.
    let deposited = -(usd("world") + usd("utility:purse") + usd("market"));
    let mut totals = Totals {
        customer_nanousd: NanoUsd(deposited - usd("customer")),
        suppliers_nanousd: NanoUsd(usd("utility:desk")),
        margin_nanousd: NanoUsd(usd("utility:margin")),
        fee_nanousd: NanoUsd(usd("protocol:fee")),
        desk_nanojoule: -joule("utility:desk"),
        suppliers_nanojoule: joule("supplier"),
        fee_nanojoule: joule("protocol:fee"),
        ..Totals::default()
    };
    totals.difference_nanousd = totals.customer_nanousd
        - totals.suppliers_nanousd
        - totals.margin_nanousd
        - totals.fee_nanousd;
    totals.difference_nanojoule =
        totals.desk_nanojoule - totals.suppliers_nanojoule - totals.fee_nanojoule;
    Ok(totals)
}

impl Store {
    /// What customers paid and where it went.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        let rows = self
            .db
            .all(
                "SELECT CASE WHEN account LIKE 'customer:%' THEN 'customer' \
                 WHEN account LIKE 'supplier:%' THEN 'supplier' ELSE account END AS who, \
                 currency, CAST(SUM(balance) AS BIGINT) \
                 FROM ledger_balances GROUP BY 1, 2",
                args![],
            )
            .await?;
        totals_of(&rows)
    }

    /// Reads the whole ledger again: every transaction sums to zero, every balance is the sum of
    /// its postings, what leases, apps and earnings say was posted is what was posted, and no part
    /// of a job was billed twice.
    ///
    /// # Errors
    /// Where the database fails; disagreements are findings, not errors.
    pub async fn audit(&self) -> Result<Audit, StoreError> {
        audit::run(&self.db).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_does_not_sum_to_zero_is_noticed() {
        let mut entry = Entry::default();
        entry.usd(LedgerAccount::Desk, NanoUsd(5)).unwrap();
        entry.joule(LedgerAccount::World, NanoJoule(-5)).unwrap();
        assert!(!entry.balanced());
        entry.usd(LedgerAccount::World, NanoUsd(-5)).unwrap();
        entry.joule(LedgerAccount::Desk, NanoJoule(5)).unwrap();
        assert!(entry.balanced());
        entry.usd(LedgerAccount::Desk, NanoUsd(i64::MAX)).unwrap_err();
    }
}
