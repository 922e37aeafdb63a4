//! Apps and their versions. A name belongs to the account that used it first.
//!
//! ```text
//! deploy --> Running --stop--> Stopped      deploy again, or rollback: Running
//!               |---budget--> OverBudget
//!               |---all parts done--> Completed (a job)
//!               \---a part failed---> Failed    (a job)
//! ```
//!
//! Whatever is not running can be deleted ([`Store::delete_app`]): its name is free then, and what it
//! cost stays.

use std::collections::BTreeMap;

use kinesis_protocol::{AccountId, AppId, ContentHash, NanoUsd, VersionId};
use serde::{Deserialize, Serialize};

use crate::{
    Idempotency, Store, StoreError,
    db::{Row, Tx, args, json},
    idempotency, jobs,
};

mod deletion;
mod hosts;

macro_rules! app_columns {
    () => {
        "SELECT id, account, COALESCE(deleted_name, name), kind, state, reason, version, version_number, spent_nanousd, \
         created_at_ms, changed_at_ms FROM apps"
    };
}
pub(crate) use app_columns;

macro_rules! version_columns {
    () => {
        "SELECT id, app, number, manifest, artifacts, parts, created_at_ms FROM versions"
    };
}

/// A service or a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// Answers for as long as it is wanted; billed every tick.
    Service,
    /// Ends; billed for each part that completed.
    Job,
}

/// What is wanted of an app. Only [`AppState::Running`] keeps leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    /// Wanted.
    Running,
    /// Stopped by its owner.
    Stopped,
    /// Stopped because its budget or its account's balance is used up.
    OverBudget,
    /// A job whose parts all completed.
    Completed,
    /// A job with a part that failed for good.
    Failed,
    /// Deleted by its owner: its name may be another app's.
    Deleted,
}

word!(AppKind, "app kind", { Service => "service", Job => "job" });
word!(AppState, "app state", {
    Running => "running",
    Stopped => "stopped",
    OverBudget => "over_budget",
    Completed => "completed",
    Failed => "failed",
    Deleted => "deleted",
});

/// An artifact a manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// The hash of its content.
    pub hash: ContentHash,
    /// Its length in bytes.
    pub bytes: u64,
}

/// An app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Its id.
    pub id: AppId,
    /// Whose it is.
    pub account: AccountId,
    /// Its name, unique in this store among apps that are not deleted.
    pub name: String,
    /// A service or a job.
    pub kind: AppKind,
    /// What is wanted of it.
    pub state: AppState,
    /// Why it is in that state, in words.
    pub reason: Option<String>,
    /// The version that is wanted.
    pub version: VersionId,
    /// The number of that version, from 1.
    pub version_number: u32,
    /// What all its versions cost its customer so far.
    pub spent_nanousd: NanoUsd,
    /// When it was first deployed.
    pub created_at_ms: u64,
    /// When its state or version changed last.
    pub changed_at_ms: u64,
}

/// One version of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its id.
    pub id: VersionId,
    /// Its app.
    pub app: AppId,
    /// Its number, from 1.
    pub number: u32,
    /// The text of its manifest.
    pub manifest: String,
    /// Path in the manifest -> content.
    pub artifacts: BTreeMap<String, ArtifactRef>,
    /// How many parts it has; 0 for a service.
    pub parts: u32,
    /// When it was deployed.
    pub created_at_ms: u64,
}

/// What is deployed.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Whose it is.
    pub account: AccountId,
    /// The app's name; a new app where the account has none of that name.
    pub name: String,
    /// A service or a job.
    pub kind: AppKind,
    /// The text of the manifest.
    pub manifest: String,
    /// Path in the manifest -> content.
    pub artifacts: BTreeMap<String, ArtifactRef>,
    /// How many parts a job has; they are queued at once. 0 for a service.
    pub parts: u32,
    /// Hosts of its own that a service answers to, besides its name.
    pub hosts: Vec<String>,
}

/// What a deployment led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployed {
    /// The app, as it stands now.
    pub app: App,
    /// The version that was made.
    pub version: Version,
    /// Whether an earlier request with the same idempotency key had made it.
    pub replayed: bool,
}

impl Store {
    /// Makes a new version the one that is wanted, in one transaction with a job's parts.
    ///
    /// # Errors
    /// Where the name is another account's or a host another app's, the kind changes, or the
    /// idempotency key was used for another request.
    pub async fn deploy(
        &self,
        new: &NewVersion,
        idempotency: Option<&Idempotency>,
        at_ms: u64,
    ) -> Result<Deployed, StoreError> {
        let scope = format!("deploy:{}", new.account);
        let mut tx = self.db.begin().await?;
        if let Some(made) = idempotency::replay(&mut tx, &scope, idempotency).await? {
            let id = made.parse().map_err(|e| StoreError::corrupt("version id", e))?;
            let version = load_version(&mut tx, id).await?;
            let app = load_app(&mut tx, version.app).await?;
            return Ok(Deployed { app, version, replayed: true });
        }
        let app = match find(&mut tx, &new.name).await? {
            None => AppId::random(),
            Some(app) if app.account != new.account => {
                return Err(StoreError::NameTaken(new.name.clone()));
            }
            Some(app) if app.kind != new.kind => {
                return Err(StoreError::KindChanged(new.name.clone()));
            }
            Some(app) => app.id,
        };
        let row = tx
            .one("SELECT COALESCE(MAX(number), 0) FROM versions WHERE app = $1", args![id(app)])
            .await?;
        let version = Version {
            id: VersionId::random(),
            app,
            number: row.map_or(Ok(0), |row| row.u32(0))? + 1,
            manifest: new.manifest.clone(),
            artifacts: new.artifacts.clone(),
            parts: new.parts,
            created_at_ms: at_ms,
        };
        tx.run(
            "INSERT INTO apps (id, account, name, kind, state, version, version_number, \
             spent_nanousd, created_at_ms, changed_at_ms) \
             VALUES ($1, $2, $3, $4, 'running', $5, $6, 0, $7, $7) \
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, reason = NULL, \
             version = excluded.version, version_number = excluded.version_number, \
             changed_at_ms = excluded.changed_at_ms",
            args![
                id(app),
                id(new.account),
                new.name.as_str(),
                new.kind.as_str(),
                id(version.id),
                version.number,
                at_ms
            ],
        )
        .await?;
        tx.run(
            "INSERT INTO versions (id, app, number, manifest, artifacts, parts, created_at_ms, \
             hosts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            args![
                id(version.id),
                id(app),
                version.number,
                version.manifest.as_str(),
                json(&version.artifacts),
                version.parts,
                at_ms,
                json(&new.hosts)
            ],
        )
        .await?;
        hosts::claim(&mut tx, app, &new.hosts).await?;
        let replaced = format!("replaced by version {}", version.number);
        jobs::cancel_open(&mut tx, app, &replaced).await?;
        jobs::queue(&mut tx, &version).await?;
        idempotency::remember(&mut tx, &scope, idempotency, version.id, at_ms).await?;
        let app = load_app(&mut tx, app).await?;
        tx.commit().await?;
        Ok(Deployed { app, version, replayed: false })
    }

    /// What an earlier deployment with this idempotency key led to; `None` where there was none.
    ///
    /// # Errors
    /// Where the key was used for another request.
    pub async fn deployed(
        &self,
        account: AccountId,
        idempotency: &Idempotency,
    ) -> Result<Option<App>, StoreError> {
        let scope = format!("deploy:{account}");
        let mut tx = self.db.begin().await?;
        let made = idempotency::replay(&mut tx, &scope, Some(idempotency)).await?;
        let Some(version) = made else { return Ok(None) };
        let version = version.parse().map_err(|e| StoreError::corrupt("version id", e))?;
        let version = load_version(&mut tx, version).await?;
        Ok(Some(load_app(&mut tx, version.app).await?))
    }

    /// An app by its id.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn app(&self, app: AppId) -> Result<App, StoreError> {
        let sql = concat!(app_columns!(), " WHERE id = $1");
        let row = self.db.one(sql, args![id(app)]).await?;
        row.map(|row| read_app(&row)).transpose()?.ok_or_else(|| StoreError::not_found("app", app))
    }

    /// An account's app by its name; `None` where it has none.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn app_named(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<Option<App>, StoreError> {
        let sql = concat!(app_columns!(), " WHERE account = $1 AND name = $2");
        let row = self.db.one(sql, args![id(account), name]).await?;
        row.map(|row| read_app(&row)).transpose()
    }

    /// All apps, deleted ones too: of one account, or of all where `account` is `None`. Oldest
    /// first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn apps(&self, account: Option<AccountId>) -> Result<Vec<App>, StoreError> {
        let rows = match account {
            Some(account) => {
                let sql = concat!(app_columns!(), " WHERE account = $1 ORDER BY id");
                self.db.all(sql, args![id(account)]).await?
            }
            None => self.db.all(concat!(app_columns!(), " ORDER BY id"), args![]).await?,
        };
        rows.iter().map(read_app).collect()
    }

    /// All apps that are wanted. Oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn running_apps(&self) -> Result<Vec<App>, StoreError> {
        let sql = concat!(app_columns!(), " WHERE state = 'running' ORDER BY id");
        self.db.all(sql, args![]).await?.iter().map(read_app).collect()
    }

    /// One version.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn version(&self, version: VersionId) -> Result<Version, StoreError> {
        let sql = concat!(version_columns!(), " WHERE id = $1");
        let row = self.db.one(sql, args![id(version)]).await?;
        row.map(|row| read_version(&row))
            .transpose()?
            .ok_or_else(|| StoreError::not_found("version", version))
    }

    /// All versions of an app, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn versions(&self, app: AppId) -> Result<Vec<Version>, StoreError> {
        let sql = concat!(version_columns!(), " WHERE app = $1 ORDER BY number");
        self.db.all(sql, args![id(app)]).await?.iter().map(read_version).collect()
    }

    /// Changes what is wanted of an app. Says whether anything changed, as nothing does once it is
    /// deleted; stopping a job cancels the parts that are not over.
    ///
    /// # Errors
    /// Where there is no such app.
    pub async fn set_app_state(
        &self,
        app: AppId,
        state: AppState,
        reason: Option<&str>,
        at_ms: u64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let before = load_app(&mut tx, app).await?;
        let same = before.state == state && before.reason.as_deref() == reason;
        if same || before.state == AppState::Deleted {
            return Ok(false);
        }
        tx.run(
            "UPDATE apps SET state = $2, reason = $3, changed_at_ms = $4 WHERE id = $1",
            args![id(app), state.as_str(), reason, at_ms],
        )
        .await?;
        if state != AppState::Running {
            let words = match state {
                AppState::Stopped => "stopped by its owner",
                _ => "the job is over",
            };
            jobs::cancel_open(&mut tx, app, reason.unwrap_or(words)).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Makes the version before the wanted one the wanted one, and the app wanted.
    ///
    /// # Errors
    /// Where there is no earlier version, the app is a job, a host of that version is another app's
    /// by now, or the idempotency key was used for another request.
    pub async fn rollback(
        &self,
        app: AppId,
        idempotency: Option<&Idempotency>,
        at_ms: u64,
    ) -> Result<App, StoreError> {
        let scope = format!("rollback:{app}");
        let mut tx = self.db.begin().await?;
        let now = load_app(&mut tx, app).await?;
        if idempotency::replay(&mut tx, &scope, idempotency).await?.is_some() {
            return Ok(now);
        }
        if now.state == AppState::Deleted {
            return Err(StoreError::not_found("app", app));
        }
        if now.kind == AppKind::Job {
            return Err(StoreError::Invalid("a job is not rolled back: run it again".to_owned()));
        }
        let earlier = tx
            .one(
                "SELECT id, number, hosts FROM versions WHERE app = $1 AND number < $2 \
                 ORDER BY number DESC LIMIT 1",
                args![id(app), now.version_number],
            )
            .await?
            .ok_or(StoreError::NoEarlierVersion(app))?;
        tx.run(
            "UPDATE apps SET version = $2, version_number = $3, state = 'running', \
             reason = NULL, changed_at_ms = $4 WHERE id = $1",
            args![id(app), earlier.text(0)?, earlier.int(1)?, at_ms],
        )
        .await?;
        let claimed: Vec<String> = earlier.json(2, "version's hosts")?;
        hosts::claim(&mut tx, app, &claimed).await?;
        idempotency::remember(&mut tx, &scope, idempotency, earlier.text(0)?, at_ms).await?;
        let app = load_app(&mut tx, app).await?;
        tx.commit().await?;
        Ok(app)
    }
}

fn id(id: impl ToString) -> String {
    id.to_string()
}

pub(crate) fn read_app(row: &Row) -> Result<App, StoreError> {
    Ok(App {
        id: row.parse(0, "app id")?,
        account: row.parse(1, "account id")?,
        name: row.text(2)?,
        kind: row.parse(3, "app kind")?,
        state: row.parse(4, "app state")?,
        reason: row.opt_text(5)?,
        version: row.parse(6, "version id")?,
        version_number: row.u32(7)?,
        spent_nanousd: NanoUsd(row.int(8)?),
        created_at_ms: row.uint(9)?,
        changed_at_ms: row.uint(10)?,
    })
}

fn read_version(row: &Row) -> Result<Version, StoreError> {
    Ok(Version {
        id: row.parse(0, "version id")?,
        app: row.parse(1, "app id")?,
        number: row.u32(2)?,
        manifest: row.text(3)?,
        artifacts: row.json(4, "version's artifacts")?,
        parts: row.u32(5)?,
        created_at_ms: row.uint(6)?,
    })
}

pub(crate) async fn load_app(tx: &mut Tx, app: AppId) -> Result<App, StoreError> {
    let row = tx.one(concat!(app_columns!(), " WHERE id = $1"), args![id(app)]).await?;
    row.map(|row| read_app(&row)).transpose()?.ok_or_else(|| StoreError::not_found("app", app))
}

async fn find(tx: &mut Tx, name: &str) -> Result<Option<App>, StoreError> {
    let row = tx.one(concat!(app_columns!(), " WHERE name = $1"), args![name]).await?;
    row.map(|row| read_app(&row)).transpose()
}

async fn load_version(tx: &mut Tx, version: VersionId) -> Result<Version, StoreError> {
    let sql = concat!(version_columns!(), " WHERE id = $1");
    let row = tx.one(sql, args![id(version)]).await?;
    row.map(|row| read_version(&row))
        .transpose()?
        .ok_or_else(|| StoreError::not_found("version", version))
}
