//! What control needs of a chain, as a trait, so that a simulated grid runs without one.

use std::sync::Arc;

use async_trait::async_trait;
use kinesis_protocol::{
    Address, B256, LeaseTerms, NodeId, PaymentRoot, Signature, SignedAck, SignedRoot, SlaOffer,
    U256, root::PaymentProof, sla::Ack,
};

use crate::market::Market;

/// Who pays, in which series, on which chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payer {
    /// The utility's address: who signs the roots, and whose escrow pays.
    pub utility: Address,
    /// This instance's payment series.
    pub series: u64,
    /// The chain.
    pub chain_id: u64,
    /// The escrow contract.
    pub escrow: Address,
}

/// What an escrow account holds, in wei of JOULE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cover {
    /// What suppliers have redeemed so far, without fees.
    pub redeemed_wei: U256,
    /// What can still be redeemed, fees included.
    pub available_wei: U256,
}

/// What a redemption brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Redemption {
    /// What it brought, in wei of JOULE; zero where all of it had been redeemed otherwise before.
    pub paid_wei: U256,
    /// The transaction; `None` where none was needed.
    pub transaction: Option<B256>,
}

/// What stands behind a machine, as the chain has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The supplier's stake, its own and lent, in wei of JOULE; without what thaws.
    pub active_wei: U256,
    /// How many open cases hold it.
    pub locks: u64,
    /// Whether both keys have signed that the machine is the supplier's.
    pub bound: bool,
}

/// Why the chain did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The key could not sign.
    #[error("the payment root could not be signed")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The signing process does not sign this, and asked again never will.
    #[error("the signer refuses: {0}")]
    SignerRefused(String),
    /// The supplier's consent does not hold.
    #[error("the supplier's signature over the redemption does not hold")]
    Consent,
    /// No court of leases is known.
    #[error("no court of leases is known: the utility was told of the escrow alone")]
    NoCourt,
    /// It is under way and not final yet; asked again, nothing happens twice.
    #[error("the chain has not confirmed it for good yet; ask again in a while")]
    Pending(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It had no effect, and asked for like this never will.
    #[error("the chain refused: {0}")]
    Refused(String),
    /// The chain did not answer, or refused.
    #[error("the chain did not do as asked")]
    Chain(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A utility's side of settlement.
#[async_trait]
pub trait Settle: Send + Sync + std::fmt::Debug {
    /// Who pays.
    fn payer(&self) -> Payer;

    /// Signs a root. The caller has reserved its tick.
    ///
    /// # Errors
    /// Where the key cannot sign.
    async fn sign(&self, root: PaymentRoot) -> Result<SignedRoot, SettleError>;

    /// The protocol's fee, in ten-thousandths, that the contract takes on top of a redemption.
    ///
    /// # Errors
    /// Where the chain does not answer.
    async fn fee_bp(&self) -> Result<u32, SettleError>;

    /// What the escrow account of the payer holds.
    ///
    /// # Errors
    /// Where the chain does not answer.
    async fn cover(&self) -> Result<Cover, SettleError>;

    /// What the payer could still deposit.
    ///
    /// # Errors
    /// Where the chain does not answer.
    async fn balance(&self) -> Result<U256, SettleError>;

    /// Puts JOULE into the payer's escrow account.
    ///
    /// # Errors
    /// Where the chain does not answer, or the payer has too little.
    async fn deposit(&self, wei: U256) -> Result<(), SettleError>;

    /// The contracts whose events are read, by their names; none where there is no chain.
    fn contracts(&self) -> Vec<(&'static str, Address)> {
        Vec::new()
    }

    /// Where USD and JOULE are exchanged; `None`: nowhere, and the price is a fixed one.
    fn market(&self) -> Option<Arc<dyn Market>> {
        None
    }

    /// Looks after what was sent before: what is not mined, or was taken back by the chain, is sent
    /// again. Returns how much of it is not final.
    ///
    /// # Errors
    /// Where the chain does not answer.
    async fn settle(&self) -> Result<usize, SettleError> {
        Ok(0)
    }

    /// All that was ever redeemed to the payer for a supplier in this series, by whomever, in wei, as
    /// far as the chain's events were read for good.
    ///
    /// # Errors
    /// Where what was read cannot be looked up.
    async fn redeemed_to_payer(&self, _supplier: Address) -> Result<U256, SettleError> {
        Ok(U256::ZERO)
    }

    /// What stands behind a machine and its supplier; whether the machine is the supplier's is looked
    /// at only where `bound` asks. `None` where there is no registry to ask.
    ///
    /// # Errors
    /// Where the chain does not answer.
    async fn standing(
        &self,
        _supplier: Address,
        _node: NodeId,
        _bound: bool,
    ) -> Result<Option<Standing>, SettleError> {
        Ok(None)
    }

    /// The court of leases; `None` where terms cannot be signed.
    fn court(&self) -> Option<Address> {
        None
    }

    /// Signs the terms of a lease.
    ///
    /// # Errors
    /// Where the key cannot sign, or no court is known.
    async fn sign_terms(&self, _terms: LeaseTerms) -> Result<SlaOffer, SettleError> {
        Err(SettleError::NoCourt)
    }

    /// Signs an acknowledgement.
    ///
    /// # Errors
    /// Where the key cannot sign, or no court is known.
    async fn sign_ack(&self, _ack: Ack) -> Result<SignedAck, SettleError> {
        Err(SettleError::NoCourt)
    }

    /// Redeems a supplier's proof towards the payer, with the supplier's signature, once for each
    /// `key`, and for good when it returns. Asked again with the same key, after whatever crash, it
    /// says what that one redemption paid.
    ///
    /// # Errors
    /// [`SettleError::Pending`] where it is not final in time; otherwise where the chain does not
    /// answer, or refuses.
    async fn redeem_to_payer(
        &self,
        key: &str,
        payment: &PaymentProof,
        deadline: u64,
        signature: &Signature,
    ) -> Result<Redemption, SettleError>;
}
