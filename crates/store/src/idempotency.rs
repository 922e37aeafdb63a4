//! What a request with an idempotency key led to, so that repeating it changes nothing.

use std::fmt::Display;

use crate::{
    Idempotency, StoreError,
    db::{Tx, args},
};

/// What an earlier request with this key led to; `None` where there was none.
pub(crate) async fn replay(
    tx: &mut Tx,
    scope: &str,
    idempotency: Option<&Idempotency>,
) -> Result<Option<String>, StoreError> {
    let Some(Idempotency { key, fingerprint }) = idempotency else { return Ok(None) };
    let row = tx
        .one(
            "SELECT fingerprint, result FROM idempotency WHERE scope = $1 AND key = $2",
            args![scope, key.as_str()],
        )
        .await?;
    match row {
        None => Ok(None),
        Some(row) if row.text(0)? == fingerprint.to_string() => Ok(Some(row.text(1)?)),
        Some(_) => Err(StoreError::KeyReused),
    }
}

/// Remembers what this request led to, in the transaction that did it.
pub(crate) async fn remember(
    tx: &mut Tx,
    scope: &str,
    idempotency: Option<&Idempotency>,
    result: impl Display + Sync,
    at_ms: u64,
) -> Result<(), StoreError> {
    let Some(Idempotency { key, fingerprint }) = idempotency else { return Ok(()) };
    let result = result.to_string();
    tx.run(
        "INSERT INTO idempotency (scope, key, fingerprint, result, at_ms) \
         VALUES ($1, $2, $3, $4, $5)",
        args![scope, key.as_str(), fingerprint.to_string(), result, at_ms],
    )
    .await?;
    Ok(())
}
