//! Answers the utility's challenge: works through the hash chain for as long as it is asked.

use std::time::{Duration, Instant};

use kinesis_protocol::{
    ContentHash,
    benchmark::{Answer, CHECKPOINTS_MAX, seed, stretch},
};

/// The longest a utility may keep one of our cores busy with a challenge.
pub const WORK_MS_MAX: u64 = 2_000;

/// Works for about `work_ms` milliseconds, at most [`WORK_MS_MAX`], and says how far it came.
/// Blocks its thread.
#[must_use]
pub fn answer(nonce: &[u8; 32], work_ms: u64) -> Answer {
    let wanted = Duration::from_millis(work_ms.min(WORK_MS_MAX));
    let start = Instant::now();
    let mut state = seed(nonce);
    let mut checkpoints = Vec::new();
    while checkpoints.is_empty()
        || (start.elapsed() < wanted && checkpoints.len() < CHECKPOINTS_MAX)
    {
        state = stretch(state);
        checkpoints.push(ContentHash(state));
    }
    let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    Answer { checkpoints, elapsed_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stretch_of_an_answer_verifies() {
        let nonce = [9; 32];
        let answer = answer(&nonce, 20);
        assert!(!answer.checkpoints.is_empty() && answer.rounds_per_second() > 0);
        assert!((0..answer.checkpoints.len()).all(|i| answer.verify_stretch(&nonce, i)));
    }
}
