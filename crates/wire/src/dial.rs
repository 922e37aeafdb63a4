//! Dials a utility until it answers, ever more patiently.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::{Endpoint, Link, UtilityAddr};

const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(3);
/// A link that held this long was a good one: the next loss begins with short delays again.
const HELD: Duration = Duration::from_secs(5);
/// How long one attempt may take: over a relay, or over a slow path, longer ones follow.
const ATTEMPTS: [Duration; 3] =
    [Duration::from_secs(2), Duration::from_secs(3), Duration::from_secs(10)];

/// Dials one utility again and again, with jittered exponential backoff.
#[derive(Debug)]
pub struct Reconnect {
    endpoint: Endpoint,
    utility: UtilityAddr,
    delays: ExponentialBackoff,
    attempt: usize,
    connected: Option<Instant>,
}

impl Reconnect {
    /// Nothing is dialled before [`Self::next`].
    #[must_use]
    pub fn new(endpoint: Endpoint, utility: UtilityAddr) -> Self {
        Self { endpoint, utility, delays: delays(), attempt: 0, connected: None }
    }

    /// The next link. Dials at once the first time and after a link that held; else after a delay.
    /// Goes on until somebody answers. Cancel-safe.
    pub async fn next(&mut self) -> Link {
        if let Some(connected) = self.connected.take() {
            if connected.elapsed() >= HELD {
                self.delays = delays();
                self.attempt = 0;
            } else {
                self.pause().await;
            }
        }
        loop {
            let limit = ATTEMPTS[self.attempt % ATTEMPTS.len()];
            self.attempt += 1;
            match self.endpoint.connect_within(&self.utility, limit).await {
                Ok(link) => {
                    self.connected = Some(Instant::now());
                    return link;
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    if self.attempt.is_power_of_two() {
                        warn!(attempt = self.attempt, cause, "{error}");
                    } else {
                        debug!(attempt = self.attempt, cause, "{error}");
                    }
                }
            }
            self.pause().await;
        }
    }

    async fn pause(&mut self) {
        let delay = self.delays.next().unwrap_or(DELAY_MAX);
        tokio::time::sleep(delay).await;
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(DELAY_MIN)
        .with_max_delay(DELAY_MAX)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_limit_and_never_end() {
        let delays: Vec<_> = delays().take(50).collect();
        assert_eq!(delays.len(), 50);
        assert!(delays[0] >= DELAY_MIN && delays[0] <= DELAY_MIN * 2, "{:?}", delays[0]);
        assert!(delays.iter().all(|delay| *delay <= DELAY_MAX * 2));
        assert!(delays[49] >= DELAY_MAX, "{:?}", delays[49]);
    }

    #[test]
    fn many_that_lost_the_same_utility_do_not_dial_it_in_step() {
        let drawn = || delays().take(8).collect::<Vec<_>>();
        let first = drawn();
        assert!((0..8).any(|_| drawn() != first), "{first:?} again and again");
    }
}
