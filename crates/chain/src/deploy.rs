//! Puts JOULE and the payment escrow on a chain.
//!
//! Every contract is created through the deterministic deployment proxy that nearly every EVM chain
//! has, so that addresses follow from the deployer and the parameters: running it again finds what
//! is there, and a crash in the middle is finished by the next run.

use alloy::primitives::{Address, U256};
use serde::{Deserialize, Serialize};

use crate::{ChainError, Key};

/// Where the contracts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contracts {
    /// The chain.
    pub chain_id: u64,
    /// The JOULE token.
    pub joule: Address,
    /// The payment escrow.
    pub escrow: Address,
}

/// The parameters that are set at deployment; the owner (the deployer) can change them later within
/// the caps in the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployConfig {
    /// Whom protocol fees go to; `None` means the deployer.
    pub treasury: Option<Address>,
    /// The protocol fee in basis points, at most 1,000.
    pub fee_bp: u16,
    /// How long a utility's withdrawal thaws, in seconds.
    pub withdrawal_delay_s: u32,
    /// What is minted to the deployer, in wei of JOULE.
    pub supply_wei: U256,
    /// How much of the supply may be minted a year, in basis points, at most 1,000.
    pub yearly_emission_bp: u16,
}

impl Default for DeployConfig {
    /// A fee of 1 %, a thaw of a day, a billion JOULE, at most 2 % more a year.
    fn default() -> Self {
        Self {
            treasury: None,
            fee_bp: 100,
            withdrawal_delay_s: 24 * 60 * 60,
            supply_wei: U256::from(1_000_000_000_u64) * U256::from(10).pow(U256::from(18)),
            yearly_emission_bp: 200,
        }
    }
}

/// Deploys with the default parameters, or finds what this deployer deployed with them before.
///
/// # Errors
/// Where the endpoint does not answer, or the deployer cannot pay for gas.
pub async fn deploy(rpc_url: &str, deployer: &Key) -> Result<Contracts, ChainError> {
    deploy_with(rpc_url, deployer, &DeployConfig::default()).await
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
    let _ = (rpc_url, deployer, config);
    unimplemented!()
}
