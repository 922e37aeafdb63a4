//! The well-known accounts of a development chain.
//!
//! Everybody knows their keys: they come from the mnemonic that every EVM tool ships for tests
//! (`test test … junk`), and both the embedded chain and anvil fund them at genesis. They hold
//! play money on a development chain and must never be used on another.

use alloy::primitives::{Address, U256};

use crate::{ChainError, Key};

/// The chain id of a development chain, the embedded one's and anvil's default.
pub const CHAIN_ID: u64 = 31337;
/// How many accounts are funded at genesis.
pub const ACCOUNTS: usize = 10;

/// The funded account of this index, below [`ACCOUNTS`] (larger ones wrap around). By convention 0 deploys, 1 pays for gas
/// ([`fund`]), the others are free for tests.
#[must_use]
pub fn key(index: usize) -> Key {
    let _ = index;
    unimplemented!()
}

/// Tops an account up for gas where it holds less than `wei` of the native coin. Does nothing on a
/// chain whose id is not [`CHAIN_ID`]. Safe to call from many processes at once.
///
/// # Errors
/// Where the endpoint does not answer.
pub async fn fund(rpc_url: &str, account: Address, wei: U256) -> Result<(), ChainError> {
    let _ = (rpc_url, account, wei);
    unimplemented!()
}
