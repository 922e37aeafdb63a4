//! What the protocol's people do: bond and thaw stake, lend and borrow it, propose and vote, ask the
//! exchange for its price, accuse whoever signed two things, and look at a utility's books.
//!
//! | module | is |
//! | --- | --- |
//! | [`stake`] | bonds, claims on nodes, offers of utilities |
//! | [`pool`] | investors' deposits and suppliers' loans |
//! | [`governance`] | proposals, from a word to calls, and their way through vote and timelock |
//! | [`exchange`] | quotes and prices |
//! | [`disputes`] | accusations and cases |
//! | [`audit`] | what can be found in signed roots and proofs, by anybody |
//! | [`audits`] | claims that a signed result is false, and auditors |
//! | [`leases`] | silence of suppliers: accusations, answers, notice |
//! | [`standing`] | what stands behind one machine |
//! | [`escrow`] | a utility's money for its suppliers |
//! | `run` | commands whose transactions happen once, whatever crashes |
//!
//! A call that would fail is refused before anything is sent. What is read before a transaction can
//! change until it is mined: the contracts decide, and everything here only says it sooner.

pub mod audit;
pub mod audits;
pub mod disputes;
pub mod escrow;
pub mod exchange;
pub mod governance;
pub mod leases;
pub mod pool;
mod run;
pub mod stake;
pub mod standing;

use std::sync::Arc;

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::{Filter, Log, TransactionReceipt},
    sol_types::{SolCall, SolEvent},
};
use run::{Run, Same};

use crate::{
    ChainError, Contracts, Joules, Journal, ProtocolContracts, SendPolicy, Settlement, Signer,
    client::Client,
    contracts::{DevDollar, Joule},
    logs::Backwards,
    sender::Sender,
};

/// The whole protocol on one chain, on behalf of one signer.
#[derive(Debug, Clone)]
pub struct Protocol {
    client: Client,
    contracts: Contracts,
    at: ProtocolContracts,
    /// What is sent belongs to this run; `None`: it is new each time, and nobody follows it after a
    /// crash.
    run: Option<Arc<Run>>,
}

impl Protocol {
    /// A client; contacts nothing yet.
    ///
    /// # Errors
    /// Where the URL is none, or only the escrow is known.
    pub fn new(
        rpc_url: &str,
        contracts: Contracts,
        signer: impl Into<Signer>,
    ) -> Result<Self, ChainError> {
        let at = contracts.protocol()?;
        Ok(Self { client: Client::new(rpc_url, signer)?, contracts, at, run: None })
    }

    /// The same, with what it sends in a journal, as parts of the run of this name: whoever runs it
    /// again under this name, after whatever crash, gets the receipts of what was sent instead of
    /// sending it again. A name is used for one run, until somebody has seen how it ended.
    #[must_use]
    pub fn journalled(mut self, journal: Arc<dyn Journal>, run: impl Into<String>) -> Self {
        let policy = SendPolicy::for_chain(self.contracts.chain_id);
        let sender = Sender::new(self.client.clone(), journal, policy);
        self.run = Some(Run::new(run.into(), sender));
        self
    }

    /// A client of the escrow for the same signer, with the same journal.
    #[must_use]
    pub fn settlement(&self) -> Settlement {
        let sender = self.run.as_ref().map_or_else(
            || Sender::in_memory(self.client.clone(), self.contracts.chain_id),
            |run| run.sender().clone(),
        );
        Settlement::with_sender(sender, self.contracts.chain_id, self.contracts.escrow)
    }

    /// Looks after what this account has sent and what is not final yet: sends it again where the chain
    /// has forgotten it. Then waits until what an earlier run of this name began is mined. Nothing is
    /// done where nothing is journalled.
    ///
    /// # Errors
    /// Where the journal or the endpoint fails, or it is not mined in time.
    pub async fn look_after(&self, earlier: Option<&str>) -> Result<(), ChainError> {
        let Some(run) = &self.run else { return Ok(()) };
        self.client.expect_chain(self.contracts.chain_id).await?;
        run.sender().settle().await?;
        if let Some(earlier) = earlier {
            run.sender().finish(&format!("{earlier}:")).await?;
        }
        Ok(())
    }

    /// Whom this client acts as.
    #[must_use]
    pub fn address(&self) -> Address {
        self.client.signer().address()
    }

    /// Where the contracts are.
    #[must_use]
    pub const fn contracts(&self) -> &Contracts {
        &self.contracts
    }

    /// Checks that the endpoint serves the right chain and has the protocol.
    ///
    /// # Errors
    /// Where one of these does not hold.
    pub async fn check(&self) -> Result<(), ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        if self.client.has_code(self.at.registry).await? {
            return Ok(());
        }
        Err(ChainError::NoContract { what: "protocol of ours", address: self.at.registry })
    }

    /// The time on chain, in seconds since 1970.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn now_s(&self) -> Result<u64, ChainError> {
        // By the clock that votes are counted by: a chain without transactions has an old block.
        let clock = self.read(self.contracts.joule, &Joule::clockCall {}).await?;
        Ok(clock.to())
    }

    /// How much JOULE an address holds, in wei.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn balance(&self, of: Address) -> Result<U256, ChainError> {
        self.read(self.contracts.joule, &Joule::balanceOfCall { account: of }).await
    }

    async fn read<C: SolCall>(&self, at: Address, call: &C) -> Result<C::Return, ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        self.client.read(at, call).await
    }

    async fn send<C: SolCall>(
        &self,
        at: Address,
        call: &C,
    ) -> Result<TransactionReceipt, ChainError> {
        self.send_as(at, call, Same::Function).await
    }

    /// [`Self::send`], for a call about something that was named by a word such as "the latest": the
    /// run that is gone on with must have meant the same.
    async fn send_same<C: SolCall>(
        &self,
        at: Address,
        call: &C,
    ) -> Result<TransactionReceipt, ChainError> {
        self.send_as(at, call, Same::Call).await
    }

    async fn send_as<C: SolCall>(
        &self,
        at: Address,
        call: &C,
        same: Same,
    ) -> Result<TransactionReceipt, ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        match &self.run {
            Some(run) => run.send(at, call, same).await,
            None => self.client.send(at, call).await,
        }
    }

    /// Whether an earlier process of this run has begun its next call of a function: what that call
    /// needed may be gone by now, and must not be asked for again.
    async fn begun<C: SolCall>(&self, at: Address) -> Result<bool, ChainError> {
        match &self.run {
            Some(run) => Ok(run.begun::<C>(at).await?.is_some()),
            None => Ok(false),
        }
    }

    /// The logs that a filter selects, whose range of blocks is known to be short.
    async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        self.client.logs(filter).await
    }

    /// The logs that a filter selects, from block `from` (the newest where it is `None`) backwards.
    async fn logs_back(&self, filter: Filter, from: Option<u64>) -> Result<Backwards, ChainError> {
        self.client.expect_chain(self.contracts.chain_id).await?;
        Backwards::new(&self.client, filter, self.contracts.from_block, from).await
    }

    /// Lets `spender` take this much JOULE for its call `C`, where it may not yet.
    async fn allow<C: SolCall>(&self, spender: Address, value: U256) -> Result<(), ChainError> {
        if self.begun::<C>(spender).await? {
            return Ok(());
        }
        let joule = self.contracts.joule;
        let (account, has) = (self.address(), self.balance(self.address()).await?);
        if has < value {
            // As the token would say it, which knows no units.
            let (has, value) = (Joules(has), Joules(value));
            return Err(ChainError::Reverted(format!(
                "ERC20InsufficientBalance: {account} has {has} JOULE and needs {value}"
            )));
        }
        self.approve(joule, spender, value).await
    }

    /// Lets `spender` take this much of a token, where it may not yet.
    async fn approve(
        &self,
        token: Address,
        spender: Address,
        value: U256,
    ) -> Result<(), ChainError> {
        // Every ERC-20 has these two.
        let allowance = DevDollar::allowanceCall { owner: self.address(), spender };
        if self.read(token, &allowance).await? < value {
            // What is approved is exact: a run that is gone on with approves what it needs now.
            self.send_same(token, &DevDollar::approveCall { spender, value }).await?;
        }
        Ok(())
    }
}

/// The event that a successful call must have emitted.
fn event<E: SolEvent>(receipt: &TransactionReceipt, contract: Address) -> Result<E, ChainError> {
    receipt
        .logs()
        .iter()
        .filter(|log| log.address() == contract)
        .find_map(|log| E::decode_log(&log.inner).ok())
        .map(|log| log.data)
        .ok_or(ChainError::NoContract { what: "contract of this version", address: contract })
}

/// The transaction of a receipt.
const fn hash(receipt: &TransactionReceipt) -> B256 {
    receipt.transaction_hash
}
