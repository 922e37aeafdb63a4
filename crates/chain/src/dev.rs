//! The well-known accounts of a development chain.
//!
//! Everybody knows their keys: they come from the mnemonic that every EVM tool ships for tests
//! (`test test … junk`), and both the embedded chain and anvil fund them at genesis. They hold
//! play money on a development chain and must never be used on another.

use alloy::{
    primitives::{Address, Bytes, U256, hex},
    providers::Provider as _,
};

use crate::{
    ChainError, Key,
    client::{Client, unreachable_or_refused},
};

/// The chain id of a development chain, the embedded one's and anvil's default.
pub const CHAIN_ID: u64 = 31337;
/// How many accounts are funded at genesis.
pub const ACCOUNTS: usize = 10;

/// The account that pays for other accounts' gas.
const GAS_STATION: usize = 1;

const KEYS: [[u8; 32]; ACCOUNTS] = [
    hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"),
    hex!("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    hex!("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    hex!("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    hex!("47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a"),
    hex!("8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba"),
    hex!("92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e"),
    hex!("4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356"),
    hex!("dbda1821b80551c9d65939329250298aa3472ba22feea921c0cf5d620ea67b97"),
    hex!("2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"),
];

/// The funded account of this index; indices wrap around at [`ACCOUNTS`]. By convention 0 deploys
/// (and so holds the first JOULE), 1 pays for gas ([`fund`]), the others are free for tests.
#[must_use]
pub fn key(index: usize) -> Key {
    Key::from_bytes(KEYS[index % ACCOUNTS]).expect("these are keys")
}

/// Whether everybody knows the key of this account.
#[must_use]
pub fn is_known(account: Address) -> bool {
    (0..ACCOUNTS).any(|index| key(index).address() == account)
}

/// Tops an account up to at least `wei` of the native coin, for gas. Does nothing where it holds
/// that already, and on a chain whose id is not [`CHAIN_ID`]. Safe to call from many processes at
/// once.
///
/// # Errors
/// Where the endpoint does not answer.
pub async fn fund(rpc_url: &str, account: Address, wei: U256) -> Result<(), ChainError> {
    let client = Client::new(rpc_url, key(GAS_STATION))?;
    if client.chain_id().await? != CHAIN_ID {
        return Ok(());
    }
    let missing = wei.saturating_sub(client.balance(account).await?);
    if !missing.is_zero() {
        client.transact(account, Bytes::new(), missing).await?;
    }
    Ok(())
}

/// Mines a block, which a development chain without traffic never does by itself. Does nothing on a
/// chain whose id is not [`CHAIN_ID`].
///
/// # Errors
/// Where the endpoint does not answer, or mines nothing on request.
pub async fn mine(rpc_url: &str) -> Result<(), ChainError> {
    let client = Client::new(rpc_url, key(GAS_STATION))?;
    if client.chain_id().await? != CHAIN_ID {
        return Ok(());
    }
    let mined = client.provider().raw_request::<(), serde_json::Value>("evm_mine".into(), ()).await;
    mined.map(drop).map_err(unreachable_or_refused)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::address;

    #[test]
    fn the_keys_are_the_well_known_ones() {
        assert_eq!(super::key(0).address(), address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"));
        assert_eq!(super::key(9).address(), address!("a0Ee7A142d267C1f36714E4a8F75612F20a79720"));
    }
}
