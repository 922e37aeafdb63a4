//! A child process from its start to its confinement, before it knows what it is for.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    RunnerCommand, RuntimeError,
    channel::{self, Channel},
    isolation::cgroup::{Cgroups, Group, Limits},
    talk::{FromChild, Outcome, Plan, ToChild},
};

/// How long a child may take to confine itself.
const CONFINE_MAX: Duration = Duration::from_secs(20);
/// Memory of a child that has no lease yet.
const SPARE_MEMORY_BYTES: u64 = 512 << 20;
/// Threads of a child.
pub(super) const THREADS_MAX: u64 = 256;

type Job = Box<dyn FnOnce() + Send>;

/// The thread that starts children. The kernel kills a child when the thread that started it ends,
/// so that thread has to last as long as the runtime does.
#[derive(Debug)]
pub(super) struct Spawner(Mutex<Option<mpsc::Sender<Job>>>);

impl Spawner {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || jobs.into_iter().for_each(|job| job()))?;
        Ok(Self(Mutex::new(Some(sender))))
    }

    async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the runtime is closing");
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            let spawned = command.spawn();
            if let Err(Ok(mut child)) = answer.send(spawned) {
                let _ = child.kill();
                let _ = child.wait();
            }
        });
        self.0.lock().as_ref().ok_or_else(gone)?.send(job).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

/// A confined child that waits for work.
#[derive(Debug)]
pub(super) struct Confined {
    /// The shim; when it dies the worker does.
    pub(super) shim: Shim,
    pub(super) shim_pid: u32,
    pub(super) channel: Channel,
    /// The worker's process id.
    pub(super) worker: i32,
    pub(super) worker_pidfd: Option<OwnedFd>,
    pub(super) group: Option<Group>,
    pub(super) barriers: BTreeMap<String, String>,
    pub(super) engine: String,
}

/// The child process that this process knows. Killed when dropped.
#[derive(Debug)]
pub(super) struct Shim(Mutex<Child>);

impl Shim {
    pub(super) fn kill(&self) {
        // Does nothing to one that has been waited for.
        let _ = self.0.lock().kill();
    }

    /// Waits a moment for it to end by itself, so that it can say how its worker did; then kills it.
    pub(super) fn end(&self) -> Option<std::process::ExitStatus> {
        for _ in 0..50 {
            if let Ok(Some(status)) = self.0.lock().try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.kill();
        self.reap()
    }

    /// Waits for a process that is known to be dying.
    pub(super) fn reap(&self) -> Option<std::process::ExitStatus> {
        self.0.lock().wait().ok()
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let child = self.0.get_mut();
        if !matches!(child.try_wait(), Ok(Some(_))) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts children.
#[derive(Debug)]
pub(super) struct Nursery {
    pub(super) spawner: Spawner,
    pub(super) runner: RunnerCommand,
    pub(super) cgroups: Option<Cgroups>,
    /// What the names of our control groups begin with.
    pub(super) group_prefix: String,
    pub(super) plan: Plan,
    pub(super) next: AtomicU64,
}

impl Nursery {
    /// Starts a child and waits until it is confined.
    pub(super) async fn confined(&self) -> Result<Confined, RuntimeError> {
        match tokio::time::timeout(CONFINE_MAX, self.start()).await {
            Ok(confined) => confined,
            Err(_) => {
                Err(RuntimeError::Start(format!("not confined within {} s", CONFINE_MAX.as_secs())))
            }
        }
    }

    async fn start(&self) -> Result<Confined, RuntimeError> {
        let (ours, theirs) = channel::pair().map_err(RuntimeError::Channel)?;
        let mut command = Command::new(&self.runner.program);
        command
            .args(&self.runner.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        let spawned = self.spawner.spawn(command).await;
        let child = spawned.map_err(|source| RuntimeError::Spawn {
            program: self.runner.program.clone(),
            source,
        })?;
        let pid = child.id();
        let shim = Shim(Mutex::new(child));
        let group = match &self.cgroups {
            Some(cgroups) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let name = format!("{}{}-{number}", self.group_prefix, std::process::id());
                let step = |e: io::Error| RuntimeError::Start(format!("control group: {e}"));
                let group = cgroups.create(&name).map_err(step)?;
                group
                    .limit(&Limits {
                        cpu_millis: 8_000,
                        memory_bytes: SPARE_MEMORY_BYTES,
                        threads: THREADS_MAX,
                    })
                    .map_err(step)?;
                group.add(pid).map_err(step)?;
                Some(group)
            }
            None => None,
        };
        let channel = Channel::new(ours).map_err(RuntimeError::Channel)?;
        channel.send(&ToChild::Enter(self.plan), &[]).map_err(RuntimeError::Channel)?;
        let mut worker = 0;
        loop {
            match channel.recv::<FromChild>().await.map_err(RuntimeError::Channel)? {
                Some((FromChild::Hello { pid }, _)) => worker = pid,
                Some((FromChild::Confined { barriers, engine }, _)) => {
                    return Ok(Confined {
                        shim,
                        shim_pid: pid,
                        channel,
                        worker,
                        worker_pidfd: pidfd(worker),
                        group,
                        barriers,
                        engine,
                    });
                }
                Some((FromChild::Ended(Outcome::Failed { reason }), _)) => {
                    return Err(RuntimeError::Start(reason));
                }
                Some(_) => return Err(RuntimeError::Start("an unexpected message".into())),
                None => {
                    let status = shim.reap().map_or_else(String::new, |s| format!(": {s}"));
                    return Err(RuntimeError::Start(format!("it ended at once{status}")));
                }
            }
        }
    }
}

fn pidfd(pid: i32) -> Option<OwnedFd> {
    // SAFETY: the call takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to a process that cannot be mistaken for another.
pub(super) fn signal(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    // SAFETY: no information is passed with the signal.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
