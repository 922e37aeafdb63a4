//! The demo as a program: what it leaves when it is interrupted, and what it says where it cannot
//! begin.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use kinesis_tests::grid::{PATIENCE, eventually, send};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// The demo's program, at work.
pub(crate) struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it puts its own folder below.
    temporary: PathBuf,
}

impl Demo {
    /// Starts it; everything it writes goes below `folder`.
    pub(crate) fn start(folder: &Path, args: &[&str]) -> Self {
        let temporary = folder.join("tmp");
        std::fs::create_dir(&temporary).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kinesis-demo"))
            .arg("--kinesis")
            .arg(crate::kinesis())
            .arg("--examples")
            .arg(crate::target().join("examples"))
            .arg("--prices")
            .arg(crate::root().join("docs/prices.toml"))
            .args(args)
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, temporary }
    }

    /// Reads on until it says this, and returns the line.
    pub(crate) async fn says(&mut self, what: &str) -> String {
        let patience = PATIENCE * 3;
        loop {
            let line = tokio::time::timeout(patience, self.lines.next_line()).await.expect(what);
            let Some(line) = line.unwrap() else { break };
            eprintln!("{line}");
            if line.contains(what) {
                return line;
            }
        }
        let mut error = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut error).await.unwrap();
        panic!("it ended without \"{what}\": {error}");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        send(i32::try_from(self.child.id().unwrap()).unwrap(), signal).unwrap();
    }

    /// Its end: how, and what it said last.
    pub(crate) async fn ended(mut self) -> (Output, PathBuf) {
        let rest = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                eprintln!("{line}");
            }
            self.child.wait_with_output().await.unwrap()
        };
        (tokio::time::timeout(PATIENCE, rest).await.expect("it goes on"), self.temporary)
    }
}

/// What is still there of the processes that belong to a folder: their command lines.
pub(crate) fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&*folder) && line.contains("kinesis"))
        .filter(|line| !line.contains("chrom"))
        .collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_in_the_middle_it_leaves_nothing() {
    let folder = crate::folder();
    let json = folder.path().join("out.json");
    let mut demo = Demo::start(folder.path(), &["--json", json.to_str().unwrap()]);
    // By then chain, signer, utility, three agents and two sandboxes run.
    demo.says("active on ").await;
    let running = processes_of(&demo.temporary);
    assert!(running.len() >= 7, "{running:#?}");
    demo.signal(Signal::SIGINT);
    let (ended, temporary) = demo.ended().await;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("Every process was stopped and the demo's data removed"), "{said}");
    assert_eq!(processes_of(&temporary), Vec::<String>::new());
    assert_eq!(entries(&temporary), Vec::<PathBuf>::new());
    assert!(!json.exists(), "there is nothing to write yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_port_and_a_bad_path_are_said_at_once() {
    let folder = crate::folder();
    // Where somebody else has this port, it is busy all the same.
    let _busy = TcpListener::bind("127.0.0.1:8080");
    let (ended, temporary) = Demo::start(folder.path(), &["--keep"]).ended().await;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    for word in ["in use", "--free-ports"] {
        assert!(said.contains(word), "no {word} in: {said}");
    }
    assert_eq!(entries(&temporary), Vec::<PathBuf>::new());

    let folder = crate::folder();
    let nowhere = folder.path().join("no/such/folder/out.json");
    let args = ["--json", nowhere.to_str().unwrap()];
    let (ended, temporary) = Demo::start(folder.path(), &args).ended().await;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("no/such/folder/out.json cannot be written"), "{said}");
    assert_eq!(entries(&temporary), Vec::<PathBuf>::new());
}

/// A grid that was kept goes on, answers, and is stopped in order; its data stays.
pub(crate) async fn is_kept_until_it_is_stopped(mut demo: Demo) {
    let url = demo.says("guestbook     ").await;
    let url = url.split_whitespace().last().unwrap().to_owned();
    let command = demo.says("KINESIS_CONFIG=").await;
    demo.says("Press Ctrl-C").await;
    // The address is for browsers, which know that all of .localhost is this machine.
    let port = url.rsplit_once(':').unwrap().1.trim_end_matches('/');
    let http = reqwest::Client::new();
    eventually("the guestbook answers", async || {
        let asked =
            http.get(format!("http://127.0.0.1:{port}/")).header("host", "guestbook.localhost");
        Ok(asked.send().await?.status().is_success().then_some(()))
    })
    .await
    .unwrap();
    // What it says to type works as it is said.
    let shell = Command::new("sh").args(["-c", command.trim()]).output().await.unwrap();
    let table = String::from_utf8_lossy(&shell.stdout).into_owned();
    assert!(shell.status.success() && table.contains("guestbook"), "{shell:?}");
    demo.signal(Signal::SIGINT);
    let (ended, temporary) = demo.ended().await;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert_eq!(processes_of(&temporary), Vec::<String>::new());
    let [data] = &entries(&temporary)[..] else { panic!("its data is gone") };
    assert!(data.join("grid/endpoints.json").exists());
    // Stopped, not killed: whatever was killed would not have said so.
    let log = std::fs::read_to_string(data.join("up.log")).unwrap();
    assert!(log.contains("Stopping"), "{log}");
}
