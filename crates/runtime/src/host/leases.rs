//! A lease's directory.
//!
//! | entry | what | who writes it |
//! | --- | --- | --- |
//! | `spec.json` | the order | the runtime |
//! | `code` | a link to the compiled code | nobody |
//! | `data/` | the guest's files, read-only | nobody |
//! | `out/` | a job's outputs | the guest |
//! | `log` | standard output and error | the runner |
//! | `meter` | the meter page | the runner |
//! | `s` | the socket of a service | nobody |
//! | `pids` | whom to kill after a crash | the runtime |

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{OpenOptionsExt, PermissionsExt, chown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use kinesis_protocol::{Counters, LeaseId};
use nix::{sys::signal::Signal, unistd::Pid};

use super::outputs;
use crate::{
    RuntimeError, StartSpec,
    cache::link_or_copy,
    page::{PAGE_BYTES, Page},
    talk::Order,
};

/// A lease's directory, ready for a child.
#[derive(Debug)]
pub(super) struct LeaseDir {
    pub(super) path: PathBuf,
    /// The open directory: its sockets are reached through it, however long its path is.
    pub(super) file: File,
    pub(super) listener: OwnedFd,
    pub(super) page: Page,
}

pub(super) fn dir(root: &Path, lease: LeaseId) -> PathBuf {
    root.join("leases").join(lease.to_string())
}

/// The address of a service's socket.
pub(super) fn socket(dir: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/s", dir.as_raw_fd()))
}

/// Fills the directory. With `drop_to`, what the child needs is made readable to that user.
pub(super) fn prepare(
    root: &Path,
    spec: &StartSpec,
    code: &Path,
    drop_to: Option<(u32, u32)>,
) -> Result<LeaseDir, RuntimeError> {
    let path = dir(root, spec.lease);
    match fs::remove_dir_all(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(RuntimeError::file("empty", &path)(e));
        }
        _ => {}
    }
    let own = |path: &Path, mode: u32| {
        let owned = match drop_to {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        };
        owned
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
            .map_err(RuntimeError::file("hand over", path))
    };
    // A file that others may have links to: its group may read it, its owner stays.
    let share = |path: &Path| match drop_to {
        Some((_, group)) => chown(path, None, Some(group))
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o640)))
            .map_err(RuntimeError::file("share", path)),
        None => Ok(()),
    };
    let make_dir = |path: &Path, mode: u32| {
        fs::create_dir(path)
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
            .map_err(RuntimeError::file("create", path))
    };
    make_dir(&path, 0o711)?;
    let (data, out) = (path.join("data"), path.join("out"));
    make_dir(&data, 0o755)?;
    make_dir(&out, 0o700)?;
    own(&out, 0o700)?;

    for (name, from) in &spec.files {
        let to = outputs::inside(&data, name).map_err(RuntimeError::Spec)?;
        let parents = to.parent().filter(|parent| *parent != data);
        if let Some(parent) = parents {
            fs::create_dir_all(parent).map_err(RuntimeError::file("create", parent))?;
            let mut at = Some(parent);
            while let Some(dir) = at.filter(|dir| *dir != data) {
                fs::set_permissions(dir, Permissions::from_mode(0o755))
                    .map_err(RuntimeError::file("share", dir))?;
                at = dir.parent();
            }
        }
        link_or_copy(from, &to).map_err(RuntimeError::file("link", from))?;
        share(&to)?;
    }
    let link = path.join("code");
    link_or_copy(code, &link).map_err(RuntimeError::file("link", code))?;
    share(&link)?;

    let order = Order {
        workload: spec.workload.clone(),
        granted: spec.granted,
        data: !spec.files.is_empty(),
    };
    let bytes = serde_json::to_vec(&order)
        .map_err(|e| RuntimeError::Spec(format!("the order cannot be written: {e}")))?;
    create(&path.join("spec.json"))
        .and_then(|mut file| file.write_all(&bytes))
        .map_err(RuntimeError::file("write", path.join("spec.json")))?;
    create(&path.join("log")).map_err(RuntimeError::file("create", path.join("log")))?;
    let page = create(&path.join("meter"))
        .and_then(|file| file.set_len(PAGE_BYTES).and_then(|()| Page::map(&file)))
        .map_err(RuntimeError::file("create", path.join("meter")))?;
    page.init();
    for name in ["spec.json", "log", "meter"] {
        own(&path.join(name), 0o600)?;
    }

    let file = File::open(&path).map_err(RuntimeError::file("open", &path))?;
    let listener =
        UnixListener::bind(socket(&file)).map_err(RuntimeError::file("listen", path.join("s")))?;
    Ok(LeaseDir { path, file, listener: listener.into(), page })
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Notes whom to kill after a crash of this process.
pub(super) fn record(dir: &Path, shim: u32, worker: i32) -> io::Result<()> {
    let line = |pid: i64| started(pid).map_or(String::new(), |time| format!("{pid} {time}\n"));
    fs::write(dir.join("pids"), line(i64::from(shim)) + &line(i64::from(worker)))
}

/// When a process started, in the kernel's ticks: with its id, a name that is never given again.
fn started(pid: i64) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Kills the children of an earlier process. They die with it by themselves; this is for the case
/// that the kernel was asked and did not.
pub(super) fn kill_recorded(root: &Path) {
    for entry in fs::read_dir(root.join("leases")).into_iter().flatten().flatten() {
        let pids = fs::read_to_string(entry.path().join("pids")).unwrap_or_default();
        for line in pids.lines() {
            let mut words = line.split(' ').map(str::parse::<i64>);
            let (Some(Ok(pid)), Some(Ok(time))) = (words.next(), words.next()) else { continue };
            if pid > 1
                && started(pid) == u64::try_from(time).ok()
                && let Ok(pid) = i32::try_from(pid)
            {
                let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

/// What the leases of an earlier process had used. A directory that makes no sense is removed.
pub(super) fn leftovers(root: &Path, mj_per_cpu_ms: u64) -> Vec<(LeaseId, Counters)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("leases")).into_iter().flatten().flatten() {
        let path = entry.path();
        let read = || -> Option<(LeaseId, Counters)> {
            let lease = entry.file_name().to_str()?.parse().ok()?;
            let order: Order =
                serde_json::from_slice(&fs::read(path.join("spec.json")).ok()?).ok()?;
            let file = OpenOptions::new().read(true).write(true).open(path.join("meter")).ok()?;
            let sample = Page::map(&file).ok()?.sample()?;
            Some((lease, sample.counters(None, &order.granted, mj_per_cpu_ms)))
        };
        match read() {
            Some(leftover) => found.push(leftover),
            None => drop(fs::remove_dir_all(&path)),
        }
    }
    found.sort_by_key(|(lease, _)| *lease);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let pid = i64::from(std::process::id());
        assert!(started(pid).unwrap() > 0);
        assert_eq!(started(pid), started(pid));
        assert_eq!(started(i64::from(i32::MAX)), None);
    }

    #[test]
    fn a_directory_that_makes_no_sense_is_removed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("leases/nonsense")).unwrap();
        fs::create_dir_all(dir(root.path(), LeaseId::random())).unwrap();
        assert_eq!(leftovers(root.path(), 8), []);
        assert_eq!(fs::read_dir(root.path().join("leases")).unwrap().count(), 0);
    }
}
