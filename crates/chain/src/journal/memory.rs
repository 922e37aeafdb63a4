//! A journal that ends with its process: for tests, and for senders whose every call is safe to
//! repeat.

use std::collections::BTreeMap;

use alloy::primitives::Address;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Intent, Journal, JournalError, Recorded};

/// Finished intents that are kept.
const FINISHED_MAX: usize = 1_000;

type Id = (u64, Address, String);

/// Intents in memory.
#[derive(Debug, Default)]
pub struct MemoryJournal(Mutex<BTreeMap<Id, Intent>>);

fn id(intent: &Intent) -> Id {
    (intent.chain_id, intent.sender, intent.key.clone())
}

/// Whether another open intent has the nonce.
pub(super) fn nonce_taken<'a>(all: impl IntoIterator<Item = &'a Intent>, new: &Intent) -> bool {
    new.is_open()
        && all.into_iter().any(|other| {
            other.is_open()
                && other.chain_id == new.chain_id
                && other.sender == new.sender
                && other.nonce == new.nonce
                && other.key != new.key
        })
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn get(
        &self,
        chain_id: u64,
        sender: Address,
        key: &str,
    ) -> Result<Option<Intent>, JournalError> {
        Ok(self.0.lock().get(&(chain_id, sender, key.to_owned())).cloned())
    }

    async fn insert(&self, intent: &Intent) -> Result<Recorded, JournalError> {
        let mut all = self.0.lock();
        if let Some(known) = all.get(&id(intent)) {
            return Ok(Recorded::KeyTaken(Box::new(known.clone())));
        }
        if nonce_taken(all.values(), intent) {
            return Ok(Recorded::NonceTaken);
        }
        if all.len() >= FINISHED_MAX {
            all.retain(|_, intent| intent.is_open());
        }
        all.insert(id(intent), intent.clone());
        Ok(Recorded::Done)
    }

    async fn update(&self, intent: &Intent) -> Result<Recorded, JournalError> {
        let mut all = self.0.lock();
        if all.get(&id(intent)).is_none_or(|known| known.revision != intent.revision) {
            return Ok(Recorded::Stale);
        }
        if nonce_taken(all.values(), intent) {
            return Ok(Recorded::NonceTaken);
        }
        all.insert(id(intent), Intent { revision: intent.revision + 1, ..intent.clone() });
        Ok(Recorded::Done)
    }

    async fn remove(&self, chain_id: u64, sender: Address, key: &str) -> Result<(), JournalError> {
        self.0.lock().remove(&(chain_id, sender, key.to_owned()));
        Ok(())
    }

    async fn open(&self, chain_id: u64, sender: Address) -> Result<Vec<Intent>, JournalError> {
        let all = self.0.lock();
        let mine = |intent: &&Intent| {
            intent.is_open() && intent.chain_id == chain_id && intent.sender == sender
        };
        let mut open: Vec<_> = all.values().filter(mine).cloned().collect();
        open.sort_by_key(|intent| intent.nonce);
        Ok(open)
    }
}
