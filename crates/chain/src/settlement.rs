//! The settlement client: what a utility and a supplier do on chain, over any JSON-RPC endpoint.
//!
//! Reading state and then acting on it makes every call here safe to repeat: a redemption that was
//! mined before its receipt was lost pays nothing the second time. Signing needs no endpoint.

use alloy::primitives::{Address, B256, U256};
use kinesis_protocol::{PaymentRoot, Signature, SignedRoot, root::PaymentProof};
use serde::{Deserialize, Serialize};

use crate::{ChainError, Contracts, Key};

/// A utility's escrow account for one series. All amounts in wei of JOULE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EscrowState {
    /// Everything that was ever deposited.
    pub deposited_wei: U256,
    /// Everything that was ever paid to suppliers, fees not counted.
    pub redeemed_wei: U256,
    /// Everything that was ever taken as protocol fees.
    pub fees_wei: U256,
    /// Everything the utility ever took back.
    pub withdrawn_wei: U256,
    /// What is there now, thawing or not: redemptions draw on all of it.
    pub balance_wei: U256,
    /// What is there and not about to be withdrawn: what a supplier may count on.
    pub available_wei: U256,
    /// The withdrawal that is thawing, if any.
    pub withdrawal: Option<Withdrawal>,
}

/// A withdrawal that a utility has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawal {
    /// How much, in wei.
    pub amount_wei: U256,
    /// From when it can be taken, in seconds since 1970.
    pub available_at_s: u64,
}

/// What a redemption paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeemed {
    /// What this call paid, in wei; zero where everything was paid before.
    pub paid_wei: U256,
    /// Everything this supplier was ever paid from this series, in wei. Less than the proof's
    /// cumulative amount only where the escrow ran dry.
    pub redeemed_wei: U256,
    /// The transaction; `None` where nothing was left to pay.
    pub transaction: Option<B256>,
}

/// A client of one escrow contract, acting as one key. Clones share the connection and send their
/// transactions one after the other.
#[derive(Debug, Clone)]
pub struct Settlement {
    key: Key,
    chain_id: u64,
    escrow: Address,
}

impl Settlement {
    /// A client; contacts nothing yet. The endpoint's chain is checked by the first call.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn new(
        rpc_url: &str,
        chain_id: u64,
        escrow: Address,
        key: Key,
    ) -> Result<Self, ChainError> {
        let _ = rpc_url;
        Ok(Self { key, chain_id, escrow })
    }

    /// The address that this client signs and pays as.
    #[must_use]
    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// The chain that was named at [`Self::new`].
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The escrow contract.
    #[must_use]
    pub const fn escrow_address(&self) -> Address {
        self.escrow
    }

    /// Checks that the endpoint answers, serves the right chain and has the escrow; says where the
    /// contracts are.
    ///
    /// # Errors
    /// Where one of these does not hold.
    pub async fn check(&self) -> Result<Contracts, ChainError> {
        unimplemented!()
    }

    /// Puts `amount_wei` of this account's JOULE into the escrow of (utility, series), approving
    /// the escrow first where needed. Not idempotent: see [`Self::top_up`].
    ///
    /// # Errors
    /// Where the contract refuses (not enough JOULE) or the endpoint fails.
    pub async fn deposit(
        &self,
        utility: Address,
        series: u64,
        amount_wei: U256,
    ) -> Result<B256, ChainError> {
        let _ = (utility, series, amount_wei);
        unimplemented!()
    }

    /// Deposits what is missing so that at least `available_wei` is available in this key's own
    /// escrow of `series`; returns what was deposited. Safe to repeat.
    ///
    /// # Errors
    /// As [`Self::deposit`].
    pub async fn top_up(&self, series: u64, available_wei: U256) -> Result<U256, ChainError> {
        let _ = (series, available_wei);
        unimplemented!()
    }

    /// The escrow account of (utility, series).
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn escrow(&self, utility: Address, series: u64) -> Result<EscrowState, ChainError> {
        let _ = (utility, series);
        unimplemented!()
    }

    /// What a supplier was ever paid from (utility, series), in wei.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn redeemed(
        &self,
        utility: Address,
        series: u64,
        supplier: Address,
    ) -> Result<U256, ChainError> {
        let _ = (utility, series, supplier);
        unimplemented!()
    }

    /// Redeems a payment proof: the escrow pays what the supplier has not had yet, to the supplier.
    /// Anyone may send it. Safe to repeat.
    ///
    /// # Errors
    /// Where the proof does not hold, the contract refuses (empty escrow) or the endpoint fails.
    pub async fn redeem(&self, payment: &PaymentProof) -> Result<Redeemed, ChainError> {
        let _ = payment;
        unimplemented!()
    }

    /// Redeems a payment proof to another address, with the supplier's signature
    /// ([`Self::sign_redeem_to`]). Safe to repeat.
    ///
    /// # Errors
    /// As [`Self::redeem`], and where the supplier's signature does not hold or is too old.
    pub async fn redeem_to(
        &self,
        payment: &PaymentProof,
        to: Address,
        deadline_s: u64,
        supplier_signature: &Signature,
    ) -> Result<Redeemed, ChainError> {
        let _ = (payment, to, deadline_s, supplier_signature);
        unimplemented!()
    }

    /// As the supplier: allows whoever holds the signature to redeem `payment` to `to` until
    /// `deadline_s` (seconds since 1970).
    #[must_use]
    pub fn sign_redeem_to(&self, payment: &PaymentProof, to: Address, deadline_s: u64) -> Signature {
        let _ = (payment, to, deadline_s);
        unimplemented!()
    }

    /// Whether `signature` is the supplier's consent to redeem `payment` to `to` by `deadline_s`.
    #[must_use]
    pub fn verify_redeem_to(
        &self,
        payment: &PaymentProof,
        to: Address,
        deadline_s: u64,
        signature: &Signature,
    ) -> bool {
        let _ = (payment, to, deadline_s, signature);
        unimplemented!()
    }

    /// As the utility: signs a root. The caller has reserved the tick durably.
    #[must_use]
    pub fn sign_root(&self, root: PaymentRoot) -> SignedRoot {
        let signature = self.key.sign_hash(&root.signing_hash(self.chain_id, self.escrow));
        SignedRoot { root, signature }
    }

    /// As the utility: starts the thaw of a withdrawal; replaces an earlier one.
    ///
    /// # Errors
    /// Where the contract refuses (more than the balance) or the endpoint fails.
    pub async fn request_withdrawal(
        &self,
        series: u64,
        amount_wei: U256,
    ) -> Result<B256, ChainError> {
        let _ = (series, amount_wei);
        unimplemented!()
    }

    /// As the utility: takes a thawed withdrawal; returns the amount.
    ///
    /// # Errors
    /// Where nothing is thawed yet or the endpoint fails.
    pub async fn withdraw(&self, series: u64) -> Result<U256, ChainError> {
        let _ = series;
        unimplemented!()
    }

    /// The protocol fee on top of each redemption, in basis points.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn fee_bp(&self) -> Result<u32, ChainError> {
        unimplemented!()
    }

    /// How much JOULE an address holds, in wei.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn joule_balance(&self, of: Address) -> Result<U256, ChainError> {
        let _ = of;
        unimplemented!()
    }

    /// How much of the chain's native coin (for gas) an address holds, in wei.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn gas_balance(&self, of: Address) -> Result<U256, ChainError> {
        let _ = of;
        unimplemented!()
    }

    /// Sends this account's JOULE to another.
    ///
    /// # Errors
    /// Where the contract refuses or the endpoint fails.
    pub async fn transfer(&self, to: Address, amount_wei: U256) -> Result<B256, ChainError> {
        let _ = (to, amount_wei);
        unimplemented!()
    }

    /// As the owner of JOULE: mints within the yearly cap.
    ///
    /// # Errors
    /// Where the contract refuses (not the owner, above the cap) or the endpoint fails.
    pub async fn mint(&self, to: Address, amount_wei: U256) -> Result<B256, ChainError> {
        let _ = (to, amount_wei);
        unimplemented!()
    }

    /// Sends the fees that have gathered in the escrow to the treasury; anyone may.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn collect_fees(&self) -> Result<B256, ChainError> {
        unimplemented!()
    }

    /// The newest block's number.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn block_number(&self) -> Result<u64, ChainError> {
        unimplemented!()
    }
}
