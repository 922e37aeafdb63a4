//! End to end: real processes, real sockets, a real chain.
//!
//! [`grid`] starts and kills the processes, [`load`] sends customers' requests, [`demo`] tells the
//! story that `cargo xtask demo` shows, [`bench`] measures us beside a peer. The tests in `tests/it`
//! and the binaries `kinesis-demo` and `kinesis-bench` stand on these.

pub mod bench;
pub mod demo;
pub mod grid;
pub mod load;
