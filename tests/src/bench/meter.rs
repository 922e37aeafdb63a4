//! `meter`: billed milliseconds against the guest's own clock, billed CPU against the cgroup's own
//! counter, and what an idle app is billed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kinesis_protocol::{
    ContentHash, LeaseId, Resources, Workload,
    lease::{JobWorkload, Program},
};
use kinesis_runtime::{Exit, RunnerCommand, Runtime, RuntimeConfig, StartSpec};
use serde_json::json;

use super::Setup;
use crate::grid::{Grid, GridConfig, SupplierConfig};

/// Runs it; the last line printed is the result.
///
/// # Errors
/// Where a side does not start.
pub async fn run(setup: &Setup) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let runner = RunnerCommand { program: setup.kinesis.clone(), args: vec!["runner".into()] };
    let mut config = RuntimeConfig::new(folder.path().join("runtime"), runner);
    // A spare process has its cgroup before the job it is for: the job's could not be told.
    config.spares = 0;
    let runtime = Runtime::open(config).await?;
    let component = setup.examples.join("stopwatch/stopwatch.wasm");
    let bytes = std::fs::read(&component).with_context(|| component.display().to_string())?;
    let (mut wall_error_ms, mut cpu_error) = (0.0_f64, 0.0_f64);
    for repetition in 0..setup.repetitions.max(5) {
        let ms = 700 + 450 * repetition;
        let spec = StartSpec {
            lease: LeaseId::random(),
            workload: Workload::Job(JobWorkload {
                program: Program {
                    component: ContentHash::of(&bytes),
                    component_bytes: bytes.len() as u64,
                    env: [].into(),
                    files: vec![],
                    network: vec![],
                },
                args: vec![ms.to_string()],
                wall_ms_max: 60_000,
                seed: None,
            }),
            granted: Resources { cpu_millis: 1_000, mem_mib: 64, ..Resources::default() },
            component: component.clone(),
            files: vec![],
            standby: true,
        };
        let before = runners();
        let sandbox = runtime.start(spec).await?;
        sandbox.ready().await?;
        let cgroup = runners()
            .into_iter()
            .filter(|path| !before.contains(path))
            .find(|path| cpu_ns(path).is_some());
        let baseline = cgroup.as_deref().and_then(cpu_ns);
        sandbox.thaw()?;
        let mut last = baseline;
        let exit = loop {
            if let Some(exit) = sandbox.exit() {
                break exit;
            }
            last = cgroup.as_deref().and_then(cpu_ns).or(last);
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        ensure!(matches!(exit, Exit::Completed { .. }), "the job ended: {exit:?}");
        let log = std::fs::read_to_string(sandbox.log_path())?;
        let guest_ms = crate::guest_ms(&log)?;
        let counters = sandbox.counters();
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of one job")]
        let (billed_ms, billed_cpu_ms) = (counters.wall_ms as f64, counters.cpu_ms as f64);
        wall_error_ms = wall_error_ms.max((billed_ms - guest_ms).abs());
        if let (Some(baseline), Some(last)) = (baseline, last) {
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one job")]
            let cgroup_ms = (last - baseline) as f64 / 1e6;
            eprintln!(
                "guest {guest_ms} ms, billed {billed_ms}; cgroup {cgroup_ms:.1} ms of CPU, billed {billed_cpu_ms}"
            );
            cpu_error = cpu_error.max((billed_cpu_ms - cgroup_ms).abs() / cgroup_ms);
        } else {
            eprintln!("guest {guest_ms} ms, billed {billed_ms}; no cgroup counts CPU here");
            cpu_error = f64::NAN;
        }
    }
    let idle_billed = idle(setup, folder.path()).await?;
    let result = json!({
        "bench": "meter",
        "wall_error_ms": wall_error_ms,
        "cpu_error": cpu_error,
        "idle_billed": idle_billed,
    });
    println!("{result}");
    Ok(())
}

/// What five seconds of an app that nobody asks are billed, in nano-USD.
async fn idle(setup: &Setup, folder: &Path) -> Result<i64> {
    let grid = Grid::start(GridConfig::new(setup.kinesis.clone(), folder.join("grid"))).await?;
    let _supplier = grid.supplier(&SupplierConfig::new("node", "crowd")).await?;
    grid.account("1.00").await?;
    let manifest = setup.examples.join("hello/kinesis.toml");
    grid.cli(&["deploy".as_ref(), "--no-wait".as_ref(), manifest.as_os_str()]).await?;
    grid.settled("hello", 1, 0).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let bill = grid.cli(&["usage", "hello"]).await?;
    let lines = bill["lines"].as_array().context("lines")?;
    let billed = lines.iter().map(|line| line["billed_nanousd"].as_i64().unwrap_or(i64::MAX)).sum();
    grid.stop().await?;
    Ok(billed)
}

/// The CPU cgroups of all processes that were started by this one, or by its children.
fn runners() -> Vec<PathBuf> {
    let me = std::process::id();
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            std::iter::successors(Some(*pid), |pid| parent(*pid)).skip(1).any(|pid| pid == me)
        })
        .filter_map(|pid| {
            let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            cgroups.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                let path = path.trim_start_matches('/');
                if controllers.split(',').any(|c| c == "cpuacct") {
                    Some(Path::new("/sys/fs/cgroup/cpuacct").join(path))
                } else if controllers.is_empty() {
                    Some(Path::new("/sys/fs/cgroup").join(path))
                } else {
                    None
                }
            })
        })
        .collect()
}

/// What a cgroup has used, in nanoseconds.
fn cpu_ns(cgroup: &Path) -> Option<u64> {
    if let Ok(ns) = std::fs::read_to_string(cgroup.join("cpuacct.usage")) {
        return ns.trim().parse().ok();
    }
    let stat = std::fs::read_to_string(cgroup.join("cpu.stat")).ok()?;
    let us = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    us.parse::<u64>().ok().map(|us| us * 1000)
}
