//! The settlement client: what a utility and a supplier do on chain, over any JSON-RPC endpoint.
//!
//! Every transaction is an intent in a [`Journal`], recorded before it is sent and followed until it
//! is final, so that a restart in between changes nothing. Signing needs no endpoint.

mod many;
mod redeem;
mod trade;

use std::sync::Arc;

use alloy::{
    primitives::{Address, B256, Bytes, U256},
    rpc::types::TransactionReceipt,
    sol_types::SolCall,
};
use kinesis_protocol::{PaymentRoot, SignedRoot};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

pub use many::PaidSupplier;
pub use redeem::Redeemed;
pub use trade::{MarketPrice, MarketTokens, Order, Side, Traded};

use crate::{
    ChainError, Contracts, Journal, SendPolicy, Signer, Until,
    client::Client,
    contracts::{Joule, PaymentEscrow},
    journal::intent_key,
    sender::Sender,
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

/// A client of one escrow contract, acting as one signer. Clones share connection and journal.
#[derive(Debug, Clone)]
pub struct Settlement {
    sender: Sender,
    chain_id: u64,
    escrow: Address,
    /// The token, asked once from the escrow.
    joule: Arc<OnceCell<Address>>,
}

impl Settlement {
    /// A client; contacts nothing yet. The endpoint's chain is checked by the first call. Its journal
    /// is in memory until [`Self::with_journal`] names another.
    ///
    /// # Errors
    /// Where the URL is none.
    pub fn new(
        rpc_url: &str,
        chain_id: u64,
        escrow: Address,
        signer: impl Into<Signer>,
    ) -> Result<Self, ChainError> {
        let sender = Sender::in_memory(Client::new(rpc_url, signer)?, chain_id);
        Ok(Self::with_sender(sender, chain_id, escrow))
    }

    pub(crate) fn with_sender(sender: Sender, chain_id: u64, escrow: Address) -> Self {
        Self { sender, chain_id, escrow, joule: Arc::default() }
    }

    /// The same, with its transactions in a journal that survives a restart.
    #[must_use]
    pub fn with_journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.sender = self.sender.with_journal(journal);
        self
    }

    /// The same, with another idea of fees, patience and what is final.
    #[must_use]
    pub fn with_policy(mut self, policy: SendPolicy) -> Self {
        self.sender = self.sender.with_policy(policy);
        self
    }

    /// The address that this client signs and pays as.
    #[must_use]
    pub fn address(&self) -> Address {
        self.signer().address()
    }

    /// Who signs.
    #[must_use]
    pub const fn signer(&self) -> &Signer {
        self.sender.client().signer()
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
        let (chain_id, escrow) = (self.chain_id, self.escrow);
        Ok(Contracts { chain_id, joule, escrow, from_block: 0, protocol: None })
    }

    /// Calls a contract in a transaction, once for each idempotency `key`, and gives its receipt.
    /// Asked again, after whatever crash, with the same key and journal, it gives the same.
    ///
    /// # Errors
    /// Where the contract refuses, the key was used for another call, or the chain does not confirm
    /// in time ([`ChainError::NoReceipt`]: ask again).
    pub async fn submit<C: SolCall>(
        &self,
        key: &str,
        contract: Address,
        call: &C,
        until: Until,
    ) -> Result<TransactionReceipt, ChainError> {
        self.client().await?;
        let data = Bytes::from(call.abi_encode());
        self.sender.execute(key, contract, data, U256::ZERO, until).await
    }

    /// Calls a view function at the newest block.
    ///
    /// # Errors
    /// Where the endpoint fails, or no such contract is there.
    pub async fn read<C: SolCall>(
        &self,
        contract: Address,
        call: &C,
    ) -> Result<C::Return, ChainError> {
        self.client().await?.read(contract, call).await
    }

    /// Looks once at every open transaction of this account: records what is final, sends again what
    /// is not mined or was taken back. Returns how many are still open. To be called now and then.
    ///
    /// # Errors
    /// Where the journal or the endpoint fails.
    pub async fn settle(&self) -> Result<usize, ChainError> {
        self.client().await?;
        self.sender.settle().await
    }

    /// Puts `amount_wei` of this account's JOULE into the escrow of (utility, series), approving
    /// the escrow first where needed. A deposit that was begun before, by a call that did not see it
    /// mined or before a restart, is finished instead, and `None` returned: whoever asks looks at the
    /// escrow again before the next.
    ///
    /// # Errors
    /// Where the contract refuses (not enough JOULE) or the endpoint fails.
    pub async fn deposit(
        &self,
        utility: Address,
        series: u64,
        amount_wei: U256,
    ) -> Result<Option<B256>, ChainError> {
        let client = self.client().await?;
        let kind = format!("deposit:{utility:#x}:{series}");
        if self.sender.finish(&format!("{kind}:")).await? {
            return Ok(None);
        }
        let joule = self.joule().await?;
        let allowance = Joule::allowanceCall { owner: self.address(), spender: self.escrow };
        if client.read(joule, &allowance).await? < amount_wei {
            let approve = Joule::approveCall { spender: self.escrow, value: amount_wei };
            self.submit(&intent_key("approve"), joule, &approve, Until::Mined).await?;
        }
        let call = PaymentEscrow::depositCall { utility, series, amount: amount_wei };
        let receipt = self.submit(&intent_key(&kind), self.escrow, &call, Until::Mined).await?;
        Ok(Some(receipt.transaction_hash))
    }

    /// Deposits what is missing so that at least `available_wei` is available in this key's own
    /// escrow of `series`; returns what was deposited. Safe to repeat.
    ///
    /// # Errors
    /// As [`Self::deposit`].
    pub async fn top_up(&self, series: u64, available_wei: U256) -> Result<U256, ChainError> {
        loop {
            let state = self.escrow(self.address(), series).await?;
            let missing = available_wei.saturating_sub(state.available_wei);
            if missing.is_zero() || self.deposit(self.address(), series, missing).await?.is_some() {
                return Ok(missing);
            }
        }
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

    /// As the utility: signs a root. The caller has reserved the tick durably.
    ///
    /// # Errors
    /// Where the signing process is away, or refuses.
    pub async fn sign_root(&self, root: PaymentRoot) -> Result<SignedRoot, ChainError> {
        let signature = self.signer().sign_root(&root, self.chain_id, self.escrow).await?;
        Ok(SignedRoot { root, signature })
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
        self.send("request-withdrawal", self.escrow, &call).await
    }

    /// As the utility: takes a thawed withdrawal; returns the amount.
    ///
    /// # Errors
    /// Where nothing is thawed yet or the endpoint fails.
    pub async fn withdraw(&self, series: u64) -> Result<U256, ChainError> {
        let call = PaymentEscrow::withdrawCall { series, to: self.address() };
        let key = intent_key("withdraw");
        let receipt = self.submit(&key, self.escrow, &call, Until::Mined).await?;
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
        self.send("transfer", joule, &call).await
    }

    /// As the owner of JOULE: mints within the yearly cap.
    ///
    /// # Errors
    /// Where the contract refuses (not the owner, above the cap) or the endpoint fails.
    pub async fn mint(&self, to: Address, amount_wei: U256) -> Result<B256, ChainError> {
        let joule = self.joule().await?;
        let call = Joule::mintCall { to, amount: amount_wei };
        self.send("mint", joule, &call).await
    }

    /// Sends the fees that have gathered in the escrow to the treasury; anyone may.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn collect_fees(&self) -> Result<B256, ChainError> {
        self.send("collect-fees", self.escrow, &PaymentEscrow::collectFeesCall {}).await
    }

    /// The newest block's number.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn block_number(&self) -> Result<u64, ChainError> {
        self.client().await?.block_number().await
    }

    /// The newest block that cannot be taken back; `None` while there is none.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn final_block(&self) -> Result<Option<u64>, ChainError> {
        self.client().await?;
        self.sender.final_number().await
    }

    /// The client, once its endpoint is known to serve the right chain.
    async fn client(&self) -> Result<&Client, ChainError> {
        let client = self.sender.client();
        client.expect_chain(self.chain_id).await?;
        Ok(client)
    }

    /// A call that is new each time it is asked for.
    async fn send<C: SolCall>(
        &self,
        kind: &str,
        contract: Address,
        call: &C,
    ) -> Result<B256, ChainError> {
        let receipt = self.submit(&intent_key(kind), contract, call, Until::Mined).await?;
        Ok(receipt.transaction_hash)
    }

    async fn joule(&self) -> Result<Address, ChainError> {
        let ask =
            || async { self.client().await?.read(self.escrow, &PaymentEscrow::jouleCall {}).await };
        self.joule.get_or_try_init(ask).await.copied()
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
