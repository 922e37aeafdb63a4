//! A runtime in a directory of its own, guests built once, and a small HTTP client.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kinesis_protocol::{
    ContentHash, LeaseId, Resources, Workload,
    lease::{Instance, JobWorkload, Program, ServiceWorkload},
};
use kinesis_runtime::{Exit, RunnerCommand, Runtime, RuntimeConfig, Sandbox, StartSpec};

/// How long to wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn runner() -> RunnerCommand {
    RunnerCommand { program: env!("CARGO_BIN_EXE_kinesis-runner").into(), args: vec![] }
}

/// A built example. Builds all of them where one is missing.
pub(crate) fn example(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        let built = root.join("target/examples-build");
        let dir = built.join("wasm32-wasip2/release");
        let names = ["hello", "probe", "errand", "stopwatch"];
        if names.iter().any(|name| !dir.join(format!("{name}.wasm")).exists()) {
            let mut command = Command::new(env!("CARGO"));
            command
                .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"])
                .arg("--manifest-path")
                .arg(root.join("examples/Cargo.toml"))
                .arg("--target-dir")
                .arg(&built)
                .env_remove("CARGO_TARGET_DIR")
                .env_remove("RUSTFLAGS");
            for name in names {
                command.args(["-p", name]);
            }
            assert!(command.status().unwrap().success(), "the examples must build");
        }
        dir
    });
    dir.join(format!("{name}.wasm"))
}

pub(crate) struct Grid {
    pub(crate) runtime: Runtime,
    pub(crate) dir: tempfile::TempDir,
}

impl Grid {
    /// A runtime that takes compiled code from a cache all tests share, where there is one.
    pub(crate) async fn open() -> Self {
        Self::open_with(runner()).await
    }

    /// With another runner.
    pub(crate) async fn open_with(runner: RunnerCommand) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // So that energy is estimated on every machine.
        let powercap = dir.path().join("no-powercap");
        let config = RuntimeConfig { powercap, ..RuntimeConfig::new(dir.path(), runner) };
        let runtime = Runtime::open(config).await.unwrap();
        Self { runtime, dir }
    }

    pub(crate) async fn start(&self, spec: StartSpec) -> Sandbox {
        self.runtime.start(spec).await.unwrap()
    }

    pub(crate) async fn service(&self, name: &str, instance: Instance) -> Sandbox {
        let sandbox = self.start(service(name, instance)).await;
        within(sandbox.ready()).await.unwrap();
        sandbox
    }

    /// Runs a job to its end.
    pub(crate) async fn job(&self, name: &str, args: &[&str]) -> (Exit, Sandbox) {
        let sandbox = self.start(job(name, args)).await;
        let exit = within(sandbox.ended()).await;
        (exit, sandbox)
    }
}

pub(crate) const GRANTED: Resources =
    Resources { cpu_millis: 1000, mem_mib: 64, disk_mib: 16, gpus: 0, vram_mib: 0 };

fn program(component: &Path) -> Program {
    let bytes = std::fs::read(component).unwrap();
    Program {
        component: ContentHash::of(&bytes),
        component_bytes: bytes.len() as u64,
        env: BTreeMap::from([("GREETING".to_owned(), "hello grid".to_owned())]),
        files: vec![],
        network: vec![],
    }
}

fn spec(component: PathBuf, workload: Workload) -> StartSpec {
    StartSpec {
        lease: LeaseId::random(),
        workload,
        granted: GRANTED,
        component,
        files: vec![],
        standby: false,
    }
}

pub(crate) fn service(name: &str, instance: Instance) -> StartSpec {
    service_of(example(name), instance)
}

pub(crate) fn service_of(component: PathBuf, instance: Instance) -> StartSpec {
    let workload = Workload::Service(ServiceWorkload {
        program: program(&component),
        instance,
        concurrency: 16,
        request_ms_max: 20_000,
    });
    spec(component, workload)
}

pub(crate) fn job_of(component: PathBuf, args: &[&str]) -> StartSpec {
    let workload = Workload::Job(JobWorkload {
        program: program(&component),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        wall_ms_max: 30_000,
        seed: None,
    });
    spec(component, workload)
}

pub(crate) fn job(name: &str, args: &[&str]) -> StartSpec {
    job_of(example(name), args)
}

pub(crate) fn as_job(spec: &mut StartSpec) -> &mut JobWorkload {
    match &mut spec.workload {
        Workload::Job(job) => job,
        _ => panic!("a job"),
    }
}

pub(crate) fn as_service(spec: &mut StartSpec) -> &mut ServiceWorkload {
    match &mut spec.workload {
        Workload::Service(service) => service,
        _ => panic!("a service"),
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "still not: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// One connection.
pub(crate) struct Client(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl Client {
    pub(crate) async fn connect(sandbox: &Sandbox) -> Self {
        let stream = sandbox.connect().await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        within(self.0.send_request(request)).await.unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        let response = self.send(get(path)).await;
        let status = response.status().as_u16();
        let body = within(response.into_body().collect()).await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).trim_end().to_owned())
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "app.localhost").body(Full::default()).unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn ask(sandbox: &Sandbox, path: &str) -> (u16, String) {
    Client::connect(sandbox).await.get(path).await
}

pub(crate) fn log(sandbox: &Sandbox) -> String {
    String::from_utf8_lossy(&std::fs::read(sandbox.log_path()).unwrap()).into_owned()
}

/// Ids of the processes that are children of this one.
pub(crate) fn children() -> Vec<u32> {
    let pid = std::process::id();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks
        .flatten()
        .flat_map(|task| {
            let list = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

pub(crate) fn failure(exit: &Exit) -> &str {
    match exit {
        Exit::Failed { reason } | Exit::Broken { reason } => reason,
        other => panic!("expected a failure, got {other:?}"),
    }
}
