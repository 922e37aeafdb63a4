//! Reads, through an RPC of the owner's choice, what the escrows still cover.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kinesis_chain::{ChainError, Key, Settlement};
use kinesis_protocol::U256;

use crate::{error::chain_of, node::Node, wallet::Terms};

/// How often escrows are read where nothing asks for it.
const READ_EVERY: Duration = Duration::from_secs(15);
/// The least time between two readings.
const READ_PAUSE: Duration = Duration::from_millis(500);
/// How long one reading may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the escrows of all payers, at once when asked and every [`READ_EVERY`]. Runs until it is
/// dropped.
pub(crate) async fn watch(node: Arc<Node>, rpc_url: String, key: Key) {
    let mut clients: HashMap<Terms, Settlement> = HashMap::new();
    loop {
        for terms in node.wallet.terms() {
            let client = match clients.get(&terms) {
                Some(client) => client.clone(),
                None => {
                    let made = Settlement::new(&rpc_url, terms.chain_id, terms.escrow, key.clone());
                    match made {
                        Ok(client) => clients.entry(terms).or_insert(client).clone(),
                        Err(error) => {
                            let error = chain_of(&error);
                            return tracing::error!(error, "the chain's URL cannot be used");
                        }
                    }
                }
            };
            match tokio::time::timeout(READ_TIMEOUT, covers(&client, &terms)).await {
                Ok(Ok(wei)) => node.wallet.cover(terms.payer, wei),
                Ok(Err(error)) => {
                    tracing::warn!(error = chain_of(&error), "an escrow could not be read");
                }
                Err(_) => tracing::warn!("an escrow could not be read in time"),
            }
        }
        tokio::time::sleep(READ_PAUSE).await;
        // A reading that fails leaves what was known, and is tried again at the next occasion.
        let _ = tokio::time::timeout(READ_EVERY, node.read_escrow.notified()).await;
    }
}

/// The largest total that can be signed against this escrow: what was redeemed, and what is
/// available once the protocol's fee on top of it is set aside.
async fn covers(client: &Settlement, terms: &Terms) -> Result<U256, ChainError> {
    let escrow = client.escrow(terms.payer.utility, terms.payer.series).await?;
    let fee_bp = client.fee_bp().await?;
    Ok(cover(escrow.redeemed_wei, escrow.available_wei, fee_bp))
}

fn cover(redeemed: U256, available: U256, fee_bp: u32) -> U256 {
    let whole = U256::from(10_000_u32);
    let net = available.saturating_mul(whole) / (whole + U256::from(fee_bp));
    redeemed.saturating_add(net)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fee_is_set_aside() {
        assert_eq!(cover(U256::from(5), U256::from(110), 1_000), U256::from(105));
        assert_eq!(cover(U256::ZERO, U256::ZERO, 0), U256::ZERO);
        assert_eq!(cover(U256::MAX, U256::MAX, 100), U256::MAX);
    }
}
