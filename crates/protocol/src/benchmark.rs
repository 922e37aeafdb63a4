//! The work a node proves its speed with: a chain of hashes seeded by the utility's nonce.
//!
//! A node hashes for as long as it is asked and notes a checkpoint every [`ROUNDS_PER_CHECKPOINT`]
//! rounds. The utility recomputes a few randomly chosen stretches between checkpoints: to answer
//! with a count that was not worked for, a node must guess which.

use serde::{Deserialize, Serialize};

/// Rounds between two checkpoints: some milliseconds of work.
pub const ROUNDS_PER_CHECKPOINT: u64 = 20_000;
/// The most checkpoints in one answer.
pub const CHECKPOINTS_MAX: usize = 4_096;

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answer {
    /// The chain's state after each stretch, in hex.
    pub checkpoints: Vec<crate::id::ContentHash>,
    /// How long all of it took.
    pub elapsed_ms: u64,
}

impl Answer {
    /// Rounds a second on one core; zero for an answer that says nothing.
    #[must_use]
    pub fn rounds_per_second(&self) -> u64 {
        let rounds = self.checkpoints.len() as u64 * ROUNDS_PER_CHECKPOINT;
        (rounds * 1000).checked_div(self.elapsed_ms).unwrap_or(0)
    }

    /// Recomputes the stretch that ends in checkpoint `index`.
    #[must_use]
    pub fn verify_stretch(&self, nonce: &[u8; 32], index: usize) -> bool {
        let Some(end) = self.checkpoints.get(index) else { return false };
        let start = match index.checked_sub(1) {
            None => seed(nonce),
            Some(before) => self.checkpoints[before].0,
        };
        stretch(start) == end.0
    }
}

/// The chain's first state.
#[must_use]
pub fn seed(nonce: &[u8; 32]) -> [u8; 32] {
    *blake3::keyed_hash(nonce, b"kinesis benchmark 1").as_bytes()
}

/// One stretch of work.
#[must_use]
pub fn stretch(mut state: [u8; 32]) -> [u8; 32] {
    for _ in 0..ROUNDS_PER_CHECKPOINT {
        state = *blake3::hash(&state).as_bytes();
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ContentHash;

    #[test]
    fn honest_work_verifies_and_invented_work_does_not() {
        let nonce = [3; 32];
        let mut state = seed(&nonce);
        let mut answer = Answer { elapsed_ms: 10, ..Answer::default() };
        for _ in 0..3 {
            state = stretch(state);
            answer.checkpoints.push(ContentHash(state));
        }
        assert!((0..3).all(|i| answer.verify_stretch(&nonce, i)));
        assert!(!answer.verify_stretch(&[4; 32], 0));
        assert!(!answer.verify_stretch(&nonce, 3));
        assert_eq!(answer.rounds_per_second(), 6_000_000);
        answer.checkpoints[1] = ContentHash([0; 32]);
        assert!(!answer.verify_stretch(&nonce, 1) && !answer.verify_stretch(&nonce, 2));
    }
}
