//! Control's integration tests: the grid under a simulated clock and network, and the whole shell
//! against simulated agents over real links.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod chain;
mod desk;
mod events;
mod grid;
mod market;
mod results;
mod simulation;
mod utility;
