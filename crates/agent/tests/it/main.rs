//! The agent against a scripted utility over real links, with scripted sandboxes.

mod chain;
mod leases;
mod lives;
mod money;
mod sandboxes;
mod simulated;
mod utility;
