//! The state of recent blocks: what each of them changed, so that it can be taken back for a
//! reader.
//!
//! It is kept in memory, bounded, and gone with the process: tools fork, compare and read a few
//! blocks back, and a development chain is not an archive.

use std::collections::{HashMap, VecDeque};

use alloy::primitives::{Address, U256};
use revm::state::AccountInfo;

/// The most blocks whose state can be read besides the newest one's.
pub(super) const BLOCKS_MAX: usize = 1_024;
/// The most accounts and slots that are remembered over all of those blocks.
const ENTRIES_MAX: usize = 200_000;

/// What was there before a block.
#[derive(Debug, Default)]
pub(super) struct Undo {
    /// The block that changed it.
    pub(super) number: u64,
    /// `None` where there was no account.
    pub(super) accounts: Vec<(Address, Option<AccountInfo>)>,
    pub(super) slots: Vec<((Address, U256), U256)>,
}

impl Undo {
    fn entries(&self) -> usize {
        self.accounts.len() + self.slots.len()
    }
}

/// What the newest blocks changed, without a gap up to the newest.
#[derive(Debug, Default)]
pub(super) struct History {
    undos: VecDeque<Undo>,
    entries: usize,
}

/// Where an older state differs from the newest one.
#[derive(Debug, Default)]
pub(super) struct Past {
    pub(super) accounts: HashMap<Address, Option<AccountInfo>>,
    pub(super) slots: HashMap<(Address, U256), U256>,
}

impl History {
    /// Adds what the next blocks changed.
    pub(super) fn extend(&mut self, undos: impl IntoIterator<Item = Undo>) {
        for undo in undos {
            self.entries += undo.entries();
            self.undos.push_back(undo);
        }
        while self.undos.len() > BLOCKS_MAX || self.entries > ENTRIES_MAX {
            let Some(oldest) = self.undos.pop_front() else { break };
            self.entries -= oldest.entries();
        }
    }

    /// Forgets the blocks after `head`, which are no longer in the chain.
    pub(super) fn truncate(&mut self, head: u64) {
        while let Some(newest) = self.undos.pop_back_if(|undo| undo.number > head) {
            self.entries -= newest.entries();
        }
    }

    /// Where the state after `block` differs from that after `head`; `None` where that is no longer
    /// known.
    pub(super) fn past(&self, block: u64, head: u64) -> Option<Past> {
        let first = self.undos.front()?.number;
        if first > block + 1 {
            return None;
        }
        let mut past = Past::default();
        let later = self.undos.iter().rev();
        for undo in later.skip_while(|undo| undo.number > head).take_while(|u| u.number > block) {
            past.accounts.extend(undo.accounts.iter().cloned());
            past.slots.extend(undo.slots.iter().copied());
        }
        Some(past)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Address = Address::repeat_byte(1);

    fn balance(wei: u64) -> Option<AccountInfo> {
        Some(AccountInfo { balance: U256::from(wei), ..AccountInfo::default() })
    }

    /// Block `n` sets the balance from `n - 1` to `n`.
    fn block(number: u64) -> Undo {
        Undo { number, accounts: vec![(WHO, balance(number - 1))], slots: vec![] }
    }

    #[test]
    fn the_state_of_a_block_is_what_later_ones_took_away() {
        let mut history = History::default();
        history.extend((1..=5).map(block));
        for at in 0..5 {
            let past = history.past(at, 5).expect("kept");
            assert_eq!(past.accounts[&WHO], balance(at));
        }
        assert!(history.past(5, 5).expect("the newest").accounts.is_empty());
        // Seen from an older head, later blocks have not happened.
        assert_eq!(history.past(2, 3).expect("kept").accounts[&WHO], balance(2));
    }

    #[test]
    fn it_is_bounded_and_can_be_taken_back() {
        let mut history = History::default();
        let blocks = u64::try_from(BLOCKS_MAX).expect("small") + 10;
        history.extend((1..=blocks).map(block));
        assert!(history.past(9, blocks).is_none());
        assert!(history.past(10, blocks).is_some());
        let slots = (0..ENTRIES_MAX).map(|i| ((WHO, U256::from(i)), U256::ZERO)).collect();
        history.extend([Undo { number: blocks + 1, accounts: vec![], slots }]);
        assert!(history.past(blocks - 1, blocks + 1).is_none());
        assert!(history.past(blocks, blocks + 1).is_some());
        history.truncate(blocks);
        assert_eq!(history.entries, 0);
    }
}
