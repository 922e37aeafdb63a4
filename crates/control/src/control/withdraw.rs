//! Suppliers who want USD: a proof is redeemed towards the desk, and the desk pays for it.
//!
//! Chain and ledger cannot change together, so each step can be repeated after a crash: the withdrawal
//! is in the store before anything is sent, the redemption is an intent of its own whose outcome is
//! asked for again by its key, and the ledger posts a withdrawal once. A redemption that somebody else
//! sent in our place (the supplier's consent lies open once it is sent) is known by its event.

use kinesis_protocol::{Address, NanoJoule};
use kinesis_store::Withdrawal;
use tracing::warn;

use super::Control;
use crate::{
    ControlError, SettleError,
    api::{WithdrawRequest, WithdrawalView},
    chain_settle::{hash_text, is_ours},
};

impl Control {
    /// Pays a supplier in USD: redeems its proof towards the desk, once for each cumulative amount.
    ///
    /// # Errors
    /// Where proof, signature or deadline do not hold, the chain refuses, or it has not confirmed the
    /// redemption for good yet: asked again later, the same withdrawal goes on.
    pub async fn withdraw(
        &self,
        supplier: Address,
        request: &WithdrawRequest,
    ) -> Result<WithdrawalView, ControlError> {
        let payment = &request.payment;
        if !is_ours(payment, &self.payer, supplier) {
            return Err(ControlError::Invalid(
                "the proof is not this utility's, not this supplier's, or does not hold".into(),
            ));
        }
        let cumulative = NanoJoule::from_wei(payment.cumulative_wei)
            .ok_or_else(|| ControlError::Invalid("the amount is too large".into()))?;
        let series = self.payer.series;
        let now = self.clock.now_ms();
        // One at a time: what one redemption brings must not be taken for another's.
        let _one = self.withdrawing.lock().await;
        let begun = match self.begun(supplier, cumulative).await? {
            Some(begun) => begun,
            None if request.deadline <= now / 1_000 => {
                return Err(ControlError::Invalid("the signature's deadline has passed".into()));
            }
            None => {
                self.check_price()?;
                self.store.begin_withdrawal(series, supplier, cumulative, now).await?
            }
        };
        let done = match (begun.redeemed_nanojoule, begun.paid_nanousd) {
            (Some(_), Some(_)) => begun,
            _ => self.redeem_and_pay(supplier, cumulative, request).await?,
        };
        Ok(WithdrawalView {
            supplier,
            redeemed_nanojoule: done.redeemed_nanojoule.unwrap_or_default(),
            paid_nanousd: done.paid_nanousd.unwrap_or_default(),
            cumulative_nanojoule: cumulative,
            transaction: done.transaction.and_then(|hash| hash.parse().ok()),
        })
    }

    async fn begun(
        &self,
        supplier: Address,
        cumulative: NanoJoule,
    ) -> Result<Option<Withdrawal>, ControlError> {
        let all = self.store.withdrawals(self.payer.series, supplier).await?;
        Ok(all.into_iter().find(|known| known.cumulative_nanojoule == cumulative))
    }

    async fn redeem_and_pay(
        &self,
        supplier: Address,
        cumulative: NanoJoule,
        request: &WithdrawRequest,
    ) -> Result<Withdrawal, ControlError> {
        let series = self.payer.series;
        let key = format!("withdrawal:{series}:{supplier:#x}:{}", cumulative.0);
        let redeemed = self
            .settle
            .redeem_to_payer(&key, &request.payment, request.deadline, &request.signature)
            .await;
        let redeemed = match redeemed {
            Err(pending @ SettleError::Pending(_)) => {
                return Err(ControlError::Unavailable(pending.to_string()));
            }
            other => other?,
        };
        let joule = if redeemed.paid_wei.is_zero() {
            self.unpaid(supplier, cumulative).await?
        } else {
            NanoJoule::from_wei(redeemed.paid_wei)
                .ok_or_else(|| ControlError::Invalid("the amount is too large".into()))?
        };
        let usd = self.price().to_usd(joule);
        let hash = hash_text(redeemed.transaction);
        let now = self.clock.now_ms();
        let done = self
            .store
            .finish_withdrawal(series, supplier, cumulative, joule, usd, hash.as_deref(), now)
            .await?;
        Ok(done)
    }

    /// What others redeemed to the desk for a supplier, and the ledger does not know of.
    async fn unpaid(
        &self,
        supplier: Address,
        cumulative: NanoJoule,
    ) -> Result<NanoJoule, ControlError> {
        let known = self.store.withdrawals(self.payer.series, supplier).await?;
        let mut paid = NanoJoule::ZERO;
        for withdrawal in &known {
            match withdrawal.redeemed_nanojoule {
                Some(redeemed) => paid += redeemed,
                None if withdrawal.cumulative_nanojoule == cumulative => {}
                // What the chain shows may be this one's.
                None => {
                    return Err(ControlError::Unavailable(format!(
                        "a withdrawal up to {} JOULE is not finished: ask for that one first",
                        withdrawal.cumulative_nanojoule
                    )));
                }
            }
        }
        let brought = self.settle.redeemed_to_payer(supplier).await?;
        let brought = NanoJoule::from_wei(brought).unwrap_or_default();
        let unpaid = (brought - paid).min(cumulative);
        if unpaid <= NanoJoule::ZERO {
            return Err(ControlError::Conflict(
                "all of it was redeemed on chain before: there is nothing left to pay".into(),
            ));
        }
        warn!(%supplier, %unpaid, "what others redeemed to the desk is paid");
        Ok(unpaid)
    }
}
