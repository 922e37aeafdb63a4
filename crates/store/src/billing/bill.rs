//! An app's bill: what it comes to, and its newest lines. Neither costs more the longer it lives.

use kinesis_protocol::{AppId, LeaseId, NanoUsd};

use crate::{
    Lease, Store, StoreError,
    db::{Row, args},
    leases,
};

/// What an app came to, with a page of the leases that made it so.
#[derive(Debug, Clone, PartialEq)]
pub struct AppBill {
    /// What the customer paid, for all leases there ever were.
    pub customer_nanousd: NanoUsd,
    /// What suppliers got of it.
    pub suppliers_nanousd: NanoUsd,
    /// What the utility kept of it.
    pub margin_nanousd: NanoUsd,
    /// The protocol's fee.
    pub fee_nanousd: NanoUsd,
    /// A page of its leases, oldest first.
    pub leases: Vec<Lease>,
    /// Whether there are leases before these.
    pub more: bool,
}

macro_rules! bill_page {
    () => {
        concat!(
            "SELECT a.spent_nanousd, a.suppliers_nanousd, a.margin_nanousd, l.* FROM apps a \
             LEFT JOIN (",
            leases::lease_columns!(),
            " WHERE app = $1 AND id < $2 ORDER BY id DESC LIMIT $3) l ON l.app = a.id \
             WHERE a.id = $1 ORDER BY l.id DESC"
        )
    };
}

impl Store {
    /// What an app came to, and the newest `limit` of its leases placed before `before` (`None`: the
    /// newest of all), in one consistent picture.
    ///
    /// # Errors
    /// Where there is no such app.
    pub async fn bill(
        &self,
        app: AppId,
        before: Option<LeaseId>,
        limit: u32,
    ) -> Result<AppBill, StoreError> {
        let before = before.unwrap_or(LeaseId::from_bytes([0xff; 16])).to_string();
        let one_more = limit.saturating_add(1);
        let rows = self.db.all(bill_page!(), args![app.to_string(), before, one_more]).await?;
        let first = rows.first().ok_or_else(|| StoreError::not_found("app", app))?;
        let spent = first.int(0)?;
        let (suppliers, margin) = (first.int(1)?, first.int(2)?);
        let rest = spent.checked_sub(suppliers).and_then(|rest| rest.checked_sub(margin));
        let mut bill = AppBill {
            customer_nanousd: NanoUsd(spent),
            suppliers_nanousd: NanoUsd(suppliers),
            margin_nanousd: NanoUsd(margin),
            fee_nanousd: NanoUsd(rest.ok_or(StoreError::Overflow)?),
            leases: Vec::new(),
            more: false,
        };
        let held = |row: &&Row| row.opt_text(3).is_ok_and(|id| id.is_some());
        for row in rows.iter().filter(held) {
            if bill.leases.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                bill.more = true;
                break;
            }
            bill.leases.push(leases::read_from(row, 3)?);
        }
        bill.leases.reverse();
        Ok(bill)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read is a page, by an index, and never sorted.
    #[tokio::test]
    async fn a_bill_does_not_read_a_whole_table() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let sql = concat!("EXPLAIN QUERY PLAN ", bill_page!());
        let plan = store.db.all(sql, args!["a", "~", 5_u32]).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.text(3).unwrap()).collect();
        let all = steps.join("; ");
        assert!(all.contains("leases_by_app (app=? AND id<?)"), "{all}");
        assert!(!all.contains("SCAN leases") && !all.contains("SCAN apps"), "{all}");
    }
}
