//! What customers deploy, and what becomes of it.

use std::collections::BTreeMap;

use kinesis_protocol::{
    AccountId, Address, AppId, ContentHash, Counters, Epoch, LeaseId, LeaseState, NanoUsd, NodeId,
    Tier, VersionId, lease::GuestFile, result::SignedResult,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

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
    /// Deleted by its owner: its name is free, its bill stays.
    Deleted,
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
    /// What its owner should know while it goes on: that it has cost `warn_percent` of its budget.
    #[serde(default)]
    pub warning: Option<String>,
    /// Where it answers; `None` for a job.
    pub url: Option<String>,
    /// The number of the version that is wanted, from 1.
    pub version: u32,
    /// The newest versions, at most 20, oldest first.
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
    /// How many parts it has.
    pub parts_total: u32,
    /// How many of them completed.
    pub parts_completed: u32,
    /// Its parts, in order; on the grid's page the first 16, without what they left.
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
    /// What its supplier signed of that, where the job is deterministic: `GET
    /// /v1/apps/NAME/parts/PART/result` gives all that an audit of it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub result: Option<SignedResult>,
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

/// The words for where a lease stands.
#[must_use]
pub fn lease_state(state: LeaseState) -> &'static str {
    match state {
        LeaseState::Starting => "starting",
        LeaseState::Warm => "warm",
        LeaseState::Active => "active",
        LeaseState::Draining => "draining",
        LeaseState::Ended => "ended",
        LeaseState::Unknown => "unknown",
    }
}
