//! The first block: who has coins, and the one contract that must be there.

use alloy::{
    consensus::{EMPTY_OMMER_ROOT_HASH, Header},
    eips::{eip4895::Withdrawals, eip7685::EMPTY_REQUESTS_HASH},
    primitives::{Address, B256, U256, address, hex, keccak256},
};
use revm::{bytecode::Bytecode, state::AccountInfo};

use super::record::BASE_FEE_WEI;
use crate::dev;

/// The most gas that a block, and so a transaction, may use.
pub(super) const GAS_LIMIT: u64 = 60_000_000;

/// The deterministic deployment proxy, as it stands on nearly every EVM chain: creates a contract by
/// CREATE2 from the salt and the code that it is called with.
pub(crate) const FACTORY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");
const FACTORY_CODE: [u8; 69] = hex!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// What each of the accounts of [`dev`] holds, in wei of the native coin.
fn funds() -> U256 {
    U256::from(1_000_000_u64) * U256::from(10).pow(U256::from(18))
}

/// The genesis of a chain that is made now.
pub(super) fn genesis(now_s: u64) -> (Header, Vec<(Address, AccountInfo)>) {
    let header =
        Header { timestamp: now_s, state_root: keccak256("kinesis genesis"), ..empty_header() };
    let account = |index| {
        let info = AccountInfo { balance: funds(), ..AccountInfo::default() };
        (dev::key(index).address(), info)
    };
    let factory = AccountInfo {
        nonce: 1,
        code_hash: keccak256(FACTORY_CODE),
        code: Some(Bytecode::new_raw(FACTORY_CODE.to_vec().into())),
        ..AccountInfo::default()
    };
    let accounts = (0..dev::ACCOUNTS).map(account).chain([(FACTORY, factory)]).collect();
    (header, accounts)
}

/// What is the same in every header.
pub(super) fn empty_header() -> Header {
    Header {
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        gas_limit: GAS_LIMIT,
        base_fee_per_gas: Some(BASE_FEE_WEI),
        withdrawals_root: Some(alloy::consensus::proofs::calculate_withdrawals_root(
            &Withdrawals::default(),
        )),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}
