//! What everyone may see: nodes, the grid on one page, whether the utility is well.

use axum::{Json as Answer, extract::State};
use kinesis_control::api::{DeskView, GridView, NodeView};
use kinesis_protocol::AccountId;
use serde::Serialize;
use utoipa::ToSchema;

use super::Outlet;
use crate::problem::Problem;

/// The grid, and how suppliers reach it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Grid {
    #[serde(flatten)]
    grid: GridView,
    /// What suppliers dial: a token for `kinesis supply join --utility`.
    wire: Option<String>,
    /// The chain's RPC URL.
    rpc: Option<String>,
}

/// Whether the utility is well.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
    /// Nodes that are connected.
    nodes_up: usize,
    /// The version of this build.
    version: &'static str,
}

/// Every node of the grid.
#[utoipa::path(
    get, path = "/v1/nodes", tag = "grid",
    responses((status = 200, description = "All nodes", body = Vec<NodeView>))
)]
pub(super) async fn nodes(State(outlet): State<Outlet>) -> Result<Answer<Vec<NodeView>>, Problem> {
    Ok(Answer(outlet.control.nodes().await?))
}

/// The grid on one page: nodes, apps, the newest payment root, all money that moved.
#[utoipa::path(
    get, path = "/v1/grid", tag = "grid",
    responses((status = 200, description = "The grid", body = Grid))
)]
pub(super) async fn grid(State(outlet): State<Outlet>) -> Result<Answer<Grid>, Problem> {
    let mut grid = outlet.control.grid().await?;
    for app in &mut grid.apps {
        // Whose it is stays between its owner and the utility.
        app.account = AccountId::from_bytes([0; 16]);
    }
    Ok(Answer(Grid { grid, wire: outlet.config.wire.clone(), rpc: outlet.config.rpc.clone() }))
}

/// The price of a JOULE and where it comes from; what the utility's desk has to convert with, and its
/// newest trades.
#[utoipa::path(
    get, path = "/v1/desk", tag = "grid",
    responses((status = 200, description = "The desk", body = DeskView))
)]
pub(super) async fn desk(State(outlet): State<Outlet>) -> Result<Answer<DeskView>, Problem> {
    Ok(Answer(outlet.control.desk().await?))
}

/// Whether the utility answers and reads its store.
#[utoipa::path(
    get, path = "/v1/health", tag = "grid",
    responses(
        (status = 200, description = "It does", body = Health),
        (status = 500, description = "Its store fails", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn health(State(outlet): State<Outlet>) -> Result<Answer<Health>, Problem> {
    outlet.store.totals().await?;
    Ok(Answer(Health {
        status: "ok",
        nodes_up: outlet.control.nodes_up(),
        version: env!("CARGO_PKG_VERSION"),
    }))
}
