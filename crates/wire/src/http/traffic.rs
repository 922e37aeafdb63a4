//! What passed through to a lease, counted as its own meter counts it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use kinesis_protocol::usage::Traffic;

/// Counts requests and the bytes of their bodies. One for each lease, for as long as it lives:
/// a new link to the same lease goes on counting in the same one.
#[derive(Debug, Default)]
pub struct LeaseTraffic {
    requests: AtomicU64,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
    in_flight: AtomicU32,
}

/// One exchange under way; over when it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<LeaseTraffic>);

impl LeaseTraffic {
    /// Everything so far: the most that the lease's agent may report.
    #[must_use]
    pub fn snapshot(&self) -> Traffic {
        Traffic {
            rx_bytes: self.rx_bytes.load(Relaxed),
            tx_bytes: self.tx_bytes.load(Relaxed),
            requests: self.requests.load(Relaxed),
        }
    }

    /// Exchanges under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Marks an exchange as under way.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.clone())
    }

    /// Counts a request before the lease can have seen it, so that no honest report is ahead.
    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(super) fn request_was_not_sent(&self) {
        self.requests.fetch_sub(1, Relaxed);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.rx_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn sent(&self, bytes: usize) {
        self.tx_bytes.fetch_add(bytes as u64, Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}
