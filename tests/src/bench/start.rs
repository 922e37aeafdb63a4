//! `start`: the first byte from a node that has the component, and from a warm standby, beside
//! `crun run` of a static binary.
//!
//! `cold` is a node as it runs: one confined process waits for whatever comes, with nothing of the
//! component in it. `cold_no_spare` has no process at all when it is asked.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use kinesis_protocol::{
    ContentHash, LeaseId, Resources, Workload,
    lease::{Instance, Program, ServiceWorkload},
};
use kinesis_runtime::{RunnerCommand, Runtime, RuntimeConfig, Sandbox, StartSpec};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use super::{Setup, median};

/// Runs it; the last line printed is the result.
///
/// # Errors
/// Where a side does not start.
pub async fn run(setup: &Setup) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let runtime = runtime(setup, &folder.path().join("runtime")).await?;
    let bare = runtime_with(setup, &folder.path().join("bare"), 0).await?;
    let component = setup.examples.join("hello/hello.wasm");
    bundle(folder.path(), setup).await?;
    // Compiles, so that every start below finds it compiled.
    cold(&runtime, &component).await?;
    cold(&bare, &component).await?;
    let (mut colds, mut bares, mut warms, mut peers) = (vec![], vec![], vec![], vec![]);
    for _ in 0..setup.repetitions.max(5) * 2 {
        let (peer, cold) = (crun(folder.path()).await?, cold(&runtime, &component).await?);
        let (bare, warm) =
            (self::cold(&bare, &component).await?, warm(&runtime, &component).await?);
        eprintln!(
            "crun {peer:.2} ms, cold {cold:.2} ms, without a spare {bare:.2} ms, warm {warm:.3} ms"
        );
        peers.push(peer);
        colds.push(cold);
        bares.push(bare);
        warms.push(warm);
        // The runtime replaces its spare process meanwhile, as it would between leases.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let result = json!({
        "bench": "start",
        "cold_ratio": median(&colds) / median(&peers),
        "cold_no_spare_ratio": median(&bares) / median(&peers),
        "warm_ratio": median(&warms) / median(&peers),
        "cold_ms": median(&colds),
        "cold_no_spare_ms": median(&bares),
        "warm_ms": median(&warms),
        "crun_ms": median(&peers),
    });
    println!("{result}");
    Ok(())
}

/// A runtime whose children are the binary's.
///
/// # Errors
/// Where it cannot be opened.
pub async fn runtime(setup: &Setup, dir: &Path) -> Result<Runtime> {
    runtime_with(setup, dir, 1).await
}

/// The same, with so many processes that wait.
async fn runtime_with(setup: &Setup, dir: &Path, spares: usize) -> Result<Runtime> {
    let runner = RunnerCommand { program: setup.kinesis.clone(), args: vec!["runner".into()] };
    let config = RuntimeConfig { spares, ..RuntimeConfig::new(dir.to_owned(), runner) };
    Ok(Runtime::open(config).await?)
}

fn spec(component: &Path, standby: bool) -> Result<StartSpec> {
    let bytes = std::fs::read(component).with_context(|| component.display().to_string())?;
    let program = Program {
        component: ContentHash::of(&bytes),
        component_bytes: bytes.len() as u64,
        env: [].into(),
        files: vec![],
        network: vec![],
    };
    Ok(StartSpec {
        lease: LeaseId::random(),
        workload: Workload::Service(ServiceWorkload {
            program,
            instance: Instance::Fresh,
            concurrency: 8,
            request_ms_max: 10_000,
        }),
        granted: Resources { cpu_millis: 1_000, mem_mib: 128, ..Resources::default() },
        component: component.to_owned(),
        files: vec![],
        standby,
    })
}

async fn first_byte(sandbox: &Sandbox) -> Result<()> {
    let mut stream = sandbox.connect().await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: hello\r\n\r\n").await?;
    let mut byte = [0];
    ensure!(stream.read(&mut byte).await? == 1, "no answer");
    Ok(())
}

async fn cold(runtime: &Runtime, component: &Path) -> Result<f64> {
    let spec = spec(component, false)?;
    let start = Instant::now();
    let sandbox = runtime.start(spec).await?;
    first_byte(&sandbox).await?;
    let took = start.elapsed();
    end(&sandbox).await;
    Ok(took.as_secs_f64() * 1000.0)
}

async fn warm(runtime: &Runtime, component: &Path) -> Result<f64> {
    let sandbox = runtime.start(spec(component, true)?).await?;
    sandbox.ready().await?;
    let start = Instant::now();
    sandbox.thaw()?;
    first_byte(&sandbox).await?;
    let took = start.elapsed();
    end(&sandbox).await;
    Ok(took.as_secs_f64() * 1000.0)
}

async fn end(sandbox: &Sandbox) {
    sandbox.kill();
    sandbox.ended().await;
}

/// An OCI bundle with one static binary that prints a byte.
async fn bundle(folder: &Path, _setup: &Setup) -> Result<()> {
    let root = folder.join("bundle/rootfs");
    std::fs::create_dir_all(&root)?;
    let source = folder.join("hello.c");
    std::fs::write(&source, "#include <unistd.h>\nint main(){write(1,\"h\",1);return 0;}\n")?;
    let cc = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(root.join("hello"))
        .arg(&source)
        .status()
        .await?;
    ensure!(cc.success(), "cc: {cc}");
    let spec = Command::new("crun")
        .arg("spec")
        .current_dir(folder.join("bundle"))
        .status()
        .await
        .context("crun: run `cargo xtask bench`")?;
    ensure!(spec.success(), "crun spec: {spec}");
    let path = folder.join("bundle/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["args"] = json!(["/hello"]);
    config["process"]["terminal"] = json!(false);
    std::fs::write(&path, serde_json::to_vec(&config)?)?;
    Ok(())
}

async fn crun(folder: &Path) -> Result<f64> {
    // Where cgroups are hybrid, crun refuses the v2 part: it is hidden from it.
    let script = "mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; read go; \
                  exec crun run \"$0\"";
    let mut child = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, &format!("bench-{}", LeaseId::random())])
        .current_dir(folder.join("bundle"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // The shell waits, ready, so that only crun itself is timed.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut stdin = child.stdin.take().context("stdin")?;
    let mut stdout = child.stdout.take().context("stdout")?;
    let start = Instant::now();
    stdin.write_all(b"go\n").await?;
    let mut byte = [0];
    let read = stdout.read(&mut byte).await?;
    let took = start.elapsed();
    let output = child.wait_with_output().await?;
    ensure!(read == 1, "crun: {}", String::from_utf8_lossy(&output.stderr));
    Ok(took.as_secs_f64() * 1000.0)
}
