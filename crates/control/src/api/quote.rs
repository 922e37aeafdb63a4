//! What a deployment would lead to.

use kinesis_protocol::{NanoUsd, NodeId, Tier};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Role;

/// Where an app would run, at what price, how soon, or why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quote {
    /// Whether all of it can be placed now.
    pub placeable: bool,
    /// The replicas and standbys, or parts, in order.
    pub placements: Vec<QuotePlacement>,
    /// What an hour of all of it in full use costs the customer; idle time costs nothing.
    #[schema(value_type = i64)]
    pub per_hour_nanousd: NanoUsd,
    /// How soon it is likely to answer, in milliseconds.
    pub ready_in_ms: u64,
    /// Nodes that were considered and refused, with the reason.
    pub refusals: Vec<Refusal>,
    /// What to change where it cannot be placed.
    pub advice: Option<String>,
}

/// One place of a quote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotePlacement {
    /// Which replica, or part.
    pub replica: u32,
    /// What it would be there for.
    pub role: Role,
    /// Where; `None` where no node will do.
    #[schema(value_type = Option<String>)]
    pub node: Option<NodeId>,
    /// That node's name.
    pub node_name: Option<String>,
    /// That node's tier.
    #[schema(value_type = Option<String>)]
    pub tier: Option<Tier>,
    /// What an hour in full use costs the customer there.
    #[schema(value_type = i64)]
    pub per_hour_nanousd: NanoUsd,
}

/// Why a node will not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Its name.
    pub node_name: String,
    /// Why, in words.
    pub reason: String,
}
