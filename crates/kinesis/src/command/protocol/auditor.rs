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

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kinesis_chain::{
    ChainError, Protocol,
    protocol::audits::{AuditClaim, Court},
};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    chain,
    results::{AUDITOR, is_refusal, pass_blocks},
};
use crate::{
    auditing::{fetch::Files, finding::Finding, in_full, work::Work},
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
    busy: BTreeSet<u64>,
    /// What could not be done, and was said: it is said once.
    said: BTreeMap<u64, String>,
}

pub(crate) async fn run(args: Args, out: Output) -> Result<()> {
    let mut stop = Stop::listen()?;
    let work = Work::open(&args.work, AUDITOR, Files::Below(args.files.clone()))?;
    let key = args.chain.key()?;
    let client = args.chain.serve_as(key).await?;
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
        let missing = kinesis_chain::Joules(court.seat_bond.0.saturating_sub(me.bond.0));
        client.enrol(missing).await.map_err(chain)?;
        let value = json!({"auditor": me.address, "did": "enrolled", "amount": missing});
        out.event(&value, format_args!("{} bonded {missing} JOULE", me.address))?;
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
        busy: BTreeSet::new(),
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
        match round {
            Ok(()) => {}
            // A chain that was restarted comes back.
            Err(error) => tracing::warn!(error = in_full(&error), "the chain was not looked at"),
        }
    }
}

impl Sitting {
    /// Looks at the chain once and does what is to be done.
    async fn round(&mut self) -> Result<()> {
        self.take_place().await?;
        self.collect()?;
        let count = self.client.audit_claim_count().await.map_err(chain)?;
        let from = self.seen.max(count.saturating_sub(CLAIMS_MAX));
        self.open.extend(from + 1..=count);
        self.seen = count;
        for id in self.open.clone() {
            let claim = self.client.audit_claim(id).await.map_err(chain)?;
            match self.attend(&claim).await {
                Ok(()) => {}
                // Another was faster, or it is too early, or too late.
                Err(error) if is_refusal(&error) => {
                    let why = error.to_string();
                    if self.said.insert(id, why.clone()).as_ref() != Some(&why) {
                        tracing::debug!(claim = id, why, "not now");
                    }
                }
                Err(error) => return Err(chain(error)),
            }
        }
        Ok(())
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

    /// Takes in what was found, which is written down by now.
    fn collect(&mut self) -> Result<()> {
        while let Some(done) = self.finding.try_join_next() {
            let (id, found) = done.map_err(Error::role("audit"))?;
            self.busy.remove(&id);
            let found = found?;
            let value = json!({"claim": id, "did": "found", "why": found.why});
            self.say(&value, &format!("claim {id}: {}", safe(&found.why)))?;
        }
        Ok(())
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
        if vote.committed && !vote.revealed && now_s > claim.commit_ends_s {
            if let Ok(Some(found)) = self.known(claim)
                && now_s <= claim.reveal_ends_s
            {
                self.client.reveal_finding(id, found.finding, found.salt()).await?;
                self.did(id, "revealed", &found.why);
            }
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
            Ok(None) if self.busy.insert(id) => {
                let claimed = self.client.claimed(claim).await.inspect_err(|_| {
                    self.busy.remove(&id);
                })?;
                let left = claim.commit_ends_s.saturating_sub(now_s);
                let within = Duration::from_secs(left - left / COMMIT_SHARE);
                let (work, claim, me) = (self.work.clone(), claim.clone(), self.client.address());
                self.finding.spawn(async move {
                    let found = work.find((&claim, me), &claimed, None, within).await;
                    // Before anybody hears of it.
                    let kept = found.save(&work.findings());
                    (claim.id, kept.map(|()| found))
                });
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
