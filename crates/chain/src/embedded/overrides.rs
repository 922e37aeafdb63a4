//! What a call may pretend: other balances, code and storage, another block.

use alloy::{
    primitives::{B256, U256},
    rpc::types::{BlockOverrides, state::StateOverride},
};
use revm::{Database as _, bytecode::Bytecode, database::CacheDB};

use super::{execute::Place, rpc::RpcError, state::View};

/// Lays pretended accounts over the state.
pub(super) fn state(
    database: &mut CacheDB<View>,
    overrides: StateOverride,
) -> Result<(), RpcError> {
    for (address, account) in overrides {
        let refuse = |why: &str| Err(RpcError::params(format!("override of {address}: {why}")));
        if account.move_precompile_to.is_some() {
            return refuse("moving precompiles is not supported");
        }
        let mut info = database.basic(address)?.unwrap_or_default();
        if let Some(balance) = account.balance {
            info.balance = balance;
        }
        if let Some(nonce) = account.nonce {
            info.nonce = nonce;
        }
        if let Some(code) = account.code {
            let Ok(code) = Bytecode::new_raw_checked(code) else {
                return refuse("that is no code");
            };
            info.code_hash = code.hash_slow();
            info.code = Some(code);
        }
        database.insert_account_info(address, info);
        let slot = |word: B256| U256::from_be_bytes(word.0);
        match (account.state, account.state_diff) {
            (Some(_), Some(_)) => return refuse("either state or stateDiff"),
            (Some(state), None) => {
                let state = state.into_iter().map(|(key, value)| (slot(key), slot(value)));
                database.replace_account_storage(address, state.collect())?;
            }
            (None, Some(diff)) => {
                for (key, value) in diff {
                    database.insert_account_storage(address, slot(key), slot(value))?;
                }
            }
            (None, None) => {}
        }
    }
    Ok(())
}

/// Pretends another block around the call.
pub(super) fn block(
    database: &mut CacheDB<View>,
    place: &mut Place,
    overrides: BlockOverrides,
) -> Result<(), RpcError> {
    if overrides.blob_base_fee.is_some() || overrides.beacon_root.is_some() {
        return Err(RpcError::params(
            "blobBaseFee and beaconRoot cannot be overridden: there are no blobs and no beacon",
        ));
    }
    let block = &mut place.block;
    if let Some(number) = overrides.number {
        block.number = number;
    }
    if let Some(time) = overrides.time {
        block.timestamp = U256::from(time);
    }
    if let Some(gas_limit) = overrides.gas_limit {
        block.gas_limit = gas_limit;
    }
    if let Some(coinbase) = overrides.coinbase {
        block.beneficiary = coinbase;
    }
    if let Some(random) = overrides.random {
        block.prevrandao = Some(random);
    }
    if let Some(base_fee) = overrides.base_fee {
        block.basefee =
            base_fee.try_into().map_err(|_| RpcError::params("a base fee has at most 64 bits"))?;
    }
    for (number, hash) in overrides.block_hash.into_iter().flatten() {
        database.cache.block_hashes.insert(U256::from(number), hash);
    }
    Ok(())
}
