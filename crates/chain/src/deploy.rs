//! Puts the whole protocol on a chain.
//!
//! Every contract is created through the deterministic deployment proxy that nearly every EVM chain
//! has, so that addresses follow from the deployer and the parameters: running it again finds what
//! is there, and a crash in the middle is finished by the next run. In the end everything belongs to
//! the timelock, whose only proposer is the governor; the deployer keeps no right.

mod config;
mod deployment;
mod file;
mod plan;
mod verify;

use alloy::primitives::Address;
use serde::{Deserialize, Serialize};

pub use config::{
    AuditsConfig, DeployConfig, DisputesConfig, ExchangeConfig, GovernanceConfig, INVESTOR,
    PoolConfig, StakeConfig, UniswapConfig,
};
pub use deployment::{DeployPreview, DeployStep, Deployment};
use plan::Plan;
pub use verify::{Check, verify};

use crate::{ChainError, Key, client::Client, dev};

/// Where the contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contracts {
    /// The chain.
    pub chain_id: u64,
    /// The JOULE token.
    pub joule: Address,
    /// The payment escrow.
    pub escrow: Address,
    /// The block before which none of them was there: logs are looked for from here on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub from_block: u64,
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

    /// Every contract of the protocol by its name, but for the tokens.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, Address)> {
        let mut all = vec![("escrow", self.escrow)];
        if let Some(at) = &self.protocol {
            all.extend([
                ("timelock", at.timelock),
                ("governor", at.governor),
                ("treasury", at.treasury),
                ("registry", at.registry),
                ("pool", at.pool),
                ("disputes", at.disputes),
                ("audits", at.audits),
                ("leases", at.leases),
                ("exchange", at.exchange),
                ("grants", at.grants),
            ]);
        }
        all
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
        Contracts { chain_id, joule, escrow, from_block: 0, protocol: Some(self.protocol) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
const fn is_zero(block: &u64) -> bool {
    *block == 0
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
    Deployment::new(rpc_url, deployer.clone(), config.clone()).await?.run(&|_, _| {}).await
}
