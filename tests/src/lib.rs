//! End to end: real processes, real sockets, a real chain.
//!
//! [`grid`] starts and kills the processes, [`load`] sends customers' requests, [`demo`] tells the
//! story that `cargo xtask demo` shows, [`bench`] measures us beside a peer. The tests in `tests/it`
//! and the binaries `kinesis-demo` and `kinesis-bench` stand on these.

pub mod bench;
pub mod demo;
pub mod grid;
pub mod load;

/// How long a `stopwatch` guest says that it worked, read from its log.
///
/// # Errors
/// Where it did not say.
pub fn guest_ms(log: &str) -> anyhow::Result<f64> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|line| line["guest_ms"].as_f64())
        .ok_or_else(|| anyhow::anyhow!("the guest did not say how long it worked: {log}"))
}
