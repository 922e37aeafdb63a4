//! Reads what contracts tell into the store, as the chain grows and as it takes back.
//!
//! One step reads one range: from the block after the last one read, at most [`RANGE_MAX`] of them.
//! Before and after the events are read the chain is asked for the hash of the range's last block,
//! and in between for that of the block read last: where all three hold, what was read lies on one
//! chain and continues what is stored. Where the block read last is on the chain no more, blocks are
//! taken back until one is; that also heals whatever a crash interrupted.

use std::time::Duration;

use kinesis_chain::{ChainError, ChainEvent, EventReader};
use kinesis_protocol::Address;
use kinesis_store::{IndexedBlock, Store, StoreError, StoredChainEvent};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The most blocks that are read at once.
const RANGE_MAX: u64 = 2_000;
/// How often a chain that does not move is looked at.
const IDLE: Duration = Duration::from_secs(2);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why a step could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    /// The chain did not answer, or refused.
    #[error("the chain's events could not be read")]
    Chain(#[from] ChainError),
    /// The store failed.
    #[error("the chain's events could not be stored")]
    Store(#[from] StoreError),
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Events up to this block are stored; there are more.
    Read(u64),
    /// Everything the chain has is stored, up to this block.
    CaughtUp(u64),
    /// Blocks after this one were taken back; `None`: all.
    TookBack(Option<u64>),
    /// The chain moved meanwhile, or somebody else read: to be tried again.
    Again,
}

/// Reads the events of some contracts into a store.
#[derive(Debug)]
pub struct Indexer {
    reader: EventReader,
    store: Store,
    source: String,
    addresses: Vec<Address>,
    first: u64,
    range: u64,
}

impl Indexer {
    /// An indexer of these contracts. `source` names the set: whoever changes the set changes the
    /// name, and reads anew from `first`.
    #[must_use]
    pub fn new(
        reader: EventReader,
        store: Store,
        source: impl Into<String>,
        addresses: Vec<Address>,
        first: u64,
    ) -> Self {
        Self { reader, store, source: source.into(), addresses, first, range: RANGE_MAX }
    }

    /// The name of what it reads.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Reads until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            let pause = match self.step().await {
                Ok(step) => {
                    failures = 0;
                    match step {
                        Step::CaughtUp(_) => IDLE,
                        Step::Again => IDLE / 20,
                        Step::Read(_) | Step::TookBack(_) => Duration::ZERO,
                    }
                }
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "cannot follow the chain");
                    failures = failures.saturating_add(1);
                    (IDLE * 2_u32.saturating_pow(failures.min(6))).min(PAUSE_MAX)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reads one range, or takes back what the chain took back.
    ///
    /// # Errors
    /// Where the chain or the store fails. What is stored stays right.
    pub async fn step(&mut self) -> Result<Step, IndexerError> {
        let chain = self.reader.chain_id();
        let last = self.store.indexed(chain, &self.source).await?;
        let head = self.reader.head().await?;
        if let Some(last) = last
            && !self.holds(last).await?
        {
            return self.take_back(last).await;
        }
        let from = last.map_or(self.first, |last| last.number + 1);
        if from > head.number {
            return Ok(Step::CaughtUp(head.number));
        }
        let to = head.number.min(from.saturating_add(self.range - 1));
        let Some(before) = self.reader.block(to).await? else { return Ok(Step::Again) };
        let events = match self.reader.events(&self.addresses, from, to).await {
            Ok(events) => {
                // A range that was too large stays small for a while.
                self.range = (self.range + self.range / 4 + 1).min(RANGE_MAX);
                events
            }
            // Endpoints refuse ranges that hold too much, each in its own words.
            Err(error) if self.range > 1 && to > from => {
                warn!(error = %error, from, to, "a smaller range is tried");
                self.range = ((to - from).div_ceil(2)).max(1);
                return Ok(Step::Again);
            }
            Err(error) => return Err(error.into()),
        };
        let same = self.reader.block(to).await?.is_some_and(|after| after.hash == before.hash);
        let continues = match last {
            Some(last) => self.holds(last).await?,
            None => true,
        };
        if !same || !continues {
            return Ok(Step::Again);
        }
        let events: Vec<_> = events.into_iter().map(stored).collect();
        let end = IndexedBlock { number: to, hash: before.hash };
        if !self.store.index(chain, &self.source, last, end, &events).await? {
            return Ok(Step::Again);
        }
        Ok(if to == head.number { Step::CaughtUp(to) } else { Step::Read(to) })
    }

    /// Whether a block that was read is on the chain still.
    async fn holds(&self, read: IndexedBlock) -> Result<bool, ChainError> {
        let block = self.reader.block(read.number).await?;
        Ok(block.is_some_and(|block| block.hash == read.hash))
    }

    /// Takes back to the newest block that is on the chain still.
    async fn take_back(&self, last: IndexedBlock) -> Result<Step, IndexerError> {
        let chain = self.reader.chain_id();
        let mut at = last;
        let common = loop {
            match self.store.indexed_before(chain, &self.source, at.number).await? {
                Some(earlier) if self.holds(earlier).await? => break Some(earlier.number),
                Some(earlier) => at = earlier,
                None => break None,
            }
        };
        info!(source = self.source, from = last.number, to = ?common, "the chain took blocks back");
        self.store.unindex(chain, &self.source, common).await?;
        Ok(Step::TookBack(common))
    }
}

fn stored(event: ChainEvent) -> StoredChainEvent {
    StoredChainEvent {
        block: event.block,
        log_index: event.log_index,
        block_hash: event.block_hash,
        transaction: event.transaction,
        address: event.address,
        name: event.name,
        topics: event.topics,
        body: event.values.to_string(),
    }
}
