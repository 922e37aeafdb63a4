//! A grid of real processes that dies with whoever started it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::{Child, Command};

/// How long anything that should happen may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where a grid's parts answer, as `kinesis up` writes it.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// Base URL of customers' apps.
    pub ingress: String,
    /// Base URL of page and API.
    pub portal: String,
    /// The chain's JSON-RPC.
    pub rpc: String,
    /// The utility's address on the wires.
    pub wire: String,
    /// The escrow contract.
    pub escrow: String,
    /// The token contract.
    pub joule: String,
    /// The utility's address on chain.
    pub utility: String,
    /// Where the operator's token is kept.
    pub operator_token_file: PathBuf,
    /// The processes.
    pub pids: Pids,
}

/// The processes of a grid.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Pids {
    /// The supervisor.
    pub up: i32,
    /// The chain; `None` where it is somebody else's.
    pub chain: Option<i32>,
    /// The utility.
    pub utility: i32,
}

/// What to start a grid with.
#[derive(Debug, Clone)]
pub struct GridConfig {
    /// The `kinesis` binary.
    pub kinesis: PathBuf,
    /// Everything the grid writes goes below here.
    pub data: PathBuf,
    /// A chain that already runs; `None`: the embedded one.
    pub chain: Option<String>,
    /// Use the documented ports instead of free ones.
    pub documented_ports: bool,
    /// The address that its parts listen on.
    pub host: String,
    /// The stake in JOULE without which a supplier gets no work.
    pub min_stake: &'static str,
}

impl GridConfig {
    /// Free ports on the loopback address, the embedded chain, and no stake asked for.
    #[must_use]
    pub fn new(kinesis: PathBuf, data: PathBuf) -> Self {
        let host = "127.0.0.1".to_owned();
        Self { kinesis, data, chain: None, documented_ports: false, host, min_stake: "0" }
    }
}

/// A running grid. Its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Grid {
    config: GridConfig,
    up: Child,
    http: reqwest::Client,
}

/// What a supplier joins with.
#[derive(Debug, Clone)]
pub struct SupplierConfig {
    /// Its name.
    pub name: String,
    /// `crowd` or `datacenter`.
    pub tier: &'static str,
    /// `counter=attousd` pairs.
    pub prices: Vec<(&'static str, u64)>,
    /// Thousandths of a core it offers.
    pub cpu_millis: u32,
    /// Memory it offers.
    pub mem_mib: u32,
    /// The network namespace it lives in; `None`: ours.
    pub netns: Option<String>,
}

impl SupplierConfig {
    /// A supplier with the demo's prices for its tier.
    #[must_use]
    pub fn new(name: &str, tier: &'static str) -> Self {
        // Per core and hour: $0.012 in somebody's home, $0.020 in a data centre; memory at $0.001 a
        // GiB and hour; energy at $0.15 a kWh.
        let cpu_ms = if tier == "crowd" { 3_333_333_333 } else { 5_555_555_556 };
        let prices = vec![("cpu_ms", cpu_ms), ("mem_mib_ms", 271_267), ("energy_mj", 41_666_667)];
        Self { name: name.to_owned(), tier, prices, cpu_millis: 2_000, mem_mib: 2_048, netns: None }
    }
}

/// A supplier's process. Killed when dropped.
#[derive(Debug)]
pub struct Supplier {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub data: PathBuf,
    /// Its address on chain.
    pub address: String,
    /// Its node's key.
    pub node: String,
    child: Child,
}

impl Supplier {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// Where the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send(self.pid(), signal)
    }

    /// Ends it as an owner does who is in a hurry: told twice, it does not wait for others to take
    /// over what it serves.
    ///
    /// # Errors
    /// Where it does not exit in time, or not with success.
    pub async fn leave(mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        if tokio::time::timeout(Duration::from_secs(2), self.child.wait()).await.is_err() {
            self.signal(Signal::SIGTERM)?;
        }
        let status = self.exited().await?;
        ensure!(status.success(), "{} ended with {status}", self.name);
        Ok(())
    }

    /// Waits until it has exited.
    ///
    /// # Errors
    /// Where it does not exit in time.
    pub async fn exited(&mut self) -> Result<std::process::ExitStatus> {
        Ok(tokio::time::timeout(PATIENCE, self.child.wait()).await.context("still running")??)
    }
}

/// Sends a signal to a process.
///
/// # Errors
/// Where the process is gone.
pub fn send(pid: i32, signal: Signal) -> Result<()> {
    ensure!(pid > 1, "no process");
    kill(Pid::from_raw(pid), signal).with_context(|| format!("{signal} to process {pid}"))
}

fn command(kinesis: &Path) -> Command {
    let mut command = Command::new(kinesis);
    // In groups of their own: Ctrl-C reaches whoever started them, which stops them in order.
    command.kill_on_drop(true).stdin(Stdio::null()).process_group(0);
    // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
            Ok(())
        });
    }
    command
}

fn log_to(command: &mut Command, path: &Path) -> Result<()> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    command.stdout(log.try_clone()?).stderr(log);
    Ok(())
}

/// The end of a log, for error messages.
fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Asks until the answer is `Some`, or time is up.
///
/// # Errors
/// The last error, or that nothing came.
pub async fn eventually<T, F, Fut>(what: &str, mut ask: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let start = Instant::now();
    loop {
        let answer = ask().await;
        match answer {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if start.elapsed() > PATIENCE => bail!("{what}: did not happen"),
            Err(e) if start.elapsed() > PATIENCE => return Err(e.context(what.to_owned())),
            _ => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}

impl Grid {
    /// Starts `kinesis up` without suppliers and waits until all of it answers.
    ///
    /// # Errors
    /// Where it does not come up, with the end of its log.
    pub async fn start(config: GridConfig) -> Result<Self> {
        std::fs::create_dir_all(&config.data)?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut command = command(&config.kinesis);
        command.args(["up", "--suppliers", "0", "--data"]).arg(config.data.join("grid"));
        command.args(["--min-stake", config.min_stake]);
        if let Some(chain) = &config.chain {
            command.args(["--chain", chain]);
        }
        if !config.documented_ports {
            for part in ["ingress", "portal", "rpc", "relay", "wire", "lifeline"] {
                if part != "rpc" || config.chain.is_none() {
                    command.arg(format!("--{part}")).arg(format!("{}:0", config.host));
                }
            }
        }
        log_to(&mut command, &config.data.join("up.log"))?;
        let up = command.spawn().with_context(|| config.kinesis.display().to_string())?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let mut grid = Self { config, up, http };
        let start = Instant::now();
        while grid.endpoints().is_err() || !grid.healthy().await {
            let log = grid.config.data.join("up.log");
            if let Some(status) = grid.up.try_wait()? {
                bail!("kinesis up ended ({status}):\n{}", tail(&log));
            }
            ensure!(start.elapsed() < PATIENCE, "kinesis up is not ready:\n{}", tail(&log));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(grid)
    }

    /// The data directory of its utility and chain.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.config.data.join("grid")
    }

    /// Where its parts answer now.
    ///
    /// # Errors
    /// Where it has not written that yet.
    pub fn endpoints(&self) -> Result<Endpoints> {
        let path = self.config.data.join("grid/endpoints.json");
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Whether the API answers.
    pub async fn healthy(&self) -> bool {
        let Ok(endpoints) = self.endpoints() else { return false };
        let health = self.http.get(format!("{}/v1/health", endpoints.portal)).send().await;
        health.is_ok_and(|answer| answer.status().is_success())
    }

    /// Starts a supplier and waits until the utility has measured it.
    ///
    /// # Errors
    /// Where it does not join, with the end of its log.
    pub async fn supplier(&self, config: &SupplierConfig) -> Result<Supplier> {
        let data = self.config.data.join(&config.name);
        self.supplier_in(config, data).await
    }

    /// Like [`Grid::supplier`], in a data directory that may already be a supplier's.
    ///
    /// # Errors
    /// Where it does not join, with the end of its log.
    pub async fn supplier_in(&self, config: &SupplierConfig, data: PathBuf) -> Result<Supplier> {
        let endpoints = self.endpoints()?;
        let log = self.config.data.join(format!("{}.log", config.name));
        let _ = std::fs::remove_file(data.join("agent.json"));
        let mut command = match &config.netns {
            None => command(&self.config.kinesis),
            Some(netns) => {
                let mut command = command(Path::new("ip"));
                command.args(["netns", "exec", netns]).arg(&self.config.kinesis);
                command
            }
        };
        command.args(["supply", "join", "--utility", &endpoints.wire, "--rpc", &endpoints.rpc]);
        command.args(["--name", &config.name, "--tier", config.tier]);
        command.args(["--cpu-millis", &config.cpu_millis.to_string()]);
        command.args(["--mem-mib", &config.mem_mib.to_string(), "--data"]).arg(&data);
        for (counter, price) in &config.prices {
            command.args(["--price", &format!("{counter}={price}")]);
        }
        log_to(&mut command, &log)?;
        let mut child = command.spawn()?;
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("supplier {} ended ({status}):\n{}", config.name, tail(&log));
            }
            let joined: Option<Value> = std::fs::read(data.join("agent.json"))
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok());
            if let Some(joined) = joined {
                let text = |key: &str| joined[key].as_str().unwrap_or_default().to_owned();
                let (node, address) = (text("node"), text("supplier"));
                let state = self.node_state(&node).await;
                // Without the stake that is asked for it is there, too.
                if matches!(state.as_deref(), Some("up" | "withheld")) {
                    let name = config.name.clone();
                    return Ok(Supplier { name, data, address, node, child });
                }
            }
            ensure!(start.elapsed() < PATIENCE, "{} did not join:\n{}", config.name, tail(&log));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How the utility sees a node.
    pub async fn node_state(&self, node: &str) -> Option<String> {
        let grid = self.get("/v1/grid").await.ok()?;
        let nodes = grid["nodes"].as_array()?;
        let node = nodes.iter().find(|n| n["node"] == node)?;
        node["state"].as_str().map(str::to_owned)
    }

    /// Reads JSON from the API, without a key.
    ///
    /// # Errors
    /// Where it does not answer with success.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let url = format!("{}{path}", self.endpoints()?.portal);
        let answer = self.http.get(&url).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "GET {path}: {status}: {}", answer.text().await?);
        Ok(answer.json().await?)
    }

    /// Runs a command of a supplier or a customer with `--json` and reads what it prints.
    ///
    /// # Errors
    /// Where it fails, with what it said.
    pub async fn cli<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Result<Value> {
        let (ok, out, err) = self.try_cli(args).await?;
        let args: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        ensure!(ok == 0, "kinesis {}: exit {ok}: {err}{out}", args.join(" "));
        serde_json::from_str(&out).with_context(|| format!("kinesis {}: {out}", args.join(" ")))
    }

    /// Runs a command with `--json`: its exit code, standard output and standard error.
    ///
    /// # Errors
    /// Where it cannot be started or does not end.
    pub async fn try_cli<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: &[S],
    ) -> Result<(i32, String, String)> {
        let mut command = command(&self.config.kinesis);
        command.args(args).arg("--json");
        command.env("KINESIS_CONFIG", self.config.data.join("customer.toml"));
        let output = tokio::time::timeout(PATIENCE * 3, command.output()).await??;
        Ok((
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Starts a command that goes on by itself, with a log of this name. Killed when dropped.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn background<S: AsRef<std::ffi::OsStr>>(&self, name: &str, args: &[S]) -> Result<Child> {
        let mut command = command(&self.config.kinesis);
        command.args(args).env("KINESIS_CONFIG", self.config.data.join("customer.toml"));
        log_to(&mut command, &self.config.data.join(format!("{name}.log")))?;
        Ok(command.spawn()?)
    }

    /// Opens a customer's account with a balance; later [`Grid::cli`] calls act for it.
    ///
    /// # Errors
    /// Where the utility refuses.
    pub async fn account(&self, usd: &str) -> Result<Value> {
        let endpoints = self.endpoints()?;
        let token = endpoints.operator_token_file.to_string_lossy().into_owned();
        let url = endpoints.portal.as_str();
        self.cli(&[
            "account",
            "open",
            "--url",
            url,
            "--operator-token-file",
            &token,
            "--name",
            "customer",
            "--usd",
            usd,
        ])
        .await
    }

    /// One app as the API shows it.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub async fn app(&self, name: &str) -> Result<Value> {
        self.cli(&["ps", name]).await
    }

    /// Waits until an app has this many active replicas and warm standbys, and returns it.
    ///
    /// # Errors
    /// Where it does not get there in time.
    pub async fn settled(&self, name: &str, active: usize, standby: usize) -> Result<Value> {
        eventually(&format!("{active} active and {standby} warm replicas of {name}"), async || {
            let app = self.app(name).await?;
            let count = |role: &str, state: &str| {
                let replicas = app["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
                replicas.iter().filter(|r| r["role"] == role && r["state"] == state).count()
            };
            let there = count("active", "active") == active && count("standby", "warm") == standby;
            Ok(there.then_some(app))
        })
        .await
    }

    /// Asks an app for a path through the ingress.
    ///
    /// # Errors
    /// Where no answer comes.
    pub async fn ask(&self, app: &str, path: &str) -> Result<reqwest::Response> {
        let url = format!("{}{path}", self.endpoints()?.ingress);
        Ok(self.http.get(url).header("host", format!("{app}.localhost")).send().await?)
    }

    /// The HTTP client of this grid's tests.
    #[must_use]
    pub const fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &GridConfig {
        &self.config
    }

    /// Stops everything as Ctrl-C does.
    ///
    /// # Errors
    /// Where it does not end, or not with success.
    pub async fn stop(mut self) -> Result<()> {
        send(i32::try_from(self.up.id().context("already gone")?)?, Signal::SIGINT)?;
        let status = tokio::time::timeout(PATIENCE, self.up.wait()).await??;
        ensure!(status.success(), "kinesis up ended with {status}");
        Ok(())
    }

    /// Lets the processes go on after this program has ended.
    pub fn keep(self) {
        std::mem::forget(self.up);
    }
}
