//! Opening: one process per directory, nothing left from the one before, and the most confinement
//! that the machine allows.

use std::{
    collections::{BTreeMap, HashMap},
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    sync::{Arc, atomic::AtomicU64},
};

use parking_lot::Mutex;

use super::{
    Inner,
    child::{Confined, Nursery, Spawner},
    leases, make_private_dir,
};
use crate::{
    IsolationPolicy, RuntimeConfig, RuntimeError,
    cache::Cache,
    energy::Gauge,
    isolation::{MISSING, NOBODY, cgroup::Cgroups},
    talk::Plan,
};

pub(super) async fn open(mut config: RuntimeConfig) -> Result<Inner, RuntimeError> {
    make_private_dir(&config.dir)?;
    config.dir =
        config.dir.canonicalize().map_err(RuntimeError::file("find", config.dir.clone()))?;
    make_private_dir(&config.dir.join("leases"))?;
    let lock_path = config.dir.join("lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(RuntimeError::file("open", &lock_path))?;
    lock.try_lock().map_err(|e| {
        let source = std::io::Error::new(
            std::io::ErrorKind::ResourceBusy,
            format!("another process uses this directory ({e})"),
        );
        RuntimeError::file("lock", &lock_path)(source)
    })?;

    leases::kill_recorded(&config.dir);
    let hash = blake3::hash(config.dir.as_os_str().as_encoded_bytes()).to_hex();
    let group_prefix = format!("{}-", &hash[..12]);
    let cgroups = Cgroups::detect("kinesis");
    cgroups.sweep(&group_prefix);
    let leftovers = leases::leftovers(&config.dir, config.mj_per_cpu_ms);
    let cache = Cache::open(config.dir.join("code"), config.cache_bytes_max)?;

    let described = cgroups.describe();
    let spawner = Spawner::start()
        .map_err(|source| RuntimeError::Spawn { program: config.runner.program.clone(), source })?;
    let mut nursery = Nursery {
        spawner,
        runner: config.runner.clone(),
        cgroups: Some(cgroups),
        group_prefix,
        plan: plans()[0],
        next: AtomicU64::new(0),
    };
    let (first, groups) = probe(&mut nursery, described).await?;
    let mut barriers = first.barriers.clone();
    barriers.insert("control_groups".into(), groups);
    if config.isolation == IsolationPolicy::Full {
        let missing = missing(&barriers);
        if !missing.is_empty() {
            return Err(RuntimeError::Isolation(missing));
        }
    }
    Ok(Inner {
        engine: first.engine.clone(),
        gauge: Gauge::open(&config.powercap).map(Arc::new),
        spares: Mutex::new(if config.spares > 0 { vec![first] } else { vec![] }),
        config,
        nursery,
        cache,
        barriers,
        leftovers,
        running: Mutex::new(HashMap::new()),
        _lock: lock,
    })
}

fn missing(barriers: &BTreeMap<String, String>) -> String {
    let names: Vec<_> = barriers
        .iter()
        .filter(|(_, what)| what.starts_with(MISSING))
        .map(|(name, what)| format!("{name} ({what})"))
        .collect();
    names.join(", ")
}

/// The ways to confine, the best first.
fn plans() -> Vec<Plan> {
    let drop_to = nix::unistd::geteuid().is_root().then_some(NOBODY);
    let mut plans = vec![Plan { drop_to, namespaces: true, user_namespace: true }];
    if drop_to.is_some() {
        plans.push(Plan { drop_to, namespaces: true, user_namespace: false });
    }
    plans.push(Plan { drop_to, namespaces: false, user_namespace: false });
    plans
}

/// Tries the plans on a child; settles on the first that holds.
async fn probe(
    nursery: &mut Nursery,
    described: String,
) -> Result<(Confined, String), RuntimeError> {
    let mut groups = described;
    let mut last = None;
    for plan in plans() {
        nursery.plan = plan;
        match nursery.confined().await {
            Ok(confined) => return Ok((confined, groups)),
            Err(RuntimeError::Start(reason)) if reason.starts_with("control group") => {
                nursery.cgroups = None;
                groups = format!("{MISSING}: {reason}");
                match nursery.confined().await {
                    Ok(confined) => return Ok((confined, groups)),
                    Err(error) => last = Some(error),
                }
            }
            Err(error @ RuntimeError::Spawn { .. }) => return Err(error),
            Err(error) => last = Some(error),
        }
        tracing::debug!(?plan, error = ?last, "this machine does not confine like this");
    }
    Err(last.unwrap_or_else(|| RuntimeError::Start("no way to confine it".into())))
}
