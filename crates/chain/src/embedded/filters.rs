//! Filters that a client polls (`eth_newFilter` and its kin).
//!
//! A filter is a place in the chain up to which its client has been told; nothing is collected for
//! it. There are at most [`FILTERS_MAX`], and one that nobody polls is gone after [`IDLE_MAX`].

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{
    eips::BlockNumberOrTag,
    primitives::U128,
    rpc::types::{Filter, FilterBlockOption},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    query::{self, LOG_BLOCKS_MAX},
    rpc::RpcError,
    state::View,
};

/// The most filters at once.
const FILTERS_MAX: usize = 1_024;
/// How long a filter lives that nobody polls.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// What a filter tells of.
#[derive(Debug)]
pub(super) enum Kind {
    /// The hashes of blocks.
    Blocks,
    /// The hashes of transactions; one is in a block as soon as it is known.
    Transactions,
    /// Logs.
    Logs(Box<Filter>),
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    /// The first block that was not told.
    next: u64,
    used: Instant,
}

/// The filters of all clients.
#[derive(Debug, Default)]
pub(super) struct Filters {
    open: Mutex<HashMap<U128, Arc<Mutex<Open>>>>,
}

impl Filters {
    /// Opens a filter that tells of what comes after now; its id.
    pub(super) fn open(&self, view: &View, kind: Kind) -> Result<U128, RpcError> {
        let mut next = view.head()?.header.number + 1;
        if let Kind::Logs(filter) = &kind {
            query::check(filter)?;
            match filter.block_option {
                FilterBlockOption::AtBlockHash(_) => {
                    return Err(RpcError::params(
                        "a filter of one block changes never: ask for \
                                                 its logs with eth_getLogs",
                    ));
                }
                FilterBlockOption::Range {
                    from_block: Some(BlockNumberOrTag::Number(from)),
                    ..
                } => next = next.max(from),
                FilterBlockOption::Range { .. } => {}
            }
        }
        let mut open = self.open.lock();
        open.retain(|_, filter| filter.lock().used.elapsed() < IDLE_MAX);
        if open.len() >= FILTERS_MAX {
            return Err(RpcError::limit(format!("at most {FILTERS_MAX} filters are open at once")));
        }
        let id = U128::from(rand::random::<u128>());
        open.insert(id, Arc::new(Mutex::new(Open { kind, next, used: Instant::now() })));
        Ok(id)
    }

    /// Closes a filter; whether there was one.
    pub(super) fn close(&self, id: U128) -> bool {
        self.open.lock().remove(&id).is_some()
    }

    fn find(&self, id: U128) -> Result<Arc<Mutex<Open>>, RpcError> {
        self.open.lock().get(&id).cloned().ok_or_else(|| RpcError::rejected("filter not found"))
    }

    /// What happened since the last time. Where that is more than is answered at once, the next
    /// poll goes on from there.
    pub(super) fn changes(&self, view: &View, id: U128) -> Result<Value, RpcError> {
        let filter = self.find(id)?;
        let mut filter = filter.lock();
        filter.used = Instant::now();
        let head = view.head()?.header.number;
        // Behind the head by more than one only where the chain was taken back.
        let from = filter.next.min(head + 1).max(match &filter.kind {
            Kind::Logs(logs) => logs.get_from_block().unwrap_or_default(),
            _ => 0,
        });
        let to = head.min(from.saturating_add(LOG_BLOCKS_MAX - 1));
        let (found, next) = match &filter.kind {
            Kind::Logs(logs) => {
                let last = logs.get_to_block().map_or(to, |last| last.min(to));
                let (found, next) = query::scan(view, logs, from, last)?;
                (json!(found), if next > last { to + 1 } else { next })
            }
            kind => {
                let mut hashes = Vec::new();
                for number in from..=to {
                    let Some(record) = view.block(number)? else { continue };
                    match kind {
                        Kind::Blocks => hashes.push(record.hash),
                        _ => hashes.extend(record.executed.map(|done| *done.transaction.tx_hash())),
                    }
                }
                (json!(hashes), to + 1)
            }
        };
        filter.next = next.max(from);
        Ok(found)
    }

    /// All logs of a filter's range.
    pub(super) fn logs(&self, view: &View, id: U128) -> Result<Value, RpcError> {
        let filter = self.find(id)?;
        let mut filter = filter.lock();
        filter.used = Instant::now();
        match &filter.kind {
            Kind::Logs(logs) => query::logs(view, logs).map(|logs| json!(logs)),
            _ => Err(RpcError::rejected("filter not found: it is none of logs")),
        }
    }
}
