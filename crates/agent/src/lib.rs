//! The supplier's daemon: finds out what the machine has, grants leases within what its owner
//! offers, runs them in sandboxes, counts what they use, and checks that it is paid.

pub mod benchmark;
mod book;
mod config;
pub mod engine;
mod error;
mod files;
pub mod hardware;
mod lifeline;
pub mod policy;
pub mod sim;
pub mod wallet;

pub use book::Payer;
pub use config::{AgentConfig, OfferedLimits, UTILITIES_MAX};
pub use error::AgentError;
