//! A utility's money for its suppliers: what is in, what covers what it signed, and the way out, which
//! is slower than any redemption.

use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, Serialize};

use super::{Protocol, event, hash};
use crate::{ChainError, EscrowState, Joules, Withdrawal, contracts::PaymentEscrow};

/// The escrow account of one series of a utility.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscrowAccount {
    /// Whose it is.
    pub utility: Address,
    /// Which of its series.
    pub series: u64,
    /// Everything that was ever deposited.
    pub deposited: Joules,
    /// Everything that was ever paid to suppliers, fees not counted.
    pub redeemed: Joules,
    /// Everything that was ever taken as protocol fees.
    pub fees: Joules,
    /// Everything the utility ever took back.
    pub withdrawn: Joules,
    /// What is there now.
    pub balance: Joules,
    /// What is there and not about to be taken back.
    pub available: Joules,
    /// What was deposited and not taken or asked back: a signed total above it is an offence.
    pub cover: Joules,
    /// What the utility has asked back, and from when it may take it, in seconds since 1970.
    pub thawing: Option<Withdrawal>,
    /// How long what is asked back thaws, in seconds.
    pub withdrawal_delay_s: u32,
    /// The protocol fee on top of each redemption, in basis points.
    pub fee_bp: u16,
    /// The newest tick that is anchored on chain; `None` where none is.
    pub anchored_tick: Option<u64>,
}

impl Protocol {
    /// Everything about an escrow account.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn escrow(&self, utility: Address, series: u64) -> Result<EscrowAccount, ChainError> {
        let at = self.contracts.escrow;
        let state: EscrowState = self.settlement().escrow(utility, series).await?;
        let delay = self.read(at, &PaymentEscrow::withdrawalDelayCall {}).await?;
        let fee_bp = self.read(at, &PaymentEscrow::feeBpCall {}).await?;
        let anchored = self.read(at, &PaymentEscrow::anchoredCall { utility, series }).await?;
        let thawing = state.withdrawal.map_or(U256::ZERO, |thawing| thawing.amount_wei);
        // As the court counts it: what is asked back covers nothing.
        let cover = state.deposited_wei.saturating_sub(state.withdrawn_wei);
        Ok(EscrowAccount {
            utility,
            series,
            deposited: Joules(state.deposited_wei),
            redeemed: Joules(state.redeemed_wei),
            fees: Joules(state.fees_wei),
            withdrawn: Joules(state.withdrawn_wei),
            balance: Joules(state.balance_wei),
            available: Joules(state.available_wei),
            cover: Joules(cover.saturating_sub(thawing.min(state.balance_wei))),
            thawing: state.withdrawal,
            withdrawal_delay_s: delay,
            fee_bp,
            anchored_tick: (anchored.tick > 0).then_some(anchored.tick),
        })
    }

    /// Puts JOULE of this account into an escrow account; only its utility can take it back.
    ///
    /// # Errors
    /// Where this account holds too little or the endpoint fails.
    pub async fn escrow_deposit(
        &self,
        utility: Address,
        series: u64,
        amount: Joules,
    ) -> Result<B256, ChainError> {
        let at = self.contracts.escrow;
        self.allow::<PaymentEscrow::depositCall>(at, amount.0).await?;
        let call = PaymentEscrow::depositCall { utility, series, amount: amount.0 };
        Ok(hash(&self.send(at, &call).await?))
    }

    /// As the utility: asks for JOULE back, in place of what it asked for before; zero cancels. Returns
    /// from when it may be taken, in seconds since 1970.
    ///
    /// # Errors
    /// Where there is less in the account, or the endpoint fails.
    pub async fn escrow_thaw(&self, series: u64, amount: Joules) -> Result<u64, ChainError> {
        let at = self.contracts.escrow;
        let call = PaymentEscrow::requestWithdrawalCall { series, amount: amount.0 };
        let receipt = self.send(at, &call).await?;
        let asked = event::<PaymentEscrow::WithdrawalRequested>(&receipt, at)?;
        Ok(asked.thawedAt.saturating_to())
    }

    /// As the utility: takes what has thawed; returns how much.
    ///
    /// # Errors
    /// Where nothing was asked for, it has not thawed, or the endpoint fails.
    pub async fn escrow_withdraw(&self, series: u64, to: Address) -> Result<Joules, ChainError> {
        let at = self.contracts.escrow;
        let receipt = self.send(at, &PaymentEscrow::withdrawCall { series, to }).await?;
        Ok(Joules(event::<PaymentEscrow::Withdrawn>(&receipt, at)?.amount))
    }
}
