//! Redemptions: a supplier's proof becomes JOULE, once for each step of what was paid.

use alloy::{
    primitives::{Address, B256, Bytes, U256, aliases::U96},
    rpc::types::TransactionReceipt,
    sol_types::{SolCall, SolEvent as _, SolStruct as _},
};
use kinesis_protocol::{
    Signature,
    root::{PaymentProof, domain},
};
use serde::{Deserialize, Serialize};

use super::{Settlement, event};
use crate::{
    ChainError, Until,
    contracts::{Joule, PaymentEscrow, RedeemTo},
    journal::intent_key,
};

/// What a redemption paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeemed {
    /// What this call paid, in wei; zero where everything was paid before.
    pub paid_wei: U256,
    /// What of it the payee received, in wei: less where a part went to the supplier's lender or into
    /// its stake.
    pub received_wei: U256,
    /// Everything this supplier was ever paid from this series, in wei. Less than the proof's
    /// cumulative amount only where the escrow ran dry.
    pub redeemed_wei: U256,
    /// The transaction; `None` where nothing was left to pay.
    pub transaction: Option<B256>,
}

impl Redeemed {
    const fn nothing(redeemed_wei: U256) -> Self {
        let zero = U256::ZERO;
        Self { paid_wei: zero, received_wei: zero, redeemed_wei, transaction: None }
    }
}

impl Settlement {
    /// Redeems a payment proof: the escrow pays what the supplier has not had yet, to the supplier.
    /// Anyone may send it. Safe to repeat.
    ///
    /// # Errors
    /// Where the proof does not hold, the contract refuses (empty escrow) or the endpoint fails.
    pub async fn redeem(&self, payment: &PaymentProof) -> Result<Redeemed, ChainError> {
        let call = PaymentEscrow::redeemCall {
            root: contract_root(payment),
            signature: Bytes::from(payment.signed.signature_bytes()),
            supplier: payment.supplier,
            cumulative: cumulative(payment),
            proof: payment.proof.0.clone(),
        };
        self.redeem_once(payment, "redeem", &call).await
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
        let call = self.redeem_to_call(payment, to, deadline_s, supplier_signature)?;
        self.redeem_once(payment, "redeem-to", &call).await
    }

    /// [`Self::redeem_to`], once for each idempotency key, and final when it returns: what this very
    /// transaction paid, however often and after whatever crash it is asked for. `None` where it was
    /// never sent because all of it had been redeemed before, by whomever.
    ///
    /// # Errors
    /// As [`Self::redeem_to`]; [`ChainError::NoReceipt`] where it is not final in time: ask again.
    pub async fn redeem_to_once(
        &self,
        key: &str,
        payment: &PaymentProof,
        to: Address,
        deadline_s: u64,
        supplier_signature: &Signature,
    ) -> Result<Option<Redeemed>, ChainError> {
        let call = self.redeem_to_call(payment, to, deadline_s, supplier_signature)?;
        let known = {
            self.client().await?;
            self.sender.find(key).await?
        };
        let receipt = match known {
            // Begun before, maybe under a consent with another deadline: what was sent counts.
            Some(known) if known.receipt.as_ref().is_none_or(TransactionReceipt::status) => {
                self.sender.follow(known, Until::Final).await
            }
            _ => {
                let root = &payment.signed.root;
                let before = self.redeemed(root.utility, root.series, payment.supplier).await?;
                if before >= payment.cumulative_wei {
                    return Ok(None);
                }
                self.submit(key, self.escrow, &call, Until::Final).await
            }
        };
        match receipt {
            Ok(receipt) => self.redeemed_by(&receipt).await.map(Some),
            Err(error @ ChainError::Reverted(_)) => {
                // Anyone may redeem for a supplier: somebody was faster.
                let root = &payment.signed.root;
                let now = self.redeemed(root.utility, root.series, payment.supplier).await?;
                if now < payment.cumulative_wei { Err(error) } else { Ok(None) }
            }
            Err(error) => Err(error),
        }
    }

    fn redeem_to_call(
        &self,
        payment: &PaymentProof,
        to: Address,
        deadline_s: u64,
        supplier_signature: &Signature,
    ) -> Result<PaymentEscrow::redeemToCall, ChainError> {
        if !payment.verify(self.chain_id, self.escrow)
            || !self.verify_redeem_to(payment, to, deadline_s, supplier_signature)
        {
            return Err(ChainError::BadProof);
        }
        Ok(PaymentEscrow::redeemToCall {
            root: contract_root(payment),
            signature: Bytes::from(payment.signed.signature_bytes()),
            supplier: payment.supplier,
            cumulative: cumulative(payment),
            proof: payment.proof.0.clone(),
            to,
            deadline: U256::from(deadline_s),
            supplierSignature: Bytes::from(supplier_signature.as_bytes()),
        })
    }

    /// As the supplier: allows whoever holds the signature to redeem `payment` to `to` until
    /// `deadline_s` (seconds since 1970).
    ///
    /// # Errors
    /// Where the key is in a signing process, which does not sign this.
    pub fn sign_redeem_to(
        &self,
        payment: &PaymentProof,
        to: Address,
        deadline_s: u64,
    ) -> Result<Signature, ChainError> {
        self.signer().sign_hash(&self.redeem_to_hash(payment, to, deadline_s))
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
    async fn redeem_once<C: SolCall>(
        &self,
        payment: &PaymentProof,
        kind: &str,
        call: &C,
    ) -> Result<Redeemed, ChainError> {
        if !payment.verify(self.chain_id, self.escrow) {
            return Err(ChainError::BadProof);
        }
        let root = &payment.signed.root;
        let before = self.redeemed(root.utility, root.series, payment.supplier).await?;
        if before >= payment.cumulative_wei {
            return Ok(Redeemed::nothing(before));
        }
        // One redemption for each step of what was paid: a short escrow may need several.
        let (utility, series, supplier) = (root.utility, root.series, payment.supplier);
        let key = format!("{kind}:{utility:#x}:{series}:{supplier:#x}:{before}");
        let sent = match self.sender.find(&key).await? {
            Some(open) if open.is_open() => self.sender.follow(open, Until::Mined).await,
            // What was final under this key had no effect, or was on a chain that is gone.
            Some(_) => self.submit(&intent_key(&key), self.escrow, call, Until::Mined).await,
            None => self.submit(&key, self.escrow, call, Until::Mined).await,
        };
        match sent {
            Ok(receipt) => self.redeemed_by(&receipt).await,
            Err(error @ ChainError::Reverted(_)) => {
                // Anyone may redeem for a supplier: somebody was faster.
                let now = self.redeemed(root.utility, root.series, payment.supplier).await?;
                if now < payment.cumulative_wei {
                    return Err(error);
                }
                Ok(Redeemed::nothing(now))
            }
            Err(error) => Err(error),
        }
    }

    /// What a redemption paid, by its receipt.
    async fn redeemed_by(&self, receipt: &TransactionReceipt) -> Result<Redeemed, ChainError> {
        let event = event::<PaymentEscrow::Redeemed>(receipt, self.escrow)?;
        let joule = self.joule().await?;
        let transfers = receipt.logs().iter().filter(|log| log.address() == joule);
        let received_wei = transfers
            .filter_map(|log| Joule::Transfer::decode_log(&log.inner).ok())
            .filter(|transfer| transfer.from == self.escrow && transfer.to == event.to)
            .fold(U256::ZERO, |sum, transfer| sum.saturating_add(transfer.value));
        Ok(Redeemed {
            paid_wei: event.paid,
            received_wei,
            redeemed_wei: event.redeemed,
            transaction: Some(receipt.transaction_hash),
        })
    }
}

pub(super) fn contract_root(payment: &PaymentProof) -> PaymentEscrow::PaymentRoot {
    let root = &payment.signed.root;
    PaymentEscrow::PaymentRoot {
        utility: root.utility,
        series: root.series,
        tick: root.tick,
        root: root.root,
        total: root.total,
    }
}

/// A proof that verifies has a leaf, which has at most 96 bits.
fn cumulative(payment: &PaymentProof) -> U96 {
    payment.cumulative_wei.saturating_to()
}
