//! Accusing whoever signed what it must not have signed. The evidence is the accused's own signature;
//! anybody may bring it, and the challenger gets a share of what is slashed.

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    sol_types::SolCall,
};
use kinesis_protocol::{SignedRoot, root::PaymentProof};
use serde::{Deserialize, Serialize};

use super::{Protocol, event, hash};
use crate::{ChainError, Joules, contracts::Disputes, refusal::CASE_STATES};

/// As `IDisputes.Offence` counts them.
const OFFENCES: [&str; 4] = ["equivocation", "overdraft", "refutation", "breach"];

/// A case before the court.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Its number.
    pub id: u64,
    /// `open`, `vetoed`, `executed`, `pending` or `withdrawn`.
    pub state: String,
    /// `equivocation`, `overdraft`, `refutation` or `breach`.
    pub offence: String,
    /// Whose stake answers.
    pub accused: Address,
    /// Which of a utility's series.
    pub series: u64,
    /// Which tick.
    pub tick: u64,
    /// Who showed the evidence.
    pub challenger: Address,
    /// Until when the DAO may stop it, in seconds since 1970.
    pub window_ends_s: u64,
    /// What was slashed; zero before execution.
    pub slashed: Joules,
    /// What of that is kept for victims.
    pub compensation: Joules,
    /// What of that victims have collected.
    pub compensated: Joules,
    /// Until when they may, in seconds since 1970; zero before execution.
    pub compensation_ends_s: u64,
}

impl Protocol {
    /// Accuses a utility of two different roots for one tick; returns the case.
    ///
    /// # Errors
    /// Where the roots are no evidence, were used before, the utility has no stake, or the endpoint
    /// fails.
    pub async fn accuse_equivocation(
        &self,
        first: &SignedRoot,
        second: &SignedRoot,
    ) -> Result<u64, ChainError> {
        self.accuse(&Disputes::accuseEquivocationCall {
            first: root(first),
            firstSignature: signature(first),
            second: root(second),
            secondSignature: signature(second),
        })
        .await
    }

    /// Accuses a utility of a total above its cover; returns the case.
    ///
    /// # Errors
    /// Where the total is covered, a case about it is open, the utility has no stake, or the endpoint
    /// fails.
    pub async fn accuse_overdraft(&self, signed: &SignedRoot) -> Result<u64, ChainError> {
        self.accuse(&Disputes::accuseOverdraftCall {
            root: root(signed),
            signature: signature(signed),
        })
        .await
    }

    async fn accuse<C: SolCall>(&self, call: &C) -> Result<u64, ChainError> {
        let receipt = self.send(self.at.disputes, call).await?;
        Ok(event::<Disputes::Accused>(&receipt, self.at.disputes)?.id.saturating_to())
    }

    /// Slashes, once the window has passed without a veto; anyone may. Returns what was slashed.
    ///
    /// # Errors
    /// Where the window is open, the case is not, or the endpoint fails.
    pub async fn execute_case(&self, id: u64) -> Result<Joules, ChainError> {
        let call = Disputes::executeCall { id: U256::from(id) };
        let receipt = self.send(self.at.disputes, &call).await?;
        Ok(Joules(event::<Disputes::Executed>(&receipt, self.at.disputes)?.amount))
    }

    /// As the guardian: stops a case within its window.
    ///
    /// # Errors
    /// Where this account may not, the window is over, or the endpoint fails.
    pub async fn veto_case(&self, id: u64) -> Result<B256, ChainError> {
        let call = Disputes::vetoCall { id: U256::from(id) };
        Ok(hash(&self.send(self.at.disputes, &call).await?))
    }

    /// Collects a supplier's part of the compensation of an executed case; anyone may. What the
    /// escrow can still pay, it pays first. Returns what the court paid.
    ///
    /// # Errors
    /// Where there is nothing, or nothing more, or the endpoint fails.
    pub async fn compensate(&self, id: u64, payment: &PaymentProof) -> Result<Joules, ChainError> {
        if !payment.verify(self.contracts.chain_id, self.contracts.escrow) {
            return Err(ChainError::BadProof);
        }
        let call = Disputes::compensateCall {
            id: U256::from(id),
            root: root(&payment.signed),
            signature: signature(&payment.signed),
            supplier: payment.supplier,
            // A proof that verifies has a leaf, which has at most 96 bits.
            cumulative: payment.cumulative_wei.saturating_to(),
            proof: payment.proof.0.clone(),
        };
        let receipt = self.send(self.at.disputes, &call).await?;
        Ok(Joules(event::<Disputes::Compensated>(&receipt, self.at.disputes)?.amount))
    }

    /// A case by its number.
    ///
    /// # Errors
    /// Where there is none or the endpoint fails.
    pub async fn case(&self, id: u64) -> Result<Case, ChainError> {
        let call = Disputes::caseOfCall { id: U256::from(id) };
        let case = self.read(self.at.disputes, &call).await?;
        if case.status == 0 {
            return Err(ChainError::Senseless(format!("there is no case {id}")));
        }
        let named = |names: &[&str], at: u8| {
            names.get(usize::from(at)).map_or_else(|| at.to_string(), |name| (*name).to_owned())
        };
        Ok(Case {
            id,
            state: named(&CASE_STATES, case.status),
            offence: named(&OFFENCES, case.offence),
            accused: case.accused,
            series: case.series,
            tick: case.tick,
            challenger: case.challenger,
            window_ends_s: case.windowEnds,
            slashed: Joules(case.amount.to()),
            compensation: Joules(case.compensation.to()),
            compensated: Joules(case.compensated.to()),
            compensation_ends_s: case.compensationEnds,
        })
    }

    /// The newest cases, the newest first.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn cases(&self, most: u64) -> Result<Vec<Case>, ChainError> {
        let count = self.read(self.at.disputes, &Disputes::caseCountCall {}).await?;
        let count: u64 = count.saturating_to();
        let mut all = Vec::new();
        for id in (1..=count).rev().take(usize::try_from(most).unwrap_or(usize::MAX)) {
            all.push(self.case(id).await?);
        }
        Ok(all)
    }
}

fn root(signed: &SignedRoot) -> Disputes::PaymentRoot {
    Disputes::PaymentRoot {
        utility: signed.root.utility,
        series: signed.root.series,
        tick: signed.root.tick,
        root: signed.root.root,
        total: signed.root.total,
    }
}

fn signature(signed: &SignedRoot) -> Bytes {
    Bytes::from(signed.signature_bytes())
}
