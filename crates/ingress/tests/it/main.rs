//! The ingress in front of replicas that real links lead to. Only the utility behind it is a
//! smaller one: it routes where a test says.

mod failover;
mod grid;
mod limits;
mod protocols;
mod requests;
