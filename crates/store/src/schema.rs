//! The schema, as numbered steps that are never changed once released.

use crate::{
    Engine, StoreError,
    db::{Db, args},
};

/// One step: what both engines read alike, and what only one of them understands after that.
struct Step {
    both: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// Each step is applied once, in order, within one transaction.
const STEPS: &[Step] = &[
    Step { both: include_str!("migrations/0001.sql"), sqlite: "", postgres: "" },
    Step {
        both: include_str!("migrations/0002.sql"),
        sqlite: include_str!("migrations/0002.sqlite.sql"),
        postgres: include_str!("migrations/0002.postgres.sql"),
    },
    Step { both: include_str!("migrations/0003.sql"), sqlite: "", postgres: "" },
    Step { both: include_str!("migrations/0004.sql"), sqlite: "", postgres: "" },
    Step { both: include_str!("migrations/0005.sql"), sqlite: "", postgres: "" },
];

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
    for (number, step) in (1_i64..).zip(STEPS).filter(|(number, _)| *number > found) {
        tx.script(step.both).await?;
        let own = match db.engine() {
            Engine::Sqlite => step.sqlite,
            Engine::Postgres => step.postgres,
        };
        if !own.is_empty() {
            tx.script(own).await?;
        }
        tx.run("INSERT INTO schema_steps (step) VALUES ($1)", args![number]).await?;
    }
    tx.commit().await
}
