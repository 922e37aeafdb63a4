//! Puts JOULE and the payment escrow on a chain.
//!
//! Every contract is created through the deterministic deployment proxy that nearly every EVM chain
//! has, so that addresses follow from the deployer and the parameters: running it again finds what
//! is there, and a crash in the middle is finished by the next run.

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    sol_types::{SolCall as _, SolConstructor as _},
};
use serde::{Deserialize, Serialize};

use crate::{
    ChainError, Key,
    client::Client,
    contracts::{ERC1967Proxy, Joule, PaymentEscrow},
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
    let client = Client::new(rpc_url, deployer.clone())?;
    let chain_id = client.chain_id().await?;
    if !client.has_code(FACTORY).await? {
        return Err(ChainError::NoContract {
            what: "deterministic deployment proxy",
            address: FACTORY,
        });
    }
    let plan = Plan::new(deployer.address(), config);
    for code in &plan.steps {
        create(&client, code).await?;
    }
    Ok(Contracts { chain_id, joule: plan.joule, escrow: plan.escrow })
}

/// What is created, in order, and where the two proxies will stand.
struct Plan {
    steps: [Bytes; 4],
    joule: Address,
    escrow: Address,
}

impl Plan {
    /// Everything follows from the deployer and the parameters.
    fn new(owner: Address, config: &DeployConfig) -> Self {
        let joule_code = Joule::BYTECODE.clone();
        let joule_call = Joule::initializeCall {
            owner_: owner,
            supply: config.supply_wei,
            yearlyEmissionBp_: config.yearly_emission_bp,
        };
        let joule_proxy = proxy(address_of(&joule_code), joule_call.abi_encode());
        let joule = address_of(&joule_proxy);

        let of_joule = PaymentEscrow::constructorCall { joule_: joule }.abi_encode();
        let escrow_code = with_arguments(&PaymentEscrow::BYTECODE, &of_joule);
        let escrow_call = PaymentEscrow::initializeCall {
            owner_: owner,
            treasury_: config.treasury.unwrap_or(owner),
            feeBp_: config.fee_bp,
            withdrawalDelay_: config.withdrawal_delay_s,
        };
        let escrow_proxy = proxy(address_of(&escrow_code), escrow_call.abi_encode());
        let escrow = address_of(&escrow_proxy);
        Self { steps: [joule_code, joule_proxy, escrow_code, escrow_proxy], joule, escrow }
    }
}

/// The creation code of a proxy that initialises itself in its constructor, so that nobody can get
/// in between.
fn proxy(implementation: Address, initialize: Vec<u8>) -> Bytes {
    let arguments =
        ERC1967Proxy::constructorCall { implementation, _data: initialize.into() }.abi_encode();
    with_arguments(&ERC1967Proxy::BYTECODE, &arguments)
}

fn with_arguments(code: &Bytes, arguments: &[u8]) -> Bytes {
    [code.as_ref(), arguments].concat().into()
}

/// Where the factory creates this code.
fn address_of(code: &Bytes) -> Address {
    FACTORY.create2(B256::ZERO, keccak256(code))
}

/// Creates `code` unless it is there already.
async fn create(client: &Client, code: &Bytes) -> Result<(), ChainError> {
    let address = address_of(code);
    if client.has_code(address).await? {
        return Ok(());
    }
    let call = [B256::ZERO.as_slice(), code.as_ref()].concat();
    let sent = client.transact(FACTORY, call.into(), U256::ZERO).await;
    // Two deployments at once create the same contracts: the second one's failure is no failure.
    if client.has_code(address).await? {
        return Ok(());
    }
    sent?;
    Err(ChainError::NoContract { what: "contract of ours after its creation", address })
}
