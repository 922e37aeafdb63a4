//! The payment tree: a Merkle tree over (supplier, cumulative JOULE) whose proofs OpenZeppelin's
//! `MerkleProof` verifies.
//!
//! A leaf is `keccak256(supplier (20 bytes) ‖ cumulative (12 bytes))` of exactly 32 bytes; an inner
//! node hashes exactly 64 bytes, the smaller child first. No inner node can be read as a leaf, since
//! the lengths differ, so one hash per leaf is enough. `cumulative` is in wei and below 2^96: some
//! 79 billion JOULE.
//!
//! An odd node at the end of a level moves up unchanged, so a proof has at most ⌈log2 n⌉ hashes.
//!
//! The tree is kept from tick to tick. A payee's leaf never moves: a new payee's leaf is appended, a
//! changed amount is one path. All levels are held, so that a proof is a copy. Leaves and the seven
//! levels above them lie in chunks of 128 leaves, which a clone shares until one of both changes:
//! the tree that was signed is a clone, and stays as it was signed while the next one grows.
//!
//! Memory is some 110 bytes a payee: 64 of nodes, 16 of its amount, some 30 to find it; and as much
//! again, at most, for chunks that changed since a clone that is still held.

use std::sync::Arc;

use alloy::primitives::{Address, B256, U256, keccak256};
use serde::{Deserialize, Serialize};

mod chunk;
pub mod multiproof;
mod payees;
#[cfg(test)]
mod tests;

use chunk::{Batch, Chunk, LEAVES, TOGETHER, parents, rehash};
pub use multiproof::Multiproof;
use payees::Payees;

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
            && self.0.iter().fold(leaf, |node, sibling| keccak256(sorted(node, *sibling))) == root
    }
}

/// The leaf of a payee; `None` where the amount needs more than 96 bits.
#[must_use]
pub fn leaf(supplier: Address, cumulative_wei: U256) -> Option<B256> {
    amount(cumulative_wei).map(|wei| keccak256(packed(supplier, wei)))
}

/// An amount as the tree holds it; `None` where it needs more than 96 bits.
fn amount(wei: U256) -> Option<u128> {
    u128::try_from(wei).ok().filter(|wei| wei >> 96 == 0)
}

/// What a leaf is the hash of.
fn packed(supplier: Address, wei: u128) -> [u8; 32] {
    let mut packed = [0; 32];
    packed[16..].copy_from_slice(&wei.to_be_bytes());
    packed[..20].copy_from_slice(supplier.as_slice());
    packed
}

/// What an inner node is the hash of.
fn sorted(a: B256, b: B256) -> [u8; 64] {
    let mut packed = [0; 64];
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    packed[..32].copy_from_slice(low.as_slice());
    packed[32..].copy_from_slice(high.as_slice());
    packed
}

/// Why a tree cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A payee is named twice.
    #[error("{0} is named twice")]
    Repeated(Address),
    /// An amount needs more than 96 bits.
    #[error("the amount of {0} needs more than 96 bits")]
    TooLarge(Address),
    /// There are leaves for 2^32 - 1 payees, and for no more.
    #[error("no leaf is left for {0}")]
    Full(Address),
}

/// A tree over payees in the order they came. A clone costs little and is not changed by what
/// happens to the other.
#[derive(Debug, Clone, Default)]
pub struct PaymentTree {
    payees: Arc<Payees>,
    chunks: Vec<Arc<Chunk>>,
    /// `upper[0]` are the chunks' topmost nodes; the last level is the root alone.
    upper: Vec<Vec<B256>>,
    /// Of all amounts. 2^32 amounts below 2^96 stay below 2^128.
    total: u128,
}

impl PaymentTree {
    /// How many payees must have changed for each thread that hashes: below, starting it costs more
    /// than it saves.
    const CHANGED_PER_THREAD: usize = 4_096;

    /// Builds the tree over all payees, whose leaves come in this order. No payee gives the zero
    /// root.
    ///
    /// # Errors
    /// Where a payee is named twice, or an amount needs more than 96 bits.
    pub fn new(payees: Vec<(Address, U256)>) -> Result<Self, TreeError> {
        let mut tree = Self::default();
        tree.apply(&payees, 1, true)?;
        Ok(tree)
    }

    /// Sets payees' amounts, and hashes the paths of those that changed. Who is new gets the next
    /// leaf; of two amounts for one payee, the later holds.
    ///
    /// Where much changed, up to `threads` threads hash, this one among them.
    ///
    /// # Errors
    /// Where an amount needs more than 96 bits, or no leaf is left; then nothing has changed.
    pub fn update(&mut self, payees: &[(Address, U256)], threads: usize) -> Result<(), TreeError> {
        self.apply(payees, threads, false)
    }

    fn apply(
        &mut self,
        payees: &[(Address, U256)],
        threads: usize,
        once: bool,
    ) -> Result<(), TreeError> {
        if let Some((payee, _)) = payees.iter().find(|(_, wei)| amount(*wei).is_none()) {
            return Err(TreeError::TooLarge(*payee));
        }
        let places = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        if let Some((payee, _)) = payees.last()
            && self.len() + payees.len() > places
        {
            return Err(TreeError::Full(*payee));
        }
        let mut changed = Vec::new();
        let mut leaves = 0;
        for (payee, wei) in payees {
            let wei = amount(*wei).ok_or(TreeError::TooLarge(*payee))?;
            let at = match self.payees.position(*payee) {
                Some(_) if once => return Err(TreeError::Repeated(*payee)),
                Some(at) if self.amount_at(at) == wei => continue,
                Some(at) => at,
                None => {
                    let at = Arc::make_mut(&mut self.payees).append(*payee);
                    at.ok_or(TreeError::Full(*payee))?
                }
            };
            let (number, leaf) = (at / LEAVES, at % LEAVES);
            if number == self.chunks.len() {
                self.chunks.push(Arc::new(Chunk::EMPTY));
            }
            let chunk = Arc::make_mut(&mut self.chunks[number]);
            self.total = self.total - chunk.amount(leaf) + wei;
            if chunk.set(leaf, wei) {
                changed.push(number);
            }
            leaves += 1;
        }
        changed.sort_unstable();
        self.hash(&changed, threads.min(leaves / Self::CHANGED_PER_THREAD));
        Ok(())
    }

    /// Hashes what changed in these chunks, and what lies above them.
    fn hash(&mut self, changed: &[usize], threads: usize) {
        let mut numbers = changed.iter().copied().peekable();
        let chunks = self.chunks.iter_mut().enumerate();
        let mut work: Vec<(usize, &mut Chunk)> = chunks
            .filter(|(number, _)| numbers.next_if_eq(number).is_some())
            // Nobody shares it: it was changed just now.
            .map(|(number, chunk)| (number, Arc::make_mut(chunk)))
            .collect();
        let addresses = self.payees.addresses();
        let share = work.len().div_ceil(threads.max(1)).next_multiple_of(TOGETHER);
        let mut shares = work.chunks_mut(share.max(1));
        if let Some(own) = shares.next() {
            std::thread::scope(|scope| {
                for share in shares {
                    scope.spawn(move || rehash(share, addresses));
                }
                rehash(own, addresses);
            });
        }
        self.hash_upper(changed.to_vec());
    }

    fn hash_upper(&mut self, mut nodes: Vec<usize>) {
        if self.upper.is_empty() {
            self.upper.push(Vec::new());
        }
        self.upper[0].resize(self.chunks.len(), B256::ZERO);
        for number in &nodes {
            self.upper[0][*number] = self.chunks[*number].top();
        }
        let mut batch = Batch::default();
        let mut level = 0;
        while self.upper[level].len() > 1 {
            if self.upper.len() == level + 1 {
                self.upper.push(Vec::new());
            }
            let (lower, upper) = self.upper.split_at_mut(level + 1);
            let (below, above) = (&lower[level], &mut upper[0]);
            above.resize(below.len().div_ceil(2), B256::ZERO);
            parents(&mut nodes);
            let alone = nodes.last().copied().filter(|node| 2 * node + 1 >= below.len());
            let paired = &nodes[..nodes.len() - usize::from(alone.is_some())];
            for node in paired {
                batch.pair(below[2 * node], below[2 * node + 1]);
            }
            for (node, hash) in paired.iter().zip(batch.hash()) {
                above[*node] = *hash;
            }
            if let Some(node) = alone {
                above[node] = below[2 * node];
            }
            level += 1;
        }
    }

    /// The root; zero for a tree without payees.
    #[must_use]
    pub fn root(&self) -> B256 {
        self.upper.last().and_then(|level| level.first()).copied().unwrap_or_default()
    }

    /// The sum of all amounts, in wei.
    #[must_use]
    pub fn total_wei(&self) -> U256 {
        U256::from(self.total)
    }

    /// How many payees there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payees.len()
    }

    /// Whether there is no payee.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn amount_at(&self, position: usize) -> u128 {
        self.chunks[position / LEAVES].amount(position % LEAVES)
    }

    /// A payee's cumulative amount, in wei.
    #[must_use]
    pub fn amount(&self, supplier: Address) -> Option<U256> {
        self.payees.position(supplier).map(|at| U256::from(self.amount_at(at)))
    }

    /// A payee's cumulative amount and its proof.
    #[must_use]
    pub fn prove(&self, supplier: Address) -> Option<(U256, Proof)> {
        let position = self.payees.position(supplier)?;
        let (mut number, leaf) = (position / LEAVES, position % LEAVES);
        let chunk = &self.chunks[number];
        let mut proof = Vec::with_capacity(LEAVES.trailing_zeros() as usize + self.upper.len());
        chunk.siblings(leaf, &mut proof);
        for level in &self.upper {
            proof.extend(level.get(number ^ 1));
            number /= 2;
        }
        Some((U256::from(chunk.amount(leaf)), Proof(proof)))
    }

    /// The memory this tree takes where it shares nothing, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let chunks = self.chunks.capacity() * size_of::<Arc<Chunk>>()
            + self.chunks.len() * size_of::<Chunk>();
        let upper: usize = self.upper.iter().map(Vec::capacity).sum();
        self.payees.bytes() + chunks + upper * size_of::<B256>()
    }
}
