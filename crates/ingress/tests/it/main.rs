//! The ingress in front of replicas that real links lead to. Only the utility behind it is a
//! smaller one: it routes where a test says.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod failover;
mod grid;
mod limits;
mod protocols;
mod requests;
