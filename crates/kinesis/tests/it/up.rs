//! `kinesis up` with real children: they come, come back, and go.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{kinesis, run, seen};

const PATIENCE: Duration = Duration::from_secs(60);

/// A grid without suppliers. Its processes die with it.
struct Grid(Child);

impl Grid {
    fn start(home: &Path) -> Self {
        let mut command = kinesis(home);
        command.args(["up", "--data", "grid", "--suppliers", "0"]);
        for part in ["rpc", "ingress", "portal", "relay", "wire", "lifeline"] {
            command.args([&format!("--{part}"), "0"]);
        }
        let log = std::fs::File::create(home.join("up.log")).unwrap();
        Self(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

impl Drop for Grid {
    fn drop(&mut self) {
        // The children die with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until<T>(home: &Path, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ask() {
            return value;
        }
        if start.elapsed() > PATIENCE {
            let said = |log: &str| std::fs::read_to_string(home.join(log)).unwrap_or_default();
            panic!("{what} did not happen\n{}\n{}", said("up.log"), said("grid/utility.log"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn endpoints(home: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(home.join("grid/endpoints.json")).ok()?).ok()
}

fn pid(endpoints: &Value, name: &str) -> i32 {
    i32::try_from(endpoints["pids"][name].as_i64().unwrap()).unwrap()
}

/// Gone, or dead and not yet collected by whoever inherited it.
fn gone(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim().is_empty() || rest.starts_with(" Z"))
}

/// What a command that has to succeed prints.
fn told(home: &Path, args: &[&str]) -> Value {
    let output = run(home, args);
    assert!(output.status.success(), "{}", seen(home, &output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn an_account_that_is_opened_again_is_the_same_and_is_paid_once() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let _grid = Grid::start(home);
    let portal =
        until(home, "the start", || endpoints(home))["portal"].as_str().unwrap().to_owned();
    let open = |key: &str| {
        let mut args = vec!["account", "open", "--name", "me", "--usd", "5.00", "--replace"];
        args.extend(["--idempotency-key", key, "--data", "grid", "--url", &portal, "--json"]);
        told(home, &args)
    };
    let show = || told(home, &["account", "show", "--url", &portal, "--json"]);
    let first = open("invoice-17");
    // Whoever does not know whether it arrived asks again: the key is new, the rest is as it was.
    for _ in 0..2 {
        let again = open("invoice-17");
        assert_eq!(again["account"], first["account"]);
        assert_eq!(again["balance_nanousd"], 5_000_000_000_i64);
        assert_eq!(show()["balance_nanousd"], 5_000_000_000_i64);
    }
    let other = open("invoice-18");
    assert_ne!(other["account"], first["account"]);
    assert_eq!(show()["balance_nanousd"], 5_000_000_000_i64);
}

#[test]
fn dead_parts_come_back_where_they_were_and_all_of_it_ends_cleanly() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let mut grid = Grid::start(home);
    let first = until(home, "the start", || endpoints(home));
    // The process that strangers talk to has no key.
    assert!(home.join("grid/signer/utility.key").exists());
    assert!(!home.join("grid/utility/utility.key").exists());
    for part in ["chain", "signer", "utility"] {
        let before = until(home, "all being up", || endpoints(home));
        kill(Pid::from_raw(pid(&before, part)), Signal::SIGKILL).unwrap();
        let after = until(home, "the restart", || {
            endpoints(home).filter(|now| pid(now, part) != pid(&before, part))
        });
        for key in ["rpc", "ingress", "portal", "relay", "wire", "lifeline", "escrow", "utility"] {
            assert_eq!(after[key], first[key], "{key} after {part} was killed");
        }
    }
    let last = endpoints(home).unwrap();
    kill(Pid::from_raw(pid(&last, "up")), Signal::SIGTERM).unwrap();
    let status = until(home, "the end", || grid.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
    for part in ["chain", "signer", "utility"] {
        assert!(gone(pid(&last, part)), "{part}");
    }
    drop(grid);

    let mut grid = Grid::start(home);
    let again = until(home, "the second start", || endpoints(home).filter(|e| *e != last));
    assert_eq!((&again["portal"], &again["escrow"]), (&first["portal"], &first["escrow"]));
    grid.0.kill().unwrap();
    grid.0.wait().unwrap();
    until(home, "the children dying with their parent", || {
        (gone(pid(&again, "chain")) && gone(pid(&again, "utility"))).then_some(())
    });
}
