//! The court of leases: a supplier that fell silent without notice. The evidence is terms that both
//! signed and acknowledgements that are missing; whoever holds a later one ends the case with it.

use alloy::primitives::{B256, Bytes, U256};
use kinesis_protocol::{Address, LeaseTerms, SignedAck, SlaOffer};
use serde::{Deserialize, Serialize};

use super::{Protocol, event, hash};
use crate::{
    ChainError, Joules, Key, Settlement, Until,
    agreement::Agreement,
    contracts::{ILeases, Leases},
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

/// Gives notice with nothing but the terms, the supplier's key and a chain; returns when it was given,
/// in seconds since 1970. Asked again, it says the same.
///
/// # Errors
/// Where the contract refuses, or the endpoint fails.
pub async fn notice(rpc_url: &str, supplier: Key, of: &Agreement) -> Result<u64, ChainError> {
    let SlaOffer { chain_id, court, terms: agreed, .. } = of.offer;
    // The escrow is not asked for anything here.
    let client = Settlement::new(rpc_url, chain_id, court, supplier)?;
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
        dev::fund(rpc_url, client.address(), U256::from(DEV_GAS_WEI)).await?;
    }
    let call = Leases::giveNoticeCall { terms: terms(&agreed) };
    client.submit(&format!("notice:{digest}"), court, &call, Until::Mined).await?;
    given().await
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
