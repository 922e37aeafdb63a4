//! `kinesis.toml`: what a customer wants to run, parsed strictly.
//!
//! ```toml
//! name = "guestbook"               # 1 to 40 of a-z, 0-9 and -
//! kind = "service"                 # or "job"
//! component = "guestbook.wasm"     # relative to this file
//! network = ["api.example.com:443"]# where it may connect; default: nowhere
//! hosts = ["www.example.com"]      # names it answers to besides NAME.localhost
//!
//! [resources]                      # of each replica, or part
//! cpu_millis = 500
//! mem_mib = 128
//! [env]
//! GREETING = "hello"
//! [files]                          # found by the guest below /data
//! "model.safetensors" = "weights/model.safetensors"
//!
//! [service]
//! instance = "fresh"               # or "kept"
//! concurrency = 32                 # requests a replica answers at once
//! request_ms_max = 60000
//! [scale]
//! min = 1                          # 0: down to nothing when idle
//! max = 1
//! warm = 1                         # standbys, on other suppliers
//! idle_ms = 60000                  # how long without requests before it scales down
//! [sla]                            # suppliers sign that they serve, or say in time that they do not
//! ack_interval_s = 120             # the longest silence, in seconds
//! penalty_joule = "25.00"          # what a longer one costs the supplier's stake
//!
//! [job]                            # instead of [service] and [scale]
//! args = ["--frame", "7"]
//! parts = 4                        # or [[part]] tables with tier and args of their own
//! retries = 2
//! wall_ms_max = 3600000
//! seed = 42                        # deterministic: same bytes and fuel on every node
//!
//! [preferences]
//! tier = "crowd"                   # or "datacenter"; default: either
//! region = "eu-west"
//! optimise = "cost"                # or "latency"
//! max_usd_per_hour = "0.05"
//! [budget]
//! usd = "5.00"
//! warn_percent = 80
//! ```
//!
//! Every problem names its line and key, says what was expected, and guesses what was meant.

#[cfg(test)]
mod misspelt;
pub mod reader;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    lease::Instance,
    money::{NanoJoule, NanoUsd},
    resources::{Resources, Tier},
    sla::{ACK_INTERVAL_S_DEFAULT, ACK_INTERVAL_S_MAX, ACK_INTERVAL_S_MIN},
};
use reader::{Reader, Table};

/// The longest manifest that is read.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// The most parts of a job.
pub const PARTS_MAX: u32 = 1_000;
/// The most replicas of a service.
pub const REPLICAS_MAX: u32 = 100;

/// What a customer wants to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The app's name: 1 to 40 of `a-z`, `0-9` and `-`, a letter first. Part of its URL.
    pub name: String,
    /// Path of the component, relative to the manifest.
    pub component: String,
    /// A service or a job.
    pub kind: Kind,
    /// What each replica, or part, is granted.
    pub resources: Resources,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Guest path below `/data` -> path relative to the manifest.
    pub files: BTreeMap<String, String>,
    /// `host:port` pairs the guest may connect to.
    pub network: Vec<String>,
    /// Host names it answers to besides its own.
    pub hosts: Vec<String>,
    /// Where it should run.
    pub preferences: Preferences,
    /// What it may cost.
    pub budget: Budget,
}

/// What kind of app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// Answers HTTP for as long as it is wanted.
    Service(Service),
    /// Ends.
    Job(Job),
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Whether instances are kept between requests.
    pub instance: Instance,
    /// Requests a replica answers at once.
    pub concurrency: u32,
    /// The longest a request may take.
    pub request_ms_max: u64,
    /// The fewest replicas. 0: none while idle.
    pub min: u32,
    /// The most replicas.
    pub max: u32,
    /// Warm standbys.
    pub warm: u32,
    /// How long without requests before it scales down.
    pub idle_ms: u64,
    /// What its suppliers must sign; `None`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sla: Option<Sla>,
}

/// What suppliers sign about a lease of a service: to serve, or to say in time that they do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sla {
    /// The longest silence, in seconds.
    pub ack_interval_s: u32,
    /// What a longer one costs, once, out of the supplier's stake.
    pub penalty: NanoJoule,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its parts, at least one.
    pub parts: Vec<Part>,
    /// How often a part is tried again on another node.
    pub retries: u32,
    /// The longest a part may run.
    pub wall_ms_max: u64,
    /// Deterministic mode, with this seed.
    pub seed: Option<u64>,
}

/// One part of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Part {
    /// Where it must run; `None`: what the preferences say.
    pub tier: Option<Tier>,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Where an app should run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preferences {
    /// Only this tier; `None`: any.
    pub tier: Option<Tier>,
    /// Only this region; `None`: any.
    pub region: Option<String>,
    /// What to prefer among the nodes that will do.
    pub optimise: Optimise,
    /// The most an hour of one replica in full use may cost the customer; `None`: no cap.
    pub max_per_hour: Option<NanoUsd>,
}

/// What to prefer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimise {
    /// The cheapest node.
    #[default]
    Cost,
    /// The fastest node.
    Latency,
}

/// What an app may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// It stops before it costs more than this; `None`: until the balance is used up.
    pub usd: Option<NanoUsd>,
    /// The customer is warned at this share of the budget.
    pub warn_percent: u32,
}

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The line, from 1.
    pub line: usize,
    /// The key, dotted; empty where the file is not TOML.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl Manifest {
    /// Parses and validates the text of a `kinesis.toml`.
    ///
    /// # Errors
    /// The first problem, with its line and key.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let reader = Reader::new(text)?;
        let mut root = reader.root();
        let name = root.required("name", |v| v.text_where(APP_NAME, app_name))?;
        let kind = root.required("kind", |v| v.one_of(&["service", "job"]))?;
        let component =
            root.required("component", |v| v.text_where(RELATIVE_PATH, relative_path))?;
        let manifest = Self {
            name,
            component,
            resources: resources(&mut root)?,
            env: root.map("env", 64, env_key, |v| v.text_where(ENV_VALUE, env_value))?,
            files: root
                .map("files", 100, relative_path, |v| v.text_where(RELATIVE_PATH, relative_path))?,
            network: root.list("network", 32, |v| v.text_where(HOST_PORT, host_port))?,
            hosts: root.list("hosts", 16, |v| v.text_where(HOST, host))?,
            preferences: preferences(&mut root)?,
            budget: budget(&mut root)?,
            kind: if kind == "service" {
                root.refuse(&["job", "part"], "belongs to a job; this is a service")?;
                Kind::Service(service(&mut root)?)
            } else {
                root.refuse(
                    &["service", "scale", "sla", "hosts"],
                    "belongs to a service; this is a job",
                )?;
                Kind::Job(job(&mut root)?)
            },
        };
        root.finish()?;
        Ok(manifest)
    }
}

fn resources(root: &mut Table<'_>) -> Result<Resources, ManifestError> {
    let mut t = root.table("resources")?;
    let resources = Resources {
        cpu_millis: t.number("cpu_millis", 1..=1_024_000, 1000)?,
        mem_mib: t.number("mem_mib", 16..=4_194_304, 128)?,
        disk_mib: t.number("disk_mib", 0..=16_777_216, 64)?,
        gpus: t.number("gpus", 0..=64, 0)?,
        vram_mib: t.number("vram_mib", 0..=16_777_216, 0)?,
    };
    t.finish()?;
    Ok(resources)
}

fn service(root: &mut Table<'_>) -> Result<Service, ManifestError> {
    let mut t = root.table("service")?;
    let instance = t.optional("instance", |v| v.one_of(&["fresh", "kept"]))?;
    let concurrency = t.number("concurrency", 1..=1_000, 32)?;
    let request_ms_max = t.number("request_ms_max", 1..=3_600_000_u32, 60_000)?;
    t.finish()?;
    let mut t = root.table("scale")?;
    let min = t.number("min", 0..=REPLICAS_MAX, 1)?;
    let max = t.number("max", min.max(1)..=REPLICAS_MAX, min.max(1))?;
    let warm = t.number("warm", 0..=8, u32::from(min > 0))?;
    let idle_ms = t.number("idle_ms", 1_000..=86_400_000_u32, 60_000)?;
    t.finish()?;
    let instance =
        if instance.as_deref() == Some("kept") { Instance::Kept } else { Instance::Fresh };
    Ok(Service {
        instance,
        concurrency,
        request_ms_max: request_ms_max.into(),
        min,
        max,
        warm,
        idle_ms: idle_ms.into(),
        sla: sla(root)?,
    })
}

fn sla(root: &mut Table<'_>) -> Result<Option<Sla>, ManifestError> {
    let Some(mut t) = root.table_if_there("sla")? else { return Ok(None) };
    let sla = Sla {
        ack_interval_s: t.number(
            "ack_interval_s",
            ACK_INTERVAL_S_MIN..=ACK_INTERVAL_S_MAX,
            ACK_INTERVAL_S_DEFAULT,
        )?,
        penalty: t.required("penalty_joule", |v| v.joule())?,
    };
    t.finish()?;
    Ok(Some(sla))
}

fn job(root: &mut Table<'_>) -> Result<Job, ManifestError> {
    const ARG: &str = "text of at most 4096 bytes without NUL";
    let arg = |s: &str| s.len() <= 4096 && !s.contains('\0');
    let mut t = root.table("job")?;
    let args = t.list("args", 256, |v| v.text_where(ARG, arg))?;
    let count = t.optional("parts", |v| v.number(1..=PARTS_MAX))?;
    let retries = t.number("retries", 0..=10, 2)?;
    let wall_ms_max = t.number("wall_ms_max", 1..=2_592_000_000_u32, 3_600_000)?;
    let seed = t.optional("seed", |v| v.number(0..=u64::MAX >> 1))?;
    t.finish()?;
    let mut parts = Vec::new();
    for mut t in root.tables("part", PARTS_MAX as usize)? {
        let tier = tier(&mut t)?;
        let own = t.optional("args", |v| v.list(256, |v| v.text_where(ARG, arg)))?;
        t.finish()?;
        parts.push(Part { tier, args: own.unwrap_or_else(|| args.clone()) });
    }
    match (parts.len(), count) {
        (0, count) => {
            let part = Part { tier: None, args };
            parts = vec![part; count.unwrap_or(1) as usize];
        }
        (tables, Some(count)) if tables != count as usize => {
            return Err(root.error(
                "part",
                format!("job.parts says {count}, and the number of [[part]] tables is {tables}"),
            ));
        }
        _ => {}
    }
    Ok(Job { parts, retries, wall_ms_max: wall_ms_max.into(), seed })
}

fn tier(t: &mut Table<'_>) -> Result<Option<Tier>, ManifestError> {
    let tier = t.optional("tier", |v| v.one_of(&["crowd", "datacenter"]))?;
    Ok(tier.and_then(|tier| tier.parse().ok()))
}

fn preferences(root: &mut Table<'_>) -> Result<Preferences, ManifestError> {
    let mut t = root.table("preferences")?;
    let preferences = Preferences {
        tier: tier(&mut t)?,
        region: t.optional("region", |v| v.text_where(REGION, region))?,
        optimise: match t.optional("optimise", |v| v.one_of(&["cost", "latency"]))?.as_deref() {
            Some("latency") => Optimise::Latency,
            _ => Optimise::Cost,
        },
        max_per_hour: t.optional("max_usd_per_hour", |v| v.usd())?,
    };
    t.finish()?;
    Ok(preferences)
}

fn budget(root: &mut Table<'_>) -> Result<Budget, ManifestError> {
    let mut t = root.table("budget")?;
    let budget = Budget {
        usd: t.optional("usd", |v| v.usd())?,
        warn_percent: t.number("warn_percent", 1..=100, 80)?,
    };
    t.finish()?;
    Ok(budget)
}

const APP_NAME: &str = "1 to 40 of a-z, 0-9 and -, a letter first, no - at the end";
const RELATIVE_PATH: &str = "a relative path without . or .. in it";
const HOST_PORT: &str = "a host name and a port, such as \"api.example.com:443\"";
const HOST: &str = "a host name, such as \"www.example.com\"";
const REGION: &str = "1 to 64 of a-z, 0-9 and -";
const ENV_VALUE: &str = "text of at most 32768 bytes without NUL";

/// Whether `s` may be an app's name.
#[must_use]
pub fn app_name(s: &str) -> bool {
    s.len() <= 40
        && s.starts_with(|c: char| c.is_ascii_lowercase())
        && !s.ends_with('-')
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `s` is a path that stays below where it is joined to.
#[must_use]
pub fn relative_path(s: &str) -> bool {
    !s.is_empty()
        && s.len() <= 512
        && !s.contains('\\')
        && !s.chars().any(char::is_control)
        && s.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn host(s: &str) -> bool {
    s.len() <= 253
        && s.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

fn host_port(s: &str) -> bool {
    s.rsplit_once(':').is_some_and(|(name, port)| {
        host(name) && port.parse::<u16>().is_ok_and(|port| port > 0 && !s.contains('+'))
    })
}

fn region(s: &str) -> bool {
    (1..=64).contains(&s.len())
        && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn env_key(s: &str) -> bool {
    (1..=128).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn env_value(s: &str) -> bool {
    s.len() <= 32_768 && !s.contains('\0')
}
