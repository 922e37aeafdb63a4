//! `kinesis auditor`: sits in the court of results and does what that asks.
//!
//! ```text
//! claim ----> drawing: draw, or let it lapse
//!               |
//!             voting, on the panel: find -> write down -> commit -> reveal -> settle
//!               |
//!             over: forget
//! ```
//!
//! What is to be done is read from the chain each time, and the only thing kept here is what was found,
//! with its salt, from before the commitment until the claim is over. So it may die at any moment: the
//! next start sees what it had done and goes on from there.
//!
//! One claim holds up no other: what cannot be done is said, and tried again in the next round. What is
//! nearest to its deadline comes first, reveals before new work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kinesis_chain::{
    ChainError, Joules, Protocol, intent_key,
    protocol::audits::{AuditClaim, Court},
};
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet};

use super::{
    chain,
    results::{AUDITOR, hosts, is_refusal, pass_blocks},
    runs,
};
use crate::{
    auditing::{
        fetch::Files,
        finding::Finding,
        in_full,
        work::{Allowed, Work},
    },
    cli::protocol::{OnChain, results::Auditor as Args},
    error::{Error, Result},
    output::{Output, safe},
    role::Stop,
};

/// How often the chain is looked at, at most and at least.
const POLL_MIN: Duration = Duration::from_millis(400);
const POLL_MAX: Duration = Duration::from_secs(12);
/// How many claims are looked through at the start for some that are not over.
const CLAIMS_MAX: u64 = 1_000;
/// This share of the time to commit is kept for the commitment itself.
const COMMIT_SHARE: u64 = 5;
/// The kind of key under which a bond is journalled.
const ENROL: &str = "enrol";

struct Sitting {
    on: OnChain,
    client: Protocol,
    work: Arc<Work>,
    court: Court,
    out: Output,
    /// Claims that are not over.
    open: BTreeSet<u64>,
    /// The newest claim that was seen.
    seen: u64,
    /// Jobs that run.
    finding: JoinSet<(u64, Result<Finding>)>,
    busy: BTreeMap<u64, AbortHandle>,
    /// What could not be done, and was said: it is said once.
    said: BTreeMap<u64, String>,
}

pub(crate) async fn run(args: Args, out: Output) -> Result<()> {
    let mut stop = Stop::listen()?;
    let key = args.chain.key()?;
    let client = args.chain.serve_as(key).await?;
    let allowed = Allowed {
        files: Files::Below(args.files.clone()),
        hosts: hosts(&client, args.fetch_private),
        jobs: args.jobs,
    };
    let work = Work::open(&args.work, AUDITOR, allowed)?;
    let court = client.audit_court().await.map_err(chain)?;
    let me = client.auditor(client.address()).await.map_err(chain)?;
    if !me.seated && me.bond.0 < court.seat_bond.0 {
        if !args.enrol {
            return Err(Error::Refused {
                message: format!(
                    "{} has bonded {} JOULE, and a place costs {}",
                    me.address, me.bond, court.seat_bond
                ),
                hint: Some("let it bond what is missing with --enrol".into()),
            });
        }
        enrol(&client, &court, out).await?;
    }
    let often = Duration::from_secs(court.commit_window_s) / 20;
    let mut poll = tokio::time::interval(often.clamp(POLL_MIN, POLL_MAX));
    poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut sitting = Sitting {
        on: args.chain,
        client,
        work: Arc::new(work),
        court,
        out,
        open: BTreeSet::new(),
        seen: 0,
        finding: JoinSet::new(),
        busy: BTreeMap::new(),
        said: BTreeMap::new(),
    };
    loop {
        tokio::select! {
            () = stop.asked() => return Ok(()),
            _ = poll.tick() => {}
        }
        let round = tokio::select! {
            () = stop.asked() => return Ok(()),
            round = sitting.round() => round,
        };
        // A chain that was restarted comes back.
        if let Err(error) = round {
            tracing::warn!(error = in_full(&error), "the chain was not looked at");
        }
    }
}

/// Bonds what is missing, once: what an earlier start sent for it, and did not see mined, counts.
async fn enrol(client: &Protocol, court: &Court, out: Output) -> Result<()> {
    let (chain_id, address) = (client.contracts().chain_id, client.address());
    let (journal, _held) = runs::journal(chain_id, address, out).await?;
    let client = client.clone().journalled(Arc::new(journal), intent_key(ENROL));
    client.look_after(Some(ENROL)).await.map_err(chain)?;
    let me = client.auditor(address).await.map_err(chain)?;
    let missing = Joules(court.seat_bond.0.saturating_sub(me.bond.0));
    if !missing.0.is_zero() {
        client.enrol(missing).await.map_err(chain)?;
        let value = json!({"auditor": address, "did": "enrolled", "amount": missing});
        out.event(&value, format_args!("{address} bonded {missing} JOULE"))?;
    }
    Ok(())
}

/// What comes first: what is to be revealed, then what is to be committed to, each by its deadline, then
/// all else. Silence in either costs the penalty.
fn urgency(claim: &AuditClaim, now_s: u64) -> (u8, u64) {
    match claim.state.as_str() {
        "voting" if now_s <= claim.commit_ends_s => (1, claim.commit_ends_s),
        "voting" if now_s <= claim.reveal_ends_s => (0, claim.reveal_ends_s),
        _ => (2, claim.id),
    }
}

impl Sitting {
    /// Looks at the chain once and does what is to be done.
    async fn round(&mut self) -> Result<()> {
        self.collect();
        let count = self.client.audit_claim_count().await.map_err(chain)?;
        let now_s = self.client.now_s().await.map_err(chain)?;
        let from = self.seen.max(count.saturating_sub(CLAIMS_MAX));
        self.open.extend(from + 1..=count);
        self.seen = count;
        let mut claims = Vec::new();
        for id in self.open.clone() {
            match self.client.audit_claim(id).await {
                Ok(claim) => claims.push(claim),
                Err(error) => self.not_now(id, &error),
            }
        }
        claims.sort_by_key(|claim| urgency(claim, now_s));
        for claim in claims {
            match self.attend(&claim).await {
                Ok(()) => {
                    self.said.remove(&claim.id);
                }
                Err(error) => self.not_now(claim.id, &error),
            }
        }
        self.take_place().await
    }

    /// Says why nothing was done about a claim; the others do not wait for it.
    fn not_now(&mut self, claim: u64, error: &ChainError) {
        let why = in_full(error);
        if self.said.insert(claim, why.clone()).as_ref() == Some(&why) {
            return;
        }
        if is_refusal(error) {
            // Another was faster, or it is too early, or too late.
            tracing::debug!(claim, why, "not now");
        } else {
            tracing::warn!(claim, why, "tried again in the next round");
        }
    }

    async fn take_place(&self) -> Result<()> {
        let me = self.client.auditor(self.client.address()).await.map_err(chain)?;
        let now_s = self.client.now_s().await.map_err(chain)?;
        let mature = me.enrolled_at_s.saturating_add(self.court.maturity_s);
        if me.seated || me.bond.0 < self.court.seat_bond.0 || now_s < mature {
            return Ok(());
        }
        match self.client.sit().await {
            Ok(seats) => {
                let value = json!({"auditor": me.address, "did": "sat", "seats": seats});
                self.say(&value, &format!("{} took a place, one of {seats}", me.address))
            }
            // The chain's clock may be a moment behind.
            Err(error) if is_refusal(&error) => Ok(()),
            Err(error) => Err(chain(error)),
        }
    }

    /// Takes in what was found, which is written down by now. What failed is tried again.
    fn collect(&mut self) {
        while let Some(done) = self.finding.try_join_next() {
            match done {
                Ok((id, Ok(found))) => {
                    self.busy.remove(&id);
                    self.did(id, "found", &found.why);
                }
                Ok((id, Err(error))) => {
                    self.busy.remove(&id);
                    tracing::error!(claim = id, error = in_full(&error), "not written down");
                }
                Err(error) => {
                    self.busy.retain(|_, task| task.id() != error.id());
                    tracing::error!(error = in_full(&error), "an audit failed");
                }
            }
        }
    }

    /// Does the next thing that a claim asks for.
    async fn attend(&mut self, claim: &AuditClaim) -> Result<(), ChainError> {
        let (id, me) = (claim.id, self.client.address());
        match claim.state.as_str() {
            "drawing" => return self.draw(claim).await,
            "voting" => {}
            _ => {
                self.open.remove(&id);
                if let Ok(Some(found)) = self.known(claim) {
                    found.forget(&self.work.findings());
                    self.did(id, "saw it end", &format!("it is {}", claim.state));
                }
                return Ok(());
            }
        }
        let vote = self.client.vote_on(id, me).await?;
        let now_s = self.client.now_s().await?;
        if !vote.drawn {
            return Ok(());
        }
        if !vote.committed && now_s <= claim.commit_ends_s {
            return self.commit(claim, now_s).await;
        }
        let revealing = now_s > claim.commit_ends_s && now_s <= claim.reveal_ends_s;
        if vote.committed
            && !vote.revealed
            && revealing
            && let Ok(Some(found)) = self.known(claim)
        {
            self.client.reveal_finding(id, found.finding, found.salt()).await?;
            self.did(id, "revealed", &found.why);
        }
        let claim = self.client.audit_claim(id).await?;
        if claim.revealed == claim.panel || now_s > claim.reveal_ends_s {
            let ended = self.client.settle_claim(id).await?;
            self.did(id, "settled", &ended.state);
        }
        Ok(())
    }

    async fn draw(&self, claim: &AuditClaim) -> Result<(), ChainError> {
        // Where it cannot be, somebody else's traffic makes the block.
        let _ = pass_blocks(&self.on, &self.client, claim.id).await;
        match self.client.draw_panel(claim.id).await {
            Ok(panel) => {
                self.did(claim.id, "drew", &format!("a panel of {}", panel.len()));
                Ok(())
            }
            Err(ChainError::Reverted(why)) if why.starts_with("TooLate") => {
                self.client.lapse_claim(claim.id).await?;
                self.did(claim.id, "ended", "nobody drew its panel in time");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Commits to what was found; where nothing was yet, sees to it that it will be.
    async fn commit(&mut self, claim: &AuditClaim, now_s: u64) -> Result<(), ChainError> {
        let id = claim.id;
        match self.known(claim) {
            Ok(Some(found)) => {
                self.client.commit_finding(id, found.finding, found.salt()).await?;
                self.did(id, "committed", "");
            }
            Ok(None) if !self.busy.contains_key(&id) => {
                let claimed = self.client.claimed(claim).await?;
                let left = claim.commit_ends_s.saturating_sub(now_s);
                let within = Duration::from_secs(left - left / COMMIT_SHARE);
                let (work, claim, me) = (self.work.clone(), claim.clone(), self.client.address());
                let task = self.finding.spawn(async move {
                    let found = work.find((&claim, me), &claimed, None, within).await;
                    // Before anybody hears of it.
                    let kept = found.save(&work.findings());
                    (claim.id, kept.map(|()| found))
                });
                self.busy.insert(id, task);
            }
            Ok(None) => {}
            Err(error) => tracing::error!(claim = id, error = in_full(&error), "no finding"),
        }
        Ok(())
    }

    fn known(&self, claim: &AuditClaim) -> Result<Option<Finding>> {
        Finding::load(&self.work.findings(), claim.id, claim.result, self.client.address())
    }

    fn did(&self, claim: u64, did: &str, why: &str) {
        let value = json!({"claim": claim, "did": did, "why": why});
        let more = if why.is_empty() { String::new() } else { format!(": {}", safe(why)) };
        if let Err(error) = self.say(&value, &format!("claim {claim}: {did}{more}")) {
            tracing::debug!(error = in_full(&error), "nobody reads what is said");
        }
    }

    fn say(&self, value: &serde_json::Value, human: &str) -> Result<()> {
        self.out.event(value, human)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: u64, state: &str, commit_ends_s: u64, reveal_ends_s: u64) -> AuditClaim {
        AuditClaim { commit_ends_s, reveal_ends_s, ..crate::auditing::some_claim(id, state) }
    }

    #[test]
    fn reveals_come_before_commitments_and_both_before_new_work() {
        let mut claims = [
            claim(1, "drawing", 0, 0),
            claim(2, "voting", 120, 140),
            claim(3, "voting", 110, 130),
            claim(4, "voting", 90, 119),
            claim(5, "voting", 80, 112),
            claim(6, "voting", 60, 70),
            claim(7, "upheld", 60, 70),
        ];
        claims.sort_by_key(|claim| urgency(claim, 100));
        assert_eq!(claims.map(|claim| claim.id), [5, 4, 3, 2, 1, 6, 7]);
    }
}
