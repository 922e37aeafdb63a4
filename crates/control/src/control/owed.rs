//! What is owed, as a payment tree that is kept from tick to tick: a tick reads and hashes what
//! changed, not what every supplier ever earned.
//!
//! Earnings are cumulative, and the store knows them best. What a posting said is taken as it is;
//! where something else posted, or it is not known whether it did, the store is asked again: for one
//! supplier, or for all of them, as at the start. Being asked twice changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use kinesis_protocol::{Address, NanoJoule, PaymentTree, U256};

use super::Control;
use crate::ControlError;

/// How many suppliers may change before the hashing leaves the threads that serve requests.
const INLINE_MAX: usize = 1_024;
/// How many threads hash a tick in which very many changed. More would be taken from guests and
/// requests, and two are enough for a million suppliers a second.
const THREADS: usize = 2;

/// The tree over everything earned, and what it does not know yet.
#[derive(Debug)]
pub(super) struct Owed {
    tree: PaymentTree,
    /// What is known to have been earned altogether, and is not in the tree yet.
    earned: BTreeMap<Address, NanoJoule>,
    /// Who earned something that is to be read from the store.
    unread: BTreeSet<Address>,
    /// Whether everybody's earnings are to be read.
    all_unread: bool,
}

impl Default for Owed {
    fn default() -> Self {
        Self {
            tree: PaymentTree::default(),
            earned: BTreeMap::new(),
            unread: BTreeSet::new(),
            all_unread: true,
        }
    }
}

impl Owed {
    /// A supplier has earned this altogether.
    pub(super) fn earned(&mut self, supplier: Address, cumulative: NanoJoule) {
        // Amounts only grow: of two that are known, the larger is the later.
        let known = self.earned.entry(supplier).or_default();
        *known = (*known).max(cumulative);
    }

    /// A supplier earned something.
    pub(super) fn read_again(&mut self, supplier: Address) {
        self.unread.insert(supplier);
    }

    /// Somebody may have earned something.
    pub(super) fn read_all_again(&mut self) {
        self.all_unread = true;
    }
}

impl Control {
    /// The tree over everything that is posted. The clone stays as it is.
    pub(super) async fn payment_tree(&self, owed: &mut Owed) -> Result<PaymentTree, ControlError> {
        let series = self.payer.series;
        if owed.all_unread {
            for earning in self.store.earnings_all(series).await? {
                owed.earned(earning.supplier, earning.cumulative_nanojoule);
            }
            owed.all_unread = false;
            owed.unread.clear();
        }
        while let Some(supplier) = owed.unread.first().copied() {
            let cumulative = self.store.earned(series, supplier).await?;
            owed.earned(supplier, cumulative);
            owed.unread.remove(&supplier);
        }
        let earned = owed.earned.iter().map(|(supplier, earned)| (*supplier, earned.to_wei()));
        let changes: Vec<(Address, U256)> = earned.filter(|(_, wei)| !wei.is_zero()).collect();
        let mut tree = owed.tree.clone();
        let updated = if changes.len() <= INLINE_MAX {
            tree.update(&changes, 1).map(|()| tree)
        } else {
            let update = move || tree.update(&changes, THREADS).map(|()| tree);
            tokio::task::spawn_blocking(update).await.map_err(|error| {
                ControlError::Invalid(format!("the payment tree was not hashed: {error}"))
            })?
        };
        owed.tree =
            updated.map_err(|error| ControlError::Invalid(format!("no payment tree: {error}")))?;
        owed.earned.clear();
        Ok(owed.tree.clone())
    }
}
