//! 128 neighbouring leaves with all nodes above them, in one piece of memory: the unit that is
//! shared between a tree and its clones, copied before it is changed, and hashed anew.

use alloy::primitives::{Address, B256};

use super::sorted;
use crate::keccak::hash_each;

/// How many levels lie above a chunk's leaves.
const HEIGHT: usize = 7;
/// How many leaves a chunk has.
pub(super) const LEAVES: usize = 1 << HEIGHT;
/// How many chunks are hashed level by level together: enough to fill the CPU's lanes where each
/// changed little, few enough to stay in its cache.
pub(super) const TOGETHER: usize = 16;

/// Where a level begins among a chunk's nodes.
const fn start(level: usize) -> usize {
    2 * LEAVES - ((2 * LEAVES) >> level)
}

/// A complete subtree; in the last chunk of a tree only the first leaves are taken.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Who has a leaf here: how many, from the left.
    pub(super) taken: usize,
    amounts: [u128; LEAVES],
    /// The leaves, then each level above them.
    nodes: [B256; 2 * LEAVES - 1],
    /// Which leaves' amounts changed since they were hashed: one bit each.
    dirty: u128,
}

impl Chunk {
    pub(super) const EMPTY: Self =
        Self { taken: 0, amounts: [0; LEAVES], nodes: [B256::ZERO; 2 * LEAVES - 1], dirty: 0 };

    /// How many nodes a level has.
    fn width(&self, level: usize) -> usize {
        self.taken.div_ceil(1 << level)
    }

    pub(super) fn amount(&self, leaf: usize) -> u128 {
        self.amounts[leaf]
    }

    /// Sets an amount. The nodes do not follow until [`rehash`]. Says whether this is the first
    /// change since then.
    pub(super) fn set(&mut self, leaf: usize, amount: u128) -> bool {
        let first = self.dirty == 0;
        self.taken = self.taken.max(leaf + 1);
        self.amounts[leaf] = amount;
        self.dirty |= 1 << leaf;
        first
    }

    /// The topmost node.
    pub(super) fn top(&self) -> B256 {
        self.nodes[start(HEIGHT)]
    }

    /// Adds the siblings on the way from a leaf to the topmost node.
    pub(super) fn siblings(&self, leaf: usize, proof: &mut Vec<B256>) {
        for level in 0..HEIGHT {
            let sibling = (leaf >> level) ^ 1;
            if sibling < self.width(level) {
                proof.push(self.nodes[start(level) + sibling]);
            }
        }
    }
}

/// What is hashed at once, kept to spare allocations.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pairs: Vec<[u8; 64]>,
    hashes: Vec<B256>,
}

impl Batch {
    pub(super) fn pair(&mut self, a: B256, b: B256) {
        self.pairs.push(sorted(a, b));
    }

    /// The hashes of all pairs since the last call, in order.
    pub(super) fn hash(&mut self) -> &[B256] {
        self.hashes.resize(self.pairs.len(), B256::ZERO);
        hash_each(&self.pairs, &mut self.hashes);
        self.pairs.clear();
        &self.hashes
    }
}

/// The parents of nodes in ascending order, each once.
pub(super) fn parents(nodes: &mut Vec<usize>) {
    nodes.iter_mut().for_each(|node| *node /= 2);
    nodes.dedup();
}

/// Hashes what changed in chunks, each with its number, in ascending order.
pub(super) fn rehash(chunks: &mut [(usize, &mut Chunk)], addresses: &[Address]) {
    let (mut batch, mut leaves, mut nodes) = (Batch::default(), Vec::new(), Vec::new());
    for together in chunks.chunks_mut(TOGETHER) {
        leaves.clear();
        nodes.clear();
        for (at, (number, chunk)) in together.iter_mut().enumerate() {
            while chunk.dirty != 0 {
                // Below 128, and so no truncation.
                let leaf = chunk.dirty.trailing_zeros() as usize;
                chunk.dirty &= chunk.dirty - 1;
                let payee = addresses[*number * LEAVES + leaf];
                leaves.push(super::packed(payee, chunk.amounts[leaf]));
                nodes.push(at * LEAVES + leaf);
            }
        }
        batch.hashes.resize(leaves.len(), B256::ZERO);
        hash_each(&leaves, &mut batch.hashes);
        for (node, hash) in nodes.iter().zip(&batch.hashes) {
            together[node / LEAVES].1.nodes[node % LEAVES] = *hash;
        }
        for level in 0..HEIGHT {
            parents(&mut nodes);
            ascend(together, level, &nodes, &mut batch);
        }
    }
}

/// Sets `nodes` of the level above `level` to what their children make.
fn ascend(chunks: &mut [(usize, &mut Chunk)], level: usize, nodes: &[usize], batch: &mut Batch) {
    // How many nodes of the level above a whole chunk has.
    let width = LEAVES >> (level + 1);
    let (below, above) = (start(level), start(level + 1));
    // Only the tree's last node of a level can be without a sibling: it moves up as it is.
    let alone = nodes.last().copied().filter(|node| {
        let chunk = &chunks[node / width].1;
        2 * (node % width) + 1 >= chunk.width(level)
    });
    let paired = &nodes[..nodes.len() - usize::from(alone.is_some())];
    for node in paired {
        let left = below + 2 * (node % width);
        let children = &chunks[node / width].1.nodes;
        batch.pair(children[left], children[left + 1]);
    }
    for (node, hash) in paired.iter().zip(batch.hash()) {
        chunks[node / width].1.nodes[above + node % width] = *hash;
    }
    if let Some(node) = alone {
        let chunk = &mut chunks[node / width].1;
        chunk.nodes[above + node % width] = chunk.nodes[below + 2 * (node % width)];
    }
}
