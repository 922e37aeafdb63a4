//! The utility's clock: milliseconds since the Unix epoch that never go back while it runs.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A clock that starts at the system's time and then follows the monotonic one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start_ms: u64,
    started: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { start_ms: millis(since), started: Instant::now() }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.start_ms + millis(self.started.elapsed())
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
