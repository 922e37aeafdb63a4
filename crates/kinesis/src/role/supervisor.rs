//! Child processes that are kept running.
//!
//! ```text
//! start --> starting --(writes its endpoints)--> up --(dies)--> waiting --(backoff)--> starting
//!              \--(dies before it was ever up)--> gives up: the reason is in its log
//! ```
//!
//! Children are started by the thread that runs the supervisor and by no other, since the kernel
//! kills them when the *thread* that started them ends. They stand in process groups of their own,
//! so that Ctrl-C reaches only the supervisor, which stops them in order.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use crate::{
    env,
    error::{Error, Result},
    output::safe,
};

/// A log that is longer at a start is put aside.
const LOG_BYTES_MAX: u64 = 16 << 20;
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Whoever lived this long starts again without delay.
const STEADY: Duration = Duration::from_secs(30);

/// What is to be kept running.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    /// Its name, also of its log.
    pub(crate) name: String,
    /// Its arguments.
    pub(crate) args: Vec<String>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// Written once it answers, with its pid in it.
    pub(crate) ready_file: PathBuf,
}

/// One process and what is known of its past.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) spec: Spec,
    child: Option<Child>,
    started: Instant,
    was_up: bool,
    is_up: bool,
    backoff: Duration,
    start_at: Instant,
}

/// What happened to a process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It answers.
    Up,
    /// It died and will be started again after this long.
    Died { how: String, again_in: Duration },
}

impl Kept {
    pub(crate) fn new(spec: Spec) -> Self {
        let now = Instant::now();
        Self {
            spec,
            child: None,
            started: now,
            was_up: false,
            is_up: false,
            backoff: BACKOFF_MIN,
            start_at: now,
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    pub(crate) const fn is_up(&self) -> bool {
        self.is_up
    }

    /// Starts it, or sees what became of it. Called again and again.
    pub(crate) fn poll(&mut self, program: &Path) -> Result<Option<Change>> {
        let Some(child) = &mut self.child else {
            if Instant::now() >= self.start_at {
                self.start(program)?;
            }
            return Ok(None);
        };
        if let Some(status) = child.try_wait().map_err(Error::io("wait for a process"))? {
            self.child = None;
            return self.died(status).map(Some);
        }
        if !self.is_up && self.pid().is_some_and(|pid| ready(&self.spec.ready_file, pid)) {
            self.is_up = true;
            self.was_up = true;
            return Ok(Some(Change::Up));
        }
        Ok(None)
    }

    fn start(&mut self, program: &Path) -> Result<()> {
        let log = open_log(&self.spec.log)?;
        let again = || Error::io(format!("write {}", self.spec.log.display()));
        let mut command = Command::new(program);
        command
            .args(&self.spec.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(again())?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let ours = name.to_string_lossy();
            if ours.starts_with(env::PREFIX) && !env::HANDED_ON.contains(&ours.as_ref()) {
                command.env_remove(&name);
            }
        }
        // SAFETY: prctl is async-signal-safe and touches nothing that the parent owns.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        let child = command.spawn().map_err(Error::io(format!("start {}", program.display())))?;
        self.child = Some(child);
        self.started = Instant::now();
        self.is_up = false;
        Ok(())
    }

    fn died(&mut self, status: ExitStatus) -> Result<Change> {
        self.is_up = false;
        let how = describe(status);
        if !self.was_up {
            return Err(Error::Failed {
                message: format!(
                    "{} {how} before it answered{}",
                    self.spec.name,
                    last_words(&self.spec.log)
                ),
                hint: Some(format!("all it said is in {}", self.spec.log.display())),
            });
        }
        if self.started.elapsed() > STEADY {
            self.backoff = BACKOFF_MIN;
        }
        let again_in = self.backoff;
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        self.start_at = Instant::now() + again_in;
        Ok(Change::Died { how, again_in })
    }

    /// Asks it to stop; kills it where it does not in time.
    pub(crate) async fn stop(&mut self, patience: Duration) {
        let Some(mut child) = self.child.take() else { return };
        self.is_up = false;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid {
            // It may have gone a moment ago.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if tokio::time::timeout(patience, child.wait()).await.is_err() {
            tracing::warn!(name = self.spec.name, "did not stop in time and is killed");
            let _ = child.kill().await;
        }
    }

    /// Kills it.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill().await;
        }
    }
}

/// Whether the file was written by this very process: a file of its predecessor says nothing.
fn ready(file: &Path, pid: u32) -> bool {
    #[derive(serde::Deserialize)]
    struct Written {
        pid: u32,
    }
    fs::read(file)
        .ok()
        .and_then(|text| serde_json::from_slice::<Written>(&text).ok())
        .is_some_and(|written| written.pid == pid)
}

fn open_log(path: &Path) -> Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        // A log that cannot be put aside is written on.
        let _ = fs::rename(path, path.with_extension("log.1"));
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(Error::io(format!("write {}", path.display())))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => match Signal::try_from(signal) {
            Ok(signal) => format!("was killed by {signal}"),
            Err(_) => format!("was killed by signal {signal}"),
        },
        (None, None) => "ended".to_owned(),
    }
}

/// The last lines of a log, indented under what is said of them.
fn last_words(log: &Path) -> String {
    const BYTES: u64 = 4096;
    const LINES: usize = 8;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let from = file.metadata()?.len().saturating_sub(BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.take(BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..]
        .iter()
        .map(|line| format!("\n    {}", safe(line)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(dir: &Path, script: &str) -> Spec {
        Spec {
            name: "child".into(),
            args: vec!["-c".into(), script.into()],
            log: dir.join("child.log"),
            ready_file: dir.join("ready.json"),
        }
    }

    async fn until(kept: &mut Kept, wanted: impl Fn(&Change) -> bool) -> Result<Change> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if let Some(change) = kept.poll(Path::new("/bin/sh"))?.filter(&wanted) {
                return Ok(change);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nothing happened");
    }

    #[tokio::test]
    async fn a_dead_child_is_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready.json");
        let script = format!("echo '{{\"pid\":'$$'}}' > {}; exec sleep 60", ready.display());
        let mut kept = Kept::new(spec(dir.path(), &script));
        until(&mut kept, |c| *c == Change::Up).await.unwrap();
        let first = kept.pid().unwrap();
        kill(Pid::from_raw(i32::try_from(first).unwrap()), Signal::SIGKILL).unwrap();
        let died = until(&mut kept, |c| *c != Change::Up).await.unwrap();
        assert!(matches!(&died, Change::Died { how, .. } if how.contains("SIGKILL")), "{died:?}");
        until(&mut kept, |c| *c == Change::Up).await.unwrap();
        assert_ne!(kept.pid(), Some(first));
        kept.stop(Duration::from_secs(20)).await;
        assert_eq!(kept.pid(), None);
    }

    #[tokio::test]
    async fn a_child_that_never_answered_is_given_up_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::new(spec(dir.path(), "echo the port is taken >&2; exit 3"));
        let error = until(&mut kept, |_| true).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("code 3") && text.contains("the port is taken"), "{text}");
        assert!(error.hint().unwrap().contains("child.log"));
    }

    #[tokio::test]
    async fn a_child_that_does_not_stop_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let ready = dir.path().join("ready.json");
        let script = format!(
            "trap '' TERM; echo '{{\"pid\":'$$'}}' > {}; while :; do sleep 1; done",
            ready.display()
        );
        let mut kept = Kept::new(spec(dir.path(), &script));
        until(&mut kept, |c| *c == Change::Up).await.unwrap();
        kept.stop(Duration::from_millis(200)).await;
        assert_eq!(kept.pid(), None);
    }
}
