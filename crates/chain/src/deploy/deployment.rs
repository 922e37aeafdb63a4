//! A deployment: what is there of it, what the rest costs, and the transactions that make it.
//!
//! Each contract's creation has a name of its own in the journal, as the contract has its address: a
//! deployment that is cut off and run again goes on with what it sent.

use std::sync::Arc;

use alloy::{
    primitives::{Address, Bytes, TxKind, U256},
    providers::Provider as _,
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    Contracts, DeployConfig,
    plan::{Creation, MARKET, Plan},
};
use crate::{
    ChainError, Journal, SendPolicy, Signer, Until,
    client::{Client, unreachable_or_refused},
    contracts::{DevDollar, IUniswapV2Factory, IUniswapV2Router02, Joule, TimelockController},
    dev,
    embedded::FACTORY,
    journal::intent_key,
    sender::Sender,
};

/// Gas of a creation that cannot be estimated before another is there: to begin with, for each byte
/// that is sent and kept, and for what it initialises.
const CREATION_GAS: u64 = 53_000;
const BYTE_GAS: u64 = 216;
const INITIALIZE_GAS: u64 = 400_000;
/// What the timelock's first operation takes: to be scheduled, and for each of its calls.
const SCHEDULE_GAS: u64 = 200_000;
const CALL_GAS: u64 = 70_000;
/// What a pair of Uniswap v2 takes.
const PAIR_GAS: u64 = 2_600_000;

/// One transaction of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployStep {
    /// What it makes, in a word or two.
    pub what: String,
    /// Where, or whom it calls.
    pub address: Address,
    /// Whether that is done already.
    pub done: bool,
    /// What it takes at most, in gas; zero where it is done.
    pub gas: u64,
}

/// What a deployment would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployPreview {
    /// On which chain.
    pub chain_id: u64,
    /// Who pays for the gas, and has no right in the end.
    pub deployer: Address,
    /// Its transactions, in order.
    pub steps: Vec<DeployStep>,
    /// The gas of all that are not done.
    pub gas: u64,
    /// What a unit of gas costs at most, now, in wei.
    #[serde(with = "crate::amount::text")]
    pub fee_per_gas_wei: U256,
    /// What all of it costs at most, in wei of the chain's coin.
    #[serde(with = "crate::amount::text")]
    pub cost_wei: U256,
    /// What the deployer has of it.
    #[serde(with = "crate::amount::text")]
    pub balance_wei: U256,
    /// Where everything will be.
    pub contracts: Contracts,
}

/// A deployment of the whole protocol by one account.
#[derive(Debug, Clone)]
pub struct Deployment {
    sender: Sender,
    chain_id: u64,
    config: DeployConfig,
    plan: Arc<Plan>,
}

impl Deployment {
    /// Plans a deployment; sends nothing.
    ///
    /// # Errors
    /// Where the endpoint does not answer; on another than a development chain also where no
    /// stablecoin is named, or a development account would deploy, own or hold anything.
    pub async fn new(
        rpc_url: &str,
        deployer: impl Into<Signer>,
        config: DeployConfig,
    ) -> Result<Self, ChainError> {
        let client = Client::new(rpc_url, deployer)?;
        let chain_id = client.chain_id().await?;
        let deployer = client.signer().address();
        if chain_id != dev::CHAIN_ID {
            if let Some(known) = named(&config, deployer).find(|account| dev::is_known(*account)) {
                return Err(ChainError::DevelopmentKey(known));
            }
            if config.exchange.usd.is_none() {
                return Err(ChainError::NoStablecoin);
            }
        }
        let plan = Arc::new(Plan::new(deployer, &config));
        Ok(Self { sender: Sender::in_memory(client, chain_id), chain_id, config, plan })
    }

    /// The same, with its transactions in a journal: cut off and run again it goes on with them.
    #[must_use]
    pub fn journalled(mut self, journal: Arc<dyn Journal>) -> Self {
        self.sender = self.sender.with_journal(journal);
        self
    }

    /// The same, with another idea of fees and patience.
    #[must_use]
    pub fn with_policy(mut self, policy: SendPolicy) -> Self {
        self.sender = self.sender.with_policy(policy);
        self
    }

    /// Who deploys.
    #[must_use]
    pub fn deployer(&self) -> Address {
        self.client().signer().address()
    }

    /// The chain.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Where everything will be.
    #[must_use]
    pub fn contracts(&self) -> Contracts {
        self.plan.contracts(self.chain_id)
    }

    const fn client(&self) -> &Client {
        self.sender.client()
    }

    /// What is to be done, and what it costs at most.
    ///
    /// # Errors
    /// Where the endpoint fails, or something that the chain must have is not there.
    pub async fn preview(&self) -> Result<DeployPreview, ChainError> {
        let client = self.client();
        let there = self.there().await?;
        self.check_chain(!there.iter().all(|there| *there)).await?;
        let mut steps = Vec::new();
        for (creation, done) in self.plan.creations.iter().zip(there) {
            if creation.name == MARKET && !done && self.pair().await?.is_none() {
                let what = "pair of stablecoin and JOULE".to_owned();
                let address = self.router()?;
                steps.push(DeployStep { what, address, done: false, gas: PAIR_GAS });
            }
            let gas = if done { 0 } else { self.creation_gas(creation).await };
            let what = match creation.proxy {
                true => format!("{} (proxy)", creation.name),
                false => creation.name.to_owned(),
            };
            steps.push(DeployStep { what, address: creation.address(), done, gas });
        }
        let timelock = self.plan.protocol.timelock;
        let done = client.has_code(timelock).await? && self.set_up_done().await?;
        let calls = u64::try_from(self.plan.setup.len()).unwrap_or(u64::MAX);
        let execute = CALL_GAS.saturating_mul(calls);
        for (what, gas) in [("rights: scheduled", SCHEDULE_GAS), ("rights: handed over", execute)] {
            let gas = if done { 0 } else { gas };
            steps.push(DeployStep { what: what.to_owned(), address: timelock, done, gas });
        }
        let fees = client.provider().estimate_eip1559_fees().await;
        let fee = fees.map_err(unreachable_or_refused)?.max_fee_per_gas;
        let gas = steps.iter().fold(0_u64, |sum, step| sum.saturating_add(step.gas));
        let fee_per_gas_wei = U256::from(fee);
        Ok(DeployPreview {
            chain_id: self.chain_id,
            deployer: self.deployer(),
            steps,
            gas,
            fee_per_gas_wei,
            cost_wei: fee_per_gas_wei.saturating_mul(U256::from(gas)),
            balance_wei: client.balance(self.deployer()).await?,
            contracts: self.contracts(),
        })
    }

    /// Does what is to be done; says each step before it is taken. Safe to repeat, and safe to run
    /// twice at once.
    ///
    /// # Errors
    /// Where a transaction fails or is not mined in time (run it again), the deployer cannot pay, or
    /// something that the chain must have is not there.
    pub async fn run(
        &self,
        says: &(dyn Fn(&str, Address) + Send + Sync),
    ) -> Result<Contracts, ChainError> {
        let there = self.there().await?;
        self.check_chain(!there.iter().all(|there| *there)).await?;
        let fresh = !there.iter().any(|there| *there);
        let before = if fresh { self.client().block_number().await? } else { 0 };
        for (creation, _) in self.plan.creations.iter().zip(there).filter(|(_, there)| !there) {
            says(creation.name, creation.address());
            if creation.name == MARKET {
                self.make_pair().await?;
            }
            self.create(creation).await?;
        }
        self.set_up(says).await?;
        self.vote_as_deployer().await?;
        let from_block = match self.chain_id {
            // Its addresses are known without asking anybody, and its blocks are few.
            dev::CHAIN_ID => 0,
            _ if fresh => before,
            _ => self.first_block().await?,
        };
        Ok(Contracts { from_block, ..self.contracts() })
    }

    /// The block of the timelock, the first of them all, where the journal knows of it.
    async fn first_block(&self) -> Result<u64, ChainError> {
        let key = creation_key(self.plan.protocol.timelock);
        let Some(known) = self.sender.find(&key).await? else { return Ok(0) };
        if let Some(receipt) = &known.receipt {
            return Ok(receipt.block_number.unwrap_or(0));
        }
        for attempt in &known.attempts {
            let found = self.client().provider().get_transaction_receipt(attempt.hash).await;
            let found = found.map_err(unreachable_or_refused)?;
            if let Some(block) = found.and_then(|receipt| receipt.block_number) {
                return Ok(block);
            }
        }
        Ok(0)
    }

    /// Which of the contracts are there, in their order.
    async fn there(&self) -> Result<Vec<bool>, ChainError> {
        let mut asked = JoinSet::new();
        for (i, creation) in self.plan.creations.iter().enumerate() {
            let (client, address) = (self.client().clone(), creation.address());
            asked.spawn(async move { (i, client.has_code(address).await) });
        }
        let mut there = vec![false; self.plan.creations.len()];
        while let Some(answer) = asked.join_next().await {
            let (i, found) = answer.expect("asking does not panic");
            there[i] = found?;
        }
        Ok(there)
    }

    /// Whether the chain has what a deployment stands on.
    async fn check_chain(&self, missing: bool) -> Result<(), ChainError> {
        let client = self.client();
        if missing && !client.has_code(FACTORY).await? {
            let what = "deterministic deployment proxy, which nearly every chain has,";
            return Err(ChainError::NoContract { what, address: FACTORY });
        }
        if let Some(usd) = self.config.exchange.usd {
            if !client.has_code(usd).await? {
                return Err(ChainError::NoContract { what: "stablecoin", address: usd });
            }
            if client.read(usd, &DevDollar::decimalsCall {}).await? > 18 {
                return Err(ChainError::Nonsense("the stablecoin has more than 18 decimals"));
            }
        }
        if let Some(uniswap) = &self.config.exchange.uniswap
            && !client.has_code(uniswap.router).await?
        {
            let (what, address) = ("router of Uniswap v2", uniswap.router);
            return Err(ChainError::NoContract { what, address });
        }
        Ok(())
    }

    async fn creation_gas(&self, creation: &Creation) -> u64 {
        let mut request = TransactionRequest {
            from: Some(self.deployer()),
            to: Some(TxKind::Call(FACTORY)),
            ..TransactionRequest::default()
        };
        request.input = creation.call().into();
        // What needs another contract that is not there yet cannot be tried.
        if let Ok(gas) = self.client().provider().estimate_gas(request).await {
            return gas;
        }
        let bytes = u64::try_from(creation.bytes()).unwrap_or(u64::MAX);
        CREATION_GAS.saturating_add(BYTE_GAS.saturating_mul(bytes)).saturating_add(INITIALIZE_GAS)
    }

    /// Has a call happen once, under a name that follows from what it makes.
    async fn once(&self, key: String, to: Address, data: Bytes) -> Result<(), ChainError> {
        let known = self.sender.find(&key).await?;
        // Done, and yet it is to be done again: that was on a chain of this id that is gone.
        let gone = known.is_some_and(|known| known.receipt.is_some_and(|receipt| receipt.status()));
        let key = if gone { intent_key(&key) } else { key };
        self.sender.execute(&key, to, data, U256::ZERO, Until::Mined).await.map(drop)
    }

    async fn call_once<C: SolCall>(
        &self,
        what: &str,
        at: Address,
        call: &C,
    ) -> Result<(), ChainError> {
        self.once(format!("deploy:{what}:{at:#x}"), at, call.abi_encode().into()).await
    }

    /// Creates what was not there a moment ago.
    async fn create(&self, creation: &Creation) -> Result<(), ChainError> {
        let address = creation.address();
        let sent = self.once(creation_key(address), FACTORY, creation.call()).await;
        // Two deployments at once create the same contracts: the second one's failure is no failure.
        if self.client().has_code(address).await? {
            return Ok(());
        }
        sent?;
        Err(ChainError::NoContract { what: "contract of ours after its creation", address })
    }

    fn router(&self) -> Result<Address, ChainError> {
        let uniswap = self.config.exchange.uniswap.as_ref();
        uniswap.map(|uniswap| uniswap.router).ok_or(ChainError::Nonsense("there is no router"))
    }

    async fn factory(&self) -> Result<Address, ChainError> {
        self.client().read(self.router()?, &IUniswapV2Router02::factoryCall {}).await
    }

    /// The pair of stablecoin and JOULE, where there is one.
    async fn pair(&self) -> Result<Option<Address>, ChainError> {
        let (a, b) = (self.plan.protocol.usd, self.plan.joule);
        let call = IUniswapV2Factory::getPairCall { a, b };
        let pair = self.client().read(self.factory().await?, &call).await?;
        Ok((!pair.is_zero()).then_some(pair))
    }

    async fn make_pair(&self) -> Result<(), ChainError> {
        if self.pair().await?.is_some() {
            return Ok(());
        }
        let (a, b) = (self.plan.protocol.usd, self.plan.joule);
        let factory = self.factory().await?;
        let call = IUniswapV2Factory::createPairCall { a, b };
        let key = format!("pair:{:#x}", self.plan.joule);
        let sent = self.call_once(&key, factory, &call).await;
        // Anybody may have made it meanwhile.
        if self.pair().await?.is_some() { Ok(()) } else { sent }
    }

    async fn set_up_done(&self) -> Result<bool, ChainError> {
        let call = TimelockController::isOperationDoneCall { id: self.plan.setup.id() };
        self.client().read(self.plan.protocol.timelock, &call).await
    }

    /// The timelock's first operation, after which the deployer has no right left.
    async fn set_up(&self, says: &(dyn Fn(&str, Address) + Send + Sync)) -> Result<(), ChainError> {
        let (timelock, id) = (self.plan.protocol.timelock, self.plan.setup.id());
        if self.set_up_done().await? {
            return Ok(());
        }
        says("rights are handed over to", timelock);
        let known = async || {
            self.client().read(timelock, &TimelockController::isOperationCall { id }).await
        };
        if !known().await? {
            let sent = self.call_once("schedule", timelock, &self.plan.setup.schedule()).await;
            // As in `create`: another run of this deployment may have been faster.
            if !known().await? {
                sent?;
            }
        }
        let sent = self.call_once("execute", timelock, &self.plan.setup.execute()).await;
        if self.set_up_done().await? { Ok(()) } else { sent }
    }

    /// Lets what the deployer holds vote. Balances vote only where their holder said for whom.
    async fn vote_as_deployer(&self) -> Result<(), ChainError> {
        let (client, joule, delegatee) = (self.client(), self.plan.joule, self.deployer());
        let holds = client.read(joule, &Joule::balanceOfCall { account: delegatee }).await?;
        let votes = client.read(joule, &Joule::delegatesCall { account: delegatee }).await?;
        if holds.is_zero() || !votes.is_zero() {
            return Ok(());
        }
        self.call_once("delegate", joule, &Joule::delegateCall { delegatee }).await
    }
}

/// The name of a contract's creation in the journal.
fn creation_key(of: Address) -> String {
    format!("deploy:create:{of:#x}")
}

/// Everybody who deploys, owns, holds or may do anything at first.
fn named(config: &DeployConfig, deployer: Address) -> impl Iterator<Item = Address> {
    let holders = config.allocations.iter().chain(&config.pool.deposits).map(|(who, _)| *who);
    let mut all = vec![deployer];
    all.extend(config.governance.guardian);
    all.extend(config.pool.underwriter);
    all.extend(holders);
    all.into_iter()
}
