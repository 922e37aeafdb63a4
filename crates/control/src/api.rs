//! What a utility's outlet speaks of: the types the portal, the API and the command line share.
//!
//! Amounts are integers in billionths (`_nanousd`, `_nanojoule`); times are milliseconds since the
//! Unix epoch (`_at_ms`). Every type serializes to the JSON the API returns.

use std::collections::BTreeMap;

use kinesis_protocol::{
    AccountId, Address, AppId, B256, Benchmark, ContentHash, Counters, Epoch, JoulePrice, LeaseId,
    LeaseState, NanoJoule, NanoUsd, NodeId, Prices, Resources, Tier, U256, VersionId,
    lease::GuestFile, root::PaymentProof,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod schema;

/// An account that was just opened. The key is shown once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct NewAccount {
    /// The account.
    #[schema(value_type = String)]
    pub account: AccountId,
    /// The key its owner proves itself with.
    pub api_key: String,
}

impl std::fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewAccount").field("account", &self.account).finish_non_exhaustive()
    }
}

/// An account and its money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// The account.
    #[schema(value_type = String)]
    pub account: AccountId,
    /// The name it was opened under.
    pub name: String,
    /// What is left.
    #[schema(value_type = i64)]
    pub balance_nanousd: NanoUsd,
}

/// An artifact a manifest names: uploaded before it is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArtifactRef {
    /// The hash of its content.
    #[schema(value_type = String)]
    pub hash: ContentHash,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What is to be deployed, or quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// The text of the `kinesis.toml`.
    pub manifest: String,
    /// The path each artifact has in the manifest -> its content.
    pub artifacts: BTreeMap<String, ArtifactRef>,
}

/// Whether an app answers or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// Answers HTTP.
    Service,
    /// Ends.
    Job,
}

/// Where an app stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AppState {
    /// Wanted, and nothing of it runs yet.
    Pending,
    /// A service that answers, or a job with at least one part at work.
    Running,
    /// A service scaled down to nothing: the first request starts it.
    Idle,
    /// A job whose parts all completed.
    Completed,
    /// A job with a part that failed for good.
    Failed,
    /// Stopped by its owner.
    Stopped,
    /// Stopped because its budget or its account's balance is used up.
    OverBudget,
}

/// An app as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AppId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// A service or a job.
    pub kind: AppKind,
    /// Where it stands.
    pub state: AppState,
    /// Why it stands there, where that needs saying: why nothing could be placed, why it failed.
    pub reason: Option<String>,
    /// Where it answers; `None` for a job.
    pub url: Option<String>,
    /// The number of the version that is wanted, from 1.
    pub version: u32,
    /// Every version, oldest first.
    pub versions: Vec<VersionView>,
    /// What runs now.
    pub replicas: Vec<ReplicaView>,
    /// Requests answered so far.
    pub requests: u64,
    /// What it cost so far.
    #[schema(value_type = i64)]
    pub spent_nanousd: NanoUsd,
    /// What it may cost; `None`: until the balance is used up.
    #[schema(value_type = Option<i64>)]
    pub budget_nanousd: Option<NanoUsd>,
    /// A job's parts; `None` for a service.
    pub job: Option<JobView>,
    /// When it was first deployed.
    pub created_at_ms: u64,
}

/// One version of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionView {
    /// Its number, from 1.
    pub version: u32,
    /// Its id.
    #[schema(value_type = String)]
    pub id: VersionId,
    /// When it was deployed.
    pub created_at_ms: u64,
}

/// What a lease is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It serves, or works.
    Active,
    /// It waits, warm, to take over.
    Standby,
}

/// One lease of an app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaView {
    /// Which replica; for a job, which part.
    pub replica: u32,
    /// Its fencing number.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// The lease.
    #[schema(value_type = String)]
    pub lease: LeaseId,
    /// What it is held for.
    pub role: Role,
    /// Where it stands: `placing`, `starting`, `warm`, `active`, `draining`, `lost`.
    pub state: String,
    /// The version it runs.
    pub version: u32,
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// The node's name.
    pub node_name: String,
    /// Who is paid.
    #[schema(value_type = String)]
    pub supplier: Address,
    /// What kind of place it is.
    #[schema(value_type = String)]
    pub tier: Tier,
    /// What it used so far, as the utility believes it.
    #[schema(schema_with = schema::counters)]
    pub counters: Counters,
}

/// A job's progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Its parts, in order.
    pub parts: Vec<PartView>,
}

/// Where a part of a job stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartView {
    /// Which part, from 0.
    pub part: u32,
    /// `queued`, `running`, `completed`, `failed` or `stopped`.
    pub state: String,
    /// How often it was started.
    pub attempts: u32,
    /// Where it runs, or ran last.
    #[schema(value_type = Option<String>)]
    pub node: Option<NodeId>,
    /// That node's name.
    pub node_name: Option<String>,
    /// That node's tier.
    #[schema(value_type = Option<String>)]
    pub tier: Option<Tier>,
    /// How its last attempt ended, in words.
    pub ending: Option<String>,
    /// Milliseconds its guest ran, once it is completed.
    pub wall_ms: Option<u64>,
    /// What it left, once it is completed.
    #[schema(value_type = Vec<Object>)]
    pub outputs: Vec<GuestFile>,
}

/// One output file of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OutputView {
    /// Which part left it.
    pub part: u32,
    /// Its path below `/out`.
    pub path: String,
    /// Its content; fetch it from `/v1/artifacts/HASH`.
    #[schema(value_type = String)]
    pub hash: ContentHash,
    /// Its length in bytes.
    pub bytes: u64,
}

/// What an app cost, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bill {
    /// The app.
    #[schema(value_type = String)]
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// One line for each lease it ever had.
    pub lines: Vec<BillLine>,
    /// What the customer paid.
    #[schema(value_type = i64)]
    pub customer_nanousd: NanoUsd,
    /// What suppliers got of it.
    #[schema(value_type = i64)]
    pub suppliers_nanousd: NanoUsd,
    /// What the utility kept.
    #[schema(value_type = i64)]
    pub margin_nanousd: NanoUsd,
    /// The protocol's fee.
    #[schema(value_type = i64)]
    pub fee_nanousd: NanoUsd,
}

/// What one lease cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BillLine {
    /// The lease.
    #[schema(value_type = String)]
    pub lease: LeaseId,
    /// Which replica, or part.
    pub replica: u32,
    /// Its fencing number.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// The node.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// The node's name.
    pub node_name: String,
    /// Who was paid.
    #[schema(value_type = String)]
    pub supplier: Address,
    /// What kind of place it is.
    #[schema(value_type = String)]
    pub tier: Tier,
    /// What it was granted.
    #[schema(schema_with = schema::resources)]
    pub granted: Resources,
    /// What it used. Energy says whether it was measured or estimated.
    #[schema(schema_with = schema::counters)]
    pub counters: Counters,
    /// What was agreed per unit.
    #[schema(schema_with = schema::prices)]
    pub prices: Prices,
    /// What the customer paid for it.
    #[schema(value_type = i64)]
    pub billed_nanousd: NanoUsd,
    /// What its supplier got, in USD.
    #[schema(value_type = i64)]
    pub supplier_nanousd: NanoUsd,
    /// What its supplier got, in JOULE.
    #[schema(value_type = i64)]
    pub supplier_nanojoule: NanoJoule,
    /// How it ended, in words; `None` while it lives.
    pub ending: Option<String>,
}

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
    /// `up`, `paused`, `silent`, `leaving` or `away`.
    pub state: String,
    /// Why it takes no new lease; `None` while it does.
    pub paused: Option<String>,
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

/// The newest signed root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RootView {
    /// The utility that signed it.
    #[schema(value_type = String)]
    pub utility: Address,
    /// Its series.
    pub series: u64,
    /// Its number.
    pub tick: u64,
    /// The root of the payment tree.
    #[schema(value_type = String)]
    pub root: B256,
    /// All it pays, in wei of JOULE.
    #[schema(value_type = String)]
    pub total_wei: U256,
    /// How many suppliers it pays.
    pub payees: u32,
    /// When it was signed.
    pub signed_at_ms: u64,
}

/// All money that ever moved. `difference` is zero, or something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct TotalsView {
    /// What customers paid.
    #[schema(value_type = i64)]
    pub customer_nanousd: NanoUsd,
    /// What suppliers got of it.
    #[schema(value_type = i64)]
    pub suppliers_nanousd: NanoUsd,
    /// What the utility kept.
    #[schema(value_type = i64)]
    pub margin_nanousd: NanoUsd,
    /// The protocol's fee.
    #[schema(value_type = i64)]
    pub fee_nanousd: NanoUsd,
    /// What the desk paid out in JOULE.
    #[schema(value_type = i64)]
    pub desk_nanojoule: NanoJoule,
    /// What suppliers got in JOULE.
    #[schema(value_type = i64)]
    pub suppliers_nanojoule: NanoJoule,
    /// The protocol's fee in JOULE.
    #[schema(value_type = i64)]
    pub fee_nanojoule: NanoJoule,
    /// How far both sides are apart, in USD and in JOULE added up: always zero.
    pub difference: i64,
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
    /// The chain.
    pub chain_id: u64,
    /// The escrow contract.
    #[schema(value_type = String)]
    pub escrow: Address,
    /// The utility's clock.
    pub now_ms: u64,
}

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

/// What a supplier has earned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SupplierView {
    /// Its address.
    #[schema(value_type = String)]
    pub supplier: Address,
    /// Everything it ever earned in this series.
    #[schema(value_type = i64)]
    pub cumulative_nanojoule: NanoJoule,
    /// What it can redeem; `None` before its first signed root.
    #[schema(value_type = Option<Object>)]
    pub payment: Option<PaymentProof>,
    /// What one JOULE costs.
    #[schema(value_type = i64)]
    pub joule_price: JoulePrice,
}

/// A supplier's wish to be paid in USD: the right to redeem its proof towards the utility's desk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawRequest {
    /// What it redeems.
    #[schema(value_type = Object)]
    pub payment: PaymentProof,
    /// Until when its signature holds, in seconds since the Unix epoch.
    pub deadline: u64,
    /// Its signature over the redemption towards the utility.
    #[schema(value_type = String)]
    pub signature: kinesis_protocol::Signature,
}

/// A withdrawal that was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WithdrawalView {
    /// The supplier.
    #[schema(value_type = String)]
    pub supplier: Address,
    /// What was redeemed on chain for it.
    #[schema(value_type = i64)]
    pub redeemed_nanojoule: NanoJoule,
    /// What it is paid.
    #[schema(value_type = i64)]
    pub paid_nanousd: NanoUsd,
    /// Everything it has redeemed so far.
    #[schema(value_type = i64)]
    pub cumulative_nanojoule: NanoJoule,
    /// The transaction; `None` where an earlier one had done it.
    #[schema(value_type = Option<String>)]
    pub transaction: Option<B256>,
}

/// Something that happened, for pages that watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A node joined or came back.
    NodeJoined {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// A node was lost, or left.
    NodeLost {
        /// The node.
        node: NodeId,
        /// Its name.
        name: String,
        /// How it was noticed.
        reason: String,
    },
    /// A lease changed its state.
    Lease {
        /// The app.
        app: AppId,
        /// The lease.
        lease: LeaseId,
        /// Which replica, or part.
        replica: u32,
        /// Its fencing number.
        epoch: Epoch,
        /// The node.
        node: NodeId,
        /// Its new state.
        state: String,
    },
    /// A standby took over.
    TakeOver {
        /// The app.
        app: AppId,
        /// Which replica.
        replica: u32,
        /// The lease that was lost.
        from: LeaseId,
        /// The lease that serves now.
        to: LeaseId,
        /// The node that serves now.
        node: NodeId,
        /// Its name.
        name: String,
    },
    /// An app changed: deployed, stopped, scaled, completed.
    App {
        /// The app.
        app: AppId,
        /// Its name.
        name: String,
        /// Where it stands now.
        state: AppState,
    },
    /// An app's spending passed its warning mark, or its budget.
    Budget {
        /// The app.
        app: AppId,
        /// Its name.
        name: String,
        /// What it cost.
        spent_nanousd: NanoUsd,
        /// What it may cost.
        budget_nanousd: NanoUsd,
        /// Whether it was stopped for it.
        stopped: bool,
    },
    /// A usage report was not believed.
    ReportRefused {
        /// The lease.
        lease: LeaseId,
        /// The node.
        node: NodeId,
        /// Which counter, and by how much.
        reason: String,
    },
    /// A root was signed.
    Tick {
        /// Its number.
        tick: u64,
        /// All it pays, in wei of JOULE.
        total_wei: U256,
    },
}

/// The words for where a lease stands.
#[must_use]
pub fn lease_state(state: LeaseState) -> &'static str {
    match state {
        LeaseState::Starting => "starting",
        LeaseState::Warm => "warm",
        LeaseState::Active => "active",
        LeaseState::Draining => "draining",
        LeaseState::Ended => "ended",
    }
}
