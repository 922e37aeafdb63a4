//! From start to death: standbys, leftovers, the end of the agent, and the code cache.

use std::{fs, os::unix::fs::MetadataExt, time::Duration};

use kinesis_protocol::{LeaseId, lease::Instance};
use kinesis_runtime::{Exit, IsolationPolicy, Runtime, RuntimeConfig, RuntimeError, StartSpec};

use crate::support::{Client, Grid, ask, children, job, runner, service, until, within};

fn gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_waits_frozen_and_answers_once_thawed() {
    let grid = Grid::open().await;
    let spec = StartSpec { standby: true, ..service("probe", Instance::Fresh) };
    let sandbox = grid.start(spec).await;
    within(sandbox.ready()).await.unwrap();
    assert!(sandbox.is_frozen());
    // A request that arrives early waits.
    let mut client = Client::connect(&sandbox).await;
    let asked = tokio::spawn(async move { client.get("/").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished());
    assert_eq!(sandbox.counters(), Default::default());
    sandbox.thaw().unwrap();
    assert_eq!(within(asked).await.unwrap(), (200, "ok".into()));
    sandbox.freeze().unwrap();
    assert!(sandbox.is_frozen());
    sandbox.drain();
    assert_eq!(within(sandbox.ended()).await, Exit::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn isolation_is_said() {
    let grid = Grid::open().await;
    let isolation = grid.runtime.isolation();
    for barrier in [
        "control_groups",
        "landlock",
        "mount_namespace",
        "network_namespace",
        "pid_namespace",
        "seccomp",
        "user_namespace",
    ] {
        let said = isolation.get(barrier).unwrap_or_else(|| panic!("{barrier}: {isolation:?}"));
        assert!(!said.is_empty() && said.len() < 512, "{said}");
    }
    let full = RuntimeConfig {
        isolation: IsolationPolicy::Full,
        ..RuntimeConfig::new(tempfile::tempdir().unwrap().path(), runner())
    };
    let missing = isolation.values().any(|said| said.starts_with("missing"));
    match Runtime::open(full).await {
        Ok(_) => assert!(!missing),
        Err(RuntimeError::Isolation(what)) => assert!(missing, "{what}"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_is_confined() {
    let grid = Grid::open().await;
    let isolation = grid.runtime.isolation();
    let sandbox = grid.service("probe", Instance::Fresh).await;
    let pids = fs::read_to_string(sandbox.log_path().with_file_name("pids")).unwrap();
    let worker = pids.lines().nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let status = fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    assert_eq!(field("NoNewPrivs"), "1");
    if !isolation["seccomp"].starts_with("missing") {
        assert_eq!(field("Seccomp"), "2");
    }
    assert_eq!(field("CapEff"), "0000000000000000");
    if nix::unistd::geteuid().is_root() {
        assert_eq!(field("Uid").split_whitespace().next(), Some("65534"));
    }
    for (barrier, namespace) in
        [("pid_namespace", "pid"), ("network_namespace", "net"), ("mount_namespace", "mnt")]
    {
        if !isolation[barrier].starts_with("missing") {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}")).unwrap();
            assert_ne!(of(&worker), of("self"), "{namespace}");
        }
    }
    // An empty root.
    if !isolation["mount_namespace"].starts_with("missing") {
        assert_eq!(fs::read_dir(format!("/proc/{worker}/root/")).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_has_one_sandbox() {
    let grid = Grid::open().await;
    let spec = service("hello", Instance::Fresh);
    let sandbox = grid.start(spec.clone()).await;
    assert!(matches!(grid.runtime.start(spec.clone()).await, Err(RuntimeError::Duplicate(_))));
    sandbox.kill();
    within(sandbox.ended()).await;
    let again = grid.start(spec).await;
    within(again.ready()).await.unwrap();
    assert_eq!(ask(&again, "/").await, (200, "hello".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_kills() {
    let grid = Grid::open().await;
    let sandbox = grid.service("hello", Instance::Fresh).await;
    let pids = fs::read_to_string(sandbox.log_path().with_file_name("pids")).unwrap();
    let pids: Vec<u32> =
        pids.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    let clone = sandbox.clone();
    drop(sandbox);
    assert_eq!(ask(&clone, "/").await.0, 200);
    drop(clone);
    until("both processes are gone", || pids.iter().all(|pid| gone(*pid))).await;
    let Grid { runtime, dir } = grid;
    drop(runtime);
    until("the spare is gone too", || children().into_iter().all(gone)).await;
    drop(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_is_compiled_once_and_shared() {
    let grid = Grid::open().await;
    let first = grid.service("hello", Instance::Fresh).await;
    let code = fs::read_dir(grid.dir.path().join("code")).unwrap().flatten();
    let code: Vec<_> = code.map(|entry| entry.path()).collect();
    assert_eq!(code.len(), 1, "{code:?}");
    let second = grid.service("hello", Instance::Fresh).await;
    let inode = |path: &std::path::Path| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(&first.log_path().with_file_name("code")), inode(&code[0]));
    assert_eq!(inode(&second.log_path().with_file_name("code")), inode(&code[0]));
    // A damaged file is not run, and compiled again.
    let broken = code[0].clone();
    drop((first, second));
    fs::remove_file(&broken).unwrap();
    fs::write(&broken, b"no machine code").unwrap();
    let sandbox = grid.start(service("hello", Instance::Fresh)).await;
    assert!(within(sandbox.ready()).await.is_err());
    let sandbox = grid.service("hello", Instance::Fresh).await;
    assert_eq!(ask(&sandbox, "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_serves_one_process() {
    let grid = Grid::open().await;
    let error = Runtime::open(RuntimeConfig::new(grid.dir.path(), runner())).await.unwrap_err();
    assert!(matches!(error, RuntimeError::File { action: "lock", .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_are_reported_until_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let config = || RuntimeConfig::new(dir.path(), runner());
    let spec = job("stopwatch", &["150"]);
    let runtime = Runtime::open(config()).await.unwrap();
    assert_eq!(runtime.leftovers(), []);
    let sandbox = runtime.start(spec.clone()).await.unwrap();
    within(sandbox.ended()).await;
    let counters = sandbox.counters();
    drop((sandbox, runtime));
    let mut opened = None;
    for _ in 0..100 {
        match Runtime::open(config()).await {
            Ok(runtime) => {
                opened = Some(runtime);
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    let runtime = opened.unwrap();
    assert_eq!(runtime.leftovers(), [(spec.lease, counters)]);
    runtime.forget(spec.lease);
    assert!(!dir.path().join("leases").join(spec.lease.to_string()).exists());
}

/// Not a test of its own: the agent that [`the_agents_death_ends_everything`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_to_be_killed() {
    let Some(dir) = std::env::var_os("KINESIS_TEST_AGENT_DIR") else { return };
    let runtime = Runtime::open(RuntimeConfig::new(&dir, runner())).await.unwrap();
    let working = runtime.start(job("stopwatch", &["25000"])).await.unwrap();
    let frozen = StartSpec { standby: true, ..service("hello", Instance::Fresh) };
    let frozen = runtime.start(frozen).await.unwrap();
    within(frozen.ready()).await.unwrap();
    until("it has worked", || working.counters().wall_ms > 300).await;
    fs::write(std::path::Path::new(&dir).join("started"), "").unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agents_death_ends_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut agent = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "life::agent_to_be_killed", "--nocapture"])
        .env("KINESIS_TEST_AGENT_DIR", dir.path())
        .kill_on_drop(true)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the agent works", || dir.path().join("started").exists()).await;
    let leases: Vec<LeaseId> = fs::read_dir(dir.path().join("leases"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(leases.len(), 2);
    let pids: Vec<u32> = leases
        .iter()
        .flat_map(|lease| {
            let pids = dir.path().join("leases").join(lease.to_string()).join("pids");
            let pids = fs::read_to_string(pids).unwrap();
            pids.lines()
                .map(|line| line.split(' ').next().unwrap().parse().unwrap())
                .collect::<Vec<u32>>()
        })
        .collect();
    assert_eq!(pids.len(), 4);
    agent.kill().await.unwrap();
    until("all four processes are gone", || pids.iter().all(|pid| gone(*pid))).await;

    // The next agent knows what was used.
    let runtime = Runtime::open(RuntimeConfig::new(dir.path(), runner())).await.unwrap();
    let leftovers = runtime.leftovers();
    assert_eq!(leftovers.len(), 2);
    let most = leftovers.iter().map(|(_, counters)| counters.wall_ms).max().unwrap();
    // At least until the last tick before the kill, which a busy machine may have delayed.
    assert!((50..25_000).contains(&most), "{leftovers:?}");
}
