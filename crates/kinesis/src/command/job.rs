//! `kinesis run`: a job from its manifest to its outputs and its bill.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use kinesis_control::api::{AppState, AppView, Bill, BillLine, OutputView, PartView};
use kinesis_protocol::{
    Address, EnergySource, LeaseId, NanoJoule, NanoUsd, NodeId, Tier,
    lease::{LOG_BYTES_MAX, OUTPUT_FILES_MAX},
    manifest::{Kind, relative_path},
};
use serde::Serialize;

use super::{Patience, show, upload};
use crate::{
    bundle::Bundle,
    cli::customer,
    client::{Client, idempotency_key},
    error::{Error, Result},
    output::{Output, Progress, bytes, millis, safe, table, write_table},
};

/// What scripts get.
#[derive(Debug, Serialize)]
struct Report<'a> {
    name: &'a str,
    state: AppState,
    reason: Option<&'a str>,
    parts: Vec<Part>,
    billed_nanousd: NanoUsd,
    suppliers_nanousd: NanoUsd,
    outputs: &'a [OutputView],
    bill: Option<&'a Bill>,
}

/// One part: where it ran, what it used, what it cost, what it wrote.
#[derive(Debug, Serialize)]
struct Part {
    part: u32,
    state: String,
    attempts: u32,
    ending: Option<String>,
    node: Option<NodeId>,
    node_name: Option<String>,
    tier: Option<Tier>,
    supplier: Option<Address>,
    billed_ms: u64,
    cpu_ms: u64,
    billed_nanousd: NanoUsd,
    supplier_nanousd: NanoUsd,
    supplier_nanojoule: NanoJoule,
    energy_mj: u64,
    energy_source: EnergySource,
    log: String,
}

pub(crate) async fn run(args: customer::Run, url: Option<String>, out: Output) -> Result<()> {
    let client = Client::customer(url)?;
    let bundle = Bundle::load(&args.manifest)?;
    let Kind::Job(_) = &bundle.manifest.kind else {
        return Err(Error::Usage {
            message: format!("{} is a service", bundle.manifest.name),
            hint: Some("`kinesis deploy PATH` puts it on the grid".into()),
        });
    };
    let mut progress = out.progress();
    upload(&client, &bundle, &mut progress).await?;
    // An app of that name may have been billed before: those lines are not this run's.
    let before: Vec<LeaseId> = match client.usage(&bundle.manifest.name).await {
        Ok(bill) => bill.lines.iter().map(|line| line.lease).collect(),
        Err(Error::Api { status: 404, .. }) => Vec::new(),
        Err(e) => return Err(e),
    };
    progress.step(format!("Queueing {}", bundle.manifest.name));
    let app = client.deploy(&bundle.request, &idempotency_key(args.idempotency_key)).await?;
    let app = tokio::select! {
        ended = follow(&client, app, args.timeout, &mut progress) => ended?,
        _ = tokio::signal::ctrl_c() => {
            drop(progress);
            let name = &bundle.manifest.name;
            out.note(format!("The job goes on. See `kinesis ps {name}`, `kinesis stop {name}`."));
            return Err(Error::Interrupted);
        }
    };
    progress.step("Collecting the bill");
    let bill = final_bill(&client, &app, &before).await?;
    let lines = newest_lines(&bill, &before);
    let parts = collect(&client, &app, &lines, &mut progress).await?;
    let outputs = client.outputs(&app.name).await?;
    if let Some(dir) = &args.out {
        download(&client, &outputs, dir, &mut progress).await?;
    }
    drop(progress);
    let report = Report {
        name: &app.name,
        state: app.state,
        reason: app.reason.as_deref(),
        billed_nanousd: parts.iter().map(|p| p.billed_nanousd).sum(),
        suppliers_nanousd: parts.iter().map(|p| p.supplier_nanousd).sum(),
        parts,
        outputs: &outputs,
        bill: Some(&bill),
    };
    out.result(&report, |w| write_report(w, &report, args.out.as_deref()))?;
    match app.state {
        AppState::Completed => Ok(()),
        AppState::OverBudget => Err(Error::Refused {
            message: format!("{} was stopped: its budget or its account is used up", app.name),
            hint: Some("pay in with `kinesis account deposit AMOUNT`, or raise [budget]".into()),
        }),
        state => Err(Error::Failed {
            message: format!(
                "{} {}{}",
                app.name,
                show::state(state),
                app.reason.as_ref().map_or_else(String::new, |r| format!(": {}", safe(r)))
            ),
            hint: None,
        }),
    }
}

/// Follows a job to its end.
async fn follow(
    client: &Client,
    mut app: AppView,
    timeout_s: Option<u64>,
    progress: &mut Progress,
) -> Result<AppView> {
    let mut patience = Patience::new(timeout_s);
    let mut said = BTreeMap::new();
    loop {
        let parts = app.job.as_ref().map_or(&[][..], |job| &job.parts);
        for part in parts {
            let line = part_line(part);
            if said.get(&part.part) != Some(&line) && part.state != "queued" {
                progress.keep(&line);
            }
            said.insert(part.part, line);
        }
        match app.state {
            AppState::Completed
            | AppState::Failed
            | AppState::Stopped
            | AppState::OverBudget
            | AppState::Deleted => return Ok(app),
            AppState::Pending | AppState::Running | AppState::Idle => {}
        }
        let done = parts.iter().filter(|part| part.state == "completed").count();
        let reason = app.reason.as_ref().map_or_else(String::new, |r| format!(": {}", safe(r)));
        progress.tick(format!("{done} of {} parts completed{reason}", parts.len()));
        let last = app.reason.as_deref().map(safe);
        patience.pause(&format!("the end of {}", app.name), last.as_deref()).await?;
        if let Some(newer) = patience.bear(client.app(&app.name).await)? {
            app = newer;
        }
    }
}

fn part_line(part: &PartView) -> String {
    let place = match (&part.node_name, part.tier) {
        (Some(node), Some(tier)) => format!(" on {} ({tier})", safe(node)),
        (Some(node), None) => format!(" on {}", safe(node)),
        (None, _) => String::new(),
    };
    let worked = part.wall_ms.map_or_else(String::new, |ms| format!(" after {}", millis(ms)));
    let attempt =
        if part.attempts > 1 { format!(", attempt {}", part.attempts) } else { String::new() };
    let ending = match &part.ending {
        Some(ending) if part.state != "completed" => format!(": {}", safe(ending)),
        _ => String::new(),
    };
    format!("part {} {}{place}{worked}{attempt}{ending}", part.part, safe(&part.state))
}

/// How long what was stopped may take to end.
const END_PATIENCE: Duration = Duration::from_secs(15);

/// The bill of this run. A job that completed or failed is on it; what was stopped may need a moment
/// to end, and is billed then.
async fn final_bill(client: &Client, app: &AppView, before: &[LeaseId]) -> Result<Bill> {
    let deadline = tokio::time::Instant::now() + END_PATIENCE;
    loop {
        let bill = client.usage(&app.name).await?;
        let ended = |line: &BillLine| line.ending.is_some() || before.contains(&line.lease);
        if bill.lines.iter().all(ended) || tokio::time::Instant::now() > deadline {
            return Ok(bill);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The lines of this run: for each part its newest attempt, the only one that may be billed.
fn newest_lines<'b>(bill: &'b Bill, before: &[LeaseId]) -> BTreeMap<u32, &'b BillLine> {
    let all_old = bill.lines.iter().all(|line| before.contains(&line.lease));
    let mut lines: BTreeMap<u32, &BillLine> = BTreeMap::new();
    for line in bill.lines.iter().filter(|line| all_old || !before.contains(&line.lease)) {
        let rank = |l: &BillLine| (l.billed_nanousd > NanoUsd::ZERO, l.epoch);
        let best = lines.entry(line.replica).or_insert(line);
        if rank(line) > rank(best) {
            *best = line;
        }
    }
    lines
}

async fn collect(
    client: &Client,
    app: &AppView,
    lines: &BTreeMap<u32, &BillLine>,
    progress: &mut Progress,
) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for part in app.job.as_ref().map_or(&[][..], |job| &job.parts) {
        progress.tick(format!("Reading the log of part {}", part.part));
        let log = if part.attempts == 0 { String::new() } else { log(client, app, part).await };
        let line = lines.get(&part.part).copied();
        let counters = line.map(|l| l.counters).unwrap_or_default();
        parts.push(Part {
            part: part.part,
            state: part.state.clone(),
            attempts: part.attempts,
            ending: part.ending.clone(),
            node: part.node.or(line.map(|l| l.node)),
            node_name: part.node_name.clone().or_else(|| line.map(|l| l.node_name.clone())),
            tier: part.tier.or(line.map(|l| l.tier)),
            supplier: line.map(|l| l.supplier),
            billed_ms: counters.wall_ms,
            cpu_ms: counters.cpu_ms,
            billed_nanousd: line.map(|l| l.billed_nanousd).unwrap_or_default(),
            supplier_nanousd: line.map(|l| l.supplier_nanousd).unwrap_or_default(),
            supplier_nanojoule: line.map(|l| l.supplier_nanojoule).unwrap_or_default(),
            energy_mj: counters.energy_mj,
            energy_source: counters.energy_source,
            log,
        });
    }
    Ok(parts)
}

/// A part's log. A log that is gone with its node is no reason to hide a result.
async fn log(client: &Client, app: &AppView, part: &PartView) -> String {
    let mut bytes = Vec::new();
    match client.logs(&app.name, part.part, false).await {
        Ok(mut response) => {
            while let Ok(Some(chunk)) = response.chunk().await {
                bytes.extend_from_slice(&chunk);
                if bytes.len() as u64 > LOG_BYTES_MAX {
                    break;
                }
            }
        }
        Err(e) => return format!("(the log cannot be read: {e})\n"),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn download(
    client: &Client,
    outputs: &[OutputView],
    dir: &Path,
    progress: &mut Progress,
) -> Result<()> {
    let parts = outputs.iter().map(|o| o.part).collect::<std::collections::BTreeSet<_>>().len();
    // What a utility says is not believed: neither how much there is, nor where it goes.
    let strange = outputs.iter().find(|output| !relative_path(&output.path));
    if let Some(output) = strange {
        return Err(Error::Failed {
            message: format!("\"{}\" cannot be the path of an output", safe(&output.path)),
            hint: None,
        });
    }
    if outputs.len() > parts * OUTPUT_FILES_MAX {
        return Err(Error::Failed {
            message: format!("{} outputs are more than a job can leave", outputs.len()),
            hint: None,
        });
    }
    std::fs::create_dir_all(dir)
        .map_err(Error::io(format!("make the directory {}", dir.display())))?;
    for output in outputs {
        progress.step(format!("Fetching {} ({})", safe(&output.path), bytes(output.bytes)));
        let file = dir.join(output.part.to_string()).join(&output.path);
        client.get_artifact(output.hash, output.bytes, &file).await?;
    }
    Ok(())
}

fn write_report(w: &mut dyn Write, report: &Report<'_>, out: Option<&Path>) -> io::Result<()> {
    for part in &report.parts {
        let one = report.parts.len() == 1;
        for line in part.log.lines() {
            // A guest may write anything; a terminal must survive it.
            let line = safe(line);
            if one { writeln!(w, "{line}")? } else { writeln!(w, "[{}] {line}", part.part)? }
        }
    }
    if !report.outputs.is_empty() {
        writeln!(w)?;
        for output in report.outputs {
            let at = match out {
                Some(dir) => {
                    dir.join(output.part.to_string()).join(&output.path).display().to_string()
                }
                None => format!("part {}: {}", output.part, safe(&output.path)),
            };
            writeln!(w, "{at}  {}", bytes(output.bytes))?;
        }
    }
    writeln!(w)?;
    let mut t = table([
        "part",
        "state",
        "node",
        "tier",
        ">worked",
        ">cpu",
        ">energy",
        ">billed",
        ">supplier",
        ">JOULE",
    ]);
    for part in &report.parts {
        t.add_row([
            part.part.to_string(),
            safe(&part.state),
            part.node_name.as_deref().map(safe).unwrap_or_default(),
            part.tier.map_or_else(String::new, |tier| tier.to_string()),
            millis(part.billed_ms),
            millis(part.cpu_ms),
            format!(
                "{}.{:03} J {}",
                part.energy_mj / 1000,
                part.energy_mj % 1000,
                part.energy_source.as_str()
            ),
            part.billed_nanousd.to_string(),
            part.supplier_nanousd.to_string(),
            part.supplier_nanojoule.to_string(),
        ]);
    }
    write_table(w, &t)?;
    for part in &report.parts {
        // Why something costs that brought nothing.
        if part.state != "completed" && part.billed_nanousd > NanoUsd::ZERO {
            let why = part.ending.as_deref().map(safe).unwrap_or_default();
            writeln!(w, "\npart {} is billed for its last attempt: {why}", part.part)?;
        }
    }
    writeln!(w, "\nyou pay  {}", report.billed_nanousd)
}
