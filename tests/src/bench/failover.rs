//! `failover`: idempotent requests while the machine that serves is killed, and while its network
//! falls silent, beside HAProxy with redispatch over two hot backends under the same faults.
//!
//! Of HAProxy's two backends each serves half of the requests, so in its silence the other half has no
//! gap at all (`silence_gap_ratio`); who was on the silent one waits (`silence_slowest_ratio`).
//!
//! Silence needs a network namespace of its own for one machine, so this runs as root.

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::process::Command;

use super::{Setup, median, peer};
use crate::{
    demo::replica,
    grid::{Grid, GridConfig, SupplierConfig, eventually},
    load::{Load, Outcome},
};

const PER_SECOND: u32 = 200;

/// Runs it; the last line printed is the result.
///
/// # Errors
/// Where a side does not start.
pub async fn run(setup: &Setup) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut ours, mut theirs, mut ratios) = (vec![], vec![], vec![]);
    let (mut silences, mut their_silences, mut silence_ratios) = (vec![], vec![], vec![]);
    let mut slowest_ratios = vec![];
    let (mut requests, mut failed) = (0, 0);
    let (mut peer_failed, mut peer_silence_failed) = (0, 0);
    for repetition in 0..setup.repetitions.max(5) {
        let dir = folder.path().join(repetition.to_string());
        std::fs::create_dir_all(&dir)?;
        let peer = haproxy_killed(&dir).await?;
        let killed = killed(setup, &dir.join("killed")).await?;
        let peer_silent = haproxy_silenced(&dir.join("peer-silent")).await?;
        let silent = silenced(setup, &dir.join("silent")).await?;
        for (fault, peer, ours) in [("kill", &peer, &killed), ("silence", &peer_silent, &silent)] {
            eprintln!(
                "{fault}: HAProxy {:.1} ms (slowest {:.0} ms, {} failed), ours {:.1} ms (slowest \
                 {:.0} ms, {} failed)",
                peer.longest_gap_ms,
                peer.slowest_ms,
                peer.failed,
                ours.longest_gap_ms,
                ours.slowest_ms,
                ours.failed
            );
        }
        for (fault, times) in killed.faults.iter().chain(&silent.faults) {
            eprintln!("  fault, {times} times: {fault}");
        }
        requests += killed.requests + silent.requests;
        failed += killed.failed + silent.failed;
        peer_failed += peer.failed;
        peer_silence_failed += peer_silent.failed;
        ratios.push(killed.longest_gap_ms / peer.longest_gap_ms);
        ours.push(killed.longest_gap_ms);
        theirs.push(peer.longest_gap_ms);
        silence_ratios.push(silent.longest_gap_ms / peer_silent.longest_gap_ms);
        slowest_ratios.push(silent.slowest_ms / peer_silent.slowest_ms);
        silences.push(silent.longest_gap_ms);
        their_silences.push(peer_silent.longest_gap_ms);
    }
    let result = json!({
        "bench": "failover",
        "requests": requests,
        "failed": failed,
        "peer_failed": peer_failed,
        "peer_silence_failed": peer_silence_failed,
        "kill_gap_ratio": median(&ratios),
        "silence_gap_ratio": median(&silence_ratios),
        "silence_slowest_ratio": median(&slowest_ratios),
        "kill_gap_ms": median(&ours),
        "peer_kill_gap_ms": median(&theirs),
        "silence_gap_ms": median(&silences),
        "peer_silence_gap_ms": median(&their_silences),
        "silence_ms": silences.iter().copied().fold(0.0, f64::max),
    });
    println!("{result}");
    Ok(())
}

/// HAProxy over two nginx, one of which is killed.
async fn haproxy_killed(dir: &Path) -> Result<Outcome> {
    let mut backends = vec![];
    for name in ["a", "b"] {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        backends.push(peer::nginx(&dir, None).await?);
    }
    let addresses: Vec<_> = backends.iter().map(|(_, port)| format!("127.0.0.1:{port}")).collect();
    let (_haproxy, port) = peer::haproxy(dir, &addresses).await?;
    let load = Load::start(&format!("http://127.0.0.1:{port}/"), "hello", PER_SECOND)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    backends[0].0.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.stop().await
}

/// The same two; the network of one of them goes down, and its process goes on.
async fn haproxy_silenced(dir: &Path) -> Result<Outcome> {
    let net = Namespace::new().await?;
    for name in ["inside", "outside"] {
        std::fs::create_dir_all(dir.join(name))?;
    }
    let inside: IpAddr = Namespace::THEIR_ADDRESS.parse()?;
    let (_inside, inside) =
        peer::nginx_on(&dir.join("inside"), None, inside, Some(&net.name)).await?;
    let (_outside, outside) = peer::nginx(&dir.join("outside"), None).await?;
    let addresses = [inside.to_string(), format!("127.0.0.1:{outside}")];
    let (_haproxy, port) = peer::haproxy(dir, &addresses).await?;
    let load = Load::start(&format!("http://127.0.0.1:{port}/"), "hello", PER_SECOND)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    net.silence().await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    load.stop().await
}

/// One active replica and one warm standby; the active one's agent is killed.
async fn killed(setup: &Setup, dir: &Path) -> Result<Outcome> {
    let grid = Grid::start(GridConfig::new(setup.kinesis.clone(), dir.to_owned())).await?;
    let mut suppliers = vec![];
    for name in ["a", "b", "c"] {
        suppliers.push(grid.supplier(&SupplierConfig::new(name, "crowd")).await?);
    }
    let (load, serving) = serve(setup, &grid).await?;
    let dead = suppliers.iter().find(|s| s.node == serving).context("who serves?")?;
    dead.signal(Signal::SIGKILL)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let outcome = load.stop().await?;
    drop(suppliers);
    grid.stop().await?;
    Ok(outcome)
}

/// The same; the active one's network goes down, and its process goes on.
async fn silenced(setup: &Setup, dir: &Path) -> Result<Outcome> {
    ensure!(nix::unistd::geteuid().is_root(), "silence needs a network namespace: run as root");
    let net = Namespace::new().await?;
    let config = GridConfig {
        host: Namespace::OUR_ADDRESS.into(),
        ..GridConfig::new(setup.kinesis.clone(), dir.to_owned())
    };
    let grid = Grid::start(config).await?;
    // The cheapest is placed first: the one in the namespace.
    let mut inside = SupplierConfig::new("inside", "crowd");
    inside.netns = Some(net.name.clone());
    let inside = grid.supplier(&inside).await?;
    let outside = grid.supplier(&SupplierConfig::new("outside", "datacenter")).await?;
    let (load, serving) = serve(setup, &grid).await?;
    ensure!(serving == inside.node, "the app was not placed on the cheapest node");
    net.silence().await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let outcome = load.stop().await?;
    drop((inside, outside));
    grid.stop().await?;
    Ok(outcome)
}

async fn serve(setup: &Setup, grid: &Grid) -> Result<(Load, String)> {
    grid.account("10.00").await?;
    let manifest = setup.examples.join("hello/kinesis.toml");
    grid.cli(&["deploy".as_ref(), manifest.as_os_str()]).await?;
    let app = grid.settled("hello", 1, 1).await?;
    let serving = replica(&app, "active")?["node"].as_str().unwrap_or_default().to_owned();
    let load = Load::start(&grid.endpoints()?.ingress, "hello.localhost", PER_SECOND)?;
    eventually("answers", async || Ok((load.answered() > 400).then_some(()))).await?;
    Ok((load, serving))
}

/// A machine of its own: a network namespace behind a pair of virtual interfaces.
struct Namespace {
    name: String,
}

impl Namespace {
    const OUR_ADDRESS: &str = "10.213.77.1";
    const THEIR_ADDRESS: &str = "10.213.77.2";

    async fn new() -> Result<Self> {
        let namespace = Self { name: format!("kinesis-{}", std::process::id()) };
        let name = &namespace.name;
        for command in [
            format!("netns add {name}"),
            "link add kinesis0 type veth peer name kinesis1".to_owned(),
            format!("link set kinesis1 netns {name}"),
            format!("addr add {}/30 dev kinesis0", Self::OUR_ADDRESS),
            "link set kinesis0 up".to_owned(),
            format!("-n {name} addr add {}/30 dev kinesis1", Self::THEIR_ADDRESS),
            format!("-n {name} link set kinesis1 up"),
            format!("-n {name} link set lo up"),
        ] {
            ip(&command).await?;
        }
        Ok(namespace)
    }

    /// The far end, so that what is sent there is lost: with the near one down its route is gone,
    /// and another may answer for it.
    async fn silence(&self) -> Result<()> {
        ip(&format!("-n {} link set kinesis1 down", self.name)).await
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for args in [["link", "del", "kinesis0"], ["netns", "del", &self.name]] {
            let _ = std::process::Command::new("ip").args(args).status();
        }
    }
}

async fn ip(command: &str) -> Result<()> {
    let output = Command::new("ip").args(command.split(' ')).output().await?;
    ensure!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
