//! The store as the journal of a utility's transactions.

use async_trait::async_trait;
use kinesis_chain::{Intent, Journal, JournalError, Recorded};
use kinesis_protocol::Address;
use kinesis_store::{IntentWrite, Store, StoredIntent};

/// Intents in the utility's store: all instances over one database share them.
#[derive(Debug, Clone)]
pub struct StoreJournal(Store);

impl StoreJournal {
    /// A journal in this store.
    #[must_use]
    pub const fn new(store: Store) -> Self {
        Self(store)
    }
}

fn stored(intent: &Intent) -> Result<StoredIntent, JournalError> {
    Ok(StoredIntent {
        chain_id: intent.chain_id,
        sender: intent.sender,
        key: intent.key.clone(),
        nonce: intent.nonce,
        open: intent.is_open(),
        revision: intent.revision,
        body: serde_json::to_string(intent).map_err(JournalError::new)?,
    })
}

fn read(stored: &StoredIntent) -> Result<Intent, JournalError> {
    let intent: Intent = serde_json::from_str(&stored.body).map_err(JournalError::new)?;
    // The row counts its changes itself.
    Ok(Intent { revision: stored.revision, ..intent })
}

fn recorded(write: IntentWrite) -> Result<Recorded, JournalError> {
    Ok(match write {
        IntentWrite::Done => Recorded::Done,
        IntentWrite::NonceTaken => Recorded::NonceTaken,
        IntentWrite::Stale => Recorded::Stale,
        IntentWrite::KeyTaken(known) => Recorded::KeyTaken(Box::new(read(&known)?)),
    })
}

#[async_trait]
impl Journal for StoreJournal {
    async fn get(
        &self,
        chain_id: u64,
        sender: Address,
        key: &str,
    ) -> Result<Option<Intent>, JournalError> {
        let found = self.0.intent(chain_id, sender, key).await.map_err(JournalError::new)?;
        found.as_ref().map(read).transpose()
    }

    async fn insert(&self, intent: &Intent) -> Result<Recorded, JournalError> {
        recorded(self.0.insert_intent(&stored(intent)?).await.map_err(JournalError::new)?)
    }

    async fn update(&self, intent: &Intent) -> Result<Recorded, JournalError> {
        recorded(self.0.update_intent(&stored(intent)?).await.map_err(JournalError::new)?)
    }

    async fn remove(&self, chain_id: u64, sender: Address, key: &str) -> Result<(), JournalError> {
        self.0.remove_intent(chain_id, sender, key).await.map_err(JournalError::new)
    }

    async fn open(&self, chain_id: u64, sender: Address) -> Result<Vec<Intent>, JournalError> {
        let open = self.0.open_intents(chain_id, sender).await.map_err(JournalError::new)?;
        open.iter().map(read).collect()
    }
}
