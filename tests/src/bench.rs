//! Promises of speed, each measured beside a peer or a physical limit, interleaved in one run.
//!
//! Every benchmark prints one line of JSON last; ratios are ours divided by the peer's.

pub mod chain;
pub mod failover;
pub mod gas;
pub mod memory;
pub mod meter;
pub mod peer;
pub mod route;
pub mod settle;
pub mod start;

use std::path::PathBuf;

/// What every benchmark needs.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The `kinesis` binary, optimised.
    pub kinesis: PathBuf,
    /// The folder of built examples.
    pub examples: PathBuf,
    /// Where peers are installed that Debian does not have.
    pub peers: PathBuf,
    /// How often each side is measured.
    pub repetitions: usize,
}

/// The middle value; the mean of both middle ones.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}
