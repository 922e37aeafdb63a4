//! What pages and lists show, by queries whose cost does not grow with an app's history: the newest
//! versions without their manifests, the leases that live, the parts' newest attempts.
//!
//! An app's requests over all its leases are a sum in its own row, kept with every counter that is
//! recorded; a lease that is open may be ahead of what is recorded, and whoever shows it adds the
//! difference.

use kinesis_protocol::{
    AppId, Counters, Ending, LeaseId, NanoUsd, NodeId, Replica, Tier, VersionId,
};

use crate::{
    App, Store, StoreError, apps,
    db::{Row, Tx, args},
};

/// How many of a replica's newest leases of each role may have a log that is looked for.
const LOGGED_MAX: u32 = 8;

/// A version without what was deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionHead {
    /// Its id.
    pub id: VersionId,
    /// Its number, from 1.
    pub number: u32,
    /// When it was deployed.
    pub created_at_ms: u64,
}

/// What an app came to, in one consistent picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppSums {
    /// What all its versions cost its customer so far.
    pub spent_nanousd: NanoUsd,
    /// Requests of all its leases, as recorded.
    pub requests: u64,
    /// Leases that are open, and what is recorded of their requests.
    pub open: Vec<(LeaseId, u64)>,
}

/// The newest attempt of a part.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// Which part.
    pub part: Replica,
    /// Its lease.
    pub lease: LeaseId,
    /// Where it works, or worked.
    pub node: NodeId,
    /// The node's name when it was placed.
    pub node_name: String,
    /// The node's tier when it was placed.
    pub tier: Tier,
    /// What it used, as recorded.
    pub counters: Counters,
    /// How it ended; `None` while it works, and where endings were not asked for.
    pub ending: Option<Ending>,
}

/// How far the parts of a job are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// All parts.
    pub parts: u32,
    /// Those that completed.
    pub completed: u32,
}

macro_rules! app_sums {
    () => {
        "SELECT a.spent_nanousd, a.requests, l.id, l.counters FROM apps a \
         LEFT JOIN leases l ON l.app = a.id AND l.open = 1 WHERE a.id = $1"
    };
}

macro_rules! newest_versions {
    () => {
        "SELECT id, number, created_at_ms FROM versions WHERE app = $1 ORDER BY number DESC LIMIT $2"
    };
}

macro_rules! attempts {
    ($ending:literal) => {
        concat!(
            "SELECT p.part, l.id, l.node, l.node_name, l.tier, l.counters, ",
            $ending,
            " FROM job_parts p JOIN leases l ON l.id = p.lease \
             WHERE p.version = $1 AND p.part < $2 ORDER BY p.part"
        )
    };
}

macro_rules! logged {
    ($which:literal) => {
        concat!(
            "SELECT id, node FROM leases WHERE app = $1 AND replica = $2 AND ",
            $which,
            " ORDER BY epoch DESC LIMIT $3"
        )
    };
}

macro_rules! wanted_apps {
    () => {
        concat!(apps::app_columns!(), " WHERE state = 'running' ORDER BY id DESC LIMIT $1")
    };
}

macro_rules! changed_apps {
    () => {
        concat!(
            apps::app_columns!(),
            " WHERE changed_at_ms >= $1 AND state <> 'deleted' \
             ORDER BY changed_at_ms DESC LIMIT $2"
        )
    };
}

impl Store {
    /// The newest versions of an app, newest first, at most `limit`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn newest_versions(
        &self,
        app: AppId,
        limit: u32,
    ) -> Result<Vec<VersionHead>, StoreError> {
        let rows = self.db.all(newest_versions!(), args![app.to_string(), limit]).await?;
        let head = |row: &Row| {
            Ok(VersionHead {
                id: row.parse(0, "version id")?,
                number: row.u32(1)?,
                created_at_ms: row.uint(2)?,
            })
        };
        rows.iter().map(head).collect()
    }

    /// What an app cost, and the requests it answered.
    ///
    /// # Errors
    /// Where there is no such app.
    pub async fn app_sums(&self, app: AppId) -> Result<AppSums, StoreError> {
        let rows = self.db.all(app_sums!(), args![app.to_string()]).await?;
        let first = rows.first().ok_or_else(|| StoreError::not_found("app", app))?;
        let mut sums = AppSums {
            spent_nanousd: NanoUsd(first.int(0)?),
            requests: first.uint(1)?,
            open: Vec::new(),
        };
        for row in &rows {
            if row.opt_text(2)?.is_some() {
                let counters: Counters = row.json(3, "lease's counters")?;
                sums.open.push((row.parse(2, "lease id")?, counters.requests));
            }
        }
        Ok(sums)
    }

    /// The newest attempts of a job's parts below number `below`, in order; how they ended only
    /// where `endings` asks for it, since an ending names every output.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn attempts(
        &self,
        version: VersionId,
        below: u32,
        endings: bool,
    ) -> Result<Vec<Attempt>, StoreError> {
        let sql = if endings { attempts!("l.ending") } else { attempts!("NULL") };
        let rows = self.db.all(sql, args![version.to_string(), below]).await?;
        let attempt = |row: &Row| {
            let ending = if endings { row.opt_text(6)? } else { None };
            Ok(Attempt {
                part: Replica(row.u32(0)?),
                lease: row.parse(1, "lease id")?,
                node: row.parse(2, "node id")?,
                node_name: row.text(3)?,
                tier: row.parse(4, "tier")?,
                counters: row.json(5, "lease's counters")?,
                ending: ending
                    .map(|s| serde_json::from_str(&s).map_err(|e| StoreError::corrupt("ending", e)))
                    .transpose()?,
            })
        };
        rows.iter().map(attempt).collect()
    }

    /// How far a job is.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn progress(&self, version: VersionId) -> Result<Progress, StoreError> {
        let sql = "SELECT COUNT(*), COUNT(CASE WHEN state = 'completed' THEN 1 END) \
                   FROM job_parts WHERE version = $1";
        let row = self.db.one(sql, args![version.to_string()]).await?;
        row.map_or(Ok(Progress::default()), |row| {
            Ok(Progress { parts: row.u32(0)?, completed: row.u32(1)? })
        })
    }

    /// The leases of a replica whose log may be wanted, with their nodes: those that served or
    /// worked, newest first, then those that only stood by.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn logged_leases(
        &self,
        app: AppId,
        replica: Replica,
    ) -> Result<Vec<(LeaseId, NodeId)>, StoreError> {
        let mut found = Vec::new();
        let served = logged!("activated_at_ms IS NOT NULL");
        // A standby that is gone has nothing to tell.
        let stands_by = logged!("activated_at_ms IS NULL AND open = 1");
        for sql in [served, stands_by] {
            let rows = self.db.all(sql, args![app.to_string(), replica.0, LOGGED_MAX]).await?;
            for row in &rows {
                found.push((row.parse(0, "lease id")?, row.parse(1, "node id")?));
            }
        }
        Ok(found)
    }

    /// Apps that are wanted, or have changed since `since_ms` and are not deleted, newest first, at
    /// most `limit`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn shown_apps(&self, since_ms: u64, limit: u32) -> Result<Vec<App>, StoreError> {
        let wanted = self.db.all(wanted_apps!(), args![limit]).await?;
        let changed = self.db.all(changed_apps!(), args![since_ms, limit]).await?;
        let mut shown =
            wanted.iter().chain(&changed).map(apps::read_app).collect::<Result<Vec<_>, _>>()?;
        shown.sort_by_key(|app| std::cmp::Reverse(app.id));
        shown.dedup_by_key(|app| app.id);
        shown.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(shown)
    }
}

/// Adds requests to an app's sum; it stays at the largest number there is.
pub(crate) async fn count_requests(tx: &mut Tx, app: &str, more: u64) -> Result<(), StoreError> {
    if more > 0 {
        tx.run(
            "UPDATE apps SET requests = CASE WHEN requests > 9223372036854775807 - $2 \
             THEN 9223372036854775807 ELSE requests + $2 END WHERE id = $1",
            args![app, more],
        )
        .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SQLite would do for each: only look-ups, nothing read from end to end, nothing sorted.
    #[tokio::test]
    async fn nothing_shown_reads_a_whole_table() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        for (sql, values, index) in [
            (concat!("EXPLAIN QUERY PLAN ", newest_versions!()), args!["a", 9_u32], "versions"),
            (concat!("EXPLAIN QUERY PLAN ", app_sums!()), args!["a"], "leases_open_by_app"),
            (concat!("EXPLAIN QUERY PLAN ", attempts!("NULL")), args!["a", 9_u32], "job_parts"),
            (
                concat!("EXPLAIN QUERY PLAN ", logged!("activated_at_ms IS NOT NULL")),
                args!["a", 0_u32, 9_u32],
                "leases_activated",
            ),
            (
                concat!("EXPLAIN QUERY PLAN ", logged!("activated_at_ms IS NULL AND open = 1")),
                args!["a", 0_u32, 9_u32],
                "leases_open_by_app",
            ),
            (concat!("EXPLAIN QUERY PLAN ", wanted_apps!()), args![9_u32], "apps_by_state"),
            (
                concat!("EXPLAIN QUERY PLAN ", changed_apps!()),
                args![5_u64, 9_u32],
                "apps_by_change",
            ),
        ] {
            let plan = store.db.all(sql, values).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.text(3).unwrap()).collect();
            let all = steps.join("; ");
            assert!(!all.contains("SCAN") && !all.contains("TEMP B-TREE"), "{sql}: {all}");
            assert!(all.contains(index), "{sql}: {all}");
        }
    }
}
