//! What contracts told, as far as a chain was read, and how far that is.
//!
//! A `source` is one set of contracts that is read together. Reading goes forward from a block whose
//! number *and hash* are known; events and the new end are written in one transaction, so that a
//! crash leaves neither a gap nor a double. Where the chain takes blocks back, so does
//! [`Store::unindex`].

use kinesis_protocol::{Address, B256};

use crate::{
    Store, StoreError,
    db::{Row, Tx, args},
};

/// Block hashes that are kept behind the newest: the deepest reorganisation that is undone exactly.
/// A deeper one has everything read again.
const HASHES_KEPT: u64 = 1_024;
/// The most events that one question returns.
pub const EVENTS_MAX: u32 = 1_000;

/// A block up to which events were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexedBlock {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: B256,
}

/// An event of a contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredChainEvent {
    /// The block it stands in.
    pub block: u64,
    /// Its place among the block's events.
    pub log_index: u64,
    /// That block's hash.
    pub block_hash: B256,
    /// The transaction.
    pub transaction: B256,
    /// The contract.
    pub address: Address,
    /// What it is called, where that is known.
    pub name: Option<String>,
    /// The event's hash and what is indexed; at most four.
    pub topics: Vec<B256>,
    /// Its values, as JSON.
    pub body: String,
}

/// Which events are asked for. `None` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// The event's name.
    pub name: Option<String>,
    /// The contract.
    pub address: Option<Address>,
    /// The indexed values, in order.
    pub indexed: [Option<B256>; 3],
    /// From this place on, excluding it: block and index of the last event seen.
    pub after: Option<(u64, u64)>,
    /// How many at most; never more than [`EVENTS_MAX`].
    pub limit: u32,
}

/// Which of the newest events are asked for. `None` is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewestEvents {
    /// The event's name.
    pub name: Option<String>,
    /// The contract.
    pub address: Option<Address>,
    /// Who or what is named in it: one of its indexed values.
    pub party: Option<B256>,
    /// Older than this place: block and index of the last event seen.
    pub before: Option<(u64, u64)>,
    /// How many at most; never more than [`EVENTS_MAX`].
    pub limit: u32,
}

fn read(row: &Row) -> Result<StoredChainEvent, StoreError> {
    let mut topics = Vec::new();
    for column in 6..10 {
        let Some(topic) = row.opt_text(column)? else { break };
        topics.push(topic.parse().map_err(|error| StoreError::corrupt("topic", error))?);
    }
    Ok(StoredChainEvent {
        block: row.uint(0)?,
        log_index: row.uint(1)?,
        block_hash: row.parse(2, "block hash")?,
        transaction: row.parse(3, "transaction")?,
        address: row.parse(4, "contract")?,
        name: row.opt_text(5)?,
        topics,
        body: row.text(10)?,
    })
}

async fn newest(
    tx: &mut Tx,
    chain_id: u64,
    source: &str,
) -> Result<Option<IndexedBlock>, StoreError> {
    let row = tx.one(NEWEST, args![chain_id, source]).await?;
    row.as_ref().map(block).transpose()
}

const NEWEST: &str = "SELECT block, hash FROM chain_blocks WHERE chain = $1 AND source = $2 \
                      ORDER BY block DESC LIMIT 1";

fn block(row: &Row) -> Result<IndexedBlock, StoreError> {
    Ok(IndexedBlock { number: row.uint(0)?, hash: row.parse(1, "block hash")? })
}

/// The newest events of one source that a condition lets through, off the end of an index.
macro_rules! page {
    ($source:literal, $also:expr) => {
        concat!(
            "SELECT * FROM (SELECT block, log_index, block_hash, txn, address, name, topic0, topic1, \
             topic2, topic3, body FROM chain_events WHERE chain = $1 AND source = ",
            $source,
            " AND (block, log_index) < ($4, $5)",
            $also,
            " ORDER BY block DESC, log_index DESC LIMIT $6) AS page"
        )
    };
}

/// The newest of both sources, each once: no two conditions let the same event through.
macro_rules! newest_events {
    ($first:expr $(, $more:expr)*) => {
        concat!(
            "SELECT * FROM (",
            page!("$2", $first), " UNION ALL ", page!("$3", $first),
            $(" UNION ALL ", page!("$2", $more), " UNION ALL ", page!("$3", $more),)*
            ") AS pages ORDER BY block DESC, log_index DESC LIMIT $6"
        )
    };
}

/// The rest of what is asked for about a party: its events are few enough to be looked through.
macro_rules! and_any {
    ($party:literal) => {
        concat!($party, " AND ($8 = '' OR name = $8) AND ($9 = '' OR address = $9)")
    };
}

macro_rules! newest_of_party {
    () => {
        newest_events!(
            and_any!(" AND topic1 = $7"),
            and_any!(" AND topic2 = $7 AND topic1 <> $7"),
            and_any!(" AND topic3 = $7 AND topic1 <> $7 AND topic2 <> $7")
        )
    };
}

impl Store {
    /// The block up to which a source was read; `None` at the start.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn indexed(
        &self,
        chain_id: u64,
        source: &str,
    ) -> Result<Option<IndexedBlock>, StoreError> {
        let row = self.db.one(NEWEST, args![chain_id, source]).await?;
        row.as_ref().map(block).transpose()
    }

    /// The newest block before `number` whose hash is known.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn indexed_before(
        &self,
        chain_id: u64,
        source: &str,
        number: u64,
    ) -> Result<Option<IndexedBlock>, StoreError> {
        let sql = "SELECT block, hash FROM chain_blocks \
                   WHERE chain = $1 AND source = $2 AND block < $3 ORDER BY block DESC LIMIT 1";
        let row = self.db.one(sql, args![chain_id, source, number]).await?;
        row.as_ref().map(block).transpose()
    }

    /// Adds what was read after the block `after` up to the block `to`. Returns false, and changes
    /// nothing, where the source was read further or taken back meanwhile.
    ///
    /// # Errors
    /// Where the database fails, or an event lies outside of what was read.
    pub async fn index(
        &self,
        chain_id: u64,
        source: &str,
        after: Option<IndexedBlock>,
        to: IndexedBlock,
        events: &[StoredChainEvent],
    ) -> Result<bool, StoreError> {
        let first = after.map_or(0, |block| block.number + 1);
        if to.number < first || events.iter().any(|e| !(first..=to.number).contains(&e.block)) {
            return Err(StoreError::Invalid(
                "an event outside of the blocks that were read".into(),
            ));
        }
        let mut tx = self.db.begin().await?;
        if newest(&mut tx, chain_id, source).await? != after {
            return Ok(false);
        }
        for event in events {
            let topic = |i: usize| event.topics.get(i).map(ToString::to_string);
            tx.run(
                "INSERT INTO chain_events (chain, source, block, log_index, block_hash, txn, \
                 address, name, topic0, topic1, topic2, topic3, body) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
                args![
                    chain_id,
                    source,
                    event.block,
                    event.log_index,
                    event.block_hash.to_string(),
                    event.transaction.to_string(),
                    format!("{:#x}", event.address),
                    event.name.as_deref(),
                    topic(0),
                    topic(1),
                    topic(2),
                    topic(3),
                    event.body.as_str()
                ],
            )
            .await?;
        }
        tx.run(
            "INSERT INTO chain_blocks (chain, source, block, hash) VALUES ($1, $2, $3, $4)",
            args![chain_id, source, to.number, to.hash.to_string()],
        )
        .await?;
        tx.run(
            "DELETE FROM chain_blocks WHERE chain = $1 AND source = $2 AND block < $3",
            args![chain_id, source, to.number.saturating_sub(HASHES_KEPT)],
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Takes back everything after block `to`; everything there is where that is `None`.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn unindex(
        &self,
        chain_id: u64,
        source: &str,
        to: Option<u64>,
    ) -> Result<(), StoreError> {
        // Blocks count from 0; what lies after "none" is all.
        let last = to.map_or(-1, |to| i64::try_from(to).unwrap_or(i64::MAX));
        let mut tx = self.db.begin().await?;
        for sql in [
            "DELETE FROM chain_events WHERE chain = $1 AND source = $2 AND block > $3",
            "DELETE FROM chain_blocks WHERE chain = $1 AND source = $2 AND block > $3",
        ] {
            tx.run(sql, args![chain_id, source, last]).await?;
        }
        tx.commit().await
    }

    /// Events of a source, oldest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn chain_events(
        &self,
        chain_id: u64,
        source: &str,
        filter: &EventFilter,
    ) -> Result<Vec<StoredChainEvent>, StoreError> {
        let (block, index) = match filter.after {
            Some((block, index)) => {
                (i64::try_from(block).unwrap_or(i64::MAX), i64::try_from(index).unwrap_or(i64::MAX))
            }
            None => (-1, -1),
        };
        let topic = |i: usize| filter.indexed[i].map(|topic| topic.to_string());
        // An empty text stands for any: no name and no topic is empty.
        let any = |value: Option<String>| value.unwrap_or_default();
        let rows = self
            .db
            .all(
                "SELECT block, log_index, block_hash, txn, address, name, topic0, topic1, topic2, \
                 topic3, body FROM chain_events WHERE chain = $1 AND source = $2 \
                 AND ($3 = '' OR name = $3) AND ($4 = '' OR address = $4) \
                 AND ($5 = '' OR topic1 = $5) AND ($6 = '' OR topic2 = $6) \
                 AND ($7 = '' OR topic3 = $7) \
                 AND (block > $8 OR (block = $8 AND log_index > $9)) \
                 ORDER BY block, log_index LIMIT $10",
                args![
                    chain_id,
                    source,
                    any(filter.name.clone()),
                    any(filter.address.map(|address| format!("{address:#x}"))),
                    any(topic(0)),
                    any(topic(1)),
                    any(topic(2)),
                    block,
                    index,
                    filter.limit.min(EVENTS_MAX)
                ],
            )
            .await?;
        rows.iter().map(read).collect()
    }

    /// Events of two sources that share no contract, newest first. However many there are, a page is
    /// read from the end of an index for each source, and where a party is asked for, for each place
    /// that it may be named in; only these pages are sorted.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn newest_chain_events(
        &self,
        chain_id: u64,
        sources: [&str; 2],
        asked: &NewestEvents,
    ) -> Result<Vec<StoredChainEvent>, StoreError> {
        let (block, index) = asked.before.map_or((i64::MAX, i64::MAX), |(block, index)| {
            (i64::try_from(block).unwrap_or(i64::MAX), i64::try_from(index).unwrap_or(i64::MAX))
        });
        let mut values =
            args![chain_id, sources[0], sources[1], block, index, asked.limit.min(EVENTS_MAX)];
        let name = asked.name.clone();
        let address = asked.address.map(|address| format!("{address:#x}"));
        let sql = match (&asked.party, address, name) {
            (Some(party), address, name) => {
                // An empty text stands for any: no name and no address is empty.
                let any = |value: Option<String>| value.unwrap_or_default();
                values.extend(args![party.to_string(), any(name), any(address)]);
                newest_of_party!()
            }
            (None, Some(address), Some(name)) => {
                values.extend(args![address, name]);
                newest_events!(" AND address = $7 AND name = $8")
            }
            (None, Some(address), None) => {
                values.extend(args![address]);
                newest_events!(" AND address = $7")
            }
            (None, None, Some(name)) => {
                values.extend(args![name]);
                newest_events!(" AND name = $7")
            }
            (None, None, None) => newest_events!(""),
        };
        let rows = self.db.all(sql, values).await?;
        rows.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is asked for, pages come off the ends of indexes, and nothing but them is sorted.
    #[tokio::test]
    async fn the_newest_events_do_not_read_a_whole_table() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let place = args![1_u32, "a", "b", 9_u32, 9_u32, 5_u32];
        let cases: [(&'static str, _, &[&str]); 5] = [
            (concat!("EXPLAIN QUERY PLAN ", newest_events!("")), args![], &["autoindex"]),
            (
                concat!("EXPLAIN QUERY PLAN ", newest_events!(" AND name = $7")),
                args!["n"],
                &["chain_events_named"],
            ),
            (
                concat!("EXPLAIN QUERY PLAN ", newest_events!(" AND address = $7")),
                args!["c"],
                &["chain_events_of "],
            ),
            (
                concat!("EXPLAIN QUERY PLAN ", newest_events!(" AND address = $7 AND name = $8")),
                args!["c", "n"],
                &["chain_events_of_named"],
            ),
            (
                concat!("EXPLAIN QUERY PLAN ", newest_of_party!()),
                args!["p", "n", ""],
                &["chain_events_topic1", "chain_events_topic2", "chain_events_topic3"],
            ),
        ];
        for (sql, more, indexes) in cases {
            let values = [place.clone(), more].concat();
            let plan = store.db.all(sql, values).await.unwrap();
            let steps: Vec<String> = plan.iter().map(|row| row.text(3).unwrap()).collect();
            let all = steps.join("; ");
            let read: Vec<&String> =
                steps.iter().filter(|step| step.contains("chain_events")).collect();
            assert_eq!(read.len(), 2 * indexes.len(), "{all}");
            for step in read {
                let by_its_index = indexes.iter().any(|index| step.contains(index));
                // From the place on, in order: neither what comes before it nor all is looked at.
                assert!(by_its_index && step.contains("(block,log_index)<"), "{step}");
                assert!(step.starts_with("SEARCH"), "{step}");
            }
            let sorts = steps.iter().filter(|step| step.contains("TEMP B-TREE")).count();
            assert!(sorts <= 2 * indexes.len(), "{all}");
        }
    }
}
