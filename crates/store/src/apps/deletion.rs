//! Apps that are deleted. Their rows stay, with all that was billed; their names and hosts are free.

use kinesis_protocol::{AccountId, AppId};

use super::{App, AppState, app_columns, hosts, id, load_app, read_app};
use crate::{Store, StoreError, db::args};

macro_rules! deleted_app {
    () => {
        concat!(
            app_columns!(),
            " WHERE account = $1 AND deleted_name = $2 ORDER BY changed_at_ms DESC LIMIT 1"
        )
    };
}

impl Store {
    /// Deletes an app that is not wanted any more: whoever deploys its name next makes another app.
    /// Deleting a deleted app changes nothing.
    ///
    /// # Errors
    /// Where there is no such app, or it is wanted.
    pub async fn delete_app(&self, app: AppId, at_ms: u64) -> Result<App, StoreError> {
        let mut tx = self.db.begin().await?;
        let before = load_app(&mut tx, app).await?;
        match before.state {
            AppState::Deleted => return Ok(before),
            AppState::Running => return Err(StoreError::Wanted(before.name)),
            AppState::Stopped | AppState::OverBudget | AppState::Completed | AppState::Failed => {}
        }
        // No manifest can ask for a name like this one.
        tx.run(
            "UPDATE apps SET deleted_name = name, name = $2, state = 'deleted', reason = NULL, \
             changed_at_ms = $3 WHERE id = $1",
            args![id(app), format!("deleted {app}"), at_ms],
        )
        .await?;
        hosts::free(&mut tx, app).await?;
        let app = load_app(&mut tx, app).await?;
        tx.commit().await?;
        Ok(app)
    }

    /// The app of this name that an account deleted last; `None` where it never did.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn deleted_app(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<Option<App>, StoreError> {
        let row = self.db.one(deleted_app!(), args![id(account), name]).await?;
        row.map(|row| read_app(&row)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deleted_app_is_looked_up() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let sql = concat!("EXPLAIN QUERY PLAN ", deleted_app!());
        let plan = store.db.all(sql, args!["a", "b"]).await.unwrap();
        let steps: Vec<String> = plan.iter().map(|row| row.text(3).unwrap()).collect();
        assert!(steps.join("; ").contains("SEARCH apps USING INDEX apps_deleted"), "{steps:?}");
        assert!(!steps.join("; ").contains("TEMP B-TREE"), "{steps:?}");
    }
}
