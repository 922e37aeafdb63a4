//! What this supplier has signed about leases, and the utility's word that it keeps it.
//!
//! Terms are signed only where the owner's limit bears their penalty, and only once they are on disk.
//! The newest acknowledgement of each lies beside them, in `leases/`: with that file anybody answers
//! an accusation, whether the agent runs or not.
//!
//! A utility may fall silent too, or withhold its word. Nothing can be done about that but to say, on
//! chain and in time, that this node answers no more: [`watch`] does so when three quarters of the
//! interval have passed without a word.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kinesis_chain::{Agreement, Agreements, Joules, Key, protocol::leases::notice};
use kinesis_protocol::{
    Address, LeaseId, LeaseSpec, NodeId, Signature, SignedAck, SlaOffer, U256, sla::lease_hash,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::{AgentError, error::chain_of, node::Node, wallet::Terms};

/// How often it is looked whether notice has to be given.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long giving notice may take.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause after a notice that could not be given.
const NOTICE_PAUSE: Duration = Duration::from_secs(2);
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
    held: Mutex<BTreeMap<LeaseId, Agreement>>,
    /// One write after another: each begins with what the one before left.
    writing: Mutex<()>,
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Pledges {
    /// What an earlier process signed below `data_dir`. `penalty_max` is the owner's limit; `None`:
    /// what the supplier has at stake.
    pub(crate) fn open(
        data_dir: &Path,
        key: Key,
        node: NodeId,
        penalty_max: Option<U256>,
    ) -> Result<Self, AgentError> {
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
            key,
            node,
            penalty_max,
            held: Mutex::new(held),
            writing: Mutex::default(),
        })
    }

    /// Why the terms of a lease are not signed; `None` where they are, or there are none. `stake_wei`:
    /// what the supplier has at stake, as far as it is known.
    pub(crate) fn refusal(
        &self,
        spec: &LeaseSpec,
        payer: &Terms,
        stake_wei: Option<U256>,
    ) -> Option<String> {
        let offer = spec.sla?;
        if let Err(reason) = self.check(spec, &offer, payer) {
            return Some(format!("its terms are not what this node signs: {reason}"));
        }
        let promised = {
            let held = self.held.lock();
            let open = held.values().filter(|a| a.is_open() && a.notice_at_s.is_none());
            open.fold(U256::ZERO, |sum, a| sum.saturating_add(a.offer.terms.penalty.to()))
        };
        let wanted = promised.saturating_add(offer.terms.penalty.to());
        let limit = self.penalty_max.or(stake_wei).unwrap_or_default();
        (wanted > limit).then(|| {
            let (penalty, limit) = (Joules(offer.terms.penalty.to()), Joules(limit));
            let promised = Joules(promised);
            let whose = if self.penalty_max.is_some() {
                "its owner's limit (--max-penalty)"
            } else {
                "the stake it has (--max-penalty is another limit)"
            };
            format!(
                "a penalty of {penalty} JOULE, with {promised} promised already, is above {limit}, \
                 {whose}"
            )
        })
    }

    fn check(&self, spec: &LeaseSpec, offer: &SlaOffer, payer: &Terms) -> Result<(), String> {
        let terms = &offer.terms;
        terms.validate()?;
        if terms.supplier != self.key.address() {
            return Err("they name another supplier".to_owned());
        }
        if terms.utility != payer.payer.utility || offer.chain_id != payer.chain_id {
            return Err("they are not of the utility and chain that pay this node".to_owned());
        }
        if terms.lease != lease_hash(spec.lease) {
            return Err("they are about another lease".to_owned());
        }
        if terms.from.abs_diff(now_s()) > CLOCKS_S {
            return Err(format!("they begin more than {CLOCKS_S} s from now; compare the clocks"));
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

    /// Gives notice of one lease on chain.
    pub(crate) async fn give_notice(
        self: &Arc<Self>,
        rpc_url: &str,
        agreement: &Agreement,
    ) -> Result<u64, AgentError> {
        let given = notice(rpc_url, self.key.clone(), agreement);
        let at_s = tokio::time::timeout(NOTICE_TIMEOUT, given).await;
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
        Ok(at_s)
    }

    /// The supplier.
    pub(crate) fn supplier(&self) -> Address {
        self.key.address()
    }
}

/// Gives notice where the utility's word is late. Runs until it is dropped.
pub(crate) async fn watch(node: Arc<Node>, rpc_url: Option<String>) {
    let mut told = BTreeSet::new();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        for agreement in node.pledges.due() {
            let lease = agreement.lease;
            let Some(rpc_url) = &rpc_url else {
                if told.insert(lease) {
                    tracing::warn!(
                        %lease,
                        "the utility's word is late, and no chain is known to give notice on: name \
                         one with --rpc, or give notice with `kinesis lease notice`"
                    );
                }
                continue;
            };
            match node.pledges.give_notice(rpc_url, &agreement).await {
                Ok(_) => tracing::warn!(
                    %lease, supplier = %node.pledges.supplier(),
                    "the utility's word was late: notice was given, this node answers no more"
                ),
                Err(error) => {
                    tracing::warn!(%lease, error = chain_of(&error), "notice could not be given");
                    tokio::time::sleep(NOTICE_PAUSE).await;
                }
            }
        }
    }
}
