//! Puts the whole protocol on a chain.
//!
//! Every contract is created through the deterministic deployment proxy that nearly every EVM chain
//! has, so that addresses follow from the deployer and the parameters: running it again finds what
//! is there, and a crash in the middle is finished by the next run. In the end everything belongs to
//! the timelock, whose only proposer is the governor; the deployer keeps no right.

mod config;
mod plan;

use alloy::primitives::{Address, U256};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

pub use config::{
    AuditsConfig, DeployConfig, DisputesConfig, ExchangeConfig, GovernanceConfig, INVESTOR,
    PoolConfig, StakeConfig,
};
use plan::{Creation, Plan};

use crate::{
    ChainError, Key,
    client::Client,
    contracts::{Joule, TimelockController},
    dev,
    embedded::FACTORY,
};

/// Where the contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contracts {
    /// The chain.
    pub chain_id: u64,
    /// The JOULE token.
    pub joule: Address,
    /// The payment escrow.
    pub escrow: Address,
    /// Everything else; `None` where only the escrow was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<ProtocolContracts>,
}

/// Where the rest of the protocol is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolContracts {
    /// Owns every contract and carries out what was decided, after a delay.
    pub timelock: Address,
    /// Where holders of JOULE propose and vote.
    pub governor: Address,
    /// The DAO's purse.
    pub treasury: Address,
    /// Stakes, claims on nodes, offers of utilities.
    pub registry: Address,
    /// Lends stake to suppliers.
    pub pool: Address,
    /// Judges what was signed.
    pub disputes: Address,
    /// Has results checked again.
    pub audits: Address,
    /// Judges suppliers that went silent.
    pub leases: Address,
    /// The stablecoin of the exchange.
    pub usd: Address,
    /// Where USD becomes JOULE and back.
    pub exchange: Address,
    /// Grants that vest.
    pub grants: Address,
}

impl Contracts {
    /// Where [`deploy`] puts the contracts of a development chain for this deployer. Contacts
    /// nothing.
    #[must_use]
    pub fn development(deployer: Address) -> Self {
        Plan::new(deployer, &DeployConfig::development(deployer)).contracts(dev::CHAIN_ID)
    }

    /// Everything else than token and escrow.
    ///
    /// # Errors
    /// Where it is not known.
    pub fn protocol(&self) -> Result<ProtocolContracts, ChainError> {
        self.protocol.ok_or(ChainError::NoProtocol)
    }
}

impl Plan {
    const fn contracts(&self, chain_id: u64) -> Contracts {
        let (joule, escrow) = (self.joule, self.escrow);
        Contracts { chain_id, joule, escrow, protocol: Some(self.protocol) }
    }
}

/// Deploys with the parameters for development on a development chain and with the default ones
/// elsewhere, or finds what this deployer deployed with them before.
///
/// # Errors
/// Where the endpoint does not answer, the deployer cannot pay for gas, or, on another than a
/// development chain, no stablecoin is named.
pub async fn deploy(rpc_url: &str, deployer: &Key) -> Result<Contracts, ChainError> {
    let config = match Client::new(rpc_url, deployer.clone())?.chain_id().await? {
        dev::CHAIN_ID => DeployConfig::development(deployer.address()),
        _ => DeployConfig::default(),
    };
    deploy_with(rpc_url, deployer, &config).await
}

/// [`deploy`] with other parameters.
///
/// # Errors
/// As [`deploy`].
pub async fn deploy_with(
    rpc_url: &str,
    deployer: &Key,
    config: &DeployConfig,
) -> Result<Contracts, ChainError> {
    let client = Client::new(rpc_url, deployer.clone())?;
    let chain_id = client.chain_id().await?;
    if chain_id != dev::CHAIN_ID && config.exchange.usd.is_none() {
        return Err(ChainError::NoStablecoin);
    }
    let plan = Plan::new(deployer.address(), config);
    let missing = missing(&client, &plan.creations).await?;
    if !missing.is_empty() && !client.has_code(FACTORY).await? {
        return Err(ChainError::NoContract {
            what: "deterministic deployment proxy",
            address: FACTORY,
        });
    }
    for creation in missing {
        create(&client, creation).await?;
    }
    set_up(&client, &plan).await?;
    vote_as_deployer(&client, plan.joule).await?;
    Ok(plan.contracts(chain_id))
}

/// Which of these are not there yet, in their order.
async fn missing<'a>(
    client: &Client,
    all: &'a [Creation],
) -> Result<Vec<&'a Creation>, ChainError> {
    let mut asked = JoinSet::new();
    for (i, creation) in all.iter().enumerate() {
        let (client, address) = (client.clone(), creation.address());
        asked.spawn(async move { (i, client.has_code(address).await) });
    }
    let mut there = vec![false; all.len()];
    while let Some(answer) = asked.join_next().await {
        let (i, found) = answer.expect("asking does not panic");
        there[i] = found?;
    }
    let with = all.iter().zip(there);
    Ok(with.filter_map(|(creation, there)| (!there).then_some(creation)).collect())
}

/// Creates what was not there a moment ago.
async fn create(client: &Client, creation: &Creation) -> Result<(), ChainError> {
    let sent = client.transact(FACTORY, creation.call(), U256::ZERO).await;
    // Two deployments at once create the same contracts: the second one's failure is no failure.
    let address = creation.address();
    if client.has_code(address).await? {
        return Ok(());
    }
    sent?;
    Err(ChainError::NoContract { what: "contract of ours after its creation", address })
}

/// The timelock's first operation, after which the deployer has no right left.
async fn set_up(client: &Client, plan: &Plan) -> Result<(), ChainError> {
    let (timelock, id) = (plan.protocol.timelock, plan.setup.id());
    let done =
        async || client.read(timelock, &TimelockController::isOperationDoneCall { id }).await;
    let known = async || client.read(timelock, &TimelockController::isOperationCall { id }).await;
    if done().await? {
        return Ok(());
    }
    if !known().await? {
        let sent = client.send(timelock, &plan.setup.schedule()).await;
        // As in `create`: another run of this deployment may have been faster.
        if !known().await? {
            sent?;
        }
    }
    let sent = client.send(timelock, &plan.setup.execute()).await;
    if done().await? { Ok(()) } else { sent.map(drop) }
}

/// Lets what the deployer holds vote. Balances vote only where their holder said for whom.
async fn vote_as_deployer(client: &Client, joule: Address) -> Result<(), ChainError> {
    let delegatee = client.signer().address();
    let holds = client.read(joule, &Joule::balanceOfCall { account: delegatee }).await?;
    let votes = client.read(joule, &Joule::delegatesCall { account: delegatee }).await?;
    if !holds.is_zero() && votes.is_zero() {
        client.send(joule, &Joule::delegateCall { delegatee }).await?;
    }
    Ok(())
}
