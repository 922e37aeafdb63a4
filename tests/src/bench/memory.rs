//! `memory`: an idle agent, and the utility with a thousand agents connected that speak the real
//! protocol over real links.

use anyhow::{Context, Result};
use kinesis_agent::sim::{SimAgent, SimConfig};
use kinesis_protocol::message::HEARTBEAT_MS;
use kinesis_wire::UtilityAddr;
use serde_json::json;

use super::Setup;
use crate::grid::{Grid, GridConfig, SupplierConfig, eventually};

/// How many agents are simulated.
pub const AGENTS: usize = 1_000;

/// Runs it; the last line printed is the result.
///
/// # Errors
/// Where the grid does not start or the agents do not connect.
pub async fn run(setup: &Setup) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let grid =
        Grid::start(GridConfig::new(setup.kinesis.clone(), folder.path().to_owned())).await?;
    let utility = grid.endpoints()?.pids.utility;
    let agent = grid.supplier(&SupplierConfig::new("node", "crowd")).await?;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let agent_kib = resident_kib(agent.pid())?;
    let alone_kib = resident_kib(utility)?;
    let wire: UtilityAddr = grid.endpoints()?.wire.parse()?;
    let mut agents = Vec::with_capacity(AGENTS);
    for i in 0..AGENTS {
        let mut config = SimConfig::new(&format!("simulated-{i}"), UtilityAddr::clone(&wire));
        // A thousand nodes on one machine measure themselves one after another.
        config.behaviour.heartbeat = std::time::Duration::from_millis(HEARTBEAT_MS);
        agents.push(SimAgent::start(config).await?);
        if i % 20 == 19 {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
    let up = eventually("a thousand agents up", async || {
        let grid = grid.get("/v1/grid").await?;
        let nodes = grid["nodes"].as_array().context("nodes")?;
        let up = nodes.iter().filter(|node| node["state"] == "up").count();
        Ok((up > AGENTS).then_some(up))
    })
    .await?;
    let with_kib = resident_kib(utility)?;
    drop(agents);
    let result = json!({
        "bench": "memory",
        "agent_kib": agent_kib,
        "utility_kib": alone_kib,
        "agents_up": up - 1,
        "utility_with_agents_kib": with_kib,
        "kib_per_agent": with_kib.saturating_sub(alone_kib) / AGENTS as u64,
    });
    println!("{result}");
    grid.stop().await
}

fn resident_kib(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
