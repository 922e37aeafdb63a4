//! The chain as its users meet it: over HTTP, through contracts, across crashes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod calls;
mod control;
mod deployment;
mod durability;
mod endpoint;
mod filters;
mod hostile;
mod leases;
mod lists;
mod once;
mod protocol;
mod reorg;
mod rpc;
mod settlement;
mod signer;
mod socket;
mod support;
mod tools;
mod trades;
mod vectors;
mod year;
