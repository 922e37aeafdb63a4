//! A utility's books from outside: what signed roots and proofs, the utility's own words, say about
//! each other and about the escrow that stands behind them.
//!
//! Nothing here needs the utility's help, and nothing is believed: a signature that does not hold is
//! itself a finding, and no evidence against the utility.

use std::collections::{BTreeMap, HashSet};

use alloy::primitives::{Address, U256};
use kinesis_protocol::{SignedRoot, root::PaymentProof};
use serde::{Deserialize, Serialize};

use super::Protocol;
use crate::{ChainError, Joules, contracts::PaymentEscrow};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "finding")]
pub enum Finding {
    /// Two different roots for one tick: the court takes them as they are.
    Equivocation {
        /// One.
        first: SignedRoot,
        /// The other.
        second: SignedRoot,
    },
    /// A total above everything that was put into escrow and not asked back: the court takes it.
    Overdraft {
        /// The root.
        root: SignedRoot,
        /// What covers it.
        cover: Joules,
    },
    /// The escrow could not pay now what is signed and not redeemed. No offence as long as the total
    /// is covered by what was deposited: fees and other payments may have used it.
    Short {
        /// Whose escrow.
        utility: Address,
        /// Which of its series.
        series: u64,
        /// What is missing.
        missing: Joules,
    },
    /// A root that the utility it names has not signed, for this chain and escrow.
    Unsigned {
        /// Whom it names.
        utility: Address,
        /// Its series.
        series: u64,
        /// Its tick.
        tick: u64,
    },
    /// A proof that does not lead to its root.
    BrokenProof {
        /// Whom it names.
        supplier: Address,
        /// Its tick.
        tick: u64,
    },
    /// A later root says less in all than an earlier one: amounts are cumulative and never fall.
    TotalFell {
        /// The earlier one.
        earlier: SignedRoot,
        /// The later one.
        later: SignedRoot,
    },
    /// A later proof gives a supplier less than an earlier one.
    SupplierFell {
        /// Whom.
        supplier: Address,
        /// The earlier tick.
        earlier_tick: u64,
        /// What it said.
        earlier: Joules,
        /// The later tick.
        later_tick: u64,
        /// What it says.
        later: Joules,
    },
    /// The suppliers that are known of a root already have more than its total.
    AboveTotal {
        /// The root.
        root: SignedRoot,
        /// What its known leaves come to.
        known: Joules,
    },
}

impl Finding {
    /// Whether the court takes it as it is: it costs the utility stake.
    #[must_use]
    pub const fn is_offence(&self) -> bool {
        matches!(self, Self::Equivocation { .. } | Self::Overdraft { .. })
    }
}

/// What an escrow account says about the newest root of its series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Books {
    /// Whose they are.
    pub utility: Address,
    /// Which of its series.
    pub series: u64,
    /// The newest tick that is known.
    pub tick: u64,
    /// What was signed in all.
    pub signed: Joules,
    /// What suppliers have redeemed of it.
    pub redeemed: Joules,
    /// What the escrow holds.
    pub balance: Joules,
    /// What of that the utility has asked back.
    pub thawing: Joules,
    /// What was deposited and not taken or asked back: a total above it is an offence.
    pub cover: Joules,
    /// What is needed to redeem everything that is signed, the protocol fee on top.
    pub needed: Joules,
}

/// What roots say about each other.
#[must_use]
pub fn roots(chain_id: u64, escrow: Address, all: &[SignedRoot]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // By utility, series and tick: the roots that are signed, each once.
    let mut signed: BTreeMap<(Address, u64), BTreeMap<u64, Vec<&SignedRoot>>> = BTreeMap::new();
    let mut unsigned = HashSet::new();
    for root in all {
        let place = (root.root.utility, root.root.series, root.root.tick);
        if !root.verify(chain_id, escrow) {
            if unsigned.insert(place) {
                let (utility, series, tick) = place;
                findings.push(Finding::Unsigned { utility, series, tick });
            }
            continue;
        }
        let tick = signed.entry((place.0, place.1)).or_default().entry(place.2).or_default();
        if !tick.iter().any(|known| known.root == root.root) {
            tick.push(root);
        }
    }
    for ticks in signed.values() {
        let mut highest: Option<&SignedRoot> = None;
        for tick in ticks.values() {
            let Some((first, others)) = tick.split_first() else { continue };
            for other in others {
                let (first, second) = ((*first).clone(), (*other).clone());
                findings.push(Finding::Equivocation { first, second });
            }
            if let Some(earlier) = highest
                && tick.iter().all(|root| root.root.total < earlier.root.total)
            {
                let (earlier, later) = (earlier.clone(), (*first).clone());
                findings.push(Finding::TotalFell { earlier, later });
            }
            let largest = tick.iter().max_by_key(|root| root.root.total).copied();
            highest = highest.into_iter().chain(largest).max_by_key(|root| root.root.total);
        }
    }
    findings
}

/// What proofs say about themselves, each other and their roots.
#[must_use]
pub fn proofs(chain_id: u64, escrow: Address, all: &[PaymentProof]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut held: Vec<&PaymentProof> = Vec::new();
    for proof in all {
        if proof.verify(chain_id, escrow) {
            held.push(proof);
        } else if proof.signed.verify(chain_id, escrow) {
            let (supplier, tick) = (proof.supplier, proof.signed.root.tick);
            findings.push(Finding::BrokenProof { supplier, tick });
        }
    }
    findings.extend(fallen(&held));
    findings.extend(above(&held));
    let signed: Vec<_> = all.iter().map(|proof| proof.signed.clone()).collect();
    findings.extend(roots(chain_id, escrow, &signed));
    findings
}

/// Suppliers whom a later root gives less.
fn fallen(held: &[&PaymentProof]) -> Vec<Finding> {
    let mut by_supplier: BTreeMap<(Address, u64, Address), Vec<&PaymentProof>> = BTreeMap::new();
    for proof in held {
        let root = &proof.signed.root;
        by_supplier.entry((root.utility, root.series, proof.supplier)).or_default().push(proof);
    }
    let mut findings = Vec::new();
    for ((.., supplier), mut proofs) in by_supplier {
        proofs.sort_by_key(|proof| (proof.signed.root.tick, proof.cumulative_wei));
        for pair in proofs.windows(2) {
            let [earlier, later] = pair else { continue };
            if later.cumulative_wei < earlier.cumulative_wei {
                findings.push(Finding::SupplierFell {
                    supplier,
                    earlier_tick: earlier.signed.root.tick,
                    earlier: Joules(earlier.cumulative_wei),
                    later_tick: later.signed.root.tick,
                    later: Joules(later.cumulative_wei),
                });
            }
        }
    }
    findings
}

/// Roots whose known leaves are worth more than their total.
fn above(held: &[&PaymentProof]) -> Vec<Finding> {
    let mut leaves: BTreeMap<_, (&SignedRoot, BTreeMap<Address, U256>)> = BTreeMap::new();
    for proof in held {
        let root = &proof.signed.root;
        let place = (root.utility, root.series, root.tick, root.root, root.total);
        let (_, of_root) = leaves.entry(place).or_insert((&proof.signed, BTreeMap::new()));
        // A tree with two leaves for one supplier pays the larger.
        let leaf = of_root.entry(proof.supplier).or_default();
        *leaf = proof.cumulative_wei.max(*leaf);
    }
    let mut findings = Vec::new();
    for (root, leaves) in leaves.into_values() {
        let known = leaves.values().fold(U256::ZERO, |sum, leaf| sum.saturating_add(*leaf));
        if known > root.root.total {
            findings.push(Finding::AboveTotal { root: root.clone(), known: Joules(known) });
        }
    }
    findings
}

impl Protocol {
    /// What the escrow says about a root, the newest of its series.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn books(&self, newest: &SignedRoot) -> Result<(Books, Vec<Finding>), ChainError> {
        let (utility, series) = (newest.root.utility, newest.root.series);
        let escrow = self.contracts.escrow;
        let account = self.read(escrow, &PaymentEscrow::accountCall { utility, series }).await?;
        let fee_bp = self.read(escrow, &PaymentEscrow::feeBpCall {}).await?;
        let thawing = account.thawing.min(account.balance);
        // As the court counts it: what is asked back covers nothing.
        let cover = account.deposited.saturating_sub(account.withdrawn).saturating_sub(thawing);
        let unpaid = newest.root.total.saturating_sub(account.redeemed);
        // A total that nobody could pay is signed easily: no sum here may overflow.
        let fee = unpaid.saturating_mul(U256::from(fee_bp)) / U256::from(10_000);
        let needed = unpaid.saturating_add(fee);
        let books = Books {
            utility,
            series,
            tick: newest.root.tick,
            signed: Joules(newest.root.total),
            redeemed: Joules(account.redeemed),
            balance: Joules(account.balance),
            thawing: Joules(thawing),
            cover: Joules(cover),
            needed: Joules(needed),
        };
        let mut findings = Vec::new();
        if !newest.verify(self.contracts.chain_id, escrow) {
            let tick = newest.root.tick;
            findings.push(Finding::Unsigned { utility, series, tick });
            return Ok((books, findings));
        }
        if newest.root.total > cover {
            findings.push(Finding::Overdraft { root: newest.clone(), cover: Joules(cover) });
        }
        let missing = needed.saturating_sub(account.balance - thawing);
        if !missing.is_zero() {
            findings.push(Finding::Short { utility, series, missing: Joules(missing) });
        }
        Ok((books, findings))
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::B256;
    use kinesis_protocol::{PaymentRoot, PaymentTree};

    use super::*;
    use crate::Key;

    const CHAIN: u64 = 31337;
    const ESCROW: Address = Address::repeat_byte(0xe5);

    fn sign(key: &Key, tick: u64, root: B256, total: u64) -> SignedRoot {
        let root =
            PaymentRoot { utility: key.address(), series: 1, tick, root, total: U256::from(total) };
        let signature = key.sign_hash(&root.signing_hash(CHAIN, ESCROW));
        SignedRoot { root, signature }
    }

    fn proofs_of(
        key: &Key,
        tick: u64,
        payees: &[(u8, u64)],
        total: Option<u64>,
    ) -> Vec<PaymentProof> {
        let payees: Vec<_> = payees
            .iter()
            .map(|(who, wei)| (Address::repeat_byte(*who), U256::from(*wei)))
            .collect();
        let tree = PaymentTree::new(payees.clone()).unwrap();
        let total = total.unwrap_or_else(|| tree.total_wei().to());
        let signed = sign(key, tick, tree.root(), total);
        let prove = |supplier| {
            let (cumulative_wei, proof) = tree.prove(supplier).unwrap();
            PaymentProof { signed: signed.clone(), supplier, cumulative_wei, proof }
        };
        payees.into_iter().map(|(supplier, _)| prove(supplier)).collect()
    }

    #[test]
    fn honest_books_have_no_findings() {
        let key = Key::random();
        let mut all = proofs_of(&key, 1, &[(1, 10), (2, 20)], None);
        all.extend(proofs_of(&key, 2, &[(1, 15), (2, 20), (3, 1)], None));
        // The same again, in another order, changes nothing.
        all.extend(proofs_of(&key, 1, &[(1, 10), (2, 20)], None));
        assert_eq!(proofs(CHAIN, ESCROW, &all), []);
    }

    #[test]
    fn two_roots_for_one_tick_are_found_once_each() {
        let key = Key::random();
        let one = sign(&key, 7, B256::repeat_byte(1), 5);
        let two = sign(&key, 7, B256::repeat_byte(2), 5);
        let total = sign(&key, 7, B256::repeat_byte(1), 6);
        let found = roots(CHAIN, ESCROW, &[one.clone(), two.clone(), one.clone(), total.clone()]);
        let pair = |second| Finding::Equivocation { first: one.clone(), second };
        assert_eq!(found, [pair(two), pair(total)]);
        assert!(found.iter().all(Finding::is_offence));
    }

    #[test]
    fn roots_of_others_are_no_evidence() {
        let (key, stranger) = (Key::random(), Key::random());
        let one = sign(&key, 7, B256::repeat_byte(1), 5);
        let mut forged = sign(&stranger, 7, B256::repeat_byte(2), 5);
        forged.root.utility = key.address();
        let found = roots(CHAIN, ESCROW, &[one.clone(), forged.clone(), forged]);
        let unsigned = Finding::Unsigned { utility: key.address(), series: 1, tick: 7 };
        assert_eq!(found, [unsigned]);
        // On another chain the same signature says nothing either.
        assert!(matches!(roots(1, ESCROW, &[one])[..], [Finding::Unsigned { .. }]));
    }

    #[test]
    fn amounts_that_fall_and_leaves_above_the_total_are_found() {
        let key = Key::random();
        let mut all = proofs_of(&key, 1, &[(1, 10), (2, 20)], None);
        all.extend(proofs_of(&key, 2, &[(1, 5), (2, 21)], None));
        let found = proofs(CHAIN, ESCROW, &all);
        assert!(
            matches!(
                found[..],
                [
                    Finding::SupplierFell { earlier_tick: 1, later_tick: 2, .. },
                    Finding::TotalFell { .. }
                ]
            ),
            "{found:?}"
        );
        let greedy = proofs_of(&key, 3, &[(1, 30), (2, 30)], Some(40));
        assert!(matches!(proofs(CHAIN, ESCROW, &greedy)[..], [Finding::AboveTotal { .. }]));
    }

    #[test]
    fn a_proof_that_leads_elsewhere_is_found() {
        let key = Key::random();
        let mut all = proofs_of(&key, 1, &[(1, 10), (2, 20)], None);
        all[0].cumulative_wei += U256::ONE;
        let supplier = all[0].supplier;
        assert_eq!(proofs(CHAIN, ESCROW, &all), [Finding::BrokenProof { supplier, tick: 1 }]);
    }
}
