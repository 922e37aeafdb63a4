//! The schema, as numbered steps that are never changed once released.

use crate::{
    StoreError,
    db::{Db, args},
};

/// Each step is applied once, in order, within one transaction.
const STEPS: &[&str] = &[include_str!("migrations/0001.sql")];

/// Brings the schema up to date. Several instances may do this at once: one does, the others wait.
pub(crate) async fn migrate(db: &Db) -> Result<(), StoreError> {
    let mut tx = db.begin().await?;
    tx.script("CREATE TABLE IF NOT EXISTS schema_steps (step BIGINT PRIMARY KEY)").await?;
    let row = tx.one("SELECT COALESCE(MAX(step), 0) FROM schema_steps", args![]).await?;
    let found = row.map_or(Ok(0), |row| row.int(0))?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(StoreError::SchemaNewer { found, known });
    }
    for (step, sql) in (1_i64..).zip(STEPS).filter(|(step, _)| *step > found) {
        tx.script(sql).await?;
        tx.run("INSERT INTO schema_steps (step) VALUES ($1)", args![step]).await?;
    }
    tx.commit().await
}
