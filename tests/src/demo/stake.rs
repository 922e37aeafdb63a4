//! The part of the story in which stake comes before work: machines join with none and get nothing to
//! do, and are told why; once something stands behind them they get work, without joining again.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Say;
use crate::grid::{Grid, Supplier, eventually};

/// What the grid of the story asks its suppliers for: what a claim on one machine occupies.
pub(super) const MIN_STAKE: &str = "100";

/// Nobody has stake: everybody is listed, gets no work, and is told why, on both sides.
pub(super) async fn none(grid: &Grid, suppliers: &[Supplier], say: Say<'_>) -> Result<()> {
    for supplier in suppliers {
        let said = eventually("a reason why there is no work", async || {
            let status = super::supply(grid, supplier, "status").await?;
            Ok(status["utilities"][0]["withheld"].as_str().map(str::to_owned))
        })
        .await?;
        let node = node(grid, supplier).await?;
        ensure!(node["state"] == "withheld", "{} gets work: {node}", supplier.name);
        ensure!(node["withheld"] == said.as_str(), "two stories: {said} and {}", node["withheld"]);
        ensure!(said.contains("JOULE of stake"), "{} lacks something else: {said}", supplier.name);
        ensure!(node["leases"] == 0, "{} has work: {node}", supplier.name);
    }
    say(format!("   none gets work yet: 0 of {MIN_STAKE} JOULE of stake back them, and they know"));
    Ok(())
}

/// Everybody is backed now, and gets work without joining again.
pub(super) async fn backed(grid: &Grid, suppliers: &[Supplier], say: Say<'_>) -> Result<()> {
    for supplier in suppliers {
        eventually("work for who is backed", async || {
            Ok((node(grid, supplier).await?["state"] == "up").then_some(()))
        })
        .await?;
    }
    say("   the utility has seen it on the chain: they get work".into());
    Ok(())
}

async fn node(grid: &Grid, supplier: &Supplier) -> Result<Value> {
    let mut all = grid.get("/v1/grid").await?;
    let nodes = all["nodes"].as_array_mut().map(std::mem::take).unwrap_or_default();
    let found = nodes.into_iter().find(|node| node["node"] == supplier.node.as_str());
    found.ok_or_else(|| anyhow::anyhow!("{} is not listed", supplier.name))
}
