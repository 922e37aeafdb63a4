//! The court of leases: a supplier that fell silent without notice. The evidence is terms that both
//! signed and acknowledgements that are missing; whoever holds a later one ends the case with it.

use std::collections::HashMap;

use alloy::primitives::{B256, Bytes, U256};
use kinesis_protocol::{Address, LeaseTerms, SignedAck, SlaOffer};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Protocol, event, hash};
use crate::{
    ChainError, Joules, Key, Settlement, Until,
    agreement::Agreement,
    contracts::{Disputes, ILeases, Leases, Registry},
    dev,
};

/// What a supplier is given for gas on a development chain: a tenth of the native coin.
const DEV_GAS_WEI: u128 = 100_000_000_000_000_000;

/// What the court knows of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The hash of its terms.
    pub terms: B256,
    /// When the supplier gave notice, in seconds since 1970.
    pub notice_at_s: Option<u64>,
    /// Up to when no more accusation is heard, in seconds since 1970.
    pub answered_to_s: Option<u64>,
    /// Since when nothing was acknowledged, as the utility says; `None` where it accused nobody.
    pub since_s: Option<u64>,
    /// The case that is open.
    pub case: Option<u64>,
    /// What the utility staked on it.
    pub stake: Joules,
    /// Whether the penalty was taken: it is taken once.
    pub broken: bool,
}

impl Protocol {
    /// As the utility: accuses the supplier of silence since `since_s`; stakes JOULE on it. Returns
    /// the case.
    ///
    /// # Errors
    /// Where the supplier was not silent for long enough, gave notice, or was accused before, the
    /// utility has too little JOULE, or the endpoint fails.
    pub async fn accuse_silence(&self, of: &Agreement, since_s: u64) -> Result<u64, ChainError> {
        let at = self.court_of(of)?;
        let call = Leases::accuseCall {
            terms: terms(&of.offer.terms),
            supplierSignature: Bytes::from(of.supplier_signature.as_bytes()),
            utilitySignature: Bytes::from(of.offer.signature.as_bytes()),
            since: since_s,
        };
        let stake = self.read(at, &Leases::accusationStakeCall {}).await?;
        self.allow::<Leases::accuseCall>(at, stake.to()).await?;
        let receipt = self.send(at, &call).await?;
        Ok(event::<Leases::SilenceAccused>(&receipt, at)?.caseId.saturating_to())
    }

    /// Dismisses an accusation with a later acknowledgement; anyone may. Returns what the supplier
    /// got of the utility's stake.
    ///
    /// # Errors
    /// Where nobody is accused, the acknowledgement is too early, the case is over, or the endpoint
    /// fails.
    pub async fn answer_silence(&self, ack: &SignedAck) -> Result<Joules, ChainError> {
        let call = Leases::answerCall {
            ack: ILeases::Ack { terms: ack.ack.terms, upTo: ack.ack.upTo },
            signature: Bytes::from(ack.signature.as_bytes()),
        };
        let receipt = self.send(self.at.leases, &call).await?;
        Ok(Joules(event::<Leases::Answered>(&receipt, self.at.leases)?.stake))
    }

    /// Gives the utility its stake back once the case has ended; anyone may. Says whether the penalty
    /// was taken.
    ///
    /// # Errors
    /// Where nobody is accused, the case is open, or the endpoint fails.
    pub async fn close_silence(&self, digest: B256) -> Result<bool, ChainError> {
        let receipt = self.send(self.at.leases, &Leases::closeCall { terms: digest }).await?;
        Ok(event::<Leases::Closed>(&receipt, self.at.leases)?.broken)
    }

    /// As the supplier: gives notice of a lease. Silence from now on costs nothing.
    ///
    /// # Errors
    /// Where the lease is another's, notice was given before, or the endpoint fails.
    pub async fn give_notice(&self, of: &LeaseTerms) -> Result<B256, ChainError> {
        let call = Leases::giveNoticeCall { terms: terms(of) };
        Ok(hash(&self.send(self.at.leases, &call).await?))
    }

    /// What the court knows of a lease, by the hash of its terms.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn lease_record(&self, digest: B256) -> Result<LeaseRecord, ChainError> {
        let record = self.read(self.at.leases, &Leases::recordOfCall { terms: digest }).await?;
        let there = |at_s: u64| (at_s > 0).then_some(at_s);
        Ok(LeaseRecord {
            terms: digest,
            notice_at_s: there(record.noticeAt),
            answered_to_s: there(record.answeredTo),
            since_s: there(record.since),
            case: there(record.caseId.saturating_to()),
            stake: Joules(record.stake.to()),
            broken: record.broken,
        })
    }

    /// The court that the terms name, which must be the one of this protocol.
    fn court_of(&self, agreement: &Agreement) -> Result<Address, ChainError> {
        let named = (agreement.offer.chain_id, agreement.offer.court);
        if named == (self.contracts.chain_id, self.at.leases) {
            return Ok(self.at.leases);
        }
        Err(ChainError::Senseless(format!(
            "the terms are for the court {} on chain {}, this is {} on chain {}",
            named.1, named.0, self.at.leases, self.contracts.chain_id
        )))
    }
}

/// What a supplier does at the courts that its terms name, over one endpoint. Notices of many leases at
/// once share a connection and its nonces.
#[derive(Debug)]
pub struct Courts {
    rpc_url: String,
    supplier: Key,
    /// By chain; the escrow of none is asked for anything.
    clients: Mutex<HashMap<u64, Settlement>>,
    /// One at a time: the account that pays on a development chain is the same for all.
    funding: tokio::sync::Mutex<()>,
}

impl Courts {
    /// The courts behind this endpoint; contacts nothing yet.
    #[must_use]
    pub fn new(rpc_url: String, supplier: Key) -> Self {
        Self {
            rpc_url,
            supplier,
            clients: Mutex::default(),
            funding: tokio::sync::Mutex::default(),
        }
    }

    fn client(&self, chain_id: u64, court: Address) -> Result<Settlement, ChainError> {
        if let Some(known) = self.clients.lock().get(&chain_id) {
            return Ok(known.clone());
        }
        let made = Settlement::new(&self.rpc_url, chain_id, court, self.supplier.clone())?;
        Ok(self.clients.lock().entry(chain_id).or_insert(made).clone())
    }

    /// Gives notice of a lease; returns when it was given, in seconds since 1970. Asked again, it says
    /// the same.
    ///
    /// # Errors
    /// Where the contract refuses, or the endpoint fails.
    pub async fn notice(&self, of: &Agreement) -> Result<u64, ChainError> {
        let SlaOffer { chain_id, court, terms: agreed, .. } = of.offer;
        let client = self.client(chain_id, court)?;
        let digest = of.digest();
        let given = async || {
            let record = client.read(court, &Leases::recordOfCall { terms: digest }).await?;
            Ok::<_, ChainError>(record.noticeAt)
        };
        match given().await? {
            0 => {}
            at_s => return Ok(at_s),
        }
        if chain_id == dev::CHAIN_ID {
            let _one = self.funding.lock().await;
            dev::fund(&self.rpc_url, client.address(), U256::from(DEV_GAS_WEI)).await?;
        }
        let call = Leases::giveNoticeCall { terms: terms(&agreed) };
        client.submit(&format!("notice:{digest}"), court, &call, Until::Mined).await?;
        given().await
    }

    /// What the supplier has at stake where this court's penalties are taken, in wei of JOULE. What a
    /// court says that is none of the protocol's is worth as much as terms that name it: nothing.
    ///
    /// # Errors
    /// Where the endpoint fails, or there is no court.
    pub async fn stake(&self, chain_id: u64, court: Address) -> Result<U256, ChainError> {
        let client = self.client(chain_id, court)?;
        let disputes = client.read(court, &Leases::disputesCall {}).await?;
        let registry = client.read(disputes, &Disputes::registryCall {}).await?;
        let call = Registry::bondOfCall { operator: self.supplier.address() };
        Ok(client.read(registry, &call).await?.active)
    }
}

/// Gives notice with nothing but the terms, the supplier's key and a chain, as [`Courts::notice`].
///
/// # Errors
/// Where the contract refuses, or the endpoint fails.
pub async fn notice(rpc_url: &str, supplier: Key, of: &Agreement) -> Result<u64, ChainError> {
    Courts::new(rpc_url.to_owned(), supplier).notice(of).await
}

/// Terms as the contract takes them.
#[must_use]
pub(crate) fn terms(of: &LeaseTerms) -> ILeases::LeaseTerms {
    ILeases::LeaseTerms {
        supplier: of.supplier,
        utility: of.utility,
        lease: of.lease,
        from: of.from,
        to: of.to,
        ackInterval: of.ackInterval,
        penalty: of.penalty,
    }
}
