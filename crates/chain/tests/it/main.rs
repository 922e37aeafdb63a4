//! The chain as its users meet it: over HTTP, through contracts, across crashes.

mod durability;
mod hostile;
mod rpc;
mod settlement;
mod support;
