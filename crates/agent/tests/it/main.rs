//! The agent against a scripted utility over real links, with scripted sandboxes.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod chain;
mod leases;
mod lives;
mod money;
mod pledges;
mod results;
mod sandboxes;
mod simulated;
mod utility;
