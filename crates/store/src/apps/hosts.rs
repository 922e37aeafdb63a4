//! Host names: an app's own, which is its name, and those its manifest claims.

use kinesis_protocol::{AccountId, AppId};

use super::{App, app_columns, id, read_app};
use crate::{
    Store, StoreError,
    db::{Tx, args},
};

impl Store {
    /// The app of this name, whosever it is; `None` where there is none.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn app_called(&self, name: &str) -> Result<Option<App>, StoreError> {
        let sql = concat!(app_columns!(), " WHERE name = $1");
        let row = self.db.one(sql, args![name]).await?;
        row.map(|row| read_app(&row)).transpose()
    }

    /// How many names an account has: of apps that are not deleted.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn names_of(&self, account: AccountId) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM apps WHERE account = $1 AND deleted_name IS NULL";
        let row = self.db.one(sql, args![id(account)]).await?;
        row.map_or(Ok(0), |row| row.uint(0))
    }

    /// The app that claimed this host; `None` where none did.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn app_at(&self, host: &str) -> Result<Option<App>, StoreError> {
        let sql = concat!(app_columns!(), " WHERE id = (SELECT app FROM hosts WHERE host = $1)");
        let row = self.db.one(sql, args![host]).await?;
        row.map(|row| read_app(&row)).transpose()
    }
}

/// Gives an app these hosts, and no others.
///
/// # Errors
/// Where another app has one of them.
pub(super) async fn claim(tx: &mut Tx, app: AppId, hosts: &[String]) -> Result<(), StoreError> {
    free(tx, app).await?;
    for host in hosts {
        let host = host.to_ascii_lowercase();
        tx.run(
            "INSERT INTO hosts (host, app) VALUES ($1, $2) ON CONFLICT (host) DO NOTHING",
            args![host.as_str(), id(app)],
        )
        .await?;
        let row = tx.one("SELECT app FROM hosts WHERE host = $1", args![host.as_str()]).await?;
        let holder = row.map(|row| row.text(0)).transpose()?;
        if holder != Some(id(app)) {
            return Err(StoreError::HostTaken(host));
        }
    }
    Ok(())
}

/// Takes all hosts from an app.
pub(super) async fn free(tx: &mut Tx, app: AppId) -> Result<(), StoreError> {
    tx.run("DELETE FROM hosts WHERE app = $1", args![id(app)]).await?;
    Ok(())
}
