//! Logs from the newest block backwards, a bounded range at a time.
//!
//! Nobody knows how many blocks an endpoint looks through at once: what it refuses is asked for in
//! halves, and what it grants in more, up to where it refused.

use std::{collections::VecDeque, fmt, str::FromStr};

use alloy::rpc::types::{Filter, Log};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{ChainError, client::Client};

/// The first range, in blocks.
const RANGE: u64 = 10_000;
/// The largest range.
const RANGE_MAX: u64 = 100_000;
/// The most logs that one range may hold.
const LOGS_MAX: usize = 20_000;

/// Where a log stands. Written `BLOCK-INDEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPlace {
    /// Its block.
    pub block: u64,
    /// Its place among the block's logs.
    pub index: u64,
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.block, self.index)
    }
}

/// Why a text is no place of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a place such as 1234-5, as it was given with the page before")]
pub struct LogPlaceError;

impl FromStr for LogPlace {
    type Err = LogPlaceError;

    fn from_str(text: &str) -> Result<Self, LogPlaceError> {
        let (block, index) = text.split_once('-').ok_or(LogPlaceError)?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).ok_or(LogPlaceError)
        };
        Ok(Self { block: number(block)?, index: number(index)? })
    }
}

impl Serialize for LogPlace {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogPlace {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// A walk back through the logs that a filter selects, newest first.
#[derive(Debug)]
pub(crate) struct Backwards {
    client: Client,
    filter: Filter,
    /// The first block that is looked at.
    floor: u64,
    /// The last block that was not looked at; `None`: it is over.
    next: Option<u64>,
    range: u64,
    range_max: u64,
    found: VecDeque<Log>,
}

impl Backwards {
    /// From block `from` (the newest where it is `None`) back to block `floor`, both included.
    pub(crate) async fn new(
        client: &Client,
        filter: Filter,
        floor: u64,
        from: Option<u64>,
    ) -> Result<Self, ChainError> {
        let head = client.block_number().await?;
        let from = from.map_or(head, |from| from.min(head));
        Ok(Self {
            client: client.clone(),
            filter,
            floor,
            next: (from >= floor).then_some(from),
            range: RANGE,
            range_max: RANGE_MAX,
            found: VecDeque::new(),
        })
    }

    /// The next older log; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Log>, ChainError> {
        loop {
            if let Some(log) = self.found.pop_front() {
                return Ok(Some(log));
            }
            let Some(to) = self.next else { return Ok(None) };
            let from = to.saturating_sub(self.range - 1).max(self.floor);
            let filter = self.filter.clone().from_block(from).to_block(to);
            match self.client.logs(&filter).await {
                Ok(logs) if logs.len() > LOGS_MAX && from < to => self.shrink(from, to),
                Ok(logs) => {
                    self.range = self.range.saturating_mul(2).min(self.range_max);
                    self.next = from.checked_sub(1).filter(|next| *next >= self.floor);
                    self.found = newest_first(logs, from, to)?;
                }
                // Endpoints refuse ranges that hold too much, each in its own words.
                Err(_) if from < to => self.shrink(from, to),
                Err(error) => return Err(error),
            }
        }
    }

    fn shrink(&mut self, from: u64, to: u64) {
        self.range = ((to - from).div_ceil(2)).max(1);
        self.range_max = self.range;
    }
}

/// The logs of a range, each once, the newest first.
fn newest_first(logs: Vec<Log>, from: u64, to: u64) -> Result<VecDeque<Log>, ChainError> {
    let mut placed = Vec::with_capacity(logs.len());
    for log in logs.into_iter().filter(|log| !log.removed) {
        let (Some(block), Some(index)) = (log.block_number, log.log_index) else {
            return Err(ChainError::Nonsense("a log stands in no block"));
        };
        if !(from..=to).contains(&block) {
            return Err(ChainError::Nonsense("a log was not asked for"));
        }
        placed.push(((block, index), log));
    }
    placed.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
    placed.dedup_by_key(|(place, _)| *place);
    Ok(placed.into_iter().map(|(_, log)| log).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(block: u64, index: u64) -> Log {
        Log { block_number: Some(block), log_index: Some(index), ..Log::default() }
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        let place = LogPlace { block: 1_234, index: 5 };
        assert_eq!(place.to_string().parse(), Ok(place));
        for bad in ["", "-", "1-", "-1", "+1-2", "1-2-3", "1", "99999999999999999999-1"] {
            assert!(bad.parse::<LogPlace>().is_err(), "{bad}");
        }
    }

    #[test]
    fn logs_are_the_newest_first_each_once_and_of_their_range() {
        let logs = vec![log(5, 0), log(7, 1), log(7, 0), log(7, 1)];
        let places: Vec<_> = newest_first(logs, 5, 7)
            .unwrap()
            .iter()
            .map(|log| (log.block_number.unwrap(), log.log_index.unwrap()))
            .collect();
        assert_eq!(places, [(7, 1), (7, 0), (5, 0)]);
        assert!(newest_first(vec![log(8, 0)], 5, 7).is_err());
        assert!(newest_first(vec![Log::default()], 5, 7).is_err());
    }
}
