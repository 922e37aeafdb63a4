//! The audit: the whole ledger read again, and compared with everything derived from it.

use std::collections::BTreeMap;

use super::Audit;
use crate::{
    StoreError,
    db::{Db, Tx, args},
};

/// The most findings of one kind that are listed.
const FINDINGS_MAX: usize = 20;

/// Sums by name.
type Sums = BTreeMap<String, i64>;

async fn sums(tx: &mut Tx, sql: &'static str) -> Result<Sums, StoreError> {
    let rows = tx.all(sql, args![]).await?;
    rows.iter().map(|row| Ok((row.text(0)?, row.int(1)?))).collect()
}

/// Every name for which both say something else; a name that one of them lacks counts as zero.
fn compare(what: &str, one: &Sums, other: &Sums, findings: &mut Vec<String>) {
    let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
    let value = |sums: &Sums, name: &str| sums.get(name).copied().unwrap_or(0);
    findings.extend(
        names
            .filter(|name| value(one, name) != value(other, name))
            .take(FINDINGS_MAX)
            .map(|name| format!("{what}: {name}: {} and {}", value(one, name), value(other, name))),
    );
}

pub(super) async fn run(db: &Db) -> Result<Audit, StoreError> {
    // One transaction, so that everything is of one moment.
    let mut tx = db.begin().await?;
    let mut findings = Vec::new();

    let row = tx.one("SELECT COUNT(*) FROM ledger_transactions", args![]).await?;
    let transactions = row.map_or(Ok(0), |row| row.uint(0))?;
    let unbalanced = tx
        .all(
            "SELECT txn, currency, CAST(SUM(amount) AS BIGINT) FROM ledger_postings \
             GROUP BY txn, currency HAVING SUM(amount) <> 0 ORDER BY txn LIMIT 20",
            args![],
        )
        .await?;
    for row in &unbalanced {
        findings.push(format!(
            "transaction {} sums to {} {}",
            row.text(0)?,
            row.int(2)?,
            row.text(1)?
        ));
    }

    let postings = sums(
        &mut tx,
        "SELECT account || ' ' || currency, CAST(SUM(amount) AS BIGINT) FROM ledger_postings \
         GROUP BY account, currency",
    )
    .await?;
    let balances =
        sums(&mut tx, "SELECT account || ' ' || currency, balance FROM ledger_balances").await?;
    compare("postings and balance", &postings, &balances, &mut findings);

    // What usage moved, as the postings of usage say and as the leases say.
    let moved = sums(
        &mut tx,
        "SELECT p.account || ' ' || p.currency, CAST(SUM(p.amount) AS BIGINT) \
         FROM ledger_postings p JOIN ledger_transactions t ON t.id = p.txn \
         WHERE t.kind IN ('tick', 'job') GROUP BY p.account, p.currency",
    )
    .await?;
    let leases = sums(
        &mut tx,
        "SELECT 'customer:' || account || ' USD', \
         -CAST(SUM(supplier_nanousd + margin_nanousd + fee_nanousd) AS BIGINT) \
         FROM leases GROUP BY account \
         UNION ALL SELECT 'supplier:' || supplier || ' JOULE', \
         CAST(SUM(supplier_nanojoule) AS BIGINT) FROM leases GROUP BY supplier \
         UNION ALL SELECT 'utility:desk USD', \
         COALESCE(CAST(SUM(supplier_nanousd) AS BIGINT), 0) FROM leases \
         UNION ALL SELECT 'utility:desk JOULE', \
         COALESCE(-CAST(SUM(supplier_nanojoule + fee_nanojoule) AS BIGINT), 0) FROM leases \
         UNION ALL SELECT 'utility:margin USD', \
         COALESCE(CAST(SUM(margin_nanousd) AS BIGINT), 0) FROM leases \
         UNION ALL SELECT 'protocol:fee USD', \
         COALESCE(CAST(SUM(fee_nanousd) AS BIGINT), 0) FROM leases \
         UNION ALL SELECT 'protocol:fee JOULE', \
         COALESCE(CAST(SUM(fee_nanojoule) AS BIGINT), 0) FROM leases",
    )
    .await?;
    compare("postings and leases", &moved, &leases, &mut findings);

    let moved = sums(
        &mut tx,
        "SELECT p.account || ' ' || p.currency, CAST(SUM(p.amount) AS BIGINT) \
         FROM ledger_postings p JOIN ledger_transactions t ON t.id = p.txn \
         WHERE t.kind = 'trade' GROUP BY p.account, p.currency",
    )
    .await?;
    let trades = sums(
        &mut tx,
        "SELECT 'utility:purse USD', COALESCE(CAST(SUM(purse_nanousd) AS BIGINT), 0) \
         FROM desk_trades \
         UNION ALL SELECT 'utility:purse JOULE', \
         COALESCE(CAST(SUM(purse_nanojoule) AS BIGINT), 0) FROM desk_trades \
         UNION ALL SELECT 'market USD', \
         COALESCE(-CAST(SUM(purse_nanousd) AS BIGINT), 0) FROM desk_trades \
         UNION ALL SELECT 'market JOULE', \
         COALESCE(-CAST(SUM(purse_nanojoule) AS BIGINT), 0) FROM desk_trades",
    )
    .await?;
    compare("postings and trades", &moved, &trades, &mut findings);

    let earned = sums(
        &mut tx,
        "SELECT supplier, CAST(SUM(cumulative_nanojoule) AS BIGINT) FROM earnings \
         GROUP BY supplier",
    )
    .await?;
    let by_lease = sums(
        &mut tx,
        "SELECT supplier, CAST(SUM(supplier_nanojoule) AS BIGINT) FROM leases GROUP BY supplier",
    )
    .await?;
    compare("earnings and leases", &earned, &by_lease, &mut findings);

    let spent = sums(&mut tx, "SELECT id, spent_nanousd FROM apps").await?;
    let by_app = sums(
        &mut tx,
        "SELECT app, CAST(SUM(supplier_nanousd + margin_nanousd + fee_nanousd) AS BIGINT) \
         FROM leases GROUP BY app",
    )
    .await?;
    compare("apps and leases", &spent, &by_app, &mut findings);
    let shares = sums(
        &mut tx,
        "SELECT id || ' suppliers', suppliers_nanousd FROM apps \
         UNION ALL SELECT id || ' margin', margin_nanousd FROM apps",
    )
    .await?;
    let by_app = sums(
        &mut tx,
        "SELECT app || ' suppliers', CAST(SUM(supplier_nanousd) AS BIGINT) FROM leases \
         GROUP BY app UNION ALL SELECT app || ' margin', CAST(SUM(margin_nanousd) AS BIGINT) \
         FROM leases GROUP BY app",
    )
    .await?;
    compare("bills and leases", &shares, &by_app, &mut findings);

    let twice = tx
        .all(
            "SELECT version, replica FROM leases \
             WHERE kind = 'job' AND supplier_nanousd + margin_nanousd + fee_nanousd > 0 \
             GROUP BY version, replica HAVING COUNT(*) > 1 ORDER BY version, replica LIMIT 20",
            args![],
        )
        .await?;
    for row in &twice {
        findings.push(format!("part {} of {} was billed twice", row.int(1)?, row.text(0)?));
    }
    Ok(Audit { transactions, findings })
}
