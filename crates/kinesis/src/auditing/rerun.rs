//! A job again, in a sandbox of this machine: the same runtime that suppliers use.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use kinesis_agent::hardware;
use kinesis_protocol::{
    B256, ContentHash, LeaseId, Resources, Workload,
    lease::{GuestFile, OUTPUT_BYTES_MAX},
    result::{ENGINE, JobSpec, failed_output_hash, finding, output_hash},
};
use kinesis_runtime::{Exit, RunnerCommand, Runtime, RuntimeConfig, RuntimeError, StartSpec};
use serde::Serialize;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// How fast a job may run here: what comes out does not depend on it.
const CPU_MILLIS: u32 = 1_000;
/// The most memory that jobs may ask of an auditor.
const MEM_MIB_MAX: u32 = 16 << 10;

/// Why a job could not be run: that says nothing about its result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRun {
    /// Another engine may count otherwise.
    #[error("the job is of {0}, and this machine runs {ENGINE}")]
    Engine(String),
    /// More memory than there is.
    #[error("the job asks for {asked} MiB of memory, and this machine lends {lent}")]
    Memory {
        /// What it asks for.
        asked: u32,
        /// What all jobs may use together.
        lent: u32,
    },
    /// It takes longer than there is time.
    #[error("the job was not over after {} s", .0.as_secs())]
    Time(Duration),
    /// The sandbox failed.
    #[error("the sandbox failed: {0}")]
    Broken(String),
    /// It cannot be started.
    #[error("the sandbox cannot be started")]
    Runtime(#[from] RuntimeError),
    /// A file cannot be read.
    #[error("cannot read what the job left, or this program")]
    File(#[from] io::Error),
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// Its guest returned success.
    Completed {
        /// What it left.
        outputs: Vec<GuestFile>,
        /// What it used.
        fuel: u64,
    },
    /// Its guest failed.
    Failed {
        /// How, for people.
        reason: String,
    },
}

impl Outcome {
    /// The hash of what came out, and the fuel.
    pub(crate) fn output(&self) -> (B256, u64) {
        match self {
            Self::Completed { outputs, fuel } => (output_hash(outputs), *fuel),
            Self::Failed { .. } => (failed_output_hash(), 0),
        }
    }

    /// What an auditor says that found this.
    pub(crate) fn finding(&self) -> B256 {
        let (output, fuel) = self.output();
        finding(output, fuel)
    }
}

/// How much may run at once: a panel is drawn by lot, and may ask for several jobs in one window.
#[derive(Debug)]
struct Room {
    jobs: Semaphore,
    /// In MiB.
    memory: Semaphore,
    lent_mib: u32,
}

impl Room {
    fn new(jobs: u32, lent_mib: u32) -> Self {
        let permits = |count: u32| Semaphore::new(usize::try_from(count).unwrap_or(usize::MAX));
        Self { jobs: permits(jobs.max(1)), memory: permits(lent_mib), lent_mib }
    }

    /// Waits until there is room for a job, which it has until both are dropped.
    async fn take(&self, mem_mib: u32) -> Result<[SemaphorePermit<'_>; 2], NotRun> {
        if mem_mib > self.lent_mib {
            return Err(NotRun::Memory { asked: mem_mib, lent: self.lent_mib });
        }
        let closed = |e: tokio::sync::AcquireError| NotRun::Broken(e.to_string());
        let job = self.jobs.acquire().await.map_err(closed)?;
        Ok([job, self.memory.acquire_many(mem_mib).await.map_err(closed)?])
    }
}

/// Sandboxes for audits.
#[derive(Debug)]
pub(crate) struct Reruns {
    runtime: Runtime,
    room: Room,
}

impl Reruns {
    /// Opens a directory for sandboxes, of which so many may be at work. One process uses it at a time.
    pub(crate) async fn open(dir: &Path, jobs: u32) -> Result<Self, NotRun> {
        let program = std::env::current_exe()?;
        let runner = RunnerCommand { program, args: vec!["runner".into()] };
        let mut config = RuntimeConfig::new(dir, runner);
        // An audit is rare: nothing waits for it.
        config.spares = 0;
        let runtime = Runtime::open(config).await?;
        // As much as a supplier would offer of this machine.
        let place = dir.to_owned();
        let found = tokio::task::spawn_blocking(move || hardware::discover(&place)).await;
        let mem_mib = found.map_err(|e| NotRun::Broken(e.to_string()))?.offered.mem_mib;
        Ok(Self { runtime, room: Room::new(jobs, mem_mib.min(MEM_MIB_MAX)) })
    }

    /// Runs a job whose contents lie in files of `contents` that are named by their hash, once there is
    /// room for it.
    pub(crate) async fn run(
        &self,
        job: &JobSpec,
        contents: &Path,
        within: Duration,
    ) -> Result<Outcome, NotRun> {
        if job.engine != ENGINE {
            return Err(NotRun::Engine(crate::output::safe(&job.engine)));
        }
        let asked = Instant::now();
        let took = tokio::time::timeout(within, self.room.take(job.mem_mib)).await;
        let _room = took.map_err(|_| NotRun::Time(within))??;
        let within = within.saturating_sub(asked.elapsed());
        let lease = LeaseId::random();
        let at = |hash: ContentHash| contents.join(hash.to_string());
        let program = &job.workload.program;
        let mut workload = job.workload.clone();
        // That this machine is slow is no fault of the job's.
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        workload.wall_ms_max = workload.wall_ms_max.max(within_ms);
        let spec = StartSpec {
            lease,
            granted: Resources {
                cpu_millis: CPU_MILLIS,
                mem_mib: job.mem_mib,
                disk_mib: job.disk_mib,
                ..Resources::default()
            },
            component: at(program.component),
            files: program.files.iter().map(|file| (file.path.clone(), at(file.hash))).collect(),
            workload: Workload::Job(workload),
            standby: false,
        };
        let outcome = match tokio::time::timeout(within, self.follow(spec)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(NotRun::Time(within)),
        };
        self.runtime.forget(lease);
        outcome
    }

    async fn follow(&self, spec: StartSpec) -> Result<Outcome, NotRun> {
        let sandbox = match self.runtime.start(spec).await {
            Ok(sandbox) => sandbox,
            Err(error) => return Err(error.into()),
        };
        match sandbox.ended().await {
            Exit::Completed { outputs, fuel } => {
                let files = outputs.into_iter().map(|file| (file.path, file.file, file.bytes));
                let files: Vec<(String, PathBuf, u64)> = files.collect();
                let sum = files.iter().fold(0_u64, |sum, (.., bytes)| sum.saturating_add(*bytes));
                if sum > OUTPUT_BYTES_MAX {
                    let reason = format!("it left more than {OUTPUT_BYTES_MAX} bytes");
                    return Ok(Outcome::Failed { reason });
                }
                let fuel = fuel.ok_or_else(|| NotRun::Broken("no fuel was counted".into()))?;
                let hashed = tokio::task::spawn_blocking(move || hash(files)).await;
                let outputs = hashed.map_err(|e| NotRun::Broken(e.to_string()))??;
                Ok(Outcome::Completed { outputs, fuel })
            }
            Exit::Failed { reason } if is_the_guests(&reason) => Ok(Outcome::Failed { reason }),
            Exit::Failed { reason } | Exit::Broken { reason } => Err(NotRun::Broken(reason)),
            Exit::Stopped => Err(NotRun::Broken("it was stopped".into())),
        }
    }
}

/// Whether a job failed by its own doing, as it would everywhere. A machine that is busy, full or out of
/// memory fails a job too, and must not refute what is true.
fn is_the_guests(reason: &str) -> bool {
    ["the job exited with code", "the guest trapped"].iter().any(|own| reason.starts_with(own))
}

fn hash(files: Vec<(String, PathBuf, u64)>) -> io::Result<Vec<GuestFile>> {
    let hashed = files.into_iter().map(|(path, file, bytes)| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(file)?)?;
        Ok(GuestFile { path, hash: ContentHash(*hasher.finalize().as_bytes()), bytes })
    });
    hashed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_busy_or_full_refutes_nothing() {
        for own in ["the job exited with code 3", "the guest trapped: wasm `unreachable`"] {
            assert!(is_the_guests(own), "{own}");
        }
        let ours = [
            "no instance within 20 s",
            "out of memory: 64 MiB were granted",
            "the job wrote more to /out than it may",
            "the job ran longer than 9 ms",
        ];
        for ours in ours {
            assert!(!is_the_guests(ours), "{ours}");
        }
        let failed = Outcome::Failed { reason: "the guest trapped".into() };
        assert_eq!(failed.output(), (failed_output_hash(), 0));
    }

    #[tokio::test]
    async fn jobs_wait_for_room_and_one_beyond_the_machine_is_refused() {
        let room = Room::new(2, 100);
        let refused = room.take(101).await.unwrap_err();
        assert!(matches!(refused, NotRun::Memory { asked: 101, lent: 100 }), "{refused}");
        let waits = async |mem_mib| {
            tokio::time::timeout(Duration::from_millis(50), room.take(mem_mib)).await.is_err()
        };
        // Whatever fits into memory, no more than two.
        let (first, second) = (room.take(1).await.unwrap(), room.take(1).await.unwrap());
        assert!(waits(1).await);
        drop(first);
        assert!(!waits(1).await);
        // Whatever their number, no more than memory.
        assert!(waits(100).await);
        assert!(!waits(99).await);
        drop(second);
        assert!(!waits(100).await);
    }
}
