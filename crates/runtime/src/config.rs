//! What a runtime is told: where to keep things, how to start its children, what to run.

use std::{ffi::OsString, path::PathBuf};

use kinesis_protocol::{LeaseId, Resources, Workload};

/// How the runtime starts its sandboxed children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerCommand {
    /// The program, usually the one that is running.
    pub program: PathBuf,
    /// The arguments that make it call [`crate::runner::main`].
    pub args: Vec<OsString>,
}

/// What to do on a machine that lacks a barrier between a sandbox and itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationPolicy {
    /// Use what there is, and say what is missing in [`crate::Runtime::isolation`].
    #[default]
    Available,
    /// Refuse to open where anything is missing.
    Full,
}

/// The settings of a [`crate::Runtime`].
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// Its directory: compiled code, and a directory for each lease. Used by one process at a time.
    pub dir: PathBuf,
    /// How to start a child.
    pub runner: RunnerCommand,
    /// What to do where a barrier is missing.
    pub isolation: IsolationPolicy,
    /// Confined processes to keep started and waiting, so that a start does not wait for one.
    /// 0 starts each when it is asked for.
    pub spares: usize,
    /// Energy of one millisecond of CPU time, in millijoules: the rated power of a core in watts.
    /// Used where energy cannot be measured.
    pub mj_per_cpu_ms: u64,
    /// Where the kernel shows the machine's energy counters. Energy is measured where they are and
    /// may be read, else estimated: see [`crate::Runtime::energy_source`].
    pub powercap: PathBuf,
    /// The most bytes of compiled code to keep.
    pub cache_bytes_max: u64,
}

impl RuntimeConfig {
    /// Settings for `dir` and `runner`, all else at its default: one spare, 8 W for each core
    /// where energy cannot be measured, 4 GiB of compiled code, whatever isolation is available.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, runner: RunnerCommand) -> Self {
        Self {
            dir: dir.into(),
            runner,
            isolation: IsolationPolicy::default(),
            spares: 1,
            mj_per_cpu_ms: 8,
            powercap: "/sys/class/powercap".into(),
            cache_bytes_max: 4 << 30,
        }
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct StartSpec {
    /// The lease; its directory is named after it.
    pub lease: LeaseId,
    /// What runs.
    pub workload: Workload,
    /// What it may use.
    pub granted: Resources,
    /// The component's bytes on disk. The caller has checked their hash.
    pub component: PathBuf,
    /// The files below `/data`: the path a guest sees, relative, and where the content lies.
    pub files: Vec<(String, PathBuf)>,
    /// Whether to freeze it as soon as it is ready, until [`crate::Sandbox::thaw`].
    pub standby: bool,
}
