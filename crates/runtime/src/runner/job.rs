//! A job: `wasi:cli/run` from its beginning to its end, measured to the nanosecond. Of WASI 0.2, or
//! of 0.3 where the component says so.

use std::{fs, path::Path, time::Duration};

use kinesis_protocol::lease::{JobWorkload, OUTPUT_FILES_MAX};
use wasmtime::{
    Store,
    component::{Accessor, InstancePre},
};
use wasmtime_wasi::{I32Exit, p2, p3};

use super::{
    INSTANTIATE_MAX,
    guest::{self, Guest},
    lease::Lease,
};
use crate::talk::Outcome;

/// `wasi:cli/run` of either WASI, linked.
enum CommandPre {
    P2(p2::bindings::CommandPre<Guest>),
    P3(p3::bindings::CommandPre<Guest>),
}

/// The same, instantiated.
enum Command {
    P2(p2::bindings::Command),
    P3(p3::bindings::Command),
}

impl CommandPre {
    /// WASI 0.3 where the engine runs it and the component exports it.
    fn new(pre: InstancePre<Guest>, concurrent: bool) -> wasmtime::Result<Self> {
        if !concurrent {
            return p2::bindings::CommandPre::new(pre).map(Self::P2);
        }
        p3::bindings::CommandPre::new(pre.clone())
            .map(Self::P3)
            .or_else(|error| p2::bindings::CommandPre::new(pre).map(Self::P2).map_err(|_| error))
    }

    async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Command> {
        match self {
            Self::P2(pre) => pre.instantiate_async(store).await.map(Command::P2),
            Self::P3(pre) => pre.instantiate_async(store).await.map(Command::P3),
        }
    }
}

impl Command {
    /// Runs to the end. What a guest of WASI 0.3 does after it has returned success is part of it.
    async fn run(&self, store: &mut Store<Guest>) -> wasmtime::Result<Result<(), ()>> {
        let command = match self {
            Self::P2(command) => return command.wasi_cli_run().call_run(store).await,
            Self::P3(command) => command,
        };
        let run = async |store: &Accessor<Guest>| {
            let ended = command.wasi_cli_run().call_run(store).await?;
            if ended.is_ok() {
                std::future::poll_fn(|cx| store.poll_no_interesting_tasks(cx)).await;
            }
            Ok(ended)
        };
        store.run_concurrent(run).await?
    }
}

pub(super) async fn run(lease: Lease, spec: &JobWorkload) -> Result<Outcome, String> {
    let boot = lease.meter.boot();
    let linker = lease.setup.linker().map_err(|e| format!("{e:#}"))?;
    let pre = linker
        .instantiate_pre(&lease.component)
        .and_then(|pre| CommandPre::new(pre, lease.setup.concurrent()))
        .map_err(|e| format!("the component cannot run as a job: {e:#}"))?;
    let mut store = lease.setup.store().map_err(|e| format!("{e:#}"))?;
    let command = tokio::time::timeout(INSTANTIATE_MAX, pre.instantiate(&mut store))
        .await
        .map_err(|_| format!("no instance within {} s", INSTANTIATE_MAX.as_secs()))?
        .map_err(|e| guest::reason(&e))?;
    drop(boot);
    lease.ready()?;
    let mut go = lease.go.clone();
    go.wait_for(|go| *go).await.map_err(|_| "the runtime is gone")?;

    let mut disk_full = lease.disk_full.clone();
    let run =
        tokio::time::timeout(Duration::from_millis(spec.wall_ms_max), command.run(&mut store));
    let full = async {
        if disk_full.wait_for(|full| *full).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    // From here to the drop of `busy` is what is billed: nothing else belongs in between.
    let busy = lease.meter.begin();
    let ended = tokio::select! {
        biased;
        ended = run => Some(ended),
        () = full => None,
    };
    drop(busy);

    let ended = match ended {
        None => {
            return Ok(Outcome::failed("the job wrote more to /out than it may"));
        }
        Some(Err(_)) => {
            let text = format!("the job ran longer than {} ms", spec.wall_ms_max);
            lease.log.line(&text);
            return Ok(Outcome::failed(text));
        }
        Some(Ok(ended)) => ended,
    };
    let fuel = match spec.seed {
        Some(_) => store.get_fuel().ok().map(|left| u64::MAX - left),
        None => None,
    };
    Ok(match ended {
        Ok(Ok(())) => Outcome::Completed { fuel },
        Ok(Err(())) => Outcome::failed("the job exited with code 1"),
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(0)) => Outcome::Completed { fuel },
            Some(I32Exit(code)) => Outcome::failed(format!("the job exited with code {code}")),
            None => {
                lease.log.line(&format!("{error:?}"));
                Outcome::failed(guest::reason(&error))
            }
        },
    })
}

/// Whether what lies in `dir` is within its limits. Looks at no more files than are allowed.
pub(super) fn outputs_fit(dir: &str, most: u64) -> bool {
    fn walk(dir: &Path, bytes: &mut u64, files: &mut usize, most: u64) -> bool {
        let Ok(entries) = fs::read_dir(dir) else { return true };
        for entry in entries.flatten() {
            // Removed in the meantime, perhaps.
            let Ok(meta) = entry.path().symlink_metadata() else { continue };
            *files += 1;
            *bytes = bytes.saturating_add(meta.len());
            if *files > OUTPUT_FILES_MAX * 2 || *bytes > most {
                return false;
            }
            if meta.is_dir() && !walk(&entry.path(), bytes, files, most) {
                return false;
            }
        }
        true
    }
    walk(Path::new(dir), &mut 0, &mut 0, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_counted_however_deep_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), vec![0; 100_000]).unwrap();
        assert!(outputs_fit(path, 200_000));
        assert!(!outputs_fit(path, 90_000));
    }
}
