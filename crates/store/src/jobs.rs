//! The parts of jobs: a durable queue with a reason for every ending.
//!
//! ```text
//! Queued --start_part--> Running --end_attempt(Completed)--> Completed
//!   ^                       |  \--end_attempt(Failed)------> Failed
//!   \--end_attempt(Again)---/     set_app_state, deploy:     Cancelled
//! ```
//!
//! While an attempt is slow to start, another may be put beside it ([`Store::start_beside`]). The
//! part is the one's that ends it first; the other is nobody's then, and costs nothing.

use kinesis_protocol::{AppId, LeaseId, Replica, VersionId};
use serde::{Deserialize, Serialize};

use crate::{
    Store, StoreError, Version,
    db::{Row, Tx, args},
};

macro_rules! part_columns {
    () => {
        "SELECT app, version, part, state, attempts, lease, reason, not_before_ms, beside \
         FROM job_parts"
    };
}

/// Where a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// Waits for a node.
    Queued,
    /// An attempt is under way.
    Running,
    /// An attempt completed, and was billed.
    Completed,
    /// The last attempt failed, and there is none left; it was billed where its guest failed it.
    Failed,
    /// Its app was stopped, or a newer version took its place; what had run by then is billed.
    Cancelled,
}

word!(PartState, "part state", {
    Queued => "queued",
    Running => "running",
    Completed => "completed",
    Failed => "failed",
    Cancelled => "cancelled",
});

/// One part of one version of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPart {
    /// The app.
    pub app: AppId,
    /// The version.
    pub version: VersionId,
    /// Which part, from 0.
    pub part: Replica,
    /// Where it stands.
    pub state: PartState,
    /// How many attempts were started.
    pub attempts: u32,
    /// The newest attempt, or the one that completed.
    pub lease: Option<LeaseId>,
    /// Another attempt beside that one, since it was slow to start.
    pub beside: Option<LeaseId>,
    /// How the newest attempt ended, in words.
    pub reason: Option<String>,
    /// Not to be started before this time: the pause after a failure.
    pub not_before_ms: u64,
}

impl Store {
    /// All parts of one version, in order.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn job_parts(&self, version: VersionId) -> Result<Vec<JobPart>, StoreError> {
        self.first_parts(version, u32::MAX).await
    }

    /// The parts of one version below number `below`, in order.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn first_parts(
        &self,
        version: VersionId,
        below: u32,
    ) -> Result<Vec<JobPart>, StoreError> {
        let sql = concat!(part_columns!(), " WHERE version = $1 AND part < $2 ORDER BY part");
        self.db.all(sql, args![version.to_string(), below]).await?.iter().map(read).collect()
    }

    /// All parts that are queued or running, of all jobs, oldest job first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn open_parts(&self) -> Result<Vec<JobPart>, StoreError> {
        let sql = concat!(
            part_columns!(),
            " WHERE state IN ('queued', 'running') ORDER BY version, part"
        );
        self.db.all(sql, args![]).await?.iter().map(read).collect()
    }

    /// Records that an attempt is under way: a queued part runs under this (inserted) lease. Says
    /// whether it does; `false` where the part was not queued, unless it runs under that lease.
    ///
    /// # Errors
    /// Where there is no such part.
    pub async fn start_part(
        &self,
        version: VersionId,
        part: Replica,
        lease: LeaseId,
    ) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let now = load(&mut tx, version, part).await?;
        let started = match now.state {
            PartState::Queued => {
                tx.run(
                    "UPDATE job_parts SET state = 'running', attempts = attempts + 1, lease = $3, \
                     beside = NULL WHERE version = $1 AND part = $2",
                    args![version.to_string(), part.0, lease.to_string()],
                )
                .await?;
                true
            }
            PartState::Running => [now.lease, now.beside].contains(&Some(lease)),
            PartState::Completed | PartState::Failed | PartState::Cancelled => false,
        };
        tx.commit().await?;
        Ok(started)
    }

    /// Records that an attempt is under way (as [`Store::start_part`] does), beside another if there
    /// is one. Says whether it is; `false` where the part is over, or has two already.
    ///
    /// # Errors
    /// Where there is no such part.
    pub async fn start_beside(
        &self,
        version: VersionId,
        part: Replica,
        lease: LeaseId,
    ) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let now = load(&mut tx, version, part).await?;
        if now.state != PartState::Running {
            // The other one is over already, and this one is all there is.
            drop(tx);
            return self.start_part(version, part, lease).await;
        }
        if [now.lease, now.beside].contains(&Some(lease)) {
            return Ok(true);
        }
        if now.beside.is_some() {
            return Ok(false);
        }
        tx.run(
            "UPDATE job_parts SET beside = $3 WHERE version = $1 AND part = $2",
            args![version.to_string(), part.0, lease.to_string()],
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Puts a running part back into the queue after its attempt `lease` failed. `counts` says
    /// whether the attempt uses up one of its retries (a refusal before it began does not). Says
    /// whether anything changed: an older attempt changes nothing.
    ///
    /// # Errors
    /// Where there is no such part.
    pub async fn requeue_part(
        &self,
        version: VersionId,
        part: Replica,
        lease: LeaseId,
        reason: &str,
        counts: bool,
        not_before_ms: u64,
    ) -> Result<bool, StoreError> {
        let mut tx = self.db.begin().await?;
        let now = load(&mut tx, version, part).await?;
        if now.state != PartState::Running || now.lease != Some(lease) {
            return Ok(false);
        }
        let attempts = if counts { now.attempts } else { now.attempts.saturating_sub(1) };
        tx.run(
            "UPDATE job_parts SET state = 'queued', attempts = $3, reason = $4, \
             not_before_ms = $5, beside = NULL WHERE version = $1 AND part = $2",
            args![version.to_string(), part.0, attempts, reason, not_before_ms],
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Records that a part is over without success ([`PartState::Failed`] or
    /// [`PartState::Cancelled`]). Says whether it was open before.
    ///
    /// # Errors
    /// Where there is no such part, or the state is another.
    pub async fn end_part(
        &self,
        version: VersionId,
        part: Replica,
        state: PartState,
        reason: &str,
    ) -> Result<bool, StoreError> {
        if !matches!(state, PartState::Failed | PartState::Cancelled) {
            return Err(StoreError::Invalid(format!("a part is not ended as {}", state.as_str())));
        }
        let mut tx = self.db.begin().await?;
        load(&mut tx, version, part).await?;
        let changed = tx
            .run(
                "UPDATE job_parts SET state = $3, reason = $4 \
                 WHERE version = $1 AND part = $2 AND state IN ('queued', 'running')",
                args![version.to_string(), part.0, state.as_str(), reason],
            )
            .await?;
        tx.commit().await?;
        Ok(changed > 0)
    }
}

fn read(row: &Row) -> Result<JobPart, StoreError> {
    let lease = |at: usize| -> Result<Option<LeaseId>, StoreError> {
        let id = row.opt_text(at)?;
        id.map(|id| id.parse().map_err(|e| StoreError::corrupt("lease id", e))).transpose()
    };
    Ok(JobPart {
        app: row.parse(0, "app id")?,
        version: row.parse(1, "version id")?,
        part: Replica(row.u32(2)?),
        state: row.parse(3, "part state")?,
        attempts: row.u32(4)?,
        lease: lease(5)?,
        beside: lease(8)?,
        reason: row.opt_text(6)?,
        not_before_ms: row.uint(7)?,
    })
}

pub(crate) async fn load(
    tx: &mut Tx,
    version: VersionId,
    part: Replica,
) -> Result<JobPart, StoreError> {
    let sql = concat!(part_columns!(), " WHERE version = $1 AND part = $2");
    let row = tx.one(sql, args![version.to_string(), part.0]).await?;
    row.map(|row| read(&row))
        .transpose()?
        .ok_or_else(|| StoreError::not_found("part", format!("{part} of {version}")))
}

/// Queues all parts of a new version.
pub(crate) async fn queue(tx: &mut Tx, version: &Version) -> Result<(), StoreError> {
    for part in 0..version.parts {
        tx.run(
            "INSERT INTO job_parts (version, part, app, state, attempts, not_before_ms) \
             VALUES ($1, $2, $3, 'queued', 0, 0)",
            args![version.id.to_string(), part, version.app.to_string()],
        )
        .await?;
    }
    Ok(())
}

/// Cancels every part of an app that is not over.
pub(crate) async fn cancel_open(tx: &mut Tx, app: AppId, reason: &str) -> Result<(), StoreError> {
    tx.run(
        "UPDATE job_parts SET state = 'cancelled', reason = $2 \
         WHERE app = $1 AND state IN ('queued', 'running')",
        args![app.to_string(), reason],
    )
    .await?;
    Ok(())
}
