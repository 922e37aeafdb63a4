//! What suppliers have signed about leases, and the utility's word that they keep it.
//!
//! ```text
//! offered (the utility signs) -> agreed (the supplier signs, both are on disk) -> acknowledged ...
//!      \-> not signed: the lease ends                 \-> silent for longer than the interval: broken
//! ```
//!
//! While a node that holds the lease is heard, the utility acknowledges every third of the interval,
//! and to the end once the lease is over and the node has said so. How far it acknowledged is on disk
//! before the signature leaves: otherwise it might accuse a supplier that holds a later word. A node
//! that is heard is never silent, whatever became of the word it is owed: a signer that is away, a full
//! disk and a process that stood still are the utility's own. What was broken is acknowledged no more;
//! whoever runs the utility decides whether to accuse. What was acknowledged to its end is forgotten,
//! with its file, once its node has surely heard so.

mod looks;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kinesis_chain::{Agreement, Agreements};
use kinesis_protocol::{
    Address, LeaseId, LeaseSpec, LeaseTerms, NodeId, Signature, SlaOffer,
    message::ToAgent,
    sla::{Ack, lease_hash},
};
use looks::Looks;
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Control, record::Unwritten};
use crate::{
    ControlError,
    grid::{Lease, Node, Phase, is_held},
    settle::SettleError,
};

/// How often it is looked for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For how long terms hold: what runs longer is bound by nothing after that.
const TERM_S: u64 = 30 * 86_400;
/// The most acknowledgements that are signed in a round.
const ACKS_MAX: usize = 256;
/// How long a lease may be held without its signature before its node is asked again.
const ASK_AGAIN_MS: u64 = 3_000;
/// The pause before a signature that failed is asked for again, and for how long it is.
const RETRY: Duration = Duration::from_millis(250);
const OFFER_MAX: Duration = Duration::from_secs(10);
/// How long the signatures of a round may take together: the next one asks for the rest.
const SIGNING_MAX: Duration = Duration::from_secs(3);
/// How long a connection must last after the last word before that was heard for sure; a node that
/// dies over storing it hears it again.
const HEARD_MS: u64 = 60_000;

/// What was agreed, and what became of it.
#[derive(Debug)]
pub(super) struct Pledges {
    files: Option<Agreements>,
    held: Mutex<HashMap<LeaseId, Pledge>>,
    looks: Mutex<Looks>,
}

#[derive(Debug, Clone)]
struct Pledge {
    agreement: Agreement,
    saved: bool,
    /// The connection over which the newest word was sent, and when, in the utility's time.
    told: Option<(u64, u64)>,
}

impl Pledge {
    /// Whether the supplier was silent for longer than it may: since its last word, and by what was
    /// heard of its node, which says nothing now.
    fn is_broken(&self, now_s: u64, unheard_ms: u64) -> bool {
        let interval = u64::from(self.agreement.offer.terms.ackInterval);
        !self.agreement.is_settled()
            && now_s > self.agreement.acked_to_s.saturating_add(interval)
            && unheard_ms > interval.saturating_mul(1_000)
    }

    /// Goes on from here, even where writing that fails: the disk may have it all the same.
    fn advance(&mut self, to: Agreement) {
        *self = Self { agreement: to, saved: false, told: None };
    }

    fn is_told(&self, session: u64) -> bool {
        self.told.is_some_and(|(over, _)| over == session)
    }

    /// Whether its node has the newest word: its connection outlived it by far.
    fn is_heard(&self, session: u64, now_ms: u64) -> bool {
        let long_ago = |at_ms: u64| now_ms.saturating_sub(at_ms) >= HEARD_MS;
        self.told.is_some_and(|(over, at_ms)| over == session && long_ago(at_ms))
    }

    /// Up to when to acknowledge now, if that is due.
    fn due(&self, now_s: u64, held: bool) -> Option<u64> {
        let terms = &self.agreement.offer.terms;
        if self.agreement.is_settled() {
            return None;
        }
        if !held {
            return Some(terms.to);
        }
        let third = u64::from(terms.ackInterval / 3).max(1);
        (now_s >= self.agreement.acked_to_s.saturating_add(third)).then(|| now_s.min(terms.to))
    }
}

impl Pledges {
    /// What was agreed before, in this directory; `None`: nothing is ever agreed.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub(super) fn open(dir: Option<std::path::PathBuf>) -> Result<Self, ControlError> {
        let (files, now_s) = (dir.map(Agreements::new), now_s());
        let mut held = HashMap::new();
        if let Some(files) = &files {
            let (all, broken) = files.all(now_s).map_err(ControlError::Agreements)?;
            for problem in broken {
                warn!(error = ?problem, "an agreement cannot be read");
            }
            // Settled ones, too: whether their nodes have heard it died with the last run.
            for agreement in all.into_iter().filter(|a| a.offer.terms.to > now_s) {
                let pledge = Pledge { saved: true, told: None, agreement };
                held.insert(pledge.agreement.lease, pledge);
            }
        }
        Ok(Self { files, held: Mutex::new(held), looks: Mutex::default() })
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Control {
    /// Whether terms can be signed and kept here.
    pub(super) fn can_agree(&self) -> bool {
        self.pledges.files.is_some() && self.settle.court().is_some()
    }

    /// The terms for a lease, signed; `None` where its app asks for none.
    ///
    /// # Errors
    /// Where the signer refuses, or is away for too long, the lease is not wanted any more, or the
    /// utility stops first.
    pub(super) async fn offer_terms(
        &self,
        spec: &LeaseSpec,
        supplier: Address,
    ) -> Result<Option<SlaOffer>, Unwritten> {
        let sla = {
            let grid = self.grid.lock();
            let app = grid.apps().get(&spec.key.app);
            app.and_then(|app| app.spec.service()).and_then(|service| service.sla)
        };
        let Some(sla) = sla.filter(|_| self.can_agree()) else { return Ok(None) };
        let from = now_s();
        let terms = LeaseTerms {
            supplier,
            utility: self.payer.utility,
            lease: lease_hash(spec.lease),
            from,
            to: from.saturating_add(TERM_S),
            ackInterval: sla.ack_interval_s,
            penalty: sla.penalty.to_wei().to(),
        };
        let until = Instant::now() + OFFER_MAX;
        let given_up = |why: String| {
            let why = format!("the utility cannot sign the terms of its [sla]: {why}");
            Err(Unwritten::Unsigned(why.chars().filter(|c| !c.is_control()).take(300).collect()))
        };
        loop {
            match tokio::time::timeout_at(until, self.settle.sign_terms(terms)).await {
                Ok(Ok(offer)) => return Ok(Some(offer)),
                Ok(Err(problem @ (SettleError::SignerRefused(_) | SettleError::NoCourt))) => {
                    return given_up(problem.to_string());
                }
                Ok(Err(problem)) if Instant::now() + RETRY < until => {
                    warn!(error = ?problem, "the terms of a lease are signed again");
                }
                Ok(Err(problem)) => return given_up(problem.to_string()),
                Err(_) => return given_up("its signer does not answer".to_owned()),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.stopping.cancelled() => return Err(Unwritten::Stopping),
            }
            let grid = self.grid.lock();
            let wanted = grid
                .leases()
                .get(&spec.lease)
                .is_some_and(|lease| lease.phase == Phase::Placing && !lease.cancelled);
            if !wanted {
                return Err(Unwritten::Never);
            }
        }
    }

    /// A node granted a lease: with terms, only by signing them.
    pub(super) fn take_grant(
        self: &Arc<Self>,
        node: NodeId,
        id: LeaseId,
        signature: Option<Signature>,
    ) {
        let offered = {
            let grid = self.grid.lock();
            let lease = grid.leases().get(&id).filter(|lease| lease.node == node);
            lease.and_then(|lease| Some((lease.spec.sla?, lease.spec.app_name.clone())))
        };
        let Some((offer, app)) = offered else {
            return self.with(|grid, now| grid.granted(now, node, id));
        };
        let Some(signature) = signature.filter(|signature| offer.is_accepted_by(signature)) else {
            let reason = "it did not sign the lease's terms with its supplier's key";
            warn!(lease = %id, node = node.short(), reason, "a lease ends");
            return self.with(|grid, now| grid.unsigned(now, node, id, reason));
        };
        self.pledges.held.lock().entry(id).or_insert_with(|| {
            let agreement = Agreement::new(id, node, &app, offer, signature);
            Pledge { agreement, saved: false, told: None }
        });
        self.with(|grid, now| grid.granted(now, node, id));
    }

    /// Acknowledges what is due, again and again. Runs until the utility stops.
    pub(super) async fn keep_word(self: Arc<Self>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.stopping.cancelled() => return,
            }
            self.ask_for_signatures();
            self.acknowledge().await;
        }
    }

    /// A signature may have been lost with its connection.
    fn ask_for_signatures(self: &Arc<Self>) {
        let unsigned: Vec<LeaseId> = {
            let (grid, now_ms) = (self.grid.lock(), self.clock.now_ms());
            let held = self.pledges.held.lock();
            let lacks = |lease: &&Lease| {
                lease.spec.sla.is_some()
                    && is_held(lease)
                    && now_ms.saturating_sub(lease.since_ms) > ASK_AGAIN_MS
                    && !held.contains_key(&lease.spec.lease)
                    && grid.nodes().get(&lease.node).is_some_and(Node::is_up)
            };
            let leases = grid.leases().values().filter(lacks);
            leases.map(|lease| lease.spec.lease).take(ACKS_MAX).collect()
        };
        for lease in unsigned {
            self.with(|grid, _| grid.ask_again(lease));
        }
    }

    async fn acknowledge(&self) {
        let Some(files) = self.pledges.files.clone() else { return };
        let Due { write, over } = self.due();
        if write.is_empty() && over.is_empty() {
            return;
        }
        // On disk before anything is signed.
        let wanted = write.clone();
        let work = move || {
            for lease in over {
                if let Err(problem) = files.remove(lease) {
                    warn!(%lease, error = ?problem, "a settled agreement could not be removed");
                }
            }
            let save = |word: &Word| if word.saved { Ok(()) } else { files.save(&word.agreement) };
            wanted.iter().map(save).collect::<Vec<_>>()
        };
        let Ok(written) = tokio::task::spawn_blocking(work).await else { return };
        let until = Instant::now() + SIGNING_MAX;
        let (mut failed, mut why) = (0_usize, None);
        for (word, written) in write.into_iter().zip(written) {
            let Word { agreement, session, .. } = word;
            let lease = agreement.lease;
            if let Err(problem) = written {
                error!(%lease, error = ?problem, "an agreement is not kept");
                continue;
            }
            self.change(lease, |pledge| pledge.saved = true);
            let up_to = agreement.acked_to_s;
            let Some(session) = session.filter(|_| up_to > agreement.offer.terms.from) else {
                continue;
            };
            // One that fails is asked for again in the next round, and keeps back none of the others.
            let ack = self.settle.sign_ack(Ack { terms: agreement.digest(), upTo: up_to });
            match tokio::time::timeout_at(until, ack).await {
                Ok(Ok(ack)) => {
                    self.send(agreement.node, ToAgent::Ack { lease, ack });
                    let now_ms = self.clock.now_ms();
                    self.change(lease, |pledge| pledge.told = Some((session, now_ms)));
                }
                Ok(Err(problem)) => (failed, why) = (failed + 1, Some(problem)),
                Err(_) => failed += 1,
            }
        }
        if failed > 0 {
            warn!(failed, error = ?why, "acknowledgements are signed again in a moment");
        }
    }

    fn change(&self, lease: LeaseId, change: impl FnOnce(&mut Pledge)) {
        if let Some(pledge) = self.pledges.held.lock().get_mut(&lease) {
            change(pledge);
        }
    }

    /// What is to be written, and where it is to be acknowledged, over which connection.
    fn due(&self) -> Due {
        let (now_s, now_ms) = (now_s(), self.clock.now_ms());
        let judged_from_ms = self.pledges.looks.lock().now(now_ms);
        let grid = self.grid.lock();
        let sessions = self.sessions.lock();
        let mut held = self.pledges.held.lock();
        let mut due = Due::default();
        held.retain(|id, pledge| {
            let lease = grid.leases().get(id);
            let node = grid.nodes().get(&pledge.agreement.node);
            let up = node.is_some_and(Node::is_up);
            if let Some(from_ms) = judged_from_ms.filter(|_| !up)
                && pledge.agreement.broken_at_s.is_none()
            {
                let heard_ms = node.map_or(from_ms, |node| node.heard_at_ms.max(from_ms));
                let unheard_ms = now_ms.saturating_sub(heard_ms);
                if pledge.is_broken(now_s, unheard_ms) {
                    warn!(
                        lease = %id, node = pledge.agreement.node.short(), unheard_ms,
                        "a supplier was silent for longer than it signed: `kinesis lease accuse`"
                    );
                    let broken = pledge.agreement.clone();
                    pledge.advance(Agreement { broken_at_s: Some(now_s), ..broken });
                }
            }
            let wanted = pledge.agreement.offer.terms.to > now_s;
            let session = sessions.get(&pledge.agreement.node).map(|session| session.number);
            let session = session.filter(|_| up && pledge.agreement.broken_at_s.is_none());
            let Some(session) = session else {
                // A settled one waits for its node to come back and hear it; a broken one is kept so
                // that it is not agreed again.
                if !pledge.saved {
                    due.push(pledge, None);
                }
                return wanted || !pledge.saved;
            };
            let holds = lease.is_some_and(|lease| lease.phase != Phase::Ended);
            match pledge.due(now_s, holds) {
                Some(up_to) if due.has_room() => {
                    let next = Agreement { acked_to_s: up_to, ..pledge.agreement.clone() };
                    pledge.advance(next);
                    due.push(pledge, Some(session));
                }
                Some(_) => {}
                None if !holds
                    && pledge.agreement.is_settled()
                    && pledge.is_heard(session, now_ms) =>
                {
                    info!(lease = %id, "a lease was acknowledged to its end");
                    due.over.push(*id);
                    return false;
                }
                None if !pledge.saved || !pledge.is_told(session) => {
                    due.push(pledge, Some(session));
                }
                None => {}
            }
            true
        });
        due
    }
}

/// What a round does.
#[derive(Debug, Default)]
struct Due {
    write: Vec<Word>,
    /// What is settled, and its nodes know.
    over: Vec<LeaseId>,
}

/// An agreement to be written, unless it is, and acknowledged over a connection.
#[derive(Debug, Clone)]
struct Word {
    agreement: Agreement,
    saved: bool,
    session: Option<u64>,
}

impl Due {
    const fn has_room(&self) -> bool {
        self.write.len() < ACKS_MAX
    }

    fn push(&mut self, pledge: &Pledge, session: Option<u64>) {
        if self.has_room() {
            let Pledge { agreement, saved, .. } = pledge.clone();
            self.write.push(Word { agreement, saved, session });
        }
    }
}

#[cfg(test)]
mod tests {
    use kinesis_chain::Key;
    use kinesis_protocol::U256;

    use super::*;

    fn pledge() -> Pledge {
        let key = Key::random();
        let lease = LeaseId::random();
        let terms = LeaseTerms {
            supplier: key.address(),
            utility: key.address(),
            lease: lease_hash(lease),
            from: 100,
            to: 200,
            ackInterval: 30,
            penalty: U256::from(1).to(),
        };
        let court = Address::repeat_byte(1);
        let signature = key.sign_hash(&terms.signing_hash(1, court));
        let offer = SlaOffer { chain_id: 1, court, terms, signature };
        let agreement = Agreement::new(lease, NodeId([1; 32]), "app", offer, signature);
        Pledge { agreement, saved: true, told: None }
    }

    #[test]
    fn one_word_each_third_of_the_interval_and_the_last_at_the_end() {
        let mut pledge = pledge();
        assert_eq!(pledge.due(109, true), None);
        assert_eq!(pledge.due(110, true), Some(110));
        assert_eq!(pledge.due(250, true), Some(200));
        // It is over, and its node is here to say so.
        assert_eq!(pledge.due(101, false), Some(200));
        pledge.agreement.acked_to_s = 200;
        assert_eq!(pledge.due(250, false), None);
    }

    #[test]
    fn silence_is_counted_from_the_last_word_and_not_while_we_were_away() {
        let mut pledge = pledge();
        assert!(!pledge.is_broken(130, 40_000));
        assert!(pledge.is_broken(131, 30_001));
        // Its word is old, but it was heard: whatever kept the word back was not its silence.
        assert!(!pledge.is_broken(1_000, 30_000));
        pledge.agreement.acked_to_s = 200;
        assert!(!pledge.is_broken(1_000, 900_000));
    }

    #[test]
    fn a_word_is_told_anew_whenever_there_is_more_to_say() {
        let mut pledge = pledge();
        pledge.told = Some((3, 1_000));
        assert!(pledge.is_told(3) && !pledge.is_told(4));
        assert!(!pledge.is_heard(3, 1_000 + HEARD_MS - 1), "it may have died with its connection");
        assert!(pledge.is_heard(3, 1_000 + HEARD_MS) && !pledge.is_heard(4, 1_000 + HEARD_MS));
        let to = pledge.agreement.offer.terms.to;
        pledge.advance(Agreement { acked_to_s: to, ..pledge.agreement.clone() });
        // That it was told of an earlier one says nothing of the last.
        assert!(pledge.agreement.is_settled() && !pledge.saved);
        assert!(!pledge.is_told(3) && !pledge.is_heard(3, u64::MAX));
    }
}
