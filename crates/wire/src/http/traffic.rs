//! What passed through to a lease, counted as its own meter counts it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use kinesis_protocol::usage::Traffic;
use parking_lot::Mutex;

/// What the ingress counts for a lease: the bound on what its node may report. One for each lease,
/// for as long as it lives: a client over a new link to the same lease goes on counting in it.
///
/// Call [`begin`](Self::begin) before the first byte of a request is sent to the lease and drop the
/// guard after the last byte of its answer was read; add body bytes as they pass.
/// [`LeaseClient`](super::LeaseClient) does.
#[derive(Debug, Default)]
pub struct LeaseTraffic {
    /// Requests begun.
    pub requests: AtomicU64,
    /// Bytes of request bodies sent to the lease.
    pub rx_bytes: AtomicU64,
    /// Bytes of response bodies received from the lease.
    pub tx_bytes: AtomicU64,
    /// Requests in flight.
    pub in_flight: AtomicU32,
    busy: Mutex<Busy>,
}

#[derive(Debug, Default)]
struct Busy {
    total_us: u64,
    since: Option<Instant>,
    last: Option<Instant>,
}

/// One request in flight.
#[derive(Debug)]
pub struct InFlight(Arc<LeaseTraffic>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.settle();
        }
    }
}

impl LeaseTraffic {
    /// Counts a request, for as long as the guard lives.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.in_flight.fetch_add(1, Ordering::AcqRel) == 0 {
            self.settle();
        }
        InFlight(Arc::clone(self))
    }

    /// A request that was begun and then not sent, so that no node can report it.
    pub(super) fn was_not_sent(&self) {
        self.requests.fetch_sub(1, Ordering::Relaxed);
    }

    /// Brings the busy clock in line with what is in flight, whoever comes first at the lock.
    fn settle(&self) {
        let mut busy = self.busy.lock();
        let now = Instant::now();
        let in_flight = self.in_flight.load(Ordering::Acquire) > 0;
        match busy.since {
            None if in_flight => busy.since = Some(now),
            Some(since) if !in_flight => {
                busy.total_us += micros(now - since);
                busy.since = None;
            }
            _ => {}
        }
        busy.last = Some(now);
    }

    /// Milliseconds with at least one request in flight, rounded up.
    #[must_use]
    pub fn busy_ms(&self) -> u64 {
        let busy = self.busy.lock();
        let running = busy.since.map_or(0, |since| micros(since.elapsed()));
        (busy.total_us + running).div_ceil(1000)
    }

    /// How long nothing has been in flight, in milliseconds; zero while something is, `None`
    /// where nothing ever was.
    #[must_use]
    pub fn idle_ms(&self) -> Option<u64> {
        let busy = self.busy.lock();
        if busy.since.is_some() {
            return Some(0);
        }
        busy.last.map(|last| micros(last.elapsed()) / 1000)
    }

    /// The counts as a bound.
    #[must_use]
    pub fn counts(&self) -> Traffic {
        Traffic {
            rx_bytes: self.rx_bytes.load(Ordering::Relaxed),
            tx_bytes: self.tx_bytes.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
        }
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_covers_overlapping_requests_once() {
        let traffic = Arc::new(LeaseTraffic::default());
        assert_eq!((traffic.busy_ms(), traffic.idle_ms()), (0, None));
        let first = traffic.begin();
        let second = traffic.begin();
        drop(first);
        assert_eq!(traffic.idle_ms(), Some(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
        drop(second);
        let busy = traffic.busy_ms();
        assert!(busy >= 5);
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(traffic.busy_ms(), busy);
        assert!(traffic.idle_ms().is_some_and(|idle| idle >= 5));
        assert_eq!(traffic.counts().requests, 2);
    }

    #[test]
    fn the_busy_clock_stops_when_threads_race() {
        let traffic = Arc::new(LeaseTraffic::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        drop(traffic.begin());
                    }
                });
            }
        });
        assert_eq!(traffic.in_flight.load(Ordering::Acquire), 0);
        let stopped = traffic.busy_ms();
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(traffic.busy_ms(), stopped);
    }
}
