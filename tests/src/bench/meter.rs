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
    // A spare process is there before the job it is for: the job's could not be told from it.
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
        let before = descendants();
        let sandbox = runtime.start(spec).await?;
        sandbox.ready().await?;
        let mut pids = descendants();
        pids.retain(|pid| !before.contains(pid));
        let cgroup = Cgroup::around(&pids);
        let baseline = cgroup.as_ref().and_then(Cgroup::cpu_ns);
        sandbox.thaw()?;
        let mut last = baseline;
        let exit = loop {
            if let Some(exit) = sandbox.exit() {
                break exit;
            }
            last = cgroup.as_ref().and_then(Cgroup::cpu_ns).or(last);
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

/// A cgroup of its own for the processes of one job, that counts their CPU.
struct Cgroup(PathBuf);

impl Cgroup {
    /// Moves processes into a new group; `None` where there is no such thing, or no right to it.
    fn around(pids: &[u32]) -> Option<Self> {
        let v1 = Path::new("/sys/fs/cgroup/cpuacct");
        let root = if v1.is_dir() { v1 } else { Path::new("/sys/fs/cgroup") };
        let group = Self(root.join(format!("kinesis-bench-{}", LeaseId::random())));
        std::fs::create_dir(&group.0).ok()?;
        for pid in pids {
            std::fs::write(group.0.join("cgroup.procs"), pid.to_string()).ok()?;
        }
        group.cpu_ns().map(|_| group)
    }

    /// What it has used, in nanoseconds.
    fn cpu_ns(&self) -> Option<u64> {
        if let Ok(ns) = std::fs::read_to_string(self.0.join("cpuacct.usage")) {
            return ns.trim().parse().ok();
        }
        let stat = std::fs::read_to_string(self.0.join("cpu.stat")).ok()?;
        let us = stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
        us.parse::<u64>().ok().map(|us| us * 1000)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// All processes that were started by this one, or by its children.
fn descendants() -> Vec<u32> {
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
        .collect()
}
