//! The payment tree: a Merkle tree over (supplier, cumulative JOULE) whose proofs OpenZeppelin's
//! `MerkleProof` verifies.
//!
//! A leaf is `keccak256(supplier (20 bytes) ‖ cumulative (12 bytes))` of exactly 32 bytes; an inner
//! node hashes exactly 64 bytes, the smaller child first. No inner node can be read as a leaf, since
//! the lengths differ, so one hash per leaf is enough. `cumulative` is in wei and below 2^96: some
//! 79 billion JOULE.
//!
//! An odd node at the end of a level moves up unchanged, so a proof has at most ⌈log2 n⌉ hashes.

use alloy::primitives::{Address, B256, U256, keccak256};
use serde::{Deserialize, Serialize};

/// The hashes that lead from a leaf to the root, leaf's sibling first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proof(pub Vec<B256>);

impl Proof {
    /// The longest proof that is read: a tree of 2^32 leaves.
    pub const HASHES_MAX: usize = 32;

    /// Whether this proof leads from the payee's leaf to `root`.
    #[must_use]
    pub fn verify(&self, root: B256, supplier: Address, cumulative_wei: U256) -> bool {
        let Some(leaf) = leaf(supplier, cumulative_wei) else { return false };
        self.0.len() <= Self::HASHES_MAX
            && self.0.iter().fold(leaf, |node, sibling| pair(node, *sibling)) == root
    }
}

/// The leaf of a payee; `None` where the amount needs more than 96 bits.
#[must_use]
pub fn leaf(supplier: Address, cumulative_wei: U256) -> Option<B256> {
    if cumulative_wei.bit_len() > 96 {
        return None;
    }
    let mut packed = [0; 32];
    packed[..20].copy_from_slice(supplier.as_slice());
    packed[20..].copy_from_slice(&cumulative_wei.to_be_bytes::<32>()[20..]);
    Some(keccak256(packed))
}

fn pair(a: B256, b: B256) -> B256 {
    let mut packed = [0; 64];
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    packed[..32].copy_from_slice(low.as_slice());
    packed[32..].copy_from_slice(high.as_slice());
    keccak256(packed)
}

/// A tree over payees in ascending order of address.
#[derive(Debug, Clone)]
pub struct PaymentTree {
    payees: Vec<(Address, U256)>,
    /// `levels[0]` are the leaves; the last level is the root alone.
    levels: Vec<Vec<B256>>,
}

/// Why no tree can be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A payee is named twice.
    #[error("{0} is named twice")]
    Repeated(Address),
    /// An amount needs more than 96 bits.
    #[error("the amount of {0} needs more than 96 bits")]
    TooLarge(Address),
}

impl PaymentTree {
    /// Builds the tree over all payees, in any order. No payee gives the zero root.
    ///
    /// # Errors
    /// Where a payee is named twice, or an amount needs more than 96 bits.
    pub fn new(mut payees: Vec<(Address, U256)>) -> Result<Self, TreeError> {
        payees.sort_unstable_by_key(|(supplier, _)| *supplier);
        if let Some(twice) = payees.windows(2).find(|two| two[0].0 == two[1].0) {
            return Err(TreeError::Repeated(twice[0].0));
        }
        let leaves = payees
            .iter()
            .map(|(supplier, wei)| leaf(*supplier, *wei).ok_or(TreeError::TooLarge(*supplier)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|level| level.len() > 1) {
            let next = last
                .chunks(2)
                .map(|two| if let [a, b] = two { pair(*a, *b) } else { two[0] })
                .collect();
            levels.push(next);
        }
        Ok(Self { payees, levels })
    }

    /// The root; zero for a tree without payees.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or_default()
    }

    /// The sum of all amounts, in wei.
    #[must_use]
    pub fn total_wei(&self) -> U256 {
        self.payees.iter().fold(U256::ZERO, |sum, (_, wei)| sum + wei)
    }

    /// A payee's cumulative amount and its proof.
    #[must_use]
    pub fn prove(&self, supplier: Address) -> Option<(U256, Proof)> {
        let mut index = self.payees.binary_search_by_key(&supplier, |(payee, _)| *payee).ok()?;
        let amount = self.payees[index].1;
        let mut proof = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            proof.extend(level.get(index ^ 1).filter(|_| level.len() > 1));
            index /= 2;
        }
        Some((amount, Proof(proof)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payees(n: u64) -> Vec<(Address, U256)> {
        (1..=n)
            .map(|i| (Address::left_padding_from(&i.to_be_bytes()), U256::from(i * 1000)))
            .collect()
    }

    #[test]
    fn every_payee_of_every_size_is_proven_and_no_other_amount() {
        for n in 1..40 {
            let tree = PaymentTree::new(payees(n)).unwrap();
            for (supplier, amount) in payees(n) {
                let (proven, proof) = tree.prove(supplier).unwrap();
                assert_eq!(proven, amount);
                assert!(proof.verify(tree.root(), supplier, amount));
                assert!(!proof.verify(tree.root(), supplier, amount + U256::ONE));
                assert!(proof.0.len() <= 64 - (n - 1).leading_zeros() as usize);
            }
        }
    }

    #[test]
    fn an_empty_tree_proves_nothing() {
        let tree = PaymentTree::new(vec![]).unwrap();
        assert_eq!(tree.root(), B256::ZERO);
        assert_eq!(tree.prove(Address::ZERO), None);
        assert!(!Proof::default().verify(tree.root(), Address::ZERO, U256::ZERO));
    }

    #[test]
    fn repeated_payees_and_oversized_amounts_are_refused() {
        let twice = vec![(Address::ZERO, U256::ONE), (Address::ZERO, U256::ONE)];
        assert_eq!(PaymentTree::new(twice).unwrap_err(), TreeError::Repeated(Address::ZERO));
        let large = vec![(Address::ZERO, U256::ONE << 96)];
        assert_eq!(PaymentTree::new(large).unwrap_err(), TreeError::TooLarge(Address::ZERO));
    }

    #[test]
    fn an_inner_node_is_no_leaf() {
        let tree = PaymentTree::new(payees(4)).unwrap();
        for node in &tree.levels[1] {
            // Reading an inner node's hash as a leaf would need a leaf of that hash.
            assert!(!tree.levels[0].contains(node));
        }
        let long = Proof(vec![B256::ZERO; Proof::HASHES_MAX + 1]);
        assert!(!long.verify(tree.root(), payees(4)[0].0, payees(4)[0].1));
    }

    proptest! {
        #[test]
        fn random_proofs_do_not_verify(
            hashes in prop::collection::vec(any::<[u8; 32]>(), 0..8),
            wei in any::<u128>(),
        ) {
            let tree = PaymentTree::new(payees(9)).unwrap();
            let proof = Proof(hashes.into_iter().map(B256::from).collect());
            prop_assert!(!proof.verify(tree.root(), Address::repeat_byte(9), U256::from(wei)));
        }
    }
}
