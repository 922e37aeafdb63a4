//! What happened, for people: the newest [`EVENTS_MAX`] and a few more are kept.

use kinesis_protocol::{AccountId, RequestId};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError,
    db::{Row, args},
};

/// How many events are kept.
pub const EVENTS_MAX: u32 = 10_000;

/// Old events are dropped once in this many.
const PRUNE_EVERY: u8 = 64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// When.
    pub at_ms: u64,
    /// Whom it concerns; `None`: everyone.
    pub account: Option<AccountId>,
    /// What kind of event.
    pub kind: String,
    /// The event, as its writer serialized it.
    pub body: serde_json::Value,
}

fn read(row: &Row) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        at_ms: row.uint(0)?,
        account: row
            .opt_text(1)?
            .map(|s| s.parse().map_err(|e| StoreError::corrupt("account id", e)))
            .transpose()?,
        kind: row.text(2)?,
        body: row.json(3, "event")?,
    })
}

impl Store {
    /// Records an event.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn record_event(&self, event: &StoredEvent) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(
            "INSERT INTO events (id, at_ms, account, kind, body) VALUES ($1, $2, $3, $4, $5)",
            args![
                // Its bytes sort by time, and tell events of one millisecond apart.
                RequestId::random().to_string(),
                event.at_ms,
                event.account.map(|account| account.to_string()),
                event.kind.as_str(),
                event.body.to_string()
            ],
        )
        .await?;
        if rand::random_range(0..PRUNE_EVERY) == 0 {
            tx.run(
                "DELETE FROM events WHERE id IN (SELECT id FROM events \
                 ORDER BY at_ms DESC, id DESC LIMIT 1000 OFFSET $1)",
                args![EVENTS_MAX],
            )
            .await?;
        }
        tx.commit().await
    }

    /// The newest events, newest first: those that concern everyone and, where it is given, this
    /// account. At most `limit`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn events(
        &self,
        account: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let limit = limit.min(EVENTS_MAX);
        let rows = self
            .db
            .all(
                "SELECT at_ms, account, kind, body FROM events \
                 WHERE account IS NULL OR account = $1 ORDER BY at_ms DESC, id DESC LIMIT $2",
                args![account.map(|account| account.to_string()), limit],
            )
            .await?;
        rows.iter().map(read).collect()
    }
}
