//! The court of results: auditors bond for places, anybody claims that a signed result is false, a
//! panel drawn by lot runs the job again, commits to what it found, and reveals it.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    rpc::types::Filter,
    sol_types::SolEvent as _,
};
use kinesis_protocol::result::{JobResult, SignedResult, UNAVAILABLE, commitment};
use serde::{Deserialize, Serialize};

use super::{Protocol, event, hash};
use crate::{
    ChainError, Joules,
    contracts::{Audits, IAudits},
};

/// As `IAudits.Status` counts them, from one.
const STATES: [&str; 8] =
    ["drawing", "voting", "refuted", "upheld", "unavailable", "undecided", "void", "lapsed"];
/// The longest locator that the court keeps.
pub const LOCATOR_BYTES_MAX: usize = 256;
/// Supplier, utility and challenger sit on no panel: there must be so many places more.
const PARTIES: u64 = 3;

/// What the court asks of auditors and challengers, and how many auditors it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Court {
    /// How many auditors are drawn.
    pub panel: u8,
    /// How many must have found the same.
    pub quorum: u8,
    /// How long they have to run the job and commit, in seconds.
    pub commit_window_s: u64,
    /// How long they then have to reveal, in seconds.
    pub reveal_window_s: u64,
    /// How long after it was finished a result may be claimed, in seconds.
    pub claim_period_s: u64,
    /// How long after bonding a place may be taken, in seconds.
    pub maturity_s: u64,
    /// What a place costs.
    pub seat_bond: Joules,
    /// What an auditor loses that does not reveal or is against the quorum.
    pub penalty: Joules,
    /// What an auditor gets that is with it.
    pub fee: Joules,
    /// What a challenger stakes.
    pub claim_stake: Joules,
    /// How many places are taken.
    pub seats: u64,
    /// How many have to be, for a claim to be heard.
    pub seats_needed: u64,
}

/// An auditor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auditor {
    /// Who it is.
    pub address: Address,
    /// What it has bonded, fees included.
    pub bond: Joules,
    /// What of it answers for panels that it sits on.
    pub at_stake: Joules,
    /// When it last bonded without a place, in seconds since 1970.
    pub enrolled_at_s: u64,
    /// On how many panels it sits.
    pub duties: u32,
    /// Whether it has a place.
    pub seated: bool,
}

/// A claim that a result is false.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditClaim {
    /// Its number.
    pub id: u64,
    /// `drawing`, `voting`, `refuted`, `upheld`, `unavailable`, `undecided`, `void` or `lapsed`.
    pub state: String,
    /// Whose result it is.
    pub supplier: Address,
    /// Who ordered the job.
    pub utility: Address,
    /// Who claims.
    pub challenger: Address,
    /// The hash that the supplier signed.
    pub result: B256,
    /// What the supplier says it found.
    pub finding: B256,
    /// In which block it was made.
    pub block: u64,
    /// The block whose hash draws.
    pub draw_block: u64,
    /// Until when auditors commit, in seconds since 1970; zero before the draw.
    pub commit_ends_s: u64,
    /// Until when they reveal.
    pub reveal_ends_s: u64,
    /// How many auditors are drawn.
    pub panel: u8,
    /// How many must have found the same.
    pub quorum: u8,
    /// How many have revealed.
    pub revealed: u8,
    /// The case with the court of disputes.
    pub case: u64,
}

impl AuditClaim {
    /// Whether nothing more happens to it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self.state.as_str(), "drawing" | "voting")
    }
}

/// What was claimed, as the challenger said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// The result.
    pub result: JobResult,
    /// Where the challenger says its dossier is.
    pub locator: String,
}

/// What an auditor said in a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Whether it sits on the panel.
    pub drawn: bool,
    /// Whether it has committed.
    pub committed: bool,
    /// Whether it has revealed.
    pub revealed: bool,
    /// What it revealed; zero: that the job could not be had or run.
    pub finding: B256,
}

impl Protocol {
    /// What the court of results asks, and how many auditors it has.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn audit_court(&self) -> Result<Court, ChainError> {
        let at = self.at.audits;
        let p = self.read(at, &Audits::parametersCall {}).await?;
        let seats = self.read(at, &Audits::seatCountCall {}).await?;
        Ok(Court {
            panel: p.panel,
            quorum: p.quorum,
            commit_window_s: p.commitWindow.into(),
            reveal_window_s: p.revealWindow.into(),
            claim_period_s: p.claimPeriod.into(),
            maturity_s: p.maturity.into(),
            seat_bond: Joules(p.seatBond.to()),
            penalty: Joules(p.penalty.to()),
            fee: Joules(p.fee.to()),
            claim_stake: Joules(p.claimStake.to()),
            seats: seats.saturating_to(),
            seats_needed: u64::from(p.panel) + PARTIES,
        })
    }

    /// An auditor, as the court knows it.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn auditor(&self, address: Address) -> Result<Auditor, ChainError> {
        let found = self.read(self.at.audits, &Audits::auditorOfCall { auditor: address }).await?;
        Ok(Auditor {
            address,
            bond: Joules(found.bond.to()),
            at_stake: Joules(found.atStake.to()),
            enrolled_at_s: found.enrolledAt,
            duties: found.duties,
            seated: found.place != 0,
        })
    }

    /// As an auditor: bonds JOULE for a place, or adds to the bond.
    ///
    /// # Errors
    /// Where the account has too little, or the endpoint fails.
    pub async fn enrol(&self, amount: Joules) -> Result<B256, ChainError> {
        self.allow::<Audits::enrolCall>(self.at.audits, amount.0).await?;
        let call = Audits::enrolCall { amount: amount.0 };
        Ok(hash(&self.send(self.at.audits, &call).await?))
    }

    /// As an auditor: takes a place. Returns how many are taken now.
    ///
    /// # Errors
    /// Where the bond does not cover one or is too young, or the endpoint fails.
    pub async fn sit(&self) -> Result<u64, ChainError> {
        let receipt = self.send(self.at.audits, &Audits::sitCall {}).await?;
        Ok(event::<Audits::Seated>(&receipt, self.at.audits)?.seats.saturating_to())
    }

    /// As an auditor: gives the place up and takes the bond back. Returns what was taken.
    ///
    /// # Errors
    /// Where it sits on a panel, a draw is due, or the endpoint fails.
    pub async fn quit_auditing(&self) -> Result<Joules, ChainError> {
        let receipt = self.send(self.at.audits, &Audits::quitCall {}).await?;
        Ok(Joules(event::<Audits::Left>(&receipt, self.at.audits)?.amount))
    }

    /// Claims that a result is false, and stakes JOULE on it. Returns the claim.
    ///
    /// # Errors
    /// Where the signature does not hold, the result is too old or judged, there are too few
    /// auditors, the account has too little, or the endpoint fails.
    pub async fn claim_false(
        &self,
        signed: &SignedResult,
        locator: &str,
    ) -> Result<u64, ChainError> {
        if locator.len() > LOCATOR_BYTES_MAX {
            return Err(ChainError::Senseless(format!(
                "a locator has at most {LOCATOR_BYTES_MAX} bytes, this one {}",
                locator.len()
            )));
        }
        if !signed.verify(self.contracts.chain_id, self.at.audits) {
            return Err(ChainError::Senseless(
                "the supplier did not sign this for the court of results of this chain".into(),
            ));
        }
        let terms = self.read(self.at.audits, &Audits::parametersCall {}).await?;
        self.allow::<Audits::claimCall>(self.at.audits, terms.claimStake.to()).await?;
        let call = Audits::claimCall {
            result: encoded(&signed.result),
            signature: Bytes::from(signed.signature_bytes()),
            locator: locator.to_owned(),
        };
        let receipt = self.send(self.at.audits, &call).await?;
        Ok(event::<Audits::Claimed>(&receipt, self.at.audits)?.id.saturating_to())
    }

    /// Draws the panel of a claim; anyone may. Returns it; nobody where too few could be drawn.
    ///
    /// # Errors
    /// Where the block that draws is not there yet or known no more, or the endpoint fails.
    pub async fn draw_panel(&self, id: u64) -> Result<Vec<Address>, ChainError> {
        let call = Audits::drawCall { id: U256::from(id) };
        let receipt = self.send(self.at.audits, &call).await?;
        // Without the event the claim is void.
        Ok(event::<Audits::Drawn>(&receipt, self.at.audits).map_or_else(|_| vec![], |d| d.panel))
    }

    /// Ends a claim whose panel nobody drew in time; anyone may.
    ///
    /// # Errors
    /// Where it can still be drawn, or the endpoint fails.
    pub async fn lapse_claim(&self, id: u64) -> Result<B256, ChainError> {
        let call = Audits::lapseCall { id: U256::from(id) };
        Ok(hash(&self.send(self.at.audits, &call).await?))
    }

    /// As an auditor on the panel: commits to a finding. The salt has to be kept until it is revealed.
    ///
    /// # Errors
    /// Where this account is not on the panel, has committed, or is late, or the endpoint fails.
    pub async fn commit_finding(
        &self,
        id: u64,
        finding: B256,
        salt: B256,
    ) -> Result<B256, ChainError> {
        let commitment = commitment(id, self.address(), finding, salt);
        let call = Audits::commitCall { id: U256::from(id), commitment };
        Ok(hash(&self.send(self.at.audits, &call).await?))
    }

    /// As an auditor on the panel: reveals its finding.
    ///
    /// # Errors
    /// Where it is not what was committed to, it is too early or too late, or the endpoint fails.
    pub async fn reveal_finding(
        &self,
        id: u64,
        finding: B256,
        salt: B256,
    ) -> Result<B256, ChainError> {
        let call = Audits::revealCall { id: U256::from(id), finding, salt };
        Ok(hash(&self.send(self.at.audits, &call).await?))
    }

    /// Ends a claim once all have revealed or the time for it has passed; anyone may. Returns how it
    /// ended.
    ///
    /// # Errors
    /// Where it is too early, it has ended, or the endpoint fails.
    pub async fn settle_claim(&self, id: u64) -> Result<AuditClaim, ChainError> {
        self.send(self.at.audits, &Audits::settleCall { id: U256::from(id) }).await?;
        self.audit_claim(id).await
    }

    /// The newest block's number.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn block_number(&self) -> Result<u64, ChainError> {
        self.client.block_number().await
    }

    /// How many claims there are; the first is 1.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn audit_claim_count(&self) -> Result<u64, ChainError> {
        Ok(self.read(self.at.audits, &Audits::claimCountCall {}).await?.saturating_to())
    }

    /// A claim by its number.
    ///
    /// # Errors
    /// Where there is none or the endpoint fails.
    pub async fn audit_claim(&self, id: u64) -> Result<AuditClaim, ChainError> {
        let found = self.read(self.at.audits, &Audits::claimOfCall { id: U256::from(id) }).await?;
        let at = usize::from(found.status);
        let Some(state) = at.checked_sub(1).and_then(|at| STATES.get(at)) else {
            return Err(ChainError::Senseless(format!("there is no claim {id}")));
        };
        Ok(AuditClaim {
            id,
            state: (*state).to_owned(),
            supplier: found.supplier,
            utility: found.utility,
            challenger: found.challenger,
            result: found.result,
            finding: found.finding,
            block: found.drawBlock.saturating_sub(found.terms.drawBlocks.into()),
            draw_block: found.drawBlock,
            commit_ends_s: found.commitEnds,
            reveal_ends_s: found.revealEnds,
            panel: found.terms.panel,
            quorum: found.terms.quorum,
            revealed: found.revealed,
            case: found.caseId.saturating_to(),
        })
    }

    /// The newest claims, the newest first.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn audit_claims(&self, most: u64) -> Result<Vec<AuditClaim>, ChainError> {
        let count = self.audit_claim_count().await?;
        let mut all = Vec::new();
        for id in (1..=count).rev().take(usize::try_from(most).unwrap_or(usize::MAX)) {
            all.push(self.audit_claim(id).await?);
        }
        Ok(all)
    }

    /// What was claimed: the result, and where its dossier is said to be.
    ///
    /// # Errors
    /// Where the endpoint does not have the claim's event, or fails.
    pub async fn claimed(&self, claim: &AuditClaim) -> Result<Claimed, ChainError> {
        let at = self.at.audits;
        let filter = Filter::new()
            .address(at)
            .event_signature(Audits::Claimed::SIGNATURE_HASH)
            .topic1(B256::from(U256::from(claim.id)))
            .from_block(claim.block)
            .to_block(claim.block);
        // One block: that of the claim.
        let logs = self.logs(&filter).await?;
        let found = logs.iter().find_map(|log| Audits::Claimed::decode_log(&log.inner).ok());
        let found =
            found.ok_or(ChainError::NoContract { what: "event of this claim", address: at })?.data;
        Ok(Claimed { result: decoded(&found.what), locator: found.locator })
    }

    /// The panel of a claim; empty before it is drawn.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn panel(&self, id: u64) -> Result<Vec<Address>, ChainError> {
        self.read(self.at.audits, &Audits::panelOfCall { id: U256::from(id) }).await
    }

    /// What an auditor said in a claim.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn vote_on(&self, id: u64, auditor: Address) -> Result<Vote, ChainError> {
        let call = Audits::voteOfCall { id: U256::from(id), auditor };
        let vote = self.read(self.at.audits, &call).await?;
        Ok(Vote {
            drawn: vote.drawn,
            committed: !vote.commitment.is_zero(),
            revealed: vote.revealed,
            finding: if vote.revealed { vote.finding } else { UNAVAILABLE },
        })
    }
}

fn encoded(result: &JobResult) -> IAudits::Result {
    IAudits::Result {
        supplier: result.supplier,
        utility: result.utility,
        lease: result.lease,
        job: result.job,
        output: result.output,
        fuel: result.fuel,
        finishedAt: result.finishedAt,
        price: result.price,
    }
}

fn decoded(result: &IAudits::Result) -> JobResult {
    JobResult {
        supplier: result.supplier,
        utility: result.utility,
        lease: result.lease,
        job: result.job,
        output: result.output,
        fuel: result.fuel,
        finishedAt: result.finishedAt,
        price: result.price,
    }
}
