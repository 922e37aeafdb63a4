//! A lease in its worker: opens what the lease's directory holds, closes the door behind it, and
//! serves or runs until it is over.

use std::{
    fs::{File, OpenOptions},
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use kinesis_protocol::{Workload, lease::LOG_BYTES_MAX};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use wasmtime::{Engine, component::Component};

use super::{
    confine, engine,
    guest::{Budget, Setup},
    job,
    log::Log,
    meter::Meter,
    network::{Dialer, Hooks},
    service,
};
use crate::{
    channel,
    page::Page,
    talk::{FromChild, Order, Outcome, ToChild},
};

/// Everything that a service or a job needs.
pub(super) struct Lease {
    pub(super) component: Component,
    pub(super) setup: Arc<Setup>,
    pub(super) meter: Arc<Meter>,
    pub(super) log: Log,
    /// Becomes true when a job may begin.
    pub(super) go: watch::Receiver<bool>,
    /// Becomes true when nothing new may be taken.
    pub(super) drain: watch::Receiver<bool>,
    /// Becomes true when the guest has written more than it may.
    pub(super) disk_full: watch::Receiver<bool>,
    socket: Arc<OwnedFd>,
}

/// How a lease starts.
pub(super) struct Start {
    /// Whether a job waits for the word to begin.
    pub(super) hold: bool,
    /// Whom guests' TLS trusts beside the usual roots.
    pub(super) trusted: Vec<CertificateDer<'static>>,
}

impl Lease {
    /// Tells the runtime that requests or the word to begin may come.
    pub(super) fn ready(&self) -> Result<(), String> {
        channel::send(self.socket.as_fd(), &FromChild::Ready, &[])
            .map_err(|e| format!("control socket: {e}"))
    }
}

pub(super) fn run(
    socket: &OwnedFd,
    engine: Engine,
    dir: OwnedFd,
    listener: OwnedFd,
    start: Start,
) -> Result<(), String> {
    let text = |what: &'static str| move |e: std::io::Error| format!("{what}: {e}");
    nix::unistd::fchdir(&dir).map_err(|e| format!("enter the lease's directory: {e}"))?;
    drop(dir);
    let open = |path: &str| OpenOptions::new().read(true).write(true).open(path);
    let page = Page::map(&open("meter").map_err(text("open the meter page"))?)
        .map_err(text("map the meter page"))?;
    let log = Log::new(open("log").map_err(text("open the log"))?, LOG_BYTES_MAX)
        .map_err(text("open the log"))?;
    let order: Order = serde_json::from_reader(std::io::BufReader::new(
        File::open("spec.json").map_err(text("open the spec"))?,
    ))
    .map_err(|e| format!("read the spec: {e}"))?;
    let data = File::open("data").map_err(text("open the files"))?;
    let out = File::open("out").map_err(text("open the outputs"))?;

    let deterministic = Order::deterministic(&order.workload);
    let engine = if deterministic {
        let kind = engine::Kind { deterministic, concurrent: false };
        engine::engine(kind).map_err(|e| format!("engine: {e:#}"))?
    } else {
        engine
    };
    // SAFETY: the file was written by a compiling worker for an engine of ours, and nobody else
    // than the runtime can write to it.
    let (engine, component) = unsafe { engine::load(engine, deterministic, "code") }
        .map_err(|e| format!("load the code: {e:#}"))?;

    let program = order.workload.program();
    let job = matches!(order.workload, Workload::Job(_));
    let shows_data = order.data;
    confine::only_files(shows_data.then(|| data.as_fd()), job.then(|| out.as_fd()))?;
    drop((data, out));

    let socket = Arc::new(socket.try_clone().map_err(text("control socket"))?);
    let dialer = Dialer::new(Arc::clone(&socket));
    let (go_sender, go) = watch::channel(!start.hold);
    let (drain_sender, drain) = watch::channel(false);
    let (disk_sender, disk_full) = watch::channel(false);
    control(Arc::clone(&socket), Arc::clone(&dialer), go_sender, drain_sender)
        .map_err(text("start a thread"))?;

    let meter = Meter::new(page);
    let most = order.output_bytes_max();
    meter
        .start_ticking(engine.clone(), move || {
            if job && !*disk_sender.borrow() && !job::outputs_fit("out", most) {
                disk_sender.send_replace(true);
            }
        })
        .map_err(text("start a thread"))?;

    let (args, seed) = match &order.workload {
        Workload::Service(_) | Workload::Unknown => (vec![], None),
        Workload::Job(job) => {
            (["job".to_owned()].into_iter().chain(job.args.iter().cloned()).collect(), job.seed)
        }
    };
    let setup = Arc::new(Setup {
        engine,
        env: program.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        args,
        data: shows_data,
        out: job,
        log: log.clone(),
        hooks: Hooks::new(&program.network, dialer, start.trusted),
        budget: Budget::new(order.granted.mem_mib),
        seed,
    });
    let lease =
        Lease { component, setup, meter, log, go, drain, disk_full, socket: Arc::clone(&socket) };

    let threads =
        usize::try_from(order.granted.cpu_millis.div_ceil(1000)).unwrap_or(1).clamp(1, 64);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(16)
        .thread_name("worker")
        .enable_all()
        .build()
        .map_err(text("start threads"))?;
    let outcome = runtime.block_on(async {
        match &order.workload {
            Workload::Service(spec) => service::run(lease, spec, listener.into()).await,
            Workload::Job(spec) => job::run(lease, spec).await,
            Workload::Unknown => Err("this kind of workload is not known here".to_owned()),
        }
    });
    super::end(&socket, outcome.unwrap_or_else(Outcome::failed));
    leave()
}

/// Listens to the runtime; ends the process when the runtime is gone.
fn control(
    socket: Arc<OwnedFd>,
    dialer: Arc<Dialer>,
    go: watch::Sender<bool>,
    drain: watch::Sender<bool>,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            loop {
                match channel::recv::<ToChild>(socket.as_fd()) {
                    Ok(Some((ToChild::Go, _))) => drop(go.send_replace(true)),
                    Ok(Some((ToChild::Drain, _))) => drop(drain.send_replace(true)),
                    Ok(Some((ToChild::Dialed { id, error }, descriptors))) => {
                        let answer = match (error, descriptors.into_iter().next()) {
                            (None, Some(connection)) => Ok(connection),
                            (error, _) => Err(error.unwrap_or_else(|| "no connection".into())),
                        };
                        dialer.answer(id, answer);
                    }
                    _ => leave(),
                }
            }
        })
        .map(drop)
}

/// Ends the process at once: there is nothing to tidy up that the kernel does not.
fn leave() -> ! {
    // SAFETY: the call has no preconditions.
    unsafe { libc::_exit(0) }
}
