//! The settlement client: what a utility and a supplier do on chain, over any JSON-RPC endpoint.
//!
//! Reading state and then acting on it makes every call here safe to repeat: a redemption that was
//! mined before its receipt was lost pays nothing the second time. Signing needs no endpoint.

use std::sync::Arc;

use alloy::{
    primitives::{Address, B256, Bytes, U256, aliases::U96},
    rpc::types::TransactionReceipt,
    sol_types::SolStruct as _,
};
use kinesis_protocol::{
    PaymentRoot, Signature, SignedRoot,
    root::{PaymentProof, domain},
};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{
    ChainError, Contracts, Key,
    client::Client,
    contracts::{Joule, PaymentEscrow, RedeemTo},
};

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
    client: Client,
    chain_id: u64,
    escrow: Address,
    /// The token, asked once from the escrow.
    joule: Arc<OnceCell<Address>>,
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
        Ok(Self { client: Client::new(rpc_url, key)?, chain_id, escrow, joule: Arc::default() })
    }

    /// The address that this client signs and pays as.
    #[must_use]
    pub fn address(&self) -> Address {
        self.client.key().address()
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
        let client = self.client().await?;
        if !client.has_code(self.escrow).await? {
            return Err(ChainError::NoContract { what: "payment escrow", address: self.escrow });
        }
        let joule = self.joule().await?;
        Ok(Contracts { chain_id: self.chain_id, joule, escrow: self.escrow })
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
        let client = self.client().await?;
        let joule = self.joule().await?;
        let allowance = Joule::allowanceCall { owner: self.address(), spender: self.escrow };
        if client.read(joule, &allowance).await? < amount_wei {
            let approve = Joule::approveCall { spender: self.escrow, value: amount_wei };
            client.send(joule, &approve).await?;
        }
        let call = PaymentEscrow::depositCall { utility, series, amount: amount_wei };
        Ok(client.send(self.escrow, &call).await?.transaction_hash)
    }

    /// Deposits what is missing so that at least `available_wei` is available in this key's own
    /// escrow of `series`; returns what was deposited. Safe to repeat.
    ///
    /// # Errors
    /// As [`Self::deposit`].
    pub async fn top_up(&self, series: u64, available_wei: U256) -> Result<U256, ChainError> {
        let state = self.escrow(self.address(), series).await?;
        let missing = available_wei.saturating_sub(state.available_wei);
        if !missing.is_zero() {
            self.deposit(self.address(), series, missing).await?;
        }
        Ok(missing)
    }

    /// The escrow account of (utility, series).
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn escrow(&self, utility: Address, series: u64) -> Result<EscrowState, ChainError> {
        let call = PaymentEscrow::accountCall { utility, series };
        let account = self.client().await?.read(self.escrow, &call).await?;
        let spent = account.balance + account.redeemed + account.withdrawn;
        let withdrawal = (!account.thawing.is_zero()).then(|| Withdrawal {
            amount_wei: account.thawing,
            available_at_s: account.thawedAt.saturating_to(),
        });
        Ok(EscrowState {
            deposited_wei: account.deposited,
            redeemed_wei: account.redeemed,
            // What left the account otherwise than to suppliers or back to the utility.
            fees_wei: account.deposited.saturating_sub(spent),
            withdrawn_wei: account.withdrawn,
            balance_wei: account.balance,
            available_wei: account.balance.saturating_sub(account.thawing),
            withdrawal,
        })
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
        let call = PaymentEscrow::redeemedCall { utility, series, supplier };
        self.client().await?.read(self.escrow, &call).await
    }

    /// Redeems a payment proof: the escrow pays what the supplier has not had yet, to the supplier.
    /// Anyone may send it. Safe to repeat.
    ///
    /// # Errors
    /// Where the proof does not hold, the contract refuses (empty escrow) or the endpoint fails.
    pub async fn redeem(&self, payment: &PaymentProof) -> Result<Redeemed, ChainError> {
        self.redeem_once(payment, |root, signature, cumulative, proof| PaymentEscrow::redeemCall {
            root,
            signature,
            supplier: payment.supplier,
            cumulative,
            proof,
        })
        .await
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
        if !self.verify_redeem_to(payment, to, deadline_s, supplier_signature) {
            return Err(ChainError::BadProof);
        }
        self.redeem_once(payment, |root, signature, cumulative, proof| {
            PaymentEscrow::redeemToCall {
                root,
                signature,
                supplier: payment.supplier,
                cumulative,
                proof,
                to,
                deadline: U256::from(deadline_s),
                supplierSignature: Bytes::from(supplier_signature.as_bytes()),
            }
        })
        .await
    }

    /// As the supplier: allows whoever holds the signature to redeem `payment` to `to` until
    /// `deadline_s` (seconds since 1970).
    #[must_use]
    pub fn sign_redeem_to(
        &self,
        payment: &PaymentProof,
        to: Address,
        deadline_s: u64,
    ) -> Signature {
        self.client.key().sign_hash(&self.redeem_to_hash(payment, to, deadline_s))
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
        let hash = self.redeem_to_hash(payment, to, deadline_s);
        signature.normalize_s().is_none()
            && signature
                .recover_address_from_prehash(&hash)
                .is_ok_and(|signer| signer == payment.supplier)
    }

    /// As the utility: signs a root. The caller has reserved the tick durably.
    #[must_use]
    pub fn sign_root(&self, root: PaymentRoot) -> SignedRoot {
        let signature = self.client.key().sign_hash(&root.signing_hash(self.chain_id, self.escrow));
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
        let call = PaymentEscrow::requestWithdrawalCall { series, amount: amount_wei };
        Ok(self.client().await?.send(self.escrow, &call).await?.transaction_hash)
    }

    /// As the utility: takes a thawed withdrawal; returns the amount.
    ///
    /// # Errors
    /// Where nothing is thawed yet or the endpoint fails.
    pub async fn withdraw(&self, series: u64) -> Result<U256, ChainError> {
        let call = PaymentEscrow::withdrawCall { series, to: self.address() };
        let receipt = self.client().await?.send(self.escrow, &call).await?;
        let event = event::<PaymentEscrow::Withdrawn>(&receipt, self.escrow)?;
        Ok(event.amount)
    }

    /// The protocol fee on top of each redemption, in basis points.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn fee_bp(&self) -> Result<u32, ChainError> {
        let call = PaymentEscrow::feeBpCall {};
        self.client().await?.read(self.escrow, &call).await.map(u32::from)
    }

    /// How much JOULE an address holds, in wei.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn joule_balance(&self, of: Address) -> Result<U256, ChainError> {
        let joule = self.joule().await?;
        self.client().await?.read(joule, &Joule::balanceOfCall { account: of }).await
    }

    /// How much of the chain's native coin (for gas) an address holds, in wei.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn gas_balance(&self, of: Address) -> Result<U256, ChainError> {
        self.client().await?.balance(of).await
    }

    /// Sends this account's JOULE to another.
    ///
    /// # Errors
    /// Where the contract refuses or the endpoint fails.
    pub async fn transfer(&self, to: Address, amount_wei: U256) -> Result<B256, ChainError> {
        let joule = self.joule().await?;
        let call = Joule::transferCall { to, value: amount_wei };
        Ok(self.client().await?.send(joule, &call).await?.transaction_hash)
    }

    /// As the owner of JOULE: mints within the yearly cap.
    ///
    /// # Errors
    /// Where the contract refuses (not the owner, above the cap) or the endpoint fails.
    pub async fn mint(&self, to: Address, amount_wei: U256) -> Result<B256, ChainError> {
        let joule = self.joule().await?;
        let call = Joule::mintCall { to, amount: amount_wei };
        Ok(self.client().await?.send(joule, &call).await?.transaction_hash)
    }

    /// Sends the fees that have gathered in the escrow to the treasury; anyone may.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn collect_fees(&self) -> Result<B256, ChainError> {
        let call = PaymentEscrow::collectFeesCall {};
        Ok(self.client().await?.send(self.escrow, &call).await?.transaction_hash)
    }

    /// The newest block's number.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn block_number(&self) -> Result<u64, ChainError> {
        self.client().await?.block_number().await
    }

    /// The client, once its endpoint is known to serve the right chain.
    async fn client(&self) -> Result<&Client, ChainError> {
        self.client.expect_chain(self.chain_id).await?;
        Ok(&self.client)
    }

    async fn joule(&self) -> Result<Address, ChainError> {
        let ask =
            || async { self.client().await?.read(self.escrow, &PaymentEscrow::jouleCall {}).await };
        self.joule.get_or_try_init(ask).await.copied()
    }

    fn redeem_to_hash(&self, payment: &PaymentProof, to: Address, deadline_s: u64) -> B256 {
        let consent = RedeemTo {
            utility: payment.signed.root.utility,
            series: payment.signed.root.series,
            supplier: payment.supplier,
            cumulative: payment.cumulative_wei,
            to,
            deadline: U256::from(deadline_s),
        };
        consent.eip712_signing_hash(&domain(self.chain_id, self.escrow))
    }

    /// Sends a redemption unless all of it was paid already, and says what was paid.
    async fn redeem_once<C: alloy::sol_types::SolCall>(
        &self,
        payment: &PaymentProof,
        call: impl FnOnce(PaymentEscrow::PaymentRoot, Bytes, U96, Vec<B256>) -> C,
    ) -> Result<Redeemed, ChainError> {
        if !payment.verify(self.chain_id, self.escrow) {
            return Err(ChainError::BadProof);
        }
        let root = &payment.signed.root;
        let before = self.redeemed(root.utility, root.series, payment.supplier).await?;
        if before >= payment.cumulative_wei {
            let paid_wei = U256::ZERO;
            return Ok(Redeemed { paid_wei, redeemed_wei: before, transaction: None });
        }
        let call = call(
            PaymentEscrow::PaymentRoot {
                utility: root.utility,
                series: root.series,
                tick: root.tick,
                root: root.root,
                total: root.total,
            },
            Bytes::from(payment.signed.signature_bytes()),
            // A proof that verifies has a leaf, which has at most 96 bits.
            payment.cumulative_wei.saturating_to(),
            payment.proof.0.clone(),
        );
        match self.client.send(self.escrow, &call).await {
            Ok(receipt) => {
                let event = event::<PaymentEscrow::Redeemed>(&receipt, self.escrow)?;
                Ok(Redeemed {
                    paid_wei: event.paid,
                    redeemed_wei: event.redeemed,
                    transaction: Some(receipt.transaction_hash),
                })
            }
            Err(error @ ChainError::Reverted(_)) => {
                // Anyone may redeem for a supplier: somebody was faster.
                let now = self.redeemed(root.utility, root.series, payment.supplier).await?;
                if now < payment.cumulative_wei {
                    return Err(error);
                }
                let paid_wei = U256::ZERO;
                Ok(Redeemed { paid_wei, redeemed_wei: now, transaction: None })
            }
            Err(error) => Err(error),
        }
    }
}

/// The event that a successful call must have emitted.
fn event<E: alloy::sol_types::SolEvent>(
    receipt: &TransactionReceipt,
    contract: Address,
) -> Result<E, ChainError> {
    receipt
        .logs()
        .iter()
        .filter(|log| log.address() == contract)
        .find_map(|log| E::decode_log(&log.inner).ok())
        .map(|log| log.data)
        .ok_or(ChainError::NoContract { what: "payment escrow of this version", address: contract })
}
