//! What this supplier has signed about leases, and the utility's word that it keeps it.
//!
//! Terms are signed only where the owner's limit, or the stake that the chain has, bears their penalty,
//! where their interval leaves the time to give notice, and only once they are on disk.
//! The newest acknowledgement of each lies beside them, in `leases/`: with that file anybody answers
//! an accusation, whether the agent runs or not.
//!
//! A utility may fall silent too, or withhold its word. Nothing can be done about that but to say, on
//! chain and in time, that this node answers no more: [`watch`] does so when three quarters of the
//! interval have passed without a word, of many leases at once.

mod acks;
mod stake;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use kinesis_chain::{Agreement, Agreements, Joules, Key, dev, protocol::leases::Courts};
use kinesis_protocol::{
    Address, LeaseId, LeaseSpec, NodeId, Signature, SignedAck, SlaOffer, U256, sla::lease_hash,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stake::Stakes;
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use self::acks::Acks;
use crate::{AgentError, error::chain_of, node::Node, wallet::Terms};

/// How often it is looked whether notice has to be given.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long giving notice may take.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after a notice that could not be given.
const NOTICE_PAUSE: Duration = Duration::from_secs(2);
/// The shortest interval that is signed for, in seconds, but on a development chain: after three
/// quarters of it there is time for a look, a notice that fails, the pause after it, and one that a
/// block of 12 s takes.
const INTERVAL_S_MIN: u32 = 120;
/// How many notices may be under way at once, and so how many terms are signed at once: all of them
/// fit into a block or two.
pub(crate) const NOTICES_AT_ONCE: usize = 64;
/// How far the clocks of a utility and this node may be apart, in seconds.
const CLOCKS_S: u64 = 120;

/// Where the agreements of a data directory lie.
#[must_use]
pub fn dir(data_dir: &Path) -> PathBuf {
    data_dir.join("leases")
}

/// What was signed about a lease, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PledgeStatus {
    /// The longest silence, in seconds.
    pub ack_interval_s: u32,
    /// What a longer one costs.
    pub penalty: Joules,
    /// Up to when the utility acknowledged, in seconds since 1970.
    pub acked_to_s: u64,
    /// When notice was given on chain, in seconds since 1970.
    pub notice_at_s: Option<u64>,
}

/// Everything signed.
#[derive(Debug)]
pub(crate) struct Pledges {
    files: Agreements,
    key: Key,
    node: NodeId,
    penalty_max: Option<U256>,
    /// `None` where no chain is known.
    courts: Option<Courts>,
    /// Whether the utility said how to reach it.
    is_told: bool,
    stakes: Stakes,
    held: Mutex<BTreeMap<LeaseId, Agreement>>,
    /// One write after another: each begins with what the one before left.
    writing: Mutex<()>,
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Pledges {
    /// What an earlier process signed below `data_dir`. `penalty_max` is the owner's limit; `None`:
    /// what the supplier has at stake, as the chain at `rpc` has it; nothing where none is known, or
    /// where the utility told it.
    pub(crate) fn open(
        data_dir: &Path,
        key: Key,
        node: NodeId,
        penalty_max: Option<U256>,
        rpc: Option<(String, bool)>,
    ) -> Result<Self, AgentError> {
        let (rpc_url, is_told) = rpc.unzip();
        let files = Agreements::new(dir(data_dir));
        let (all, broken) = files.all(now_s()).map_err(AgentError::chain)?;
        for problem in broken {
            tracing::warn!(error = chain_of(&problem), "the terms of a lease cannot be read");
        }
        let ours = |agreement: &Agreement| {
            agreement.offer.terms.supplier == key.address() && agreement.is_open()
        };
        let held = all.into_iter().filter(ours).map(|a| (a.lease, a)).collect();
        Ok(Self {
            files,
            courts: rpc_url.map(|rpc_url| Courts::new(rpc_url, key.clone())),
            is_told: is_told.unwrap_or_default(),
            stakes: Stakes::default(),
            key,
            node,
            penalty_max,
            held: Mutex::new(held),
            writing: Mutex::default(),
        })
    }

    /// Why the terms of a lease are not signed; `None` where they are.
    pub(crate) fn refusal(
        &self,
        lease: LeaseId,
        offer: &SlaOffer,
        payer: &Terms,
    ) -> Option<String> {
        // What was signed is signed again.
        if self.held.lock().get(&lease).is_some_and(|known| known.digest() == offer.digest()) {
            return None;
        }
        if let Err(reason) = self.check(lease, offer, payer) {
            return Some(format!("its terms are not what this node signs: {reason}"));
        }
        let promised = {
            let held = self.held.lock();
            let open = held.values().filter(|a| a.is_open() && a.notice_at_s.is_none());
            let (mut count, mut sum) = (0_usize, U256::ZERO);
            for agreement in open {
                count += 1;
                sum = sum.saturating_add(agreement.offer.terms.penalty.to());
            }
            if count >= NOTICES_AT_ONCE {
                return Some(format!(
                    "it has signed {count} terms, and could not give notice of more in time"
                ));
            }
            sum
        };
        let wanted = promised.saturating_add(offer.terms.penalty.to());
        let (limit, whose) = match self.limit(offer) {
            Ok(limit) => limit,
            Err(reason) => return Some(reason.to_owned()),
        };
        (wanted > limit).then(|| {
            self.stakes.look();
            let (penalty, limit) = (Joules(offer.terms.penalty.to()), Joules(limit));
            let promised = Joules(promised);
            format!(
                "a penalty of {penalty} JOULE, with {promised} promised already, is above {limit}, \
                 {whose}"
            )
        })
    }

    /// How much may be promised at this court, and whose limit that is.
    fn limit(&self, offer: &SlaOffer) -> Result<(U256, &'static str), &'static str> {
        if let Some(limit) = self.penalty_max {
            return Ok((limit, "its owner's limit (--max-penalty)"));
        }
        let believed = !self.is_told || offer.chain_id == dev::CHAIN_ID;
        if self.courts.is_none() || !believed {
            return Err(
                "no chain of its owner's is known to read the stake it has: its owner names one \
                        with --rpc, or a limit with --max-penalty",
            );
        }
        let stake = self.stakes.at(offer.chain_id, offer.court);
        let stake = stake.ok_or("the stake it has is being read on the chain: ask again")?;
        Ok((stake, "the stake it has (--max-penalty is another limit)"))
    }

    fn check(&self, lease: LeaseId, offer: &SlaOffer, payer: &Terms) -> Result<(), String> {
        let terms = &offer.terms;
        terms.validate()?;
        if terms.supplier != self.key.address() {
            return Err("they name another supplier".to_owned());
        }
        if terms.utility != payer.payer.utility || offer.chain_id != payer.chain_id {
            return Err("they are not of the utility and chain that pay this node".to_owned());
        }
        if terms.lease != lease_hash(lease) {
            return Err("they are about another lease".to_owned());
        }
        let (interval_s, now_s) = (terms.ackInterval, now_s());
        if terms.from.abs_diff(now_s) > CLOCKS_S {
            return Err(format!("they begin more than {CLOCKS_S} s from now; compare the clocks"));
        }
        // Blocks of a development chain come at once, and its JOULE is worth nothing.
        if offer.chain_id != dev::CHAIN_ID {
            if interval_s < INTERVAL_S_MIN {
                return Err(format!(
                    "an interval of {interval_s} s leaves no time to give notice on chain; at least \
                     {INTERVAL_S_MIN} s do"
                ));
            }
            // Half of it is left then before notice is due.
            let late_s = now_s.saturating_sub(terms.from);
            if late_s > u64::from(interval_s / 4) {
                return Err(format!("they began {late_s} s ago, too long for their interval"));
            }
        }
        if !offer.is_signed() {
            return Err("the utility's signature over them does not hold".to_owned());
        }
        Ok(())
    }

    /// Signs the terms of a lease that is held here, and stores them first. The same terms are signed
    /// again; others of the same lease are not. Blocks for a disk sync.
    pub(crate) fn sign(&self, spec: &LeaseSpec) -> Result<Option<Signature>, AgentError> {
        let Some(offer) = spec.sla else { return Ok(None) };
        let digest = offer.digest();
        let _one = self.writing.lock();
        let known = self.held.lock().get(&spec.lease).cloned();
        if let Some(known) = known {
            return Ok((known.digest() == digest).then_some(known.supplier_signature));
        }
        let signature = self.key.sign_hash(&digest);
        let agreement = Agreement::new(spec.lease, self.node, &spec.app_name, offer, signature);
        self.files.save(&agreement).map_err(AgentError::chain)?;
        self.held.lock().insert(spec.lease, agreement);
        Ok(Some(signature))
    }

    /// Keeps an acknowledgement in place of an older one. Blocks for a disk sync.
    pub(crate) fn take(&self, lease: LeaseId, ack: SignedAck) -> Result<(), AgentError> {
        let _one = self.writing.lock();
        let Some(mut agreement) = self.held.lock().get(&lease).cloned() else { return Ok(()) };
        match agreement.take(ack) {
            Err(reason) => {
                tracing::error!(%lease, reason, "an acknowledgement was refused");
                Ok(())
            }
            Ok(false) => Ok(()),
            Ok(true) => self.keep(agreement),
        }
    }

    fn keep(&self, agreement: Agreement) -> Result<(), AgentError> {
        self.files.save(&agreement).map_err(AgentError::chain)?;
        let mut held = self.held.lock();
        if agreement.is_open() {
            held.insert(agreement.lease, agreement);
        } else {
            held.remove(&agreement.lease);
        }
        Ok(())
    }

    /// Whether terms of this lease are signed and not settled.
    pub(crate) fn holds(&self, lease: LeaseId) -> bool {
        self.held.lock().contains_key(&lease)
    }

    /// What was signed about a lease.
    pub(crate) fn status(&self, lease: LeaseId) -> Option<PledgeStatus> {
        let held = self.held.lock();
        let agreement = held.get(&lease)?;
        let terms = &agreement.offer.terms;
        Some(PledgeStatus {
            ack_interval_s: terms.ackInterval,
            penalty: Joules(terms.penalty.to()),
            acked_to_s: agreement.acked_to_s,
            notice_at_s: agreement.notice_at_s,
        })
    }

    /// What this node answers for: neither settled, nor given notice of, nor over.
    pub(crate) fn open_ones(&self) -> Vec<Agreement> {
        let (held, now_s) = (self.held.lock(), now_s());
        let open = held.values().filter(|a| a.notice_at_s.is_none() && a.offer.terms.to > now_s);
        open.cloned().collect()
    }

    /// What notice must be given of now.
    fn due(&self) -> Vec<Agreement> {
        let now_s = now_s();
        let late = |agreement: &Agreement| {
            let slack = u64::from(agreement.offer.terms.ackInterval / 4);
            now_s >= agreement.due_s().saturating_sub(slack)
        };
        self.open_ones().into_iter().filter(late).collect()
    }

    /// Gives notice of one lease on chain; `None` where none is known.
    pub(crate) async fn give_notice(
        self: &Arc<Self>,
        agreement: &Agreement,
    ) -> Result<Option<u64>, AgentError> {
        let Some(courts) = &self.courts else { return Ok(None) };
        let at_s = tokio::time::timeout(NOTICE_TIMEOUT, courts.notice(agreement)).await;
        let at_s = at_s.map_err(AgentError::chain)?.map_err(AgentError::chain)?;
        let (this, lease) = (Arc::clone(self), agreement.lease);
        let write = move || {
            let _one = this.writing.lock();
            let known = this.held.lock().get(&lease).cloned();
            known.map_or(Ok(()), |known| this.keep(Agreement { notice_at_s: Some(at_s), ..known }))
        };
        match tokio::task::spawn_blocking(write).await {
            Ok(written) => written?,
            Err(error) => tracing::error!(%error, "writing that notice was given failed"),
        }
        Ok(Some(at_s))
    }

    /// The supplier.
    pub(crate) fn supplier(&self) -> Address {
        self.key.address()
    }
}

/// Gives notice where the utility's word is late, and reads what is at stake. Runs until it is dropped.
pub(crate) async fn watch(node: Arc<Node>) {
    match &node.pledges.courts {
        None => warn_of_late(&node).await,
        Some(courts) => {
            tokio::join!(give_notices(&node), node.pledges.stakes.watch(courts));
        }
    }
}

async fn warn_of_late(node: &Arc<Node>) {
    let mut told = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for Agreement { lease, .. } in node.pledges.due() {
            if told.insert(lease) {
                tracing::warn!(
                    %lease,
                    "the utility's word is late, and no chain is known to give notice on: name \
                     one with --rpc, or give notice with `kinesis lease notice`"
                );
            }
        }
    }
}

/// Gives notice of many leases at once: a utility that falls silent does so towards all.
async fn give_notices(node: &Arc<Node>) {
    let (mut under_way, mut giving) = (BTreeSet::new(), FuturesUnordered::new());
    let mut look = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(lease) = giving.next() => {
                under_way.remove(&lease);
                continue;
            }
            _ = look.tick() => {}
        }
        for agreement in node.pledges.due() {
            if giving.len() < NOTICES_AT_ONCE && under_way.insert(agreement.lease) {
                giving.push(give_one(node, agreement));
            }
        }
    }
}

async fn give_one(node: &Arc<Node>, agreement: Agreement) -> LeaseId {
    let lease = agreement.lease;
    match node.pledges.give_notice(&agreement).await {
        Ok(_) => tracing::warn!(
            %lease, supplier = %node.pledges.supplier(),
            "the utility's word was late: notice was given, this node answers no more"
        ),
        Err(error) => {
            tracing::warn!(%lease, error = chain_of(&error), "notice could not be given");
            tokio::time::sleep(NOTICE_PAUSE).await;
        }
    }
    lease
}

#[cfg(test)]
mod tests {
    use kinesis_protocol::LeaseTerms;

    use super::*;
    use crate::Payer;

    #[test]
    fn an_interval_that_leaves_no_time_for_notice_is_not_signed() {
        let dir = tempfile::tempdir().unwrap();
        let (key, utility) = (Key::random(), Key::random());
        let most = Some(U256::from(10));
        let pledges = Pledges::open(dir.path(), key.clone(), NodeId([1; 32]), most, None).unwrap();
        let lease = LeaseId::random();
        let court = Address::repeat_byte(1);
        let refusal = |chain_id, interval_s, late_s| {
            let from = now_s() - late_s;
            let terms = LeaseTerms {
                supplier: key.address(),
                utility: utility.address(),
                lease: lease_hash(lease),
                from,
                to: from + 1_000,
                ackInterval: interval_s,
                penalty: U256::from(1).to(),
            };
            let signature = utility.sign_hash(&terms.signing_hash(chain_id, court));
            let offer = SlaOffer { chain_id, court, terms, signature };
            let payer = Payer { utility: utility.address(), series: 1 };
            let payer = Terms { payer, chain_id, escrow: court };
            pledges.refusal(lease, &offer, &payer).unwrap_or_default()
        };
        assert_eq!(refusal(dev::CHAIN_ID, 5, 0), "", "blocks come at once there");
        for interval_s in [5, 60, INTERVAL_S_MIN - 1] {
            let why = refusal(10, interval_s, 0);
            assert!(why.contains("no time to give notice"), "{why}");
        }
        assert_eq!(refusal(10, INTERVAL_S_MIN, 0), "");
        // Nor where most of the first interval is over before it is offered.
        assert_eq!(refusal(10, INTERVAL_S_MIN, 25), "");
        let why = refusal(10, INTERVAL_S_MIN, 100);
        assert!(why.contains("s ago"), "{why}");
        assert_eq!(refusal(10, 4 * INTERVAL_S_MIN, 100), "");
        // After three quarters there is time for a notice that fails and for one that is mined.
        let block = Duration::from_secs(12);
        let needed = LOOK_EVERY + NOTICE_TIMEOUT + NOTICE_PAUSE + block;
        assert!(Duration::from_secs(u64::from(INTERVAL_S_MIN / 4)) >= needed);
    }

    #[test]
    fn without_a_limit_and_a_chain_nothing_is_promised() {
        let dir = tempfile::tempdir().unwrap();
        let (key, utility) = (Key::random(), Key::random());
        let pledges = Pledges::open(dir.path(), key.clone(), NodeId([1; 32]), None, None).unwrap();
        let (lease, from, court) = (LeaseId::random(), now_s(), Address::repeat_byte(1));
        let terms = LeaseTerms {
            supplier: key.address(),
            utility: utility.address(),
            lease: lease_hash(lease),
            from,
            to: from + 1_000,
            ackInterval: 300,
            penalty: U256::from(1).to(),
        };
        let signature = utility.sign_hash(&terms.signing_hash(10, court));
        let offer = SlaOffer { chain_id: 10, court, terms, signature };
        let payer = Payer { utility: utility.address(), series: 1 };
        let payer = Terms { payer, chain_id: 10, escrow: court };
        let why = pledges.refusal(lease, &offer, &payer).unwrap();
        assert!(why.contains("--rpc") && why.contains("--max-penalty"), "{why}");
        // Nor by a chain that the utility itself named; by the owner's it is read.
        for (is_told, what) in [(true, "--rpc"), (false, "is being read")] {
            let rpc = Some(("http://127.0.0.1:1".to_owned(), is_told));
            let node = NodeId([1; 32]);
            let pledges = Pledges::open(dir.path(), key.clone(), node, None, rpc).unwrap();
            let why = pledges.refusal(lease, &offer, &payer).unwrap();
            assert!(why.contains(what), "{why}");
        }
    }
}
