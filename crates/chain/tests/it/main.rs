//! The chain as its users meet it: over HTTP, through contracts, across crashes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod durability;
mod hostile;
mod rpc;
mod settlement;
mod support;
