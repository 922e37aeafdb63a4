//! Transactions that are to happen once on a chain: who keeps two of them from one key or one nonce.
//! What they say is the chain's business and text here.

use kinesis_protocol::Address;

use crate::{
    Store, StoreError,
    db::{Row, Tx, args},
};

/// One intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIntent {
    /// The chain.
    pub chain_id: u64,
    /// Who sends.
    pub sender: Address,
    /// The idempotency key, unique for each chain and sender.
    pub key: String,
    /// The nonce, unique among a sender's open intents.
    pub nonce: u64,
    /// Whether what became of it is not final yet.
    pub open: bool,
    /// How often it was changed.
    pub revision: u64,
    /// All of it.
    pub body: String,
}

/// What writing an intent came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntentWrite {
    /// It is durable.
    Done,
    /// Another open intent has the nonce.
    NonceTaken,
    /// It was changed or removed since it was read.
    Stale,
    /// There is one of this key: this one.
    KeyTaken(StoredIntent),
}

macro_rules! columns {
    () => {
        "SELECT chain, sender, intent, nonce, open, revision, body FROM intents"
    };
}

fn read(row: &Row) -> Result<StoredIntent, StoreError> {
    Ok(StoredIntent {
        chain_id: row.uint(0)?,
        sender: row.parse(1, "sender")?,
        key: row.text(2)?,
        nonce: row.uint(3)?,
        open: row.int(4)? == 1,
        revision: row.uint(5)?,
        body: row.text(6)?,
    })
}

const ONE: &str = concat!(columns!(), " WHERE chain = $1 AND sender = $2 AND intent = $3");

fn hex(address: Address) -> String {
    format!("{address:#x}")
}

async fn find(
    tx: &mut Tx,
    chain_id: u64,
    sender: Address,
    key: &str,
) -> Result<Option<StoredIntent>, StoreError> {
    let row = tx.one(ONE, args![chain_id, hex(sender), key]).await?;
    row.as_ref().map(read).transpose()
}

async fn nonce_taken(tx: &mut Tx, intent: &StoredIntent) -> Result<bool, StoreError> {
    if !intent.open {
        return Ok(false);
    }
    let sql = "SELECT intent FROM intents \
               WHERE chain = $1 AND sender = $2 AND nonce = $3 AND open = 1 AND intent <> $4";
    let of = args![intent.chain_id, hex(intent.sender), intent.nonce, intent.key.as_str()];
    Ok(tx.one(sql, of).await?.is_some())
}

impl Store {
    /// The intent of a key.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn intent(
        &self,
        chain_id: u64,
        sender: Address,
        key: &str,
    ) -> Result<Option<StoredIntent>, StoreError> {
        let row = self.db.one(ONE, args![chain_id, hex(sender), key]).await?;
        row.as_ref().map(read).transpose()
    }

    /// Records a new intent, with revision 0, unless its key or its nonce is taken.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn insert_intent(&self, intent: &StoredIntent) -> Result<IntentWrite, StoreError> {
        let mut tx = self.db.begin().await?;
        if let Some(known) = find(&mut tx, intent.chain_id, intent.sender, &intent.key).await? {
            return Ok(IntentWrite::KeyTaken(known));
        }
        if nonce_taken(&mut tx, intent).await? {
            return Ok(IntentWrite::NonceTaken);
        }
        tx.run(
            "INSERT INTO intents (chain, sender, intent, nonce, open, revision, body) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            args![
                intent.chain_id,
                hex(intent.sender),
                intent.key.as_str(),
                intent.nonce,
                intent.open,
                0_u64,
                intent.body.as_str()
            ],
        )
        .await?;
        tx.commit().await?;
        Ok(IntentWrite::Done)
    }

    /// Records a change of an intent whose revision is the one given, and counts it up.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn update_intent(&self, intent: &StoredIntent) -> Result<IntentWrite, StoreError> {
        let mut tx = self.db.begin().await?;
        let known = find(&mut tx, intent.chain_id, intent.sender, &intent.key).await?;
        if known.is_none_or(|known| known.revision != intent.revision) {
            return Ok(IntentWrite::Stale);
        }
        if nonce_taken(&mut tx, intent).await? {
            return Ok(IntentWrite::NonceTaken);
        }
        tx.run(
            "UPDATE intents SET nonce = $4, open = $5, revision = $6, body = $7 \
             WHERE chain = $1 AND sender = $2 AND intent = $3",
            args![
                intent.chain_id,
                hex(intent.sender),
                intent.key.as_str(),
                intent.nonce,
                intent.open,
                intent.revision + 1,
                intent.body.as_str()
            ],
        )
        .await?;
        tx.commit().await?;
        Ok(IntentWrite::Done)
    }

    /// Forgets an intent that nobody saw.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn remove_intent(
        &self,
        chain_id: u64,
        sender: Address,
        key: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(
            "DELETE FROM intents WHERE chain = $1 AND sender = $2 AND intent = $3",
            args![chain_id, hex(sender), key],
        )
        .await?;
        tx.commit().await
    }

    /// A sender's open intents, in order of nonce.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn open_intents(
        &self,
        chain_id: u64,
        sender: Address,
    ) -> Result<Vec<StoredIntent>, StoreError> {
        let sql =
            concat!(columns!(), " WHERE chain = $1 AND sender = $2 AND open = 1 ORDER BY nonce");
        let rows = self.db.all(sql, args![chain_id, hex(sender)]).await?;
        rows.iter().map(read).collect()
    }
}
