//! Many redemptions in few transactions: the proofs of one root are joined, what their paths share is
//! sent and hashed once, and the signature is checked once.

use std::collections::{BTreeMap, HashMap};

use alloy::{
    primitives::{Address, B256, Bytes, U256, keccak256},
    sol_types::SolEvent as _,
};
use kinesis_protocol::{root::PaymentProof, tree::Multiproof};
use serde::{Deserialize, Serialize};

use super::{Settlement, redeem::contract_root};
use crate::{ChainError, Until, contracts::PaymentEscrow, journal::intent_key};

/// The most suppliers that one transaction pays: some five million gas.
const MANY_MAX: usize = 100;

/// What a supplier was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaidSupplier {
    /// Whom.
    pub supplier: Address,
    /// By which utility.
    pub utility: Address,
    /// From which of its series.
    pub series: u64,
    /// What this call paid, in wei; zero where everything was paid before, or the escrow ran dry.
    pub paid_wei: U256,
    /// Everything that the supplier was ever paid from this series, in wei.
    pub redeemed_wei: U256,
    /// The transaction; `None` where nothing was left to pay.
    pub transaction: Option<B256>,
}

impl Settlement {
    /// Redeems many payment proofs, each for its supplier: those of one root together. Anyone may send
    /// it. Of several proofs of one supplier and series the highest counts. Safe to repeat.
    ///
    /// # Errors
    /// Where a proof does not hold, the contract refuses (empty escrow) or the endpoint fails. What was
    /// paid by then stays paid.
    pub async fn redeem_many(
        &self,
        payments: &[PaymentProof],
    ) -> Result<Vec<PaidSupplier>, ChainError> {
        let mut highest: BTreeMap<(Address, u64, Address), &PaymentProof> = BTreeMap::new();
        for payment in payments {
            if !payment.verify(self.chain_id, self.escrow) {
                return Err(ChainError::BadProof);
            }
            let root = &payment.signed.root;
            let best = highest.entry((root.utility, root.series, payment.supplier));
            let best = best.or_insert(payment);
            if payment.cumulative_wei > best.cumulative_wei {
                *best = payment;
            }
        }
        let mut all = Vec::new();
        let mut open: BTreeMap<_, Vec<(&PaymentProof, U256)>> = BTreeMap::new();
        for ((utility, series, supplier), payment) in highest {
            let before = self.redeemed(utility, series, supplier).await?;
            if before >= payment.cumulative_wei {
                let (paid_wei, redeemed_wei, transaction) = (U256::ZERO, before, None);
                all.push(PaidSupplier {
                    supplier,
                    utility,
                    series,
                    paid_wei,
                    redeemed_wei,
                    transaction,
                });
                continue;
            }
            let root = &payment.signed.root;
            let place = (utility, series, root.tick, root.root, root.total);
            open.entry(place).or_default().push((payment, before));
        }
        for group in open.into_values() {
            for part in fitting(group) {
                all.extend(self.redeem_part(&part).await?);
            }
        }
        Ok(all)
    }

    /// Redeems proofs of one root that fit together, each with what its supplier had before.
    async fn redeem_part(
        &self,
        part: &[(&PaymentProof, U256)],
    ) -> Result<Vec<PaidSupplier>, ChainError> {
        let Some((first, _)) = part.first() else { return Ok(Vec::new()) };
        let root = &first.signed.root;
        let Some(joined) = joined(part).filter(|_| part.len() > 1) else {
            let mut all = Vec::new();
            for (payment, _) in part {
                let redeemed = self.redeem(payment).await?;
                all.push(PaidSupplier {
                    supplier: payment.supplier,
                    utility: root.utility,
                    series: root.series,
                    paid_wei: redeemed.paid_wei,
                    redeemed_wei: redeemed.redeemed_wei,
                    transaction: redeemed.transaction,
                });
            }
            return Ok(all);
        };
        let call = PaymentEscrow::redeemManyCall {
            root: contract_root(first),
            signature: Bytes::from(first.signed.signature_bytes()),
            claims: joined.claims(),
            proof: joined.proof.clone(),
            flags: joined.bits().into(),
        };
        // One redemption for each step of what these were paid: a short escrow may need several.
        let mut named: Vec<u8> = Vec::new();
        for (payment, before) in part {
            named.extend(payment.supplier.as_slice());
            named.extend(before.to_be_bytes::<32>());
        }
        let (utility, series) = (root.utility, root.series);
        let key = format!("redeem-many:{utility:#x}:{series}:{:x}", keccak256(&named));
        let receipt = match self.sender.find(&key).await? {
            Some(open) if open.is_open() => self.sender.follow(open, Until::Mined).await?,
            // What was final under this key had no effect, or was on a chain that is gone.
            Some(_) => {
                self.submit(&intent_key("redeem-many"), self.escrow, &call, Until::Mined).await?
            }
            None => self.submit(&key, self.escrow, &call, Until::Mined).await?,
        };
        let told: HashMap<Address, PaymentEscrow::Redeemed> = receipt
            .logs()
            .iter()
            .filter(|log| log.address() == self.escrow)
            .filter_map(|log| PaymentEscrow::Redeemed::decode_log(&log.inner).ok())
            .map(|log| (log.supplier, log.data))
            .collect();
        let paid = |(payment, before): &(&PaymentProof, U256)| {
            let told = told.get(&payment.supplier);
            PaidSupplier {
                supplier: payment.supplier,
                utility,
                series,
                paid_wei: told.map_or(U256::ZERO, |told| told.paid),
                redeemed_wei: told.map_or(*before, |told| told.redeemed),
                transaction: told.map(|_| receipt.transaction_hash),
            }
        };
        Ok(part.iter().map(paid).collect())
    }
}

fn joined(part: &[(&PaymentProof, U256)]) -> Option<Multiproof> {
    let payees: Vec<_> = part
        .iter()
        .map(|(payment, _)| (payment.supplier, payment.cumulative_wei, &payment.proof))
        .collect();
    Multiproof::join(part.first()?.0.signed.root.root, &payees)
}

/// Proofs of one root in parts that one transaction takes: all together where they fit, and otherwise
/// by the depth of their leaves, since what is equally deep always does.
fn fitting<'a>(group: Vec<(&'a PaymentProof, U256)>) -> Vec<Vec<(&'a PaymentProof, U256)>> {
    if group.len() <= MANY_MAX && joined(&group).is_some() {
        return vec![group];
    }
    let mut by_depth: BTreeMap<usize, Vec<(&'a PaymentProof, U256)>> = BTreeMap::new();
    for one in group {
        by_depth.entry(one.0.proof.0.len()).or_default().push(one);
    }
    by_depth.values().flat_map(|even| even.chunks(MANY_MAX).map(<[_]>::to_vec)).collect()
}
