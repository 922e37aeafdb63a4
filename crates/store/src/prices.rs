//! The price of a JOULE, as it was believed last.

use kinesis_protocol::JoulePrice;

use crate::{Store, StoreError, db::args};

/// A price that was believed, and those before it that the next one is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BelievedPrice {
    /// The price.
    pub price: JoulePrice,
    /// When it was read, in milliseconds since 1970.
    pub at_ms: u64,
    /// The lowest that was believed from `since_ms` on.
    pub low: JoulePrice,
    /// The highest.
    pub high: JoulePrice,
    /// When the first of these was read.
    pub since_ms: u64,
}

pub(crate) fn price(nanousd: i64) -> Result<JoulePrice, StoreError> {
    JoulePrice::new(nanousd).ok_or_else(|| StoreError::corrupt("price", nanousd))
}

impl Store {
    /// Keeps the price that a series settles by, before it does.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn save_price(
        &self,
        series: u64,
        believed: &BelievedPrice,
    ) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(
            "INSERT INTO joule_prices \
             (series, price_nanousd, read_at_ms, low_nanousd, high_nanousd, since_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (series) DO UPDATE SET price_nanousd = excluded.price_nanousd, \
             read_at_ms = excluded.read_at_ms, low_nanousd = excluded.low_nanousd, \
             high_nanousd = excluded.high_nanousd, since_ms = excluded.since_ms",
            args![
                series,
                believed.price.nanousd(),
                believed.at_ms,
                believed.low.nanousd(),
                believed.high.nanousd(),
                believed.since_ms
            ],
        )
        .await?;
        tx.commit().await
    }

    /// The price that a series settled by last.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn last_price(&self, series: u64) -> Result<Option<BelievedPrice>, StoreError> {
        let sql = "SELECT price_nanousd, read_at_ms, low_nanousd, high_nanousd, since_ms \
                   FROM joule_prices WHERE series = $1";
        let Some(row) = self.db.one(sql, args![series]).await? else { return Ok(None) };
        Ok(Some(BelievedPrice {
            price: price(row.int(0)?)?,
            at_ms: row.uint(1)?,
            low: price(row.int(2)?)?,
            high: price(row.int(3)?)?,
            since_ms: row.uint(4)?,
        }))
    }
}
