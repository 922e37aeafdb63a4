//! What the protocol's contracts told.

use kinesis_protocol::{Address, B256};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An event of a contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChainEventView {
    /// The block it stands in.
    pub block: u64,
    /// Its place among the block's events.
    pub log_index: u64,
    /// The transaction.
    #[schema(value_type = String)]
    pub transaction: B256,
    /// What the contract is called, such as `registry`.
    pub contract: Option<String>,
    /// The contract.
    #[schema(value_type = String)]
    pub address: Address,
    /// What the event is called; `None` where it is none of the protocol's.
    pub name: Option<String>,
    /// Its values by name, numbers as decimal text.
    #[schema(value_type = Object)]
    pub values: serde_json::Value,
}

/// Events of the protocol's contracts, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChainEventsView {
    /// The events.
    pub events: Vec<ChainEventView>,
    /// What older ones are asked for with; `None`: there are none.
    pub next: Option<String>,
}
