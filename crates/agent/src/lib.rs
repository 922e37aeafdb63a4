//! The supplier's daemon: finds out what the machine has, grants leases within what its owner
//! offers, runs them in sandboxes, counts what they use, and checks that it is paid.
//!
//! | module | does |
//! | --- | --- |
//! | [`config`] | what the owner decides |
//! | [`hardware`], [`benchmark`] | what the machine has, and how fast it is |
//! | [`policy`] | whether a lease is granted: pure |
//! | `node`, `lease` | the leases held, and the life of each |
//! | `session`, `streams`, `lifeline` | the wire: frames, requests, logs, sign of life |
//! | `book` | counters, leases and endings on disk |
//! | [`wallet`] | payments checked, stored and redeemed |
//! | [`pledge`] | what was signed about leases, and its acknowledgements |
//! | [`local`], [`status`] | the owner's line to a running agent |
//! | [`engine`] | the seam to the sandboxes |
//! | [`sim`] | a simulated agent for tests and benches of the other end |
//!
//! Invariants:
//! - The agent owns its capacity: what it grants never adds up to more than is offered.
//! - Of a replica, nothing older than the newest active epoch takes requests here.
//! - What was reported was written first; what ended is reported until it is recorded.
//! - A lease goes on without its utility for its term and no longer.

mod agent;
mod artifacts;
pub mod benchmark;
mod book;
pub mod config;
pub mod engine;
mod error;
mod escrow;
mod files;
pub mod hardware;
mod lease;
mod lifeline;
pub mod local;
mod node;
pub mod pledge;
pub mod policy;
mod session;
pub mod sim;
pub mod status;
mod streams;
pub mod wallet;

pub use agent::Agent;
pub use book::Payer;
pub use config::{AgentConfig, OfferedLimits};
pub use error::AgentError;
pub use kinesis_runtime::{IsolationPolicy, RunnerCommand};
pub use status::Status;
