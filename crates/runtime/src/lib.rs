//! Sandboxes and their meters: one confined process per lease, and the exact time it worked.
//!
//! The agent holds a [`Runtime`]. [`Runtime::start`] turns a granted lease into a [`Sandbox`]: a
//! child process (`kinesis runner`, [`runner::main`]) in its own control group and namespaces,
//! under Landlock and seccomp, without keys and without a network, which runs a WebAssembly
//! component with wasmtime and answers HTTP on a Unix socket, or runs a job to its end.
//!
//! ```text
//!  start()        compiled, confined, instantiated       standby only
//! ---------> Starting ----------------------------> Ready <----------> Frozen
//!                |                                    | drain(), kill(), the job's end, a death
//!                +-------------- failed ------------> Ended
//! ```
//!
//! Invariants:
//! - A sandbox never outlives the process that holds its `Runtime`, whatever kills that process.
//! - Counters only grow, count nothing before a sandbox is ready and nothing while it is idle, and
//!   survive the death of the sandbox and of the agent: they live in a file both map.
//! - Nothing that a guest does costs another lease anything but time on a shared core.
//! - Compiled code is made in a sandbox of its own and written by nobody else than this process.

mod cache;
mod channel;
mod config;
mod energy;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod host;
mod isolation;
mod page;
pub mod runner;
mod talk;

pub use config::{IsolationPolicy, RunnerCommand, RuntimeConfig, StartSpec};
pub use error::RuntimeError;
pub use host::{Exit, Output, Runtime, Sandbox, is_public};
