//! Control's integration tests: the grid under a simulated clock and network, and the whole shell
//! against simulated agents over real links.

mod simulation;
mod utility;
