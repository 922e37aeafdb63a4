//! The story of one grid, told with what really happened.
//!
//! Power comes on, a customer plugs in, a machine dies under load, a job is metered to the
//! millisecond, suppliers are paid, and the books close to the last unit.

mod court;
mod market;
mod report;
mod stake;
mod trust;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    grid::{Grid, GridConfig, Supplier, SupplierConfig, eventually, send},
    load::Load,
};
use court::Auditors;
pub use market::Market;
pub use report::{Chain, Job, Money, Part, Report, Savings, Service};
pub use trust::Trust;

/// What the demo is told with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `kinesis` binary.
    pub kinesis: PathBuf,
    /// The folder of examples' manifests.
    pub examples: PathBuf,
    /// Dated list prices of the cloud we compare with.
    pub prices: PathBuf,
    /// A folder of its own.
    pub data: PathBuf,
    /// A chain that already runs; `None`: the embedded one.
    pub chain: Option<String>,
    /// Use the documented ports.
    pub documented_ports: bool,
    /// Requests a second while the machine is killed.
    pub requests_per_second: u32,
}

/// What is left when the story is told.
#[derive(Debug)]
pub struct Told {
    /// The figures.
    pub report: Report,
    /// The grid, still running.
    pub grid: Grid,
    /// The suppliers that are still alive.
    pub suppliers: Vec<Supplier>,
}

/// Where the story is told: a line at a time.
pub type Say<'a> = &'a (dyn Fn(String) + Send + Sync);

/// Tells the story. What it found is held against what is promised by [`Report::check`].
///
/// # Errors
/// Where it cannot be told to its end.
pub async fn tell(options: &Options, say: Say<'_>) -> Result<Told> {
    let start = Instant::now();
    say("1. Power comes on".into());
    let grid = Grid::start(GridConfig {
        chain: options.chain.clone(),
        documented_ports: options.documented_ports,
        min_stake: stake::MIN_STAKE,
        ..GridConfig::new(options.kinesis.clone(), options.data.clone())
    })
    .await?;
    let endpoints = grid.endpoints()?;
    say(format!("   page and API {}   apps {}", endpoints.portal, endpoints.ingress));
    say(format!("   chain {}   escrow {}", endpoints.rpc, endpoints.escrow));
    let mut suppliers = Vec::new();
    for (name, tier) in [("gaming-pc", "crowd"), ("laptop", "crowd"), ("rack-server", "datacenter")]
    {
        let supplier = grid.supplier(&SupplierConfig::new(name, tier)).await?;
        say(format!("   {name:<12} {tier:<11} process {} joined", supplier.pid()));
        suppliers.push(supplier);
    }
    stake::none(&grid, &suppliers, say).await?;
    let lent_wei = trust::borrow(&grid, &grid.data(), &suppliers, say).await?;
    stake::backed(&grid, &suppliers, say).await?;
    let auditors = Auditors::enrol(&grid, &grid.data())?;

    say("2. A customer plugs in".into());
    let account = grid.account("25.00").await?;
    say(format!("   account {} with $25.00", account["account"].as_str().unwrap_or("?")));
    let manifest = options.examples.join("guestbook/kinesis.toml");
    grid.cli(&["deploy".as_ref(), manifest.as_os_str()]).await.context("deploy guestbook")?;
    let app = grid.settled("guestbook", 1, 1).await?;
    let page = grid.ask("guestbook", "/").await?;
    ensure!(page.status().is_success(), "the guestbook answers {}", page.status());
    let (active, standby) = (replica(&app, "active")?, replica(&app, "standby")?);
    say(format!("   guestbook answers at {}", app["url"].as_str().unwrap_or("?")));
    say(format!(
        "   active on {}, warm standby on {}",
        text(active, "node_name"),
        text(standby, "node_name")
    ));

    let service = kill_under_load(&grid, &mut suppliers, options.requests_per_second, say).await?;

    say("4. A job is metered to the millisecond".into());
    let manifest = options.examples.join("stopwatch/kinesis.toml");
    let run = grid.cli(&["run".as_ref(), manifest.as_os_str()]).await.context("run stopwatch")?;
    let job = Job { parts: Part::read_all(&run)? };
    for part in &job.parts {
        say(format!(
            "   {:<11} guest saw {:>9.3} ms, billed {:>5} ms = {}; supplier {} JOULE; {} mJ ({})",
            part.tier,
            part.guest_ms,
            part.billed_ms,
            kinesis_protocol::NanoUsd(part.billed_nanousd),
            kinesis_protocol::NanoJoule(part.supplier_nanojoule),
            part.energy_mj,
            part.energy_source,
        ));
    }

    // The verdict takes its time: auditors run the job, commit, and reveal.
    let render = options.examples.join("render/render.wasm");
    let claimed = court::cheat(&grid, &grid.data(), &render, &suppliers, say).await?;

    let chain = pay(&grid, &suppliers, say).await?;
    trust::grown(&grid, &grid.data(), &suppliers, say).await?;

    let folder = grid.data();
    let jobs = options.examples.join("stopwatch");
    let market = market::moves(&grid, &folder, &jobs, claimed.accused(), say).await?;

    say("7. Cheats lose their stake".into());
    let (bonded_wei, slashed_wei) = trust::equivocate(&grid, &grid.data(), say).await?;
    let verdict = court::judged(&grid, &grid.data(), claimed, &auditors, say).await?;
    let trust = Trust {
        lent_wei,
        bonded_wei,
        slashed_wei,
        auditors: auditors.count(),
        claim_status: verdict.status,
        supplier_bonded_wei: verdict.bonded_wei,
        supplier_slashed_wei: verdict.slashed_wei,
    };
    drop(auditors);

    say("8. The books close".into());
    grid.cli(&["stop", "guestbook"]).await?;
    let totals = eventually("the last tick", async || {
        let before = grid.get("/v1/grid").await?["totals"].clone();
        tokio::time::sleep(Duration::from_millis(2_200)).await;
        let after = grid.get("/v1/grid").await?["totals"].clone();
        Ok((before == after).then_some(after))
    })
    .await?;
    let bills = bills(&grid).await?;
    let money = Money::read(&totals, &bills)?;
    let savings = Savings::compute(&options.prices, &bills, money.customer_nanousd)?;
    let report = Report {
        service,
        job,
        money,
        chain,
        market,
        trust,
        savings,
        elapsed_ms: u64::try_from(start.elapsed().as_millis())?,
    };
    for line in report.closing() {
        say(line);
    }
    Ok(Told { report, grid, suppliers })
}

/// The third part: the machine that serves is killed while customers ask.
async fn kill_under_load(
    grid: &Grid,
    suppliers: &mut Vec<Supplier>,
    per_second: u32,
    say: Say<'_>,
) -> Result<Service> {
    say(format!("3. The machine that serves is killed, under {per_second} requests a second"));
    let endpoints = grid.endpoints()?;
    let url = format!("{}/api/entries", endpoints.ingress);
    let load = Load::start(&url, "guestbook.localhost", per_second)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Who waits may have changed since it was shown.
    let app = grid.settled("guestbook", 1, 1).await?;
    let (active, standby) = (replica(&app, "active")?, replica(&app, "standby")?);
    let (serving, waiting) = (text(active, "node"), text(standby, "node_name"));
    let at = suppliers.iter().position(|s| s.node == serving).context("who serves?")?;
    let mut dead = suppliers.remove(at);
    dead.signal(Signal::SIGKILL)?;
    say(format!("   {} (process {}) got SIGKILL", dead.name, dead.pid()));
    dead.exited().await?;
    let app = eventually("a takeover and a new standby", async || {
        let app = grid.app("guestbook").await?;
        let taken = replica(&app, "active")
            .is_ok_and(|r| r["state"] == "active" && r["node"] != serving.as_str());
        let warmed = replica(&app, "standby").is_ok_and(|r| r["state"] == "warm");
        Ok((taken && warmed).then_some(app))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = load.stop().await?;
    let took_over_by = text(replica(&app, "active")?, "node_name");
    let standby = text(replica(&app, "standby")?, "node_name");
    ensure!(took_over_by == waiting, "{took_over_by} took over, {waiting} was the standby");
    say(format!(
        "   {} requests, {} failed, longest gap {:.0} ms",
        outcome.requests, outcome.failed, outcome.longest_gap_ms
    ));
    say(format!("   {took_over_by} took over; a new standby is warm on {standby}"));
    for (fault, times) in &outcome.faults {
        say(format!("   fault, {times} times: {fault}"));
    }
    Ok(Service {
        requests: outcome.requests,
        failed_idempotent: outcome.failed,
        longest_gap_ms: outcome.longest_gap_ms,
        took_over_by,
        new_standby: standby,
    })
}

/// The fifth part: suppliers are paid, with and without their utility.
async fn pay(grid: &Grid, suppliers: &[Supplier], say: Say<'_>) -> Result<Chain> {
    say("5. Suppliers are paid every second".into());
    // Somebody goes on asking, so that there is something to earn.
    let endpoints = grid.endpoints()?;
    let url = format!("{}/api/entries", endpoints.ingress);
    let load = Load::start(&url, "guestbook.localhost", 100)?;
    let mut earned_nanojoule = Vec::new();
    for _ in 0..4 {
        let mut line = String::from("   earned");
        let mut all = 0;
        for supplier in suppliers {
            let state = grid.get(&format!("/v1/suppliers/{}", supplier.address)).await?;
            let earned = state["cumulative_nanojoule"].as_i64().unwrap_or(0);
            all += earned;
            line += &format!("   {} {} JOULE", supplier.name, kinesis_protocol::NanoJoule(earned));
        }
        say(line);
        earned_nanojoule.push(all);
        tokio::time::sleep(Duration::from_millis(1_000)).await;
    }
    let outcome = load.stop().await?;
    ensure!(outcome.failed == 0, "requests failed: {:?}", outcome.faults);
    let [first, second, ..] = suppliers else { anyhow::bail!("two suppliers are left") };
    // What is not in a proof yet cannot be redeemed: the last tick must have been handed out.
    for supplier in [first, second] {
        eventually("the newest proof", async || {
            let earned = supply(grid, supplier, "earnings").await?;
            let known = grid.get(&format!("/v1/suppliers/{}", supplier.address)).await?;
            Ok((earned["redeemable_nanojoule"].as_i64() > Some(0)
                && earned["cumulative_nanojoule"] == known["cumulative_nanojoule"])
                .then_some(()))
        })
        .await?;
    }
    send(endpoints.pids.utility, Signal::SIGSTOP)?;
    let redeemed = supply(grid, first, "redeem").await;
    send(endpoints.pids.utility, Signal::SIGCONT)?;
    let redeemed = redeemed.context("redeem while the utility is stopped")?;
    let redeemed_nanojoule = redeemed["redeemed_nanojoule"].as_i64().unwrap_or(0);
    say(format!(
        "   {} redeemed {} JOULE with its stored proof alone, the utility was stopped",
        first.name,
        kinesis_protocol::NanoJoule(redeemed_nanojoule)
    ));
    let withdrawn = eventually("a withdrawal in USD", async || {
        supply(grid, second, "withdraw").await.map(Some)
    })
    .await?;
    let withdrawn_nanousd = withdrawn["usd_nanousd"].as_i64().unwrap_or(0);
    say(format!(
        "   {} withdrew {} for {} JOULE",
        second.name,
        kinesis_protocol::NanoUsd(withdrawn_nanousd),
        kinesis_protocol::NanoJoule(withdrawn["nanojoule"].as_i64().unwrap_or(0))
    ));
    Ok(Chain {
        earned_nanojoule,
        redeemed_nanojoule,
        redeemed_while_utility_down: redeemed_nanojoule > 0,
        withdrawn_nanousd,
    })
}

async fn supply(grid: &Grid, supplier: &Supplier, what: &str) -> Result<Value> {
    let rpc = grid.endpoints()?.rpc;
    let data = supplier.data.to_string_lossy().into_owned();
    let mut args = vec!["supply", what, "--data", &data];
    if what == "redeem" {
        args.extend(["--rpc", &rpc]);
    }
    grid.cli(&args).await
}

/// The bills of everything that the customer ever ran.
async fn bills(grid: &Grid) -> Result<Vec<Value>> {
    let apps = grid.cli(&["ps", "--all"]).await?;
    let mut bills = Vec::new();
    for app in apps.as_array().with_context(|| format!("no apps in {apps}"))? {
        bills.push(grid.cli(&["usage".to_owned(), text(app, "name")]).await?);
    }
    Ok(bills)
}

/// The first replica in a role.
///
/// # Errors
/// Where there is none.
pub fn replica<'a>(app: &'a Value, role: &str) -> Result<&'a Value> {
    let replicas = app["replicas"].as_array().context("no replicas")?;
    replicas.iter().find(|r| r["role"] == role).with_context(|| format!("no {role} replica: {app}"))
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
