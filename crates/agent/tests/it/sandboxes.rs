//! Scripted sandboxes: each echoes what it is sent, counts what it is told to, ends when told to.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use async_trait::async_trait;
use kinesis_agent::engine::{Engine, Guest, StartError};
use kinesis_protocol::{Counters, LeaseId};
use kinesis_runtime::{Exit, StartSpec};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::watch,
};

#[derive(Debug, Default)]
pub(crate) struct Sandboxes {
    pub(crate) guests: Mutex<HashMap<LeaseId, Arc<Scripted>>>,
    pub(crate) leftovers: Mutex<Vec<(LeaseId, Counters)>>,
    pub(crate) forgotten: Mutex<Vec<LeaseId>>,
    pub(crate) refuses: Mutex<Option<StartError>>,
    /// While set, sandboxes start but do not become ready.
    pub(crate) slow: watch::Sender<bool>,
    dir: Mutex<Option<tempfile::TempDir>>,
}

impl Sandboxes {
    pub(crate) fn guest(&self, lease: LeaseId) -> Arc<Scripted> {
        self.guests.lock()[&lease].clone()
    }
}

#[derive(Debug)]
pub(crate) struct Scripted {
    pub(crate) spec: StartSpec,
    pub(crate) counters: Mutex<Counters>,
    pub(crate) frozen: watch::Sender<bool>,
    pub(crate) exit: watch::Sender<Option<Exit>>,
    pub(crate) drained: AtomicBool,
    pub(crate) killed: AtomicBool,
    /// Connections that were closed from the other end.
    pub(crate) closed: watch::Sender<usize>,
    pub(crate) opened: AtomicUsize,
    pub(crate) log: PathBuf,
    slow: watch::Receiver<bool>,
}

impl Scripted {
    pub(crate) fn exit(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }
}

#[async_trait]
impl Engine for Sandboxes {
    fn isolation(&self) -> BTreeMap<String, String> {
        [("sandbox".to_owned(), "scripted".to_owned())].into()
    }

    fn leftovers(&self) -> Vec<(LeaseId, Counters)> {
        self.leftovers.lock().clone()
    }

    fn forget(&self, lease: LeaseId) {
        self.forgotten.lock().push(lease);
    }

    async fn start(&self, spec: StartSpec) -> Result<Arc<dyn Guest>, StartError> {
        if let Some(error) = self.refuses.lock().clone() {
            return Err(error);
        }
        assert!(spec.component.is_file(), "the component must be there");
        let mut dir = self.dir.lock();
        let dir = dir.get_or_insert_with(|| tempfile::tempdir().unwrap());
        let log = dir.path().join(spec.lease.to_string());
        std::fs::write(&log, b"hello from the guest\n").unwrap();
        let guest = Arc::new(Scripted {
            frozen: watch::Sender::new(spec.standby),
            spec,
            counters: Mutex::default(),
            exit: watch::Sender::new(None),
            drained: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            closed: watch::Sender::new(0),
            opened: AtomicUsize::new(0),
            log,
            slow: self.slow.subscribe(),
        });
        self.guests.lock().insert(guest.spec.lease, guest.clone());
        Ok(guest)
    }
}

#[async_trait]
impl Guest for Scripted {
    async fn ready(&self) -> Result<(), String> {
        let mut slow = self.slow.clone();
        let _ = slow.wait_for(|slow| !*slow).await;
        Ok(())
    }

    fn thaw(&self) -> Result<(), String> {
        self.frozen.send_replace(false);
        Ok(())
    }

    async fn connect(&self) -> Result<UnixStream, String> {
        if self.exit.borrow().is_some() {
            return Err("the sandbox has ended".into());
        }
        self.opened.fetch_add(1, SeqCst);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut frozen, mut exit) = (self.frozen.subscribe(), self.exit.subscribe());
        let closed = self.closed.clone();
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            loop {
                let _ = frozen.wait_for(|frozen| !*frozen).await;
                let n = tokio::select! {
                    n = theirs.read(&mut bytes) => n.unwrap_or(0),
                    _ = exit.wait_for(Option::is_some) => return,
                };
                if n == 0 || theirs.write_all(&bytes[..n]).await.is_err() {
                    closed.send_modify(|closed| *closed += 1);
                    return;
                }
            }
        });
        Ok(ours)
    }

    fn counters(&self) -> Counters {
        *self.counters.lock()
    }

    fn in_flight(&self) -> u32 {
        0
    }

    fn log_path(&self) -> PathBuf {
        self.log.clone()
    }

    async fn ended(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let exit = exit.wait_for(Option::is_some).await.unwrap();
        exit.clone().unwrap()
    }

    fn drain(&self) {
        self.drained.store(true, SeqCst);
    }

    fn kill(&self) {
        self.killed.store(true, SeqCst);
        self.exit.send_if_modified(|exit| {
            let first = exit.is_none();
            exit.get_or_insert(Exit::Stopped);
            first
        });
    }
}
