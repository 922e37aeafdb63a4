//! What the supplier has at stake, read through the chain of its owner's choice. A utility says so,
//! too, but it is the utility that penalties are paid to: its word bounds nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use kinesis_chain::protocol::leases::Courts;
use kinesis_protocol::{Address, U256};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::error::chain_of;

/// How often it is read where nothing asks for it.
const READ_EVERY: Duration = Duration::from_secs(15);
/// The least time between two readings.
const READ_PAUSE: Duration = Duration::from_millis(500);
/// How long one reading may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// After how long a reading counts for nothing.
const STALE: Duration = Duration::from_secs(60);
/// The most courts whose stake is read: there is one for each utility's chain, and utilities name them.
const COURTS_MAX: usize = 4;

/// What was read of a court's registry, and when.
type Reading = Option<(U256, Instant)>;

/// The stake behind each court that terms have named.
#[derive(Debug, Default)]
pub(super) struct Stakes {
    read: Mutex<BTreeMap<(u64, Address), Reading>>,
    wanted: Notify,
}

impl Stakes {
    /// What is at stake at this court, in wei; `None` where that was not read lately: it is now.
    pub(super) fn at(&self, chain_id: u64, court: Address) -> Option<U256> {
        let mut read = self.read.lock();
        if read.len() >= COURTS_MAX && !read.contains_key(&(chain_id, court)) {
            read.clear();
        }
        let known = read.entry((chain_id, court)).or_default();
        let fresh = known.filter(|(_, at)| at.elapsed() < STALE);
        if fresh.is_none() {
            self.wanted.notify_one();
        }
        fresh.map(|(wei, _)| wei)
    }

    /// Has it read now: it was not enough, and may be more by now.
    pub(super) fn look(&self) {
        self.wanted.notify_one();
    }

    /// Reads what was asked for, at once and every [`READ_EVERY`]. Runs until it is dropped.
    pub(super) async fn watch(&self, courts: &Courts) {
        loop {
            // Either way it is read.
            let _ = tokio::time::timeout(READ_EVERY, self.wanted.notified()).await;
            let asked: Vec<(u64, Address)> = self.read.lock().keys().copied().collect();
            for (chain_id, court) in asked {
                let reading = courts.stake(chain_id, court);
                match tokio::time::timeout(READ_TIMEOUT, reading).await {
                    Ok(Ok(wei)) => {
                        self.read.lock().insert((chain_id, court), Some((wei, Instant::now())));
                    }
                    Ok(Err(error)) => {
                        tracing::warn!(error = chain_of(&error), "the stake could not be read");
                    }
                    Err(_) => tracing::warn!("the stake could not be read in time"),
                }
            }
            tokio::time::sleep(READ_PAUSE).await;
        }
    }
}
