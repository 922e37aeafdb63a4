//! The end of an attempt at a job's part: recorded, its part moved on, and billed where that is due,
//! in one transaction and once.
//!
//! A part costs what the attempt that ended it used, and nothing else. Whether an attempt failed by
//! its supplier's fault shows when another supplier tries, so whatever is tried again is free:
//!
//! | the attempt | its part | billed |
//! | --- | --- | --- |
//! | completed | is completed | yes |
//! | failed, and another follows | is queued | no |
//! | failed in its guest, and none follows | failed | yes |
//! | failed by its node, and none follows | failed | no |
//! | ended after its customer, or the budget, had stopped the job | is cancelled | yes, unless its node failed |
//! | ended after another had taken its place | is the other's | no |
//! | ended in any other way beside another that goes on | is the other's | no |
//!
//! Of two attempts at one part ([`Store::start_beside`]) the one whose end is recorded first as
//! completed, failed for good or stopped is the part's; the other is nobody's from then on.

use kinesis_protocol::{Counters, Ending, JoulePrice, LeaseId};

use super::{Amounts, Charged, LeasePosted, earn, spend};
use crate::{
    AppKind, JobPart, PartState, Store, StoreError,
    db::{Tx, args, json},
    jobs, leases,
    ledger::Entry,
};

/// An attempt at a job's part that is over.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// The attempt.
    pub lease: LeaseId,
    /// Its last believed counters.
    pub counters: Counters,
    /// How it ended.
    pub ending: Ending,
    /// What follows for its part, where it did not complete.
    pub then: Then,
    /// What one JOULE costs.
    pub joule_price: JoulePrice,
}

/// What follows for a part whose attempt did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Nothing: the part was stopped, or is another attempt's.
    Nothing,
    /// The other of its two attempts goes on.
    Other,
    /// Nothing, though it completed: its part was given to another attempt before.
    TooLate,
    /// It is tried again.
    Again {
        /// Whether this attempt uses up one of its retries (a refusal before it began does not).
        counts: bool,
        /// Not before this time.
        not_before_ms: u64,
    },
    /// It failed for good.
    Failed,
}

/// What became of an attempt that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptEnded {
    /// It ended its part, and was billed.
    Billed(LeasePosted),
    /// It costs nothing.
    Free,
    /// Its end had been recorded before; this is what it cost then.
    Already(Amounts),
    /// Another attempt has taken its place, or had ended the part: nothing is billed, and a result
    /// that came too late is recorded as [`Ending::Fenced`].
    Superseded,
}

impl Store {
    /// Ends an attempt: records its counters and its ending, moves its part on, and bills it where it
    /// is what ended the part. Exactly once: repeated, it changes nothing.
    ///
    /// # Errors
    /// Where there is no such lease, or it is not a job's.
    pub async fn end_attempt(
        &self,
        end: &AttemptEnd,
        at_ms: u64,
    ) -> Result<AttemptEnded, StoreError> {
        let id = end.lease;
        let mut tx = self.db.begin().await?;
        let lease =
            leases::load(&mut tx, id).await?.ok_or_else(|| StoreError::not_found("lease", id))?;
        if lease.kind != AppKind::Job {
            return Err(StoreError::Invalid(format!("lease {id} is not a job's")));
        }
        if lease.ending.is_some() {
            return Ok(AttemptEnded::Already(lease.posted));
        }
        leases::merge(&mut tx, id, &end.counters).await?;
        let part = jobs::load(&mut tx, lease.version, lease.spec.key.replica).await?;
        let completed = matches!(end.ending, Ending::Completed { .. });
        let Some((next, billed)) = verdict(&part, end) else {
            let ending = if completed { &Ending::Fenced } else { &end.ending };
            finish(&mut tx, id, ending, at_ms).await?;
            tx.commit().await?;
            return Ok(AttemptEnded::Superseded);
        };
        if next != part {
            tx.run(
                "UPDATE job_parts SET state = $3, attempts = $4, reason = $5, not_before_ms = $6, \
                 lease = $7, beside = $8 WHERE version = $1 AND part = $2",
                args![
                    lease.version.to_string(),
                    lease.spec.key.replica.0,
                    next.state.as_str(),
                    next.attempts,
                    next.reason,
                    next.not_before_ms,
                    next.lease.map(|lease| lease.to_string()),
                    next.beside.map(|lease| lease.to_string())
                ],
            )
            .await?;
        }
        let mut ended = AttemptEnded::Free;
        if billed {
            let posted = bill(&mut tx, id, lease.series, end.joule_price, at_ms).await?;
            ended = posted.map_or(AttemptEnded::Free, AttemptEnded::Billed);
        }
        let ending = if completed && !billed { &Ending::Fenced } else { &end.ending };
        finish(&mut tx, id, ending, at_ms).await?;
        tx.commit().await?;
        Ok(ended)
    }
}

/// The part as it is after this end, and whether the attempt is billed; `None` where it is not the
/// part's any more.
fn verdict(part: &JobPart, end: &AttemptEnd) -> Option<(JobPart, bool)> {
    let other = if part.lease == Some(end.lease) {
        part.beside
    } else if part.beside == Some(end.lease) {
        part.lease
    } else {
        return None;
    };
    let reason = Some(end.ending.to_string());
    // It is the part's now, whatever the other does.
    let mine = JobPart { lease: Some(end.lease), beside: None, ..part.clone() };
    let others = JobPart { lease: other, beside: None, ..part.clone() };
    match (part.state, &end.ending, &end.then) {
        (PartState::Running, Ending::Completed { .. }, then) if *then != Then::TooLate => {
            Some((JobPart { state: PartState::Completed, reason, ..mine }, true))
        }
        (PartState::Running, _, Then::Other | Then::Nothing | Then::TooLate) if other.is_some() => {
            Some((others, false))
        }
        // The other's start is not recorded yet: it finds the part waiting, and the two count as one.
        (PartState::Running, _, Then::Other) => {
            let attempts = part.attempts.saturating_sub(1);
            let state = PartState::Queued;
            Some((JobPart { state, attempts, not_before_ms: 0, reason, ..mine }, false))
        }
        (PartState::Running, _, Then::Again { counts, not_before_ms }) => {
            let attempts = if *counts { part.attempts } else { part.attempts.saturating_sub(1) };
            let (state, not_before_ms) = (PartState::Queued, *not_before_ms);
            Some((JobPart { state, attempts, not_before_ms, reason, ..mine }, false))
        }
        (PartState::Running, ending, Then::Failed) => {
            let billed = matches!(ending, Ending::Failed { .. });
            Some((JobPart { state: PartState::Failed, reason, ..mine }, billed))
        }
        // A restart finds the part without an attempt, and queues it.
        (PartState::Running, _, Then::Nothing | Then::TooLate) => Some((part.clone(), false)),
        // Somebody who pays for it ended it; what the node did of itself is not paid.
        (PartState::Cancelled, ending, _) => {
            let ordered = matches!(
                ending,
                Ending::Released | Ending::Failed { .. } | Ending::Completed { .. }
            );
            // Of two, the first that worked is the one that is paid.
            let yields = other.is_some() && (!ordered || end.counters.wall_ms == 0);
            Some(if yields { (others, false) } else { (mine, ordered) })
        }
        (PartState::Queued | PartState::Completed | PartState::Failed, ..) => None,
    }
}

/// Posts all that an attempt cost. `None` where it cost nothing.
async fn bill(
    tx: &mut Tx,
    lease: LeaseId,
    series: u64,
    price: JoulePrice,
    at_ms: u64,
) -> Result<Option<LeasePosted>, StoreError> {
    let charged = Charged::of(tx, lease).await?;
    let charged = charged.ok_or_else(|| StoreError::not_found("lease", lease))?;
    let mut entry = Entry::default();
    let Some(posted) = charged.post(tx, &mut entry, price).await? else { return Ok(None) };
    entry.post_at(tx, &format!("job:{lease}"), "job", Some(price), at_ms).await?;
    earn(tx, series, std::slice::from_ref(&posted)).await?;
    spend(tx, std::slice::from_ref(&posted)).await?;
    Ok(Some(posted))
}

/// Records an ending; the counters of an attempt are final then.
async fn finish(
    tx: &mut Tx,
    lease: LeaseId,
    ending: &Ending,
    at_ms: u64,
) -> Result<(), StoreError> {
    tx.run(
        "UPDATE leases SET open = 0, ended_at_ms = COALESCE(ended_at_ms, $2), ending = $3 \
         WHERE id = $1",
        args![lease.to_string(), at_ms, json(ending)],
    )
    .await?;
    Ok(())
}
