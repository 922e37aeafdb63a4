//! The agent's side: starts children, keeps one record of each, and reads their meters.

mod child;
mod compile;
mod dial;
mod leases;
mod open;
mod outputs;
mod sandbox;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    os::{fd::AsFd, unix::fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

use kinesis_protocol::{Counters, EnergySource, LeaseId, Workload};
use parking_lot::Mutex;

#[cfg(fuzzing)]
pub(crate) use self::outputs::inside;
use self::{
    child::{Confined, Nursery, THREADS_MAX},
    sandbox::Core,
};
pub use self::{dial::is_public, sandbox::Sandbox};
use crate::{
    RuntimeConfig, RuntimeError, StartSpec, cache::Cache, energy::Gauge, isolation::cgroup::Limits,
    talk::ToChild,
};

/// Memory of a sandbox beyond what its guest is granted: the runner's own.
const OWN_MEMORY_BYTES: u64 = 64 << 20;
/// A sandbox that is not ready yet may use this much CPU, so that a small grant is no slow start.
const BOOT_CPU_MILLIS: u64 = 1_000;

/// A file that a job left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its path below `/out`, relative, checked.
    pub path: String,
    /// Where its content lies.
    pub file: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// A job's guest returned success.
    Completed {
        /// What it left below `/out`, sorted by path.
        outputs: Vec<Output>,
        /// Fuel used, in deterministic mode.
        fuel: Option<u64>,
    },
    /// The guest failed, or what confines it stopped it. The reason is for the guest's author.
    Failed {
        /// What happened.
        reason: String,
    },
    /// The sandbox itself failed: no fault of the guest's that anybody knows of. The reason is for the
    /// owner of the machine.
    Broken {
        /// What happened.
        reason: String,
    },
    /// It was drained or killed on request.
    Stopped,
}

/// Starts sandboxes. Cheap to clone; the last clone that is dropped kills what runs.
#[derive(Debug, Clone)]
pub struct Runtime(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RuntimeConfig,
    nursery: Nursery,
    cache: Cache,
    barriers: BTreeMap<String, String>,
    engine: String,
    /// `None` where energy cannot be measured.
    gauge: Option<Arc<Gauge>>,
    leftovers: Vec<(LeaseId, Counters)>,
    spares: Mutex<Vec<Confined>>,
    running: Mutex<HashMap<LeaseId, Weak<Core>>>,
    /// Held for as long as the directory is ours.
    _lock: File,
}

impl Runtime {
    /// Opens the directory, kills what an earlier process left running there, and finds out what
    /// the machine can confine with.
    ///
    /// # Errors
    /// When the directory cannot be used, the runner does not start, or the policy is not met.
    pub async fn open(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let runtime = Self(Arc::new(open::open(config).await?));
        runtime.refill();
        Ok(runtime)
    }

    /// What confines a sandbox here, by barrier: `"seccomp" -> "132 system calls allowed"`,
    /// `"landlock" -> "missing: the kernel has none"`, for the node's attributes.
    #[must_use]
    pub fn isolation(&self) -> BTreeMap<String, String> {
        self.0.barriers.clone()
    }

    /// Whether the energy of new leases is measured here, or estimated from their CPU time.
    #[must_use]
    pub fn energy_source(&self) -> EnergySource {
        match self.0.gauge {
            Some(_) => EnergySource::Measured,
            None => EnergySource::Estimated,
        }
    }

    /// The last counters of leases that an earlier process of this directory left behind. Their
    /// sandboxes are dead.
    #[must_use]
    pub fn leftovers(&self) -> Vec<(LeaseId, Counters)> {
        self.0.leftovers.clone()
    }

    /// Forgets a lease that has ended: removes its log, outputs and counters. Does nothing while
    /// its sandbox lives.
    pub fn forget(&self, lease: LeaseId) {
        if !self.0.running.lock().contains_key(&lease) {
            let _ = fs::remove_dir_all(leases::dir(&self.0.config.dir, lease));
        }
    }

    /// Compiles the component, so that a later start finds it compiled.
    ///
    /// # Errors
    /// [`RuntimeError::Compile`] when it is not a component or too large to compile.
    pub async fn prepare(&self, component: &Path, workload: &Workload) -> Result<(), RuntimeError> {
        self.code(component, workload).await.map(drop)
    }

    /// Starts a sandbox. Returns once its process has its lease; [`Sandbox::ready`] waits for the
    /// rest. A job that is no standby runs as soon as it is ready.
    ///
    /// # Errors
    /// When the component does not compile, a file cannot be used, or the process does not start.
    pub async fn start(&self, spec: StartSpec) -> Result<Sandbox, RuntimeError> {
        let entry = Entry::new(&self.0, spec.lease)?;
        let (key, code) = self.code(&spec.component, &spec.workload).await?;
        let root = self.0.config.dir.clone();
        let drop_to = self.0.nursery.plan.drop_to;
        let (spec, dir) = tokio::task::spawn_blocking(move || {
            leases::prepare(&root, &spec, &code, drop_to).map(|dir| (spec, dir))
        })
        .await
        .map_err(|e| RuntimeError::Start(e.to_string()))??;

        let granted = &spec.granted;
        let limits = Limits {
            cpu_millis: u64::from(granted.cpu_millis).max(BOOT_CPU_MILLIS),
            memory_bytes: (u64::from(granted.mem_mib) << 20) + OWN_MEMORY_BYTES,
            threads: THREADS_MAX,
        };
        let order = ToChild::Lease { hold: spec.standby };
        let handed = [dir.file.as_fd(), dir.listener.as_fd()];
        let confined = self.child(&limits, &order, &handed).await?;
        leases::record(&dir.path, confined.shim_pid, confined.worker)
            .map_err(RuntimeError::file("write", dir.path.join("pids")))?;
        let gauge = self.0.gauge.clone();
        let core = Core::new(spec, dir, confined, key, self.0.config.mj_per_cpu_ms, gauge);
        Ok(sandbox::keep(core, entry))
    }

    /// A confined child with its limits set and its order given.
    async fn child(
        &self,
        limits: &Limits,
        order: &ToChild,
        handed: &[std::os::fd::BorrowedFd<'_>],
    ) -> Result<Confined, RuntimeError> {
        loop {
            let spare = self.0.spares.lock().pop();
            let from_spare = spare.is_some();
            let confined = match spare {
                Some(confined) => confined,
                None => self.0.nursery.confined().await?,
            };
            self.refill();
            let given = confined
                .group
                .as_ref()
                .map_or(Ok(()), |group| group.limit(limits))
                .and_then(|()| confined.channel.send(order, handed));
            match given {
                Ok(()) => return Ok(confined),
                // A spare may have died in the meantime.
                Err(_) if from_spare => {}
                Err(e) => return Err(RuntimeError::Channel(e)),
            }
        }
    }

    /// Starts spares until there are enough, in the background.
    fn refill(&self) {
        if self.0.spares.lock().len() >= self.0.config.spares {
            return;
        }
        let inner = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            // Whoever asked goes first: a spare is for the next.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let Some(inner) = inner.upgrade() else { return };
            let wanted = inner.config.spares;
            if inner.spares.lock().len() >= wanted {
                return;
            }
            match inner.nursery.confined().await {
                Ok(confined) => {
                    let mut spares = inner.spares.lock();
                    if spares.len() < wanted {
                        spares.push(confined);
                    }
                }
                Err(error) => tracing::warn!(%error, "no spare sandbox"),
            }
        });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for core in self.running.get_mut().values().filter_map(Weak::upgrade) {
            core.kill();
        }
        self.spares.get_mut().clear();
        if let Some(cgroups) = &self.nursery.cgroups {
            cgroups.remove();
        }
    }
}

/// The place of a lease among those that run; given up when dropped.
#[derive(Debug)]
struct Entry {
    inner: Weak<Inner>,
    lease: LeaseId,
}

impl Entry {
    fn new(inner: &Arc<Inner>, lease: LeaseId) -> Result<Self, RuntimeError> {
        let mut running = inner.running.lock();
        if running.contains_key(&lease) {
            return Err(RuntimeError::Duplicate(lease));
        }
        running.insert(lease, Weak::new());
        Ok(Self { inner: Arc::downgrade(inner), lease })
    }

    fn set(&self, core: &Arc<Core>) {
        if let Some(inner) = self.inner.upgrade() {
            inner.running.lock().insert(self.lease, Arc::downgrade(core));
        }
    }

    /// Forgets code that did not load.
    fn distrust(&self, key: &str) {
        if let Some(inner) = self.inner.upgrade() {
            inner.cache.remove(key);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.running.lock().remove(&self.lease);
        }
    }
}

/// Makes a directory that only its owner can enter.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), RuntimeError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(RuntimeError::file("create", dir))
}
