//! The stake behind the suppliers that `kinesis up` starts: on a development chain the pool lends it
//! to them, and both keys of each machine sign whose it is. A supplier from elsewhere does the same
//! by hand, with `kinesis pool borrow` and `kinesis stake claim`.

use std::path::{Path, PathBuf};

use kinesis_agent::wallet::stored;
use kinesis_chain::{Contracts, Joules, Key, Protocol, dev};
use kinesis_protocol::{NanoJoule, U256};
use kinesis_wire::{NodeSecret, signed_by};

use crate::error::{Error, Result};

/// What a supplier is given for gas: one of the native coin.
const GAS_WEI: u128 = 1_000_000_000_000_000_000;
/// The largest share of earnings that is agreed to for a loan, in ten-thousandths.
const SHARE_MAX_BP: u16 = 5_000;
/// For how long the signatures under a claim may be used, in seconds.
const CLAIM_S: u64 = 600;

/// Backs the suppliers in these data directories with half as much again as is asked for.
pub(super) async fn back(
    rpc: &str,
    contracts: Contracts,
    suppliers: &[PathBuf],
    min: NanoJoule,
) -> Result<()> {
    let dao = Protocol::new(rpc, contracts, dev::key(0)).map_err(failed)?;
    for dir in suppliers {
        back_one(rpc, &dao, dir, min).await?;
    }
    Ok(())
}

async fn back_one(rpc: &str, dao: &Protocol, dir: &Path, min: NanoJoule) -> Result<()> {
    let key = Key::load(&stored::key_path(dir)).map_err(failed)?;
    let secret = NodeSecret::load_or_create(&dir.join("node.key")).map_err(Error::role("wire"))?;
    let supplier = Protocol::new(rpc, *dao.contracts(), key.clone()).map_err(failed)?;
    let (address, node) = (supplier.address(), secret.node_id());
    let standing = supplier.standing(address, node, true).await.map_err(failed)?;
    dev::fund(rpc, address, U256::from(GAS_WEI)).await.map_err(failed)?;
    if standing.active_wei < min.to_wei() {
        let wanted = min.to_wei() + min.to_wei() / U256::from(2);
        let has = supplier.pool(address).await.map_err(failed)?.account.loan;
        let missing = wanted.saturating_sub(standing.active_wei);
        let credit = Joules(has.0.saturating_add(missing));
        dao.set_credit(address, credit).await.map_err(failed)?;
        supplier.borrow(Joules(missing), SHARE_MAX_BP).await.map_err(failed)?;
    }
    let signed = standing.claims.iter().any(|claim| {
        claim.supplier == address && signed_by(node, claim.digest.as_slice(), &claim.node_signature)
    });
    if !signed {
        let claim = supplier.request_claim(&key, node, CLAIM_S).await.map_err(failed)?;
        let signature = secret.sign(claim.digest.as_slice());
        supplier.claim_node(&claim, &signature).await.map_err(failed)?;
    }
    Ok(())
}

fn failed(error: kinesis_chain::ChainError) -> Error {
    Error::role("chain")(error)
}
