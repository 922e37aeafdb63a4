//! One lease's sandbox: what the agent holds, and the task that listens to the child.

use std::{
    fmt,
    fs::File,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kinesis_protocol::{Counters, LeaseId, Resources, Workload};
use parking_lot::Mutex;
use tokio::{
    net::UnixStream,
    sync::{Semaphore, watch},
};

use super::{Entry, Exit, child::Confined, child::signal, dial, leases::LeaseDir, outputs};
use crate::{
    RuntimeError, StartSpec,
    energy::{Gauge, Share},
    page::{Now, Page, monotonic_ns, process_cpu_ns},
    talk::{FromChild, Order, Outcome, ToChild},
};

/// How long a start may take, once the code is compiled.
const START_MAX: Duration = Duration::from_secs(60);
/// How long a runner may go on after the guest's own limit before it is not believed any more.
const GRACE: Duration = Duration::from_secs(5);
/// Connections that a guest may ask for at once.
const DIALS_MAX: usize = 64;

/// One lease's sandbox. Cheap to clone; when the last clone is dropped its process is killed.
#[derive(Clone)]
pub struct Sandbox(Arc<Handle>);

/// Dropped with the last clone, while the task that listens still holds the core.
struct Handle(Arc<Core>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.kill();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("lease", &self.0.0.lease)
            .field("exit", &*self.0.0.exit.borrow())
            .finish_non_exhaustive()
    }
}

/// What the handle and the listening task share.
#[derive(Debug)]
pub(super) struct Core {
    lease: LeaseId,
    granted: Resources,
    mj_per_cpu_ms: u64,
    dir: File,
    log: PathBuf,
    out: PathBuf,
    page: Page,
    child: Confined,
    code_key: String,
    network: Vec<String>,
    output_bytes_max: u64,
    /// Of a job.
    wall_max: Option<Duration>,
    state: Mutex<State>,
    ready: watch::Sender<bool>,
    exit: watch::Sender<Option<Exit>>,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Told {
    /// The highest counters that anybody was told: later ones are never lower.
    counters: Counters,
    /// Where energy is measured.
    energy: Option<Energy>,
}

#[derive(Debug)]
struct Energy {
    gauge: Arc<Gauge>,
    share: Share,
}

#[derive(Debug)]
struct State {
    /// To be frozen as soon as it is ready, or frozen.
    hold: bool,
    frozen: bool,
    /// A job was told to begin.
    gone: bool,
    stopping: bool,
}

impl Core {
    pub(super) fn new(
        spec: StartSpec,
        dir: LeaseDir,
        child: Confined,
        code_key: String,
        mj_per_cpu_ms: u64,
        gauge: Option<Arc<Gauge>>,
    ) -> Arc<Self> {
        let energy = gauge.and_then(|gauge| Some(Energy { share: gauge.share()?, gauge }));
        if energy.is_some() {
            dir.page.set_energy(0);
        }
        let order =
            Order { workload: spec.workload, granted: spec.granted, data: !spec.files.is_empty() };
        Arc::new(Self {
            lease: spec.lease,
            granted: spec.granted,
            mj_per_cpu_ms,
            log: dir.path.join("log"),
            out: dir.path.join("out"),
            dir: dir.file,
            page: dir.page,
            child,
            code_key,
            network: order.workload.program().network.clone(),
            output_bytes_max: order.output_bytes_max(),
            wall_max: match &order.workload {
                Workload::Job(job) => Some(Duration::from_millis(job.wall_ms_max)),
                Workload::Service(_) | Workload::Unknown => None,
            },
            state: Mutex::new(State {
                hold: spec.standby,
                frozen: false,
                gone: !spec.standby,
                stopping: false,
            }),
            ready: watch::Sender::new(false),
            exit: watch::Sender::new(None),
            told: Mutex::new(Told { counters: Counters::default(), energy }),
        })
    }

    pub(super) fn kill(&self) {
        self.state.lock().stopping = true;
        self.child.shim.kill();
    }

    fn has_ended(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// Stops or continues every thread.
    fn set_frozen(&self, freeze: bool) -> io::Result<()> {
        if let Some(group) = &self.child.group
            && group.freeze(freeze)?
        {
            return Ok(());
        }
        match &self.child.worker_pidfd {
            Some(pidfd) => signal(pidfd, if freeze { libc::SIGSTOP } else { libc::SIGCONT }),
            None => Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel has no pidfd")),
        }
    }

    fn on_ready(&self) {
        if let Some(group) = &self.child.group
            && let Err(error) = group.limit_cpu(u64::from(self.granted.cpu_millis))
        {
            tracing::warn!(lease = %self.lease, %error, "the CPU quota could not be set");
        }
        let mut state = self.state.lock();
        if state.hold {
            match self.set_frozen(true) {
                Ok(()) => state.frozen = true,
                Err(error) => {
                    tracing::warn!(lease = %self.lease, %error, "the standby could not be frozen");
                }
            }
        } else {
            self.go(&mut state);
        }
        drop(state);
        self.ready.send_replace(true);
    }

    fn go(&self, state: &mut State) {
        if !std::mem::replace(&mut state.gone, true) {
            // A child that is gone is noticed where it is listened to.
            let _ = self.child.channel.send(&ToChild::Go, &[]);
        }
    }

    fn counters(&self) -> Counters {
        let mut told = self.told.lock();
        if let Some(mut sample) = self.page.sample() {
            let alive = !self.has_ended() && !self.state.lock().frozen;
            let now = alive.then(|| process_cpu_ns(self.child.worker)).flatten();
            let now = now.map(|cpu_ns| Now { monotonic_ns: monotonic_ns(), cpu_ns });
            if let Some(energy) = &mut told.energy
                && let Some(reading) = energy.gauge.read()
            {
                let (_, cpu_ns) = sample.worked_ns(now);
                let uj = energy.share.add(reading, cpu_ns);
                self.page.set_energy(uj);
                sample.energy_uj = Some(uj);
            }
            let counters = sample.counters(now, &self.granted, self.mj_per_cpu_ms);
            told.counters = Counters {
                // It is one for the whole of a lease's life.
                energy_source: counters.energy_source,
                ..told.counters.max(&counters)
            };
        }
        told.counters
    }
}

/// Listens to the child until it ends.
pub(super) fn keep(core: Arc<Core>, entry: Entry) -> Sandbox {
    entry.set(&core);
    tokio::spawn(listen(Arc::clone(&core), entry));
    Sandbox(Arc::new(Handle(core)))
}

async fn listen(core: Arc<Core>, entry: Entry) {
    let mut outcome = None;
    let dials = Arc::new(Semaphore::new(DIALS_MAX));
    let mut deadline = Box::pin(tokio::time::sleep(START_MAX));
    let mut overdue = "it was not ready in time";
    let mut armed = true;
    loop {
        tokio::select! {
            received = core.child.channel.recv::<FromChild>() => match received {
                Ok(Some((FromChild::Ready, _))) => {
                    core.on_ready();
                    armed = false;
                    // A job's own limit is enforced in the sandbox; this one is for a sandbox that
                    // does not, and begins only when the job does.
                    if let Some(most) = core.wall_max.filter(|_| core.state.lock().gone) {
                        let until = most.saturating_add(GRACE).min(Duration::from_secs(1 << 30));
                        deadline = Box::pin(tokio::time::sleep(until));
                        overdue = "the job ran longer than it may";
                        armed = true;
                    }
                }
                Ok(Some((FromChild::Dial { id, target }, _))) => {
                    answer_dial(&core, &dials, id, target);
                }
                Ok(Some((FromChild::Ended(ended), _))) => {
                    outcome.get_or_insert(ended);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            },
            () = &mut deadline, if armed => {
                outcome.get_or_insert(Outcome::failed(overdue));
                armed = false;
                core.child.shim.kill();
            }
        }
    }
    let exit = {
        let core = Arc::clone(&core);
        tokio::task::spawn_blocking(move || settle(&core, outcome)).await
    };
    let exit = exit.unwrap_or_else(|e| Exit::Broken { reason: e.to_string() });
    if let Exit::Failed { reason } = &exit
        && reason.starts_with("load the code")
    {
        entry.distrust(&core.code_key);
    }
    // The last reading, before anybody learns of the end.
    core.counters();
    drop(entry);
    core.exit.send_replace(Some(exit));
    core.ready.send_modify(|_| {});
}

/// Waits for the process, and finds out why it ended.
fn settle(core: &Core, outcome: Option<Outcome>) -> Exit {
    let status = core.child.shim.end();
    match outcome {
        Some(Outcome::Completed { fuel }) => {
            match outputs::collect(&core.out, core.output_bytes_max) {
                Ok(outputs) => Exit::Completed { outputs, fuel },
                Err(reason) => Exit::Failed { reason },
            }
        }
        _ if core.state.lock().stopping => Exit::Stopped,
        Some(Outcome::Failed { reason }) => Exit::Failed { reason },
        Some(Outcome::Stopped) => Exit::Stopped,
        None if core.child.group.as_ref().is_some_and(|group| group.oom_kills() > 0) => {
            Exit::Failed {
                reason: format!("out of memory: {} MiB were granted", core.granted.mem_mib),
            }
        }
        None => Exit::Broken {
            reason: format!(
                "the sandbox died{}",
                status.map_or_else(String::new, |status| format!(" ({status})"))
            ),
        },
    }
}

fn answer_dial(core: &Arc<Core>, dials: &Arc<Semaphore>, id: u64, target: String) {
    let Ok(turn) = Arc::clone(dials).try_acquire_owned() else {
        let error = Some(format!("more than {DIALS_MAX} connections are being made"));
        let _ = core.child.channel.send(&ToChild::Dialed { id, error }, &[]);
        return;
    };
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let _ = match dial::dial(&target, &core.network).await {
            Ok(connection) => {
                core.child.channel.send(&ToChild::Dialed { id, error: None }, &[connection.as_fd()])
            }
            Err(error) => core.child.channel.send(&ToChild::Dialed { id, error: Some(error) }, &[]),
        };
        drop(turn);
    });
}

impl Sandbox {
    fn core(&self) -> &Core {
        &self.0.0
    }

    /// Whose sandbox it is.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.core().lease
    }

    /// Waits until the guest can be asked, or runs; for a standby, until it is frozen.
    ///
    /// # Errors
    /// The reason it never will.
    pub async fn ready(&self) -> Result<(), RuntimeError> {
        let core = self.core();
        let mut ready = core.ready.subscribe();
        // Cannot close: the sender lives as long as `self`.
        let _ = ready.wait_for(|ready| *ready || core.has_ended()).await;
        if *ready.borrow() {
            return Ok(());
        }
        Err(match self.exit() {
            Some(Exit::Failed { reason }) => RuntimeError::Start(reason),
            _ => RuntimeError::Ended,
        })
    }

    /// Stops every thread of it. Uses no CPU from then on. One that is not ready yet is frozen as
    /// soon as it is.
    ///
    /// # Errors
    /// When it has ended or the system refuses.
    pub fn freeze(&self) -> Result<(), RuntimeError> {
        let core = self.core();
        if core.has_ended() {
            return Err(RuntimeError::Ended);
        }
        let mut state = core.state.lock();
        state.hold = true;
        if *core.ready.borrow() && !state.frozen {
            core.set_frozen(true).map_err(RuntimeError::Channel)?;
            state.frozen = true;
        }
        Ok(())
    }

    /// Goes on; a job that waited begins. Does nothing to one that is not frozen.
    ///
    /// # Errors
    /// When it has ended or the system refuses.
    pub fn thaw(&self) -> Result<(), RuntimeError> {
        let core = self.core();
        if core.has_ended() {
            return Err(RuntimeError::Ended);
        }
        let mut state = core.state.lock();
        state.hold = false;
        if state.frozen {
            core.set_frozen(false).map_err(RuntimeError::Channel)?;
            state.frozen = false;
        }
        if *core.ready.borrow() {
            core.go(&mut state);
        }
        Ok(())
    }

    /// Whether it is frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.core().state.lock().frozen
    }

    /// A new connection to its HTTP server. Works before it is ready, and while it is frozen: the
    /// answer waits.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn connect(&self) -> Result<UnixStream, RuntimeError> {
        let core = self.core();
        if core.has_ended() {
            return Err(RuntimeError::Ended);
        }
        UnixStream::connect(super::leases::socket(&core.dir)).await.map_err(|e| match e.kind() {
            io::ErrorKind::ConnectionRefused => RuntimeError::Ended,
            _ => RuntimeError::Channel(e),
        })
    }

    /// What it has used so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.core().counters()
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        if self.core().has_ended() {
            return 0;
        }
        let sample = self.core().page.sample().unwrap_or_default();
        u32::try_from(sample.in_flight).unwrap_or(u32::MAX)
    }

    /// The guest's standard output and error, as one file of at most
    /// [`LOG_BYTES_MAX`](kinesis_protocol::lease::LOG_BYTES_MAX) bytes. When it is full its older
    /// half is cut off: a reader that finds it shorter than before starts again from its beginning.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.core().log
    }

    /// Waits for its end. Every caller gets the same answer.
    pub async fn ended(&self) -> Exit {
        let mut exit = self.core().exit.subscribe();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or(Exit::Stopped),
            Err(_) => Exit::Stopped,
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.core().exit.borrow().clone()
    }

    /// Finishes the requests in flight, takes no new ones, then ends. A job is left to finish.
    pub fn drain(&self) {
        // A frozen one has nothing in flight, and cannot hear.
        if self.is_frozen() {
            self.kill();
        } else {
            let _ = self.core().child.channel.send(&ToChild::Drain, &[]);
        }
    }

    /// Kills it. [`Sandbox::ended`] tells when it is dead.
    pub fn kill(&self) {
        self.core().kill();
    }
}
