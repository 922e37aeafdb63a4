//! Many leaves of one tree proven together, as OpenZeppelin's `MerkleProof` and the escrow's
//! `redeemMany` check it: what several of their paths have in common is hashed once.
//!
//! All leaves stand in a queue. Each step takes the first of it, and the next of it or, where its
//! sibling is not known, the next hash of the proof; and puts their parent at the end. For this every
//! known sibling has to be next when it is needed. It always is where all leaves are equally deep, in
//! the order of a walk through the tree. Leaves at the ragged end of a tree are less deep, and fit in
//! only sometimes: then there is no such proof.

use std::collections::{HashMap, HashSet, VecDeque};

use alloy::primitives::{Address, B256, U256, keccak256};

use super::{Proof, amount, leaf, packed, sorted};

/// The most leaves that are proven together.
pub const LEAVES_MAX: usize = 4_096;

/// A proof of many leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multiproof {
    /// The payees and their cumulative amounts in wei, in the order of the queue.
    pub leaves: Vec<(Address, U256)>,
    /// The hashes that are not known, in the order in which they are needed.
    pub proof: Vec<B256>,
    /// Of each step, whether the sibling is in the queue.
    pub flags: Vec<bool>,
}

/// A node whose hash is known.
#[derive(Debug, Clone, Copy)]
struct Node {
    sibling: B256,
    parent: B256,
}

impl Multiproof {
    /// Joins proofs of single leaves under one root. `None` where one of them does not lead there, a
    /// payee is named twice, there are none or more than [`LEAVES_MAX`], or no order of them fits.
    #[must_use]
    pub fn join(root: B256, payees: &[(Address, U256, &Proof)]) -> Option<Self> {
        if payees.is_empty() || payees.len() > LEAVES_MAX {
            return None;
        }
        let mut nodes: HashMap<B256, Node> = HashMap::new();
        let mut leaves = HashMap::new();
        for (payee, wei, proof) in payees {
            if !proof.verify(root, *payee, *wei) {
                return None;
            }
            let leaf = leaf(*payee, *wei)?;
            if leaves.insert(leaf, (*payee, *wei, proof.0.len())).is_some() {
                return None;
            }
            let mut node = leaf;
            for sibling in &proof.0 {
                let parent = keccak256(sorted(node, *sibling));
                nodes.insert(node, Node { sibling: *sibling, parent });
                node = parent;
            }
        }
        let mut queue: Vec<B256> = walk(root, &nodes);
        queue.retain(|node| leaves.contains_key(node));
        // The deepest come first, since what they lead to is less deep. A stable sort keeps the walk.
        queue.sort_by_key(|leaf| std::cmp::Reverse(leaves.get(leaf).map_or(0, |of| of.2)));
        let (proof, flags) = climb(&queue, &nodes)?;
        let place = |leaf: &B256| leaves.get(leaf).map(|(payee, wei, _)| (*payee, *wei));
        let leaves = queue.iter().filter_map(place).collect();
        Some(Self { leaves, proof, flags })
    }

    /// Whether it leads to a root, as the contracts check it.
    #[must_use]
    pub fn verify(&self, root: B256) -> bool {
        let steps = self.flags.len();
        if self.leaves.is_empty() || steps + 1 != self.leaves.len() + self.proof.len() {
            return false;
        }
        let all: Option<VecDeque<B256>> =
            self.leaves.iter().map(|(payee, wei)| leaf(*payee, *wei)).collect();
        let Some(mut queue) = all else { return false };
        let mut proof = self.proof.iter();
        for known in &self.flags {
            let one = queue.pop_front();
            let other = if *known { queue.pop_front() } else { proof.next().copied() };
            let (Some(one), Some(other)) = (one, other) else { return false };
            queue.push_back(keccak256(sorted(one, other)));
        }
        proof.next().is_none() && queue.len() == 1 && queue.front() == Some(&root)
    }

    /// The leaves as the escrow takes them: the address, and behind it the amount, in one word each.
    #[must_use]
    pub fn claims(&self) -> Vec<B256> {
        let word = |(payee, wei): &(Address, U256)| {
            // A leaf that was joined fits.
            B256::from(packed(*payee, amount(*wei).unwrap_or(u128::MAX)))
        };
        self.leaves.iter().map(word).collect()
    }

    /// The flags as the escrow takes them: bits, from the most significant of the first byte on.
    #[must_use]
    pub fn bits(&self) -> Vec<u8> {
        let byte = |eight: &[bool]| {
            let set = eight.iter().enumerate().filter(|(_, set)| **set);
            set.fold(0_u8, |byte, (place, _)| byte | (0b1000_0000 >> place))
        };
        self.flags.chunks(8).map(byte).collect()
    }
}

/// All known nodes below the root, left to right as far as a tree of unordered pairs has a left.
fn walk(root: B256, nodes: &HashMap<B256, Node>) -> Vec<B256> {
    let mut children: HashMap<B256, Vec<B256>> = HashMap::new();
    for (node, Node { parent, .. }) in nodes {
        children.entry(*parent).or_default().push(*node);
    }
    let (mut all, mut open) = (Vec::new(), vec![root]);
    while let Some(node) = open.pop() {
        all.push(node);
        let mut below = children.remove(&node).unwrap_or_default();
        // Any order will do as long as it is always the same.
        below.sort_unstable();
        open.extend(below.into_iter().rev());
    }
    all
}

/// Goes through the steps; `None` where a known sibling is not next.
fn climb(leaves: &[B256], nodes: &HashMap<B256, Node>) -> Option<(Vec<B256>, Vec<bool>)> {
    let known: HashSet<B256> =
        leaves.iter().copied().chain(nodes.values().map(|n| n.parent)).collect();
    let mut queue: VecDeque<B256> = leaves.iter().copied().collect();
    let (mut proof, mut flags) = (Vec::new(), Vec::new());
    while let Some(node) = queue.pop_front() {
        let Some(Node { sibling, parent }) = nodes.get(&node) else {
            // The root: nothing may be left beside it.
            return queue.is_empty().then_some((proof, flags));
        };
        let there = known.contains(sibling);
        if there {
            queue.pop_front().filter(|next| next == sibling)?;
        } else {
            proof.push(*sibling);
        }
        flags.push(there);
        queue.push_back(*parent);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::subsequence};

    use super::*;
    use crate::PaymentTree;

    fn payee(n: usize) -> Address {
        Address::from_slice(&keccak256(n.to_be_bytes())[..20])
    }

    fn tree(size: usize) -> PaymentTree {
        let wei = |n: usize| U256::from(n + 1) * U256::from(1_000_000_007_u64);
        PaymentTree::new((0..size).map(|n| (payee(n), wei(n))).collect()).unwrap()
    }

    fn proofs(tree: &PaymentTree, places: &[usize]) -> Vec<(Address, U256, Proof)> {
        let prove = |place: &usize| {
            let (wei, proof) = tree.prove(payee(*place)).unwrap();
            (payee(*place), wei, proof)
        };
        places.iter().map(prove).collect()
    }

    fn join(tree: &PaymentTree, all: &[(Address, U256, Proof)]) -> Option<Multiproof> {
        let all: Vec<_> = all.iter().map(|(payee, wei, proof)| (*payee, *wei, proof)).collect();
        Multiproof::join(tree.root(), &all)
    }

    #[test]
    fn a_whole_tree_needs_no_hash_but_its_own() {
        let tree = tree(64);
        let all = proofs(&tree, &(0..64).collect::<Vec<_>>());
        let joined = join(&tree, &all).unwrap();
        assert!(joined.proof.is_empty() && joined.verify(tree.root()));
        assert_eq!(joined.flags.len(), 63);
    }

    #[test]
    fn one_leaf_is_its_own_proof() {
        let tree = tree(13);
        let all = proofs(&tree, &[4]);
        let joined = join(&tree, &all).unwrap();
        assert_eq!(joined.proof, all[0].2.0);
        assert!(joined.verify(tree.root()) && joined.flags.iter().all(|flag| !flag));
        let alone = self::tree(1);
        let joined = join(&alone, &proofs(&alone, &[0])).unwrap();
        assert!(joined.verify(alone.root()) && joined.flags.is_empty());
    }

    #[test]
    fn flags_are_bits_from_the_most_significant_on() {
        let flags = vec![true, false, false, false, false, false, true, false, true];
        let proof = Multiproof { leaves: Vec::new(), proof: Vec::new(), flags };
        assert_eq!(proof.bits(), [0b1000_0010, 0b1000_0000]);
        let leaves = vec![(Address::repeat_byte(0x11), U256::from(0x22))];
        let one = Multiproof { leaves, proof: Vec::new(), flags: Vec::new() };
        assert_eq!(one.claims()[0][..20], [0x11; 20]);
        assert_eq!(one.claims()[0][20..], [[0; 11].as_slice(), &[0x22]].concat());
    }

    #[test]
    fn what_leads_elsewhere_or_is_named_twice_is_not_joined() {
        let tree = tree(8);
        let mut all = proofs(&tree, &[1, 2]);
        all[0].1 += U256::ONE;
        assert_eq!(join(&tree, &all), None);
        assert_eq!(join(&tree, &proofs(&tree, &[1, 1])), None);
        assert_eq!(join(&tree, &[]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn leaves_of_one_depth_are_joined_and_others_where_they_fit(
            (size, places) in (1_usize..400).prop_flat_map(|size| {
                let all: Vec<usize> = (0..size).collect();
                (Just(size), subsequence(all, 1..=size))
            }),
            turned in any::<bool>(),
        ) {
            let tree = tree(size);
            let mut all = proofs(&tree, &places);
            if turned {
                all.reverse();
            }
            let even = all.windows(2).all(|pair| pair[0].2.0.len() == pair[1].2.0.len());
            let joined = join(&tree, &all);
            prop_assert!(joined.is_some() || !even, "leaves of one depth have no order");
            if let Some(joined) = joined {
                prop_assert!(joined.verify(tree.root()));
                prop_assert_eq!(joined.leaves.len(), places.len());
                let single: usize = all.iter().map(|one| one.2.0.len()).sum();
                prop_assert!(joined.proof.len() <= single);
                // Another amount, another root.
                let mut more = joined.clone();
                more.leaves[0].1 += U256::ONE;
                prop_assert!(!more.verify(tree.root()));
                let mut less = joined;
                if less.proof.pop().is_some() {
                    prop_assert!(!less.verify(tree.root()));
                }
            }
        }
    }
}
