//! A utility's brain.
//!
//! One state machine, `Grid`, holds what is wanted and what is held, in memory and without
//! any I/O: it is told what happened and answers with effects. [`Control`] is the shell around it:
//! it carries frames between the grid and the agents, writes what must last to the store, publishes
//! [`routes::Routes`] for the ingress, and once a second posts the ledger and signs the payment root.
//! The simulation in the tests drives the same grid under a simulated clock and network.
//!
//! | module | says |
//! | --- | --- |
//! | `grid` | nodes, apps, leases; what follows from a report, a loss, a second that passes |
//! | `scheduler` | where a lease goes, and why not elsewhere |
//! | `meter` | what is believed of a usage report |
//! | `autoscale` | how many replicas a service wants |
//! | [`routes`] | what the ingress sees |
//! | [`control`] | the shell |
//! | [`settle`] | what is needed of a chain |
//! | [`market`] | what is needed of a market of USD and JOULE |
//! | [`price`] | what a JOULE costs, and which prices are believed |
//! | [`desk`] | when USD becomes JOULE and back, and how much |
//! | [`indexer`] | what the chain's contracts told, read into the store |
//! | [`api`] | what the outlet speaks of |
//!
//! Invariants: a lease is in the store before it is granted; a take-over waits for nothing; a tick's
//! number is durable before it is signed; nothing is posted that `meter` did not accept.

pub mod api;
pub mod autoscale;
pub mod budget;
mod chain_settle;
pub mod config;
pub mod control;
pub mod desk;
mod error;
pub mod grid;
pub mod indexer;
pub mod market;
pub mod meter;
pub mod price;
pub mod routes;
pub mod scheduler;
pub mod settle;

pub use chain_settle::{ChainSettle, StoreJournal};
pub use config::ControlConfig;
pub use control::{CHAIN_EVENTS_MAX, ChainEventsQuery, Control, NotReady};
pub use error::ControlError;
pub use indexer::{Indexer, IndexerError};
pub use kinesis_wire::http::{InFlight, LeaseTraffic};
pub use routes::{AppRoute, ReplicaRoute, Routes};
pub use settle::{Cover, Payer, Redemption, Settle, SettleError};
