//! Commands that look, and the small ones that change one thing.

use std::io::{self, Write};

use futures_util::StreamExt;
use kinesis_control::api::{AppState, AppView, Bill, GridView, NodeView, Role};
use kinesis_protocol::{Counters, NanoUsd};

use crate::{
    cli::customer,
    client::{Client, idempotency_key},
    error::{Error, Result},
    output::{Output, bytes, millis, safe, table, write_table},
};

pub(crate) async fn ps(args: customer::Ps, url: Option<String>, out: Output) -> Result<()> {
    let client = Client::customer(url)?;
    if let Some(name) = &args.name {
        let app = client.app(name).await?;
        return out.result(&app, |w| app_page(w, &app));
    }
    let mut apps = if args.all { client.apps_ever().await? } else { client.apps().await? };
    apps.retain(|app| args.all || !over(app.state));
    out.result(&apps, |w| {
        if apps.is_empty() {
            return Ok(());
        }
        let mut t =
            table(["name", "kind", "state", "version", "where", ">requests", ">spent", "url"]);
        for app in &apps {
            t.add_row([
                app.name.clone(),
                if app.job.is_some() { "job" } else { "service" }.to_owned(),
                state(app.state).to_owned(),
                app.version.to_string(),
                places(app),
                app.requests.to_string(),
                app.spent_nanousd.to_string(),
                app.url.as_deref().map(safe).unwrap_or_default(),
            ]);
        }
        write_table(w, &t)
    })?;
    for app in &apps {
        if let Some(warning) = &app.warning {
            out.note(format!("warning: {}: {}", app.name, safe(warning)));
        }
    }
    if apps.is_empty() {
        out.note("No app runs. Put one there with `kinesis deploy PATH`.");
    }
    Ok(())
}

const fn over(state: AppState) -> bool {
    matches!(state, AppState::Completed | AppState::Failed | AppState::Stopped)
}

fn places(app: &AppView) -> String {
    let names = |role| {
        let of = app.replicas.iter().filter(move |r| r.role == role);
        of.map(|r| safe(&r.node_name)).collect::<Vec<_>>().join(", ")
    };
    let (active, standby) = (names(Role::Active), names(Role::Standby));
    if standby.is_empty() { active } else { format!("{active} (standby {standby})") }
}

fn app_page(w: &mut dyn Write, app: &AppView) -> io::Result<()> {
    writeln!(w, "name      {} ({})", app.name, app.id)?;
    let reason = app.reason.as_ref().map_or_else(String::new, |r| format!(": {}", safe(r)));
    writeln!(w, "state     {}{reason}", state(app.state))?;
    if let Some(url) = &app.url {
        writeln!(w, "url       {}", safe(url))?;
    }
    let newest = app.versions.last().map_or(app.version, |version| version.version);
    writeln!(w, "version   {} of {newest}", app.version)?;
    let budget = app.budget_nanousd.map_or_else(String::new, |budget| format!(" of {budget}"));
    writeln!(w, "spent     {}{budget}", app.spent_nanousd)?;
    if let Some(warning) = &app.warning {
        writeln!(w, "warning   {}", safe(warning))?;
    }
    writeln!(w, "requests  {}", app.requests)?;
    writeln!(w)?;
    match &app.job {
        None => replicas(w, app),
        Some(job) => {
            let mut t = table(["part", "state", "node", "tier", ">attempts", ">worked", "ending"]);
            for part in &job.parts {
                t.add_row([
                    part.part.to_string(),
                    safe(&part.state),
                    part.node_name.as_deref().map(safe).unwrap_or_default(),
                    part.tier.map_or_else(String::new, |tier| tier.to_string()),
                    part.attempts.to_string(),
                    part.wall_ms.map(millis).unwrap_or_default(),
                    part.ending.as_deref().map(safe).unwrap_or_default(),
                ]);
            }
            write_table(w, &t)
        }
    }
}

/// An app's replicas and standbys.
pub(super) fn replicas(w: &mut dyn Write, app: &AppView) -> io::Result<()> {
    if app.replicas.is_empty() {
        return writeln!(w, "nothing of it runs now");
    }
    let mut t =
        table(["replica", "epoch", "role", "state", "node", "tier", "version", ">requests"]);
    for replica in &app.replicas {
        t.add_row([
            replica.replica.to_string(),
            replica.epoch.to_string(),
            role(replica.role).to_owned(),
            safe(&replica.state),
            safe(&replica.node_name),
            replica.tier.to_string(),
            replica.version.to_string(),
            replica.counters.requests.to_string(),
        ]);
    }
    write_table(w, &t)
}

pub(super) const fn state(state: AppState) -> &'static str {
    match state {
        AppState::Pending => "pending",
        AppState::Running => "running",
        AppState::Idle => "idle",
        AppState::Completed => "completed",
        AppState::Failed => "failed",
        AppState::Stopped => "stopped",
        AppState::OverBudget => "over budget",
        AppState::Deleted => "deleted",
    }
}

pub(super) const fn role(role: Role) -> &'static str {
    match role {
        Role::Active => "active",
        Role::Standby => "standby",
    }
}

pub(crate) async fn logs(args: customer::Logs, url: Option<String>, out: Output) -> Result<()> {
    let client = Client::customer(url)?;
    let response = client.logs(&args.name, args.replica, args.follow).await?;
    let mut stream = response.bytes_stream();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => out.bytes(&chunk)?,
            Err(e) => {
                return Err(Error::Unreachable {
                    what: format!("the log of {}", args.name),
                    hint: Some("try again: the node may have been lost".into()),
                    source: e.without_url().into(),
                });
            }
        }
    }
    Ok(())
}

pub(crate) async fn usage(args: customer::Usage, url: Option<String>, out: Output) -> Result<()> {
    let client = Client::customer(url)?;
    let Some(name) = &args.name else {
        let apps = client.apps_ever().await?;
        let rows: Vec<_> = apps
            .iter()
            .map(|app| {
                serde_json::json!({
                    "name": app.name,
                    "state": app.state,
                    "requests": app.requests,
                    "spent_nanousd": app.spent_nanousd,
                    "budget_nanousd": app.budget_nanousd,
                })
            })
            .collect();
        let total: NanoUsd = apps.iter().map(|app| app.spent_nanousd).sum();
        return out.result(&serde_json::json!({"apps": rows, "spent_nanousd": total}), |w| {
            let mut t = table(["name", "state", ">requests", ">spent", ">budget"]);
            for app in &apps {
                t.add_row([
                    app.name.clone(),
                    state(app.state).to_owned(),
                    app.requests.to_string(),
                    app.spent_nanousd.to_string(),
                    app.budget_nanousd.map_or_else(|| "none".into(), |b| b.to_string()),
                ]);
            }
            write_table(w, &t)?;
            writeln!(w, "\ntotal  {total}")
        });
    };
    let bill = client.usage(name).await?;
    out.result(&bill, |w| self::bill(w, &bill))
}

/// A bill, line by line. Only what was used is on it.
pub(super) fn bill(w: &mut dyn Write, bill: &Bill) -> io::Result<()> {
    let mut t = table([
        "replica",
        "node",
        "tier",
        ">worked",
        ">cpu",
        ">energy",
        ">requests",
        ">billed",
        ">supplier",
        ">JOULE",
        "ended",
    ]);
    let used = bill.lines.iter().filter(|line| line.counters != Counters::default());
    for line in used {
        let Counters { wall_ms, cpu_ms, energy_mj, requests, energy_source, .. } = line.counters;
        t.add_row([
            format!("{}@{}", line.replica, line.epoch),
            safe(&line.node_name),
            line.tier.to_string(),
            millis(wall_ms),
            millis(cpu_ms),
            format!("{} J {}", joules(energy_mj), energy_source.as_str()),
            requests.to_string(),
            line.billed_nanousd.to_string(),
            line.supplier_nanousd.to_string(),
            line.supplier_nanojoule.to_string(),
            line.ending.as_deref().map(safe).unwrap_or_default(),
        ]);
    }
    write_table(w, &t)?;
    writeln!(w)?;
    writeln!(w, "suppliers     {:>14}", bill.suppliers_nanousd)?;
    writeln!(w, "utility       {:>14}", bill.margin_nanousd)?;
    writeln!(w, "protocol fee  {:>14}", bill.fee_nanousd)?;
    writeln!(w, "you pay       {:>14}", bill.customer_nanousd)
}

fn joules(mj: u64) -> String {
    format!("{}.{:03}", mj / 1000, mj % 1000)
}

pub(crate) async fn rollback(
    args: customer::Rollback,
    url: Option<String>,
    out: Output,
) -> Result<()> {
    let client = Client::customer(url)?;
    let app = client.rollback(&args.name, &idempotency_key(args.idempotency_key)).await?;
    out.result(&app, |w| writeln!(w, "{} goes back to version {}", app.name, app.version))
}

pub(crate) async fn stop(args: customer::Named, url: Option<String>, out: Output) -> Result<()> {
    let app = Client::customer(url)?.stop(&args.name).await?;
    out.result(&app, |w| {
        writeln!(w, "{} is {}; it cost {}", app.name, state(app.state), app.spent_nanousd)
    })
}

pub(crate) async fn delete(args: customer::Named, url: Option<String>, out: Output) -> Result<()> {
    let app = Client::customer(url)?.delete(&args.name).await?;
    out.result(&app, |w| {
        writeln!(w, "{} is deleted; it cost {}", app.name, app.spent_nanousd)?;
        writeln!(w, "Its bill stays: kinesis usage {}", app.name)
    })
}

pub(crate) async fn nodes(url: Option<String>, out: Output) -> Result<()> {
    let grid: GridView = Client::public(url)?.get("/v1/grid").await?;
    out.result(&grid.nodes, |w| write_nodes(w, &grid.nodes))?;
    if grid.nodes.is_empty() {
        out.note("No machine is plugged in. Plug this one in with `kinesis supply join`.");
    }
    Ok(())
}

fn write_nodes(w: &mut dyn Write, nodes: &[NodeView]) -> io::Result<()> {
    let mut t = table([
        "name",
        "node",
        "tier",
        "region",
        "state",
        ">free cores",
        ">free memory",
        ">leases",
        ">JOULE earned",
    ]);
    for node in nodes {
        let cores = |millis: u32| format!("{}.{}", millis / 1000, millis % 1000 / 100);
        let why = node.paused.as_ref().or(node.withheld.as_ref());
        let paused = why.map_or_else(String::new, |p| format!(": {}", safe(p)));
        t.add_row([
            safe(&node.name),
            node.node.short(),
            node.tier.to_string(),
            safe(&node.region),
            format!("{}{paused}", safe(&node.state)),
            format!("{} of {}", cores(node.free.cpu_millis), cores(node.offered.cpu_millis)),
            format!(
                "{} of {}",
                bytes(u64::from(node.free.mem_mib) << 20),
                bytes(u64::from(node.offered.mem_mib) << 20)
            ),
            node.leases.to_string(),
            node.earned_nanojoule.to_string(),
        ]);
    }
    write_table(w, &t)
}
