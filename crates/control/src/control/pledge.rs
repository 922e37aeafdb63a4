//! What suppliers have signed about leases, and the utility's word that they keep it.
//!
//! ```text
//! offered (the utility signs) -> agreed (the supplier signs, both are on disk) -> acknowledged ...
//!      \-> not signed: the lease ends                 \-> silent for longer than the interval: broken
//! ```
//!
//! While a node that holds the lease is heard, the utility acknowledges every third of the interval,
//! and to the end once the lease is over and the node has said so. How far it acknowledged is on disk
//! before the signature leaves: otherwise it might accuse a supplier that holds a later word. What
//! was broken is acknowledged no more; whoever runs the utility decides whether to accuse.

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
use parking_lot::Mutex;
use tracing::{error, info, warn};

use super::Control;
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
/// The pause before a signature that failed is asked for again.
const RETRY: Duration = Duration::from_millis(250);

/// What was agreed, and what became of it.
#[derive(Debug)]
pub(super) struct Pledges {
    files: Option<Agreements>,
    held: Mutex<HashMap<LeaseId, Pledge>>,
    /// When this run began, in seconds since 1970: silence before that may have been ours.
    began_s: u64,
}

#[derive(Debug, Clone)]
struct Pledge {
    agreement: Agreement,
    saved: bool,
    /// The connection that was told last.
    told_in: Option<u64>,
}

impl Pledge {
    /// Whether the supplier was silent for longer than it may.
    fn is_broken(&self, now_s: u64, began_s: u64) -> bool {
        let since = self.agreement.acked_to_s.max(began_s);
        let interval = u64::from(self.agreement.offer.terms.ackInterval);
        !self.agreement.is_settled() && now_s > since.saturating_add(interval)
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
            for agreement in all.into_iter().filter(Agreement::is_open) {
                let pledge = Pledge { saved: true, told_in: None, agreement };
                held.insert(pledge.agreement.lease, pledge);
            }
        }
        Ok(Self { files, held: Mutex::new(held), began_s: now_s })
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

    /// The terms for a lease, signed; `Some(None)` where its app asks for none. `None` where the
    /// utility stops first.
    pub(super) async fn offer_terms(
        &self,
        spec: &LeaseSpec,
        supplier: Address,
    ) -> Option<Option<SlaOffer>> {
        let sla = {
            let grid = self.grid.lock();
            let app = grid.apps().get(&spec.key.app);
            app.and_then(|app| app.spec.service()).and_then(|service| service.sla)
        };
        let Some(sla) = sla.filter(|_| self.can_agree()) else { return Some(None) };
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
        loop {
            match self.settle.sign_terms(terms).await {
                Ok(offer) => return Some(Some(offer)),
                Err(problem) => warn!(error = ?problem, "the terms of a lease are signed again"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.stopping.cancelled() => return None,
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
            Pledge { agreement, saved: false, told_in: None }
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
            if let Err(problem) = self.acknowledge().await {
                warn!(error = ?problem, "acknowledgements are signed again in a moment");
            }
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

    async fn acknowledge(self: &Arc<Self>) -> Result<(), SettleError> {
        let Some(files) = self.pledges.files.clone() else { return Ok(()) };
        let due = self.due_acks();
        if due.is_empty() {
            return Ok(());
        }
        // On disk before anything is signed.
        let wanted: Vec<Agreement> = due.iter().map(|(agreement, _)| agreement.clone()).collect();
        let write =
            move || wanted.iter().map(|agreement| files.save(agreement)).collect::<Vec<_>>();
        let Ok(written) = tokio::task::spawn_blocking(write).await else { return Ok(()) };
        for ((agreement, session), written) in due.into_iter().zip(written) {
            if let Err(problem) = written {
                error!(lease = %agreement.lease, error = ?problem, "an agreement is not kept");
                continue;
            }
            let (lease, node, digest) = (agreement.lease, agreement.node, agreement.digest());
            let up_to = agreement.acked_to_s;
            let session = session.filter(|_| up_to > agreement.offer.terms.from);
            if let Some(pledge) = self.pledges.held.lock().get_mut(&lease) {
                pledge.agreement = agreement;
                pledge.saved = true;
            }
            let Some(session) = session else { continue };
            let ack = self.settle.sign_ack(Ack { terms: digest, upTo: up_to }).await?;
            self.send(node, ToAgent::Ack { lease, ack });
            if let Some(pledge) = self.pledges.held.lock().get_mut(&lease) {
                pledge.told_in = Some(session);
            }
        }
        Ok(())
    }

    /// What is to be written, and where it is to be acknowledged, over which connection.
    fn due_acks(&self) -> Vec<(Agreement, Option<u64>)> {
        let now_s = now_s();
        let grid = self.grid.lock();
        let sessions = self.sessions.lock();
        let mut held = self.pledges.held.lock();
        let mut due = Vec::new();
        held.retain(|id, pledge| {
            let agreement = &pledge.agreement;
            let lease = grid.leases().get(id);
            if agreement.broken_at_s.is_some() {
                // Kept for as long as the lease is, so that it is not agreed again.
                return lease.is_some();
            }
            if pledge.is_broken(now_s, self.pledges.began_s) {
                let silent_s = now_s.saturating_sub(agreement.acked_to_s);
                warn!(
                    lease = %id, node = agreement.node.short(), silent_s,
                    "a supplier was silent for longer than it signed: `kinesis lease accuse`"
                );
                let broken = Agreement { broken_at_s: Some(now_s), ..agreement.clone() };
                due.push((broken, None));
                return true;
            }
            let up = grid.nodes().get(&agreement.node).is_some_and(Node::is_up);
            let session = sessions.get(&agreement.node).map(|session| session.number);
            let Some(session) = session.filter(|_| up) else {
                // A settled one waits for its node to come back and hear it.
                return agreement.offer.terms.to > now_s;
            };
            let holds = lease.is_some_and(|lease| lease.phase != Phase::Ended);
            match pledge.due(now_s, holds) {
                Some(up_to) if due.len() < ACKS_MAX => {
                    let next = Agreement { acked_to_s: up_to, ..agreement.clone() };
                    due.push((next, Some(session)));
                }
                Some(_) => {}
                None if agreement.is_settled() && pledge.told_in == Some(session) => {
                    info!(lease = %id, "a lease was acknowledged to its end");
                    return false;
                }
                None if !pledge.saved || pledge.told_in != Some(session) => {
                    due.push((agreement.clone(), Some(session)));
                }
                None => {}
            }
            true
        });
        due
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
        Pledge { agreement, saved: true, told_in: None }
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
        assert!(!pledge.is_broken(130, 0));
        assert!(pledge.is_broken(131, 0));
        assert!(!pledge.is_broken(160, 130));
        pledge.agreement.acked_to_s = 200;
        assert!(!pledge.is_broken(1_000, 0));
    }
}
