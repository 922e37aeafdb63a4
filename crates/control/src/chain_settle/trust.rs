//! What stands behind machines, and what is signed for the court of leases.

use kinesis_chain::{ChainError, Protocol, Settlement};
use kinesis_protocol::{Address, LeaseTerms, NodeId, SignedAck, SlaOffer, sla::Ack};
use kinesis_wire::signed_by;

use super::chain;
use crate::settle::{SettleError, Standing};

/// Reads what stands behind a machine. It is the supplier's where, of the claims that the node's own
/// key has signed, the one with the highest number is the supplier's.
pub(super) async fn standing(
    protocol: &Protocol,
    supplier: Address,
    node: NodeId,
    bound: bool,
) -> Result<Standing, SettleError> {
    let read = protocol.standing(supplier, node, bound).await.map_err(chain)?;
    let binding = read
        .claims
        .iter()
        .find(|claim| signed_by(claim.node, claim.digest.as_slice(), &claim.node_signature));
    Ok(Standing {
        active_wei: read.active_wei,
        locks: read.locks,
        bound: binding.is_some_and(|claim| claim.supplier == supplier),
    })
}

pub(super) async fn sign_terms(
    utility: &Settlement,
    court: Address,
    terms: LeaseTerms,
) -> Result<SlaOffer, SettleError> {
    let chain_id = utility.chain_id();
    let signature = utility.signer().sign_terms(terms, chain_id, court).await;
    let signature = signature.map_err(unsigned)?;
    Ok(SlaOffer { chain_id, court, terms, signature })
}

pub(super) async fn sign_ack(
    utility: &Settlement,
    court: Address,
    ack: Ack,
) -> Result<SignedAck, SettleError> {
    let signature = utility.signer().sign_ack(ack, utility.chain_id(), court).await;
    let signature = signature.map_err(unsigned)?;
    Ok(SignedAck { ack, signature })
}

fn unsigned(error: ChainError) -> SettleError {
    match error {
        ChainError::SignerRefused(reason) => SettleError::SignerRefused(reason),
        error => SettleError::Sign(Box::new(error)),
    }
}
