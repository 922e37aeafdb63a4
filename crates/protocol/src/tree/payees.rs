//! Which leaf is whose. A payee keeps the leaf it got first, so that nobody else's moves.

use std::hash::{BuildHasher, RandomState};

use alloy::primitives::Address;
use hashbrown::HashTable;

/// Payees in the order they came, and where each is.
///
/// The table holds positions only, 5 bytes each, and compares through `addresses`.
#[derive(Debug, Clone, Default)]
pub(super) struct Payees {
    addresses: Vec<Address>,
    positions: HashTable<u32>,
    /// Keyed: addresses are chosen by strangers.
    hasher: RandomState,
}

impl Payees {
    pub(super) fn len(&self) -> usize {
        self.addresses.len()
    }

    /// All of them; a payee's index is its position.
    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where a payee is.
    pub(super) fn position(&self, payee: Address) -> Option<usize> {
        let same = |at: &u32| self.addresses[index(*at)] == payee;
        self.positions.find(self.hasher.hash_one(payee), same).map(|at| index(*at))
    }

    /// Gives the next position to a payee that has none yet. `None` where all are taken.
    pub(super) fn append(&mut self, payee: Address) -> Option<usize> {
        let Self { addresses, positions, hasher } = self;
        let next = u32::try_from(addresses.len()).ok()?;
        addresses.push(payee);
        let hash = |at: &u32| hasher.hash_one(addresses[index(*at)]);
        positions.insert_unique(hasher.hash_one(payee), next, hash);
        Some(index(next))
    }

    /// The memory this takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.addresses.capacity() * size_of::<Address>() + self.positions.allocation_size()
    }
}

fn index(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
