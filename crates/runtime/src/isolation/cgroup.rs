//! Control groups of both versions, and the two side by side as some distributions mount them.
//!
//! Each sandbox gets a group of its own below a directory of ours, next to the group that this
//! process runs in: CPU quota, memory limit, number of processes, and, where version 2 is mounted,
//! the freezer and the kill switch. Nothing here needs more than the right to make a directory and
//! to write to the files in it, so that a delegated subtree serves without root.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The scheduler's period: short, so that a small quota does not stall a request for long.
const PERIOD_US: u64 = 20_000;

/// Where groups can be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cgroups {
    cpu: Option<Place>,
    memory: Option<Place>,
    pids: Option<Place>,
    /// A version 2 directory, with or without controllers: freezes and kills.
    unified: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    version: Version,
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A mounted hierarchy: its version, its v1 controllers, the directory of our own group in it, and
/// the mount point, above which nothing is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mounted {
    version: Version,
    controllers: Vec<String>,
    own: PathBuf,
    top: PathBuf,
}

fn mounted(mountinfo: &str, own: &str) -> Vec<Mounted> {
    let mut found: Vec<Mounted> = Vec::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (Some(root), Some(point), Some(kind)) = (left.get(3), left.get(4), right.first())
        else {
            continue;
        };
        let options: Vec<String> =
            right.get(2).map(|o| o.split(',').map(str::to_owned).collect()).unwrap_or_default();
        let version = match *kind {
            "cgroup" => Version::V1,
            "cgroup2" => Version::V2,
            _ => continue,
        };
        let path = own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (id, names, path) = (parts.next()?, parts.next()?, parts.next()?);
            let ours = match version {
                Version::V2 => id == "0" && names.is_empty(),
                Version::V1 => names.split(',').any(|n| options.iter().any(|o| o == n)),
            };
            ours.then_some(path)
        });
        let Some(path) = path else { continue };
        let below = Path::new(path).strip_prefix(root).unwrap_or_else(|_| Path::new(""));
        let mounted = Mounted {
            version,
            controllers: options,
            own: Path::new(point).join(below),
            top: PathBuf::from(point),
        };
        if !found.iter().any(|f| f.own == mounted.own) {
            found.push(mounted);
        }
    }
    found
}

impl Cgroups {
    /// Looks for places on this machine and makes a directory called `name` in each.
    pub(crate) fn detect(name: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self::detect_in(&mounted(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")), name)
    }

    fn detect_in(mounted: &[Mounted], name: &str) -> Self {
        let mut groups = Self::default();
        for hierarchy in mounted {
            match hierarchy.version {
                Version::V1 => groups.add_v1(hierarchy, name),
                Version::V2 => groups.add_v2(hierarchy, name),
            }
        }
        groups
    }

    fn add_v1(&mut self, hierarchy: &Mounted, name: &str) {
        for (controller, slot) in
            [("cpu", &mut self.cpu), ("memory", &mut self.memory), ("pids", &mut self.pids)]
        {
            let dir = hierarchy.own.join(name);
            if slot.is_none()
                && hierarchy.controllers.iter().any(|c| c == controller)
                && make_dir(&dir).is_ok()
            {
                *slot = Some(Place { version: Version::V1, dir });
            }
        }
    }

    fn add_v2(&mut self, hierarchy: &Mounted, name: &str) {
        // Our own group holds this process, and only the root may hold both processes and
        // controlled children; so climb until a directory lets us.
        let mut at = Some(hierarchy.own.as_path());
        while let Some(parent) = at.filter(|p| p.starts_with(&hierarchy.top)) {
            at = parent.parent();
            let dir = parent.join(name);
            if make_dir(&dir).is_err() {
                continue;
            }
            for controller in ["+cpu", "+memory", "+pids"] {
                let _ = fs::write(parent.join("cgroup.subtree_control"), controller);
                let _ = fs::write(dir.join("cgroup.subtree_control"), controller);
            }
            let on = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
            let on: Vec<&str> = on.split_whitespace().collect();
            let last = parent == hierarchy.top;
            if self.unified.is_none() || on.contains(&"cpu") {
                self.unified = Some(dir.clone());
            }
            for (controller, slot) in
                [("cpu", &mut self.cpu), ("memory", &mut self.memory), ("pids", &mut self.pids)]
            {
                if on.contains(&controller) && slot.is_none() {
                    *slot = Some(Place { version: Version::V2, dir: dir.clone() });
                }
            }
            if on.contains(&"cpu") && on.contains(&"memory") {
                return;
            }
            if !last && self.unified.as_deref() != Some(&dir) {
                let _ = fs::remove_dir(&dir);
            }
        }
    }

    fn dirs(&self) -> Vec<&Path> {
        let mut dirs: Vec<&Path> = [&self.cpu, &self.memory, &self.pids]
            .into_iter()
            .flatten()
            .map(|place| place.dir.as_path())
            .chain(self.unified.as_deref())
            .collect();
        dirs.sort_unstable();
        dirs.dedup();
        dirs
    }

    /// For people: which controllers there are, and what is missing.
    pub(crate) fn describe(&self) -> String {
        let mut on = Vec::new();
        let mut missing = Vec::new();
        for (name, place) in [("cpu", &self.cpu), ("memory", &self.memory), ("pids", &self.pids)] {
            match place {
                Some(Place { version: Version::V1, .. }) => on.push(format!("{name} (v1)")),
                Some(Place { version: Version::V2, .. }) => on.push(format!("{name} (v2)")),
                None => missing.push(name),
            }
        }
        if self.unified.is_some() {
            on.push("freezer (v2)".into());
        }
        match (on.is_empty(), missing.is_empty()) {
            (true, _) => "missing: no control group may be made here".into(),
            (false, true) => on.join(", "),
            (false, false) => format!("missing {}; has {}", missing.join(", "), on.join(", ")),
        }
    }

    /// Kills whatever an earlier process left in groups that begin with `prefix`, and removes
    /// them; also removes empty groups of other processes that are gone. A group's name ends in
    /// `-PROCESS-NUMBER`, with the process that made it.
    pub(crate) fn sweep(&self, prefix: &str) {
        for dir in self.dirs() {
            let Ok(entries) = fs::read_dir(dir) else { continue };
            for entry in entries.flatten().filter(|e| e.path().is_dir()) {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                let maker = name.rsplit('-').nth(1).unwrap_or_default();
                if name.starts_with(prefix) {
                    kill_all(&path);
                    remove_dir_soon(&path);
                } else if !Path::new("/proc").join(maker).exists() {
                    let _ = fs::remove_dir(&path);
                }
            }
        }
    }

    /// Removes our directories, where they are empty.
    pub(crate) fn remove(&self) {
        for dir in self.dirs() {
            let _ = fs::remove_dir(dir);
        }
    }

    /// Makes a group.
    pub(crate) fn create(&self, name: &str) -> io::Result<Group> {
        let within = |place: &Option<Place>| {
            place.as_ref().map(|p| Place { version: p.version, dir: p.dir.join(name) })
        };
        let group = Group {
            at: Self {
                cpu: within(&self.cpu),
                memory: within(&self.memory),
                pids: within(&self.pids),
                unified: self.unified.as_ref().map(|dir| dir.join(name)),
            },
        };
        for dir in group.at.dirs() {
            make_dir(dir)?;
        }
        Ok(group)
    }
}

/// One sandbox's group. Removed when dropped, once its processes are gone.
#[derive(Debug)]
pub(crate) struct Group {
    at: Cgroups,
}

/// What a group may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Thousandths of a core.
    pub(crate) cpu_millis: u64,
    /// Memory, in bytes.
    pub(crate) memory_bytes: u64,
    /// Threads.
    pub(crate) threads: u64,
}

impl Group {
    /// Moves a process into the group.
    pub(crate) fn add(&self, pid: u32) -> io::Result<()> {
        for dir in self.at.dirs() {
            fs::write(dir.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Sets its limits. A limit that there is no controller for is not set.
    pub(crate) fn limit(&self, limits: &Limits) -> io::Result<()> {
        if let Some(place) = &self.at.memory {
            match place.version {
                Version::V1 => {
                    let bytes = limits.memory_bytes.to_string();
                    // The sum with swap, where it is accounted for, may at no moment be lower.
                    let with_swap = place.dir.join("memory.memsw.limit_in_bytes");
                    let _ = fs::write(&with_swap, "-1");
                    fs::write(place.dir.join("memory.limit_in_bytes"), &bytes)?;
                    let _ = fs::write(&with_swap, &bytes);
                }
                Version::V2 => {
                    fs::write(place.dir.join("memory.max"), limits.memory_bytes.to_string())?;
                    let _ = fs::write(place.dir.join("memory.swap.max"), "0");
                    let _ = fs::write(place.dir.join("memory.oom.group"), "1");
                }
            }
        }
        if let Some(place) = &self.at.pids {
            fs::write(place.dir.join("pids.max"), limits.threads.to_string())?;
        }
        self.limit_cpu(limits.cpu_millis)
    }

    /// Sets its CPU quota alone.
    pub(crate) fn limit_cpu(&self, cpu_millis: u64) -> io::Result<()> {
        let Some(place) = &self.at.cpu else { return Ok(()) };
        let quota_us = (cpu_millis * PERIOD_US / 1000).max(1_000);
        match place.version {
            Version::V1 => {
                fs::write(place.dir.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                fs::write(place.dir.join("cpu.cfs_quota_us"), quota_us.to_string())
            }
            Version::V2 => fs::write(place.dir.join("cpu.max"), format!("{quota_us} {PERIOD_US}")),
        }
    }

    /// Freezes or thaws it; `false` where the machine has no freezer that a kill gets through.
    pub(crate) fn freeze(&self, freeze: bool) -> io::Result<bool> {
        let Some(dir) = &self.at.unified else { return Ok(false) };
        fs::write(dir.join("cgroup.freeze"), if freeze { "1" } else { "0" })?;
        Ok(true)
    }

    /// How often the kernel killed something in it for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(place) = &self.at.memory else { return 0 };
        let file = match place.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        fs::read_to_string(place.dir.join(file))
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for dir in self.at.dirs() {
            remove_dir_soon(dir);
        }
    }
}

fn kill_all(group: &Path) {
    let _ = fs::write(group.join("cgroup.freeze"), "0");
    for pid in fs::read_to_string(group.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.trim().parse::<i32>().ok())
        .filter(|pid| *pid > 1)
    {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// A group can be removed only after its last process is gone, which takes the kernel a moment.
fn remove_dir_soon(dir: &Path) {
    match fs::remove_dir(dir) {
        Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
            let dir = dir.to_owned();
            let _ = std::thread::Builder::new().name("cgroup-remove".into()).spawn(move || {
                for _ in 0..100 {
                    std::thread::sleep(Duration::from_millis(20));
                    if fs::remove_dir(&dir).is_ok() || !dir.exists() {
                        return;
                    }
                }
            });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 20 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
31 20 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 20 0:28 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
33 20 0:29 / /proc rw - proc proc rw
nonsense";

    #[test]
    fn finds_our_own_group_in_each_hierarchy() {
        let found = mounted(HYBRID, "4:memory:/box/one\n1:cpu:/\n0::/\nnonsense");
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].own, Path::new("/sys/fs/cgroup/memory/box/one"));
        assert_eq!(found[2].version, Version::V2);
        assert_eq!(mounted("", "0::/"), []);
        assert_eq!(mounted(HYBRID, ""), []);
    }

    /// A directory that stands in for a version 2 mount: files appear as they are written.
    #[test]
    fn version_2_writes_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let mount = Mounted {
            version: Version::V2,
            controllers: vec![],
            own: dir.path().join("user/app"),
            top: dir.path().into(),
        };
        fs::create_dir_all(&mount.own).unwrap();
        let groups = Cgroups::detect_in(std::slice::from_ref(&mount), "kinesis-test");
        // A plain directory keeps only the last word written, "+pids": not one controller is on.
        assert!(groups.cpu.is_none());
        assert_eq!(groups.unified.as_deref(), Some(mount.own.join("kinesis-test").as_path()));

        let place = Some(Place { version: Version::V2, dir: dir.path().join("user") });
        let groups = Cgroups {
            cpu: place.clone(),
            memory: place.clone(),
            pids: place,
            unified: Some(dir.path().join("user")),
        };
        let group = groups.create("one").unwrap();
        group.limit(&Limits { cpu_millis: 1500, memory_bytes: 64 << 20, threads: 99 }).unwrap();
        group.add(4242).unwrap();
        assert!(group.freeze(true).unwrap());
        let read = |file: &str| fs::read_to_string(dir.path().join("user/one").join(file)).unwrap();
        assert_eq!(read("cpu.max"), "30000 20000");
        assert_eq!(read("memory.max"), (64u64 << 20).to_string());
        assert_eq!(read("pids.max"), "99");
        assert_eq!(read("cgroup.procs"), "4242");
        assert_eq!(read("cgroup.freeze"), "1");
        fs::write(dir.path().join("user/one/memory.events"), "low 0\noom_kill 3\n").unwrap();
        assert_eq!(group.oom_kills(), 3);
    }

    #[test]
    fn nothing_mounted_is_said() {
        let groups = Cgroups::detect_in(&[], "kinesis-test");
        assert!(groups.describe().starts_with("missing"));
        let group = groups.create("one").unwrap();
        assert!(!group.freeze(true).unwrap());
        assert_eq!(group.oom_kills(), 0);
    }
}
