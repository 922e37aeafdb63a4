//! Runs transactions and calls in revm.

use alloy::{
    consensus::{Transaction as _, TxEnvelope, Typed2718 as _},
    eips::eip2930::{AccessList, AccessListItem, AccessListResult},
    primitives::{Address, B256, Bytes, TxKind, U256, keccak256},
    rpc::types::TransactionRequest,
};
use revm::{
    Context, Database, ExecuteEvm as _, MainBuilder as _, MainContext as _,
    context::{
        BlockEnv, CfgEnv, TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction, ResultAndState},
    },
    context_interface::either::Either,
    precompile::{PrecompileSpecId, Precompiles},
    primitives::hardfork::SpecId,
    state::EvmState,
};

use super::{genesis::GAS_LIMIT, record::BASE_FEE_WEI, rpc::RpcError};
use crate::ChainError;

/// The rules: Prague, as the newest that all of the tools around us speak.
const SPEC: SpecId = SpecId::PRAGUE;

/// How often an access list is tried.
const ACCESS_LIST_ROUNDS_MAX: usize = 8;

/// Where in the chain something runs.
#[derive(Debug, Clone)]
pub(super) struct Place {
    chain_id: u64,
    pub(super) block: BlockEnv,
}

impl Place {
    pub(super) fn new(chain_id: u64, number: u64, timestamp_s: u64) -> Self {
        let block = BlockEnv {
            number: U256::from(number),
            timestamp: U256::from(timestamp_s),
            gas_limit: GAS_LIMIT,
            basefee: BASE_FEE_WEI,
            prevrandao: Some(prevrandao(number)),
            ..BlockEnv::default()
        };
        Self { chain_id, block }
    }

    fn config(&self) -> CfgEnv {
        CfgEnv::new().with_chain_id(self.chain_id).with_spec_and_mainnet_gas_params(SPEC)
    }

    /// The gas of a call: what it asks for, as far as a block has it.
    fn gas(&self, request: &TransactionRequest) -> u64 {
        request.gas.unwrap_or(GAS_LIMIT).min(GAS_LIMIT).min(self.block.gas_limit)
    }
}

/// The randomness that a block shows: predictable, as on any development chain.
pub(super) fn prevrandao(number: u64) -> B256 {
    keccak256(number.to_be_bytes())
}

/// Executes a signed transaction.
pub(super) fn transact<DB>(
    database: DB,
    place: &Place,
    sender: Address,
    transaction: &TxEnvelope,
) -> Result<ResultAndState, RpcError>
where
    DB: Database<Error = ChainError>,
{
    if transaction.is_eip4844() {
        return Err(RpcError::rejected("blob transactions are not supported by this chain"));
    }
    let environment = TxEnv {
        tx_type: transaction.ty(),
        caller: sender,
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: transaction
            .authorization_list()
            .unwrap_or_default()
            .iter()
            .cloned()
            .map(Either::Left)
            .collect(),
    };
    run(database, place, place.config(), environment)
}

/// Executes a call without checks of nonce, fee and sender. It costs its caller no gas money.
fn simulate<DB>(
    database: DB,
    place: &Place,
    request: &TransactionRequest,
    gas_limit: u64,
) -> Result<ResultAndState, RpcError>
where
    DB: Database<Error = ChainError>,
{
    let mut config = place.config();
    config.disable_base_fee = true;
    config.disable_eip3607 = true;
    config.disable_nonce_check = true;
    let authorizations = request.authorization_list.clone().unwrap_or_default();
    let environment = TxEnv {
        tx_type: if authorizations.is_empty() { 2 } else { 4 },
        caller: request.from.unwrap_or_default(),
        gas_limit,
        gas_price: 0,
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.input().cloned().unwrap_or_default(),
        nonce: request.nonce.unwrap_or_default(),
        chain_id: Some(place.chain_id),
        access_list: request.access_list.clone().unwrap_or_default(),
        gas_priority_fee: Some(0),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: authorizations.into_iter().map(Either::Left).collect(),
    };
    run(database, place, config, environment)
}

fn run<DB>(
    database: DB,
    place: &Place,
    config: CfgEnv,
    environment: TxEnv,
) -> Result<ResultAndState, RpcError>
where
    DB: Database<Error = ChainError>,
{
    Context::mainnet()
        .with_db(database)
        .with_block(place.block.clone())
        .with_cfg(config)
        .build_mainnet()
        .transact(environment)
        .map_err(refusal)
}

/// `eth_call`.
pub(super) fn call<DB>(
    database: DB,
    place: &Place,
    request: &TransactionRequest,
) -> Result<Bytes, RpcError>
where
    DB: Database<Error = ChainError>,
{
    output(simulate(database, place, request, place.gas(request))?.result)
}

/// `eth_estimateGas`: the smallest limit, to within 1.5 %, with which the call succeeds.
pub(super) fn estimate<DB>(
    mut database: DB,
    place: &Place,
    request: &TransactionRequest,
) -> Result<u64, RpcError>
where
    DB: Database<Error = ChainError>,
{
    let mut high = place.gas(request);
    let first = simulate(&mut database, place, request, high)?.result;
    let gas = *first.gas();
    output(first)?;
    let mut low = gas.tx_gas_used();
    let succeeds = |database: &mut DB, limit| {
        simulate(database, place, request, limit).is_ok_and(|done| done.result.is_success())
    };
    // A plain transfer, and whatever refunds nothing and calls nobody.
    if succeeds(&mut database, low) {
        return Ok(low);
    }
    // Most calls need what they use, what is refunded later, and the 1/64 that inner calls hold
    // back at every level.
    let likely = (gas.tx_gas_used() + gas.inner_refunded() + 2_300) * 64 / 63;
    if likely < high {
        if succeeds(&mut database, likely) {
            high = likely;
        } else {
            low = likely;
        }
    }
    while low + 1 < high && (high - low) * 1_000 > high * 15 {
        let middle = (low.saturating_mul(2)).min(low + (high - low) / 2);
        if succeeds(&mut database, middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// `eth_createAccessList`: the accounts and slots that a call touches, and what it uses with them
/// named beforehand.
pub(super) fn access_list<DB>(
    mut database: DB,
    place: &Place,
    mut request: TransactionRequest,
) -> Result<AccessListResult, RpcError>
where
    DB: Database<Error = ChainError>,
{
    let mut list = request.access_list.take().unwrap_or_default();
    // What a list makes cheaper may let the call go further, and so touch more.
    for _ in 0..ACCESS_LIST_ROUNDS_MAX {
        request.access_list = Some(list.clone());
        let done = simulate(&mut database, place, &request, place.gas(&request))?;
        let touched = touched(&done.state, place, &request);
        if touched == list {
            return Ok(AccessListResult {
                access_list: list,
                gas_used: U256::from(done.result.gas().tx_gas_used()),
                error: output(done.result).err().map(RpcError::into_message),
            });
        }
        list = touched;
    }
    Err(RpcError::rejected("the call touches other things every time that it is tried"))
}

/// What was touched, in order, but for what every transaction touches for nothing.
fn touched(state: &EvmState, place: &Place, request: &TransactionRequest) -> AccessList {
    let free = |address: &Address| {
        let to = request.to.and_then(|to| to.to().copied());
        *address == request.from.unwrap_or_default()
            || Some(*address) == to
            || *address == place.block.beneficiary
            || Precompiles::new(PrecompileSpecId::from_spec_id(SPEC)).contains(address)
    };
    let mut items: Vec<_> = state
        .iter()
        .filter(|(address, account)| !account.storage.is_empty() || !free(address))
        .map(|(address, account)| {
            let mut storage_keys: Vec<_> =
                account.storage.keys().map(|slot| B256::from(*slot)).collect();
            storage_keys.sort_unstable();
            AccessListItem { address: *address, storage_keys }
        })
        .collect();
    items.sort_unstable_by_key(|item| item.address);
    AccessList(items)
}

/// The data that a call returned, or the error that it ended with.
fn output(result: ExecutionResult) -> Result<Bytes, RpcError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(RpcError::reverted(output)),
        ExecutionResult::Halt { reason, .. } => {
            Err(RpcError::rejected(format!("execution halted: {reason:?}")))
        }
    }
}

/// The error of a transaction that cannot be in a block, in the words that clients look for.
fn refusal(error: EVMError<ChainError>) -> RpcError {
    match error {
        EVMError::Transaction(InvalidTransaction::NonceTooLow { tx, state }) => {
            RpcError::rejected(format!("nonce too low: next nonce {state}, tx nonce {tx}"))
        }
        EVMError::Transaction(InvalidTransaction::LackOfFundForMaxFee { fee, balance }) => {
            RpcError::rejected(format!(
                "insufficient funds for gas * price + value: have {balance} want {fee}"
            ))
        }
        EVMError::Transaction(InvalidTransaction::GasPriceLessThanBasefee) => {
            RpcError::rejected("max fee per gas less than block base fee")
        }
        EVMError::Transaction(InvalidTransaction::CallerGasLimitMoreThanBlock) => {
            RpcError::rejected("exceeds block gas limit")
        }
        EVMError::Transaction(InvalidTransaction::InvalidChainId) => {
            RpcError::rejected("invalid chain id for signer")
        }
        EVMError::Transaction(other) => RpcError::rejected(other.to_string()),
        EVMError::Database(error) => RpcError::internal(&error),
        other => RpcError::rejected(other.to_string()),
    }
}
