//! Blocks on disk: the newest one by one, older ones in segments.
//!
//! A tree whose keys only grow leaves its pages half empty. So blocks that fill a page of 64 KiB are
//! moved into one value, which takes all of that page; the tree of single blocks stays small.

use redb::{
    ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};

use super::{record::Record, state::failed};
use crate::ChainError;

const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// By the number of a segment's first block: where each of its blocks ends, and then the blocks.
const SEGMENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("segments");

/// The longest segment, unless it is a single block: a page, less what the tree needs of it.
const SEGMENT_BYTES_MAX: usize = (64 << 10) - 256;
/// What a block takes of its segment besides itself.
const END_BYTES: usize = 4;

const DAMAGED: ChainError = ChainError::Damaged("a segment of blocks does not decode");

/// The blocks of a snapshot.
pub(super) struct Blocks {
    single: ReadOnlyTable<u64, &'static [u8]>,
    segments: ReadOnlyTable<u64, &'static [u8]>,
}

impl Blocks {
    pub(super) fn open(read: &redb::ReadTransaction) -> Result<Self, ChainError> {
        Ok(Self {
            single: read.open_table(BLOCKS).map_err(failed)?,
            segments: read.open_table(SEGMENTS).map_err(failed)?,
        })
    }

    /// The newest block.
    pub(super) fn head(&self) -> Result<Record, ChainError> {
        let last = self.single.last().map_err(failed)?;
        let (_, bytes) = last.ok_or(ChainError::Damaged("there is no genesis block"))?;
        Record::decode(bytes.value())
    }

    pub(super) fn get(&self, number: u64) -> Result<Option<Record>, ChainError> {
        if let Some(bytes) = self.single.get(number).map_err(failed)? {
            return Record::decode(bytes.value()).map(Some);
        }
        let mut before = self.segments.range(..=number).map_err(failed)?;
        let Some(segment) = before.next_back() else { return Ok(None) };
        let (first, bytes) = segment.map_err(failed)?;
        let index = usize::try_from(number - first.value()).unwrap_or(usize::MAX);
        block(bytes.value(), index)?.map(Record::decode).transpose()
    }
}

/// The block at `index` of a segment.
fn block(segment: &[u8], index: usize) -> Result<Option<&[u8]>, ChainError> {
    let at = |index: usize| {
        let bytes = segment.get(index * END_BYTES..(index + 1) * END_BYTES);
        let end = bytes.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        end.and_then(|end| usize::try_from(end).ok()).ok_or(DAMAGED)
    };
    // The first word says how many there are; the others, where each ends.
    let count = at(0)?;
    if index >= count {
        return Ok(None);
    }
    let bodies = segment.get((count + 1) * END_BYTES..).ok_or(DAMAGED)?;
    let start = if index == 0 { 0 } else { at(index)? };
    bodies.get(start..at(index + 1)?).ok_or(DAMAGED).map(Some)
}

/// Makes the tables.
pub(super) fn prepare(write: &WriteTransaction) -> Result<(), ChainError> {
    write.open_table(BLOCKS).map_err(failed)?;
    write.open_table(SEGMENTS).map_err(failed)?;
    Ok(())
}

/// The single blocks of a batch in the making.
#[derive(Debug, Default)]
pub(super) struct Loose {
    count: usize,
    bytes: usize,
}

impl Loose {
    /// What the next block finds.
    pub(super) fn of(database: &redb::Database) -> Result<Self, ChainError> {
        let read = database.begin_read().map_err(failed)?;
        let single = read.open_table(BLOCKS).map_err(failed)?;
        let mut loose = Self::default();
        for entry in single.iter().map_err(failed)? {
            let (_, bytes) = entry.map_err(failed)?;
            loose.count += 1;
            loose.bytes += bytes.value().len();
        }
        Ok(loose)
    }

    /// Appends a block; where those before it fill a segment, they become one.
    pub(super) fn append(
        &mut self,
        write: &WriteTransaction,
        record: &Record,
    ) -> Result<(), ChainError> {
        let encoded = record.encode();
        let mut single = write.open_table(BLOCKS).map_err(failed)?;
        let length = self.bytes + encoded.len() + (self.count + 2) * END_BYTES;
        if self.count > 0 && length > SEGMENT_BYTES_MAX {
            let mut ends = Vec::with_capacity((self.count + 1) * END_BYTES);
            let mut bodies = Vec::with_capacity(self.bytes);
            let word =
                |value: usize| u32::try_from(value).map(u32::to_be_bytes).map_err(|_| DAMAGED);
            ends.extend(word(self.count)?);
            let mut first = None;
            for entry in single.iter().map_err(failed)? {
                let (number, bytes) = entry.map_err(failed)?;
                first = first.or(Some(number.value()));
                bodies.extend_from_slice(bytes.value());
                ends.extend(word(bodies.len())?);
            }
            single.retain(|_, _| false).map_err(failed)?;
            ends.extend(bodies);
            let mut segments = write.open_table(SEGMENTS).map_err(failed)?;
            segments.insert(first.ok_or(DAMAGED)?, ends.as_slice()).map_err(failed)?;
            *self = Self::default();
        }
        single.insert(record.header.number, encoded.as_slice()).map_err(failed)?;
        self.count += 1;
        self.bytes += encoded.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloy::consensus::Header;
    use proptest::prelude::*;

    use super::*;

    fn record(number: u64) -> Record {
        Record::new(Header { number, timestamp: number * 3, ..Header::default() }, None)
    }

    #[test]
    fn blocks_are_found_whether_in_segments_or_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let database = redb::Database::create(dir.path().join("db")).expect("a database");
        let mut write = database.begin_write().expect("a write");
        prepare(&write).expect("tables");
        let mut loose = Loose::default();
        for number in 0..5_000 {
            loose.append(&write, &record(number)).expect("appended");
            if number % 700 == 0 {
                // As between two batches.
                write.commit().expect("written");
                loose = Loose::of(&database).expect("read");
                write = database.begin_write().expect("a write");
            }
        }
        write.commit().expect("written");
        let read = database.begin_read().expect("a read");
        let blocks = Blocks::open(&read).expect("tables");
        assert!(redb::ReadableTableMetadata::len(&blocks.segments).expect("a length") > 2);
        for number in 0..5_000 {
            let found = blocks.get(number).expect("read").expect("there");
            assert_eq!((found.header.number, found.header.timestamp), (number, number * 3));
        }
        assert!(blocks.get(5_000).expect("read").is_none());
        assert_eq!(blocks.head().expect("read").header.number, 4_999);
    }

    proptest! {
        #[test]
        fn nonsense_is_no_segment(bytes: Vec<u8>, index in 0_usize..1 << 40) {
            // It is an error or some part of the bytes, never a panic.
            drop(block(&bytes, index));
        }
    }
}
