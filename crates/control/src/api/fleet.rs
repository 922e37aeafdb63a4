//! Machines, and the grid on one page.

use std::collections::BTreeMap;

use kinesis_protocol::{
    Address, Benchmark, JoulePrice, NanoJoule, NodeId, Prices, Resources, Tier,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AppView, DeskView, RootView, TotalsView, schema};

/// A machine as everyone may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its key.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// The name its owner chose.
    pub name: String,
    /// Where its earnings go.
    #[schema(value_type = String)]
    pub supplier: Address,
    /// What kind of place it stands in.
    #[schema(value_type = String)]
    pub tier: Tier,
    /// Its region; empty for none.
    pub region: String,
    /// `up`, `paused`, `withheld`, `silent`, `leaving` or `away`.
    pub state: String,
    /// Why it takes no new lease; `None` while it does.
    pub paused: Option<String>,
    /// Why it gets no new lease, and what its supplier can do; `None` while it gets them.
    #[serde(default)]
    pub withheld: Option<String>,
    /// All it offers.
    #[schema(schema_with = schema::resources)]
    pub offered: Resources,
    /// What is still free, as it said last.
    #[schema(schema_with = schema::resources)]
    pub free: Resources,
    /// What it asks.
    #[schema(schema_with = schema::prices)]
    pub prices: Prices,
    /// What it proved of its speed.
    #[schema(value_type = Option<Object>)]
    pub benchmark: Option<Benchmark>,
    /// What else it says of itself.
    pub attributes: BTreeMap<String, String>,
    /// Leases it holds.
    pub leases: u32,
    /// Everything its supplier ever earned.
    #[schema(value_type = i64)]
    pub earned_nanojoule: NanoJoule,
    /// What its supplier earned in the last full second.
    #[schema(value_type = i64)]
    pub earned_last_second_nanojoule: NanoJoule,
}

/// The grid on one page. Public: nothing in it names an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GridView {
    /// Every node seen since the utility started.
    pub nodes: Vec<NodeView>,
    /// Every app that is wanted, and jobs that ended lately.
    pub apps: Vec<AppView>,
    /// The newest signed root; `None` before the first.
    pub root: Option<RootView>,
    /// All money that moved.
    pub totals: TotalsView,
    /// What one JOULE costs.
    #[schema(value_type = i64)]
    pub joule_price: JoulePrice,
    /// Where that price comes from, and what the desk has and trades; `None` from a utility of an
    /// earlier version.
    #[serde(default)]
    pub desk: Option<DeskView>,
    /// The chain.
    pub chain_id: u64,
    /// The escrow contract.
    #[schema(value_type = String)]
    pub escrow: Address,
    /// The utility's clock.
    pub now_ms: u64,
}
