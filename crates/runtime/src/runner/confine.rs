//! How a child takes from itself what a guest must never have.
//!
//! Order matters: root is left before a user namespace is made, namespaces are entered before the
//! fork that makes the worker the first process of its own, the root directory is swapped while the
//! namespace's capabilities are there, and system calls are filtered last.

use std::{collections::BTreeMap, fs, os::fd::BorrowedFd, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigHandler, Signal, signal},
    },
    unistd::{Gid, Uid, chdir, getgid, getuid, pivot_root, setgroups, setresgid, setresuid},
};

use super::filter;
use crate::{isolation::MISSING, talk::Plan};

/// The newest Landlock version asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;

/// Dies when the process that started this one does.
pub(super) fn die_with_parent() {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
}

/// Leaves root and enters namespaces, as planned.
pub(super) fn leave(plan: Plan) -> Result<(), String> {
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let enter = |flags| unshare(flags).map_err(|e| format!("namespaces: {e}"));
    if plan.namespaces && plan.user_namespace {
        drop_root(plan)?;
        enter(namespaces | CloneFlags::CLONE_NEWUSER)?;
        // Whoever makes a user namespace may map only themselves into it, and only after giving up
        // the right to drop groups.
        let (user, group) = (plan_user(plan), plan_group(plan));
        let _ = fs::write("/proc/self/setgroups", "deny");
        fs::write("/proc/self/uid_map", format!("{user} {user} 1"))
            .map_err(|e| format!("map the user: {e}"))?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
            .map_err(|e| format!("map the group: {e}"))?;
    } else if plan.namespaces {
        enter(namespaces)?;
    }
    Ok(())
}

fn plan_user(plan: Plan) -> u32 {
    plan.drop_to.map_or_else(|| getuid().as_raw(), |(user, _)| user)
}

fn plan_group(plan: Plan) -> u32 {
    plan.drop_to.map_or_else(|| getgid().as_raw(), |(_, group)| group)
}

fn drop_root(plan: Plan) -> Result<(), String> {
    let Some((user, group)) = plan.drop_to else { return Ok(()) };
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
    setgroups(&[group]).map_err(|e| format!("drop groups: {e}"))?;
    setresgid(group, group, group).map_err(|e| format!("drop the group: {e}"))?;
    setresuid(user, user, user).map_err(|e| format!("drop root: {e}"))?;
    // A change of user makes a process undumpable, and its own /proc files root's.
    prctl::set_dumpable(true).map_err(|e| format!("stay dumpable: {e}"))?;
    // And it forgets whom to die with.
    die_with_parent();
    Ok(())
}

/// Confines the worker. Says what holds, by barrier.
pub(super) fn confine(plan: Plan) -> Result<BTreeMap<String, String>, String> {
    let mut barriers = BTreeMap::new();
    let mut say = |name: &str, what: String| barriers.insert(name.to_owned(), what);
    if plan.namespaces {
        empty_root()?;
        say("mount_namespace", "an empty root".into());
        say("pid_namespace", "own".into());
        say("network_namespace", "own, without interfaces".into());
    } else {
        for name in ["mount_namespace", "pid_namespace", "network_namespace"] {
            say(name, format!("{MISSING}: the kernel refuses it to this user"));
        }
    }
    if plan.namespaces && plan.user_namespace {
        say("user_namespace", format!("own, as user {}", plan_user(plan)));
    } else {
        drop_root(plan)?;
        say("user_namespace", format!("{MISSING}: the kernel refuses it to this user"));
    }
    limits();
    drop_capabilities();
    prctl::set_no_new_privs().map_err(|e| format!("no new privileges: {e}"))?;
    say(
        "landlock",
        match landlock_version() {
            version @ 1.. => format!("version {version}"),
            _ => format!("{MISSING}: the kernel has none"),
        },
    );
    say(
        "seccomp",
        match filter::install() {
            Ok(allowed) => format!("{allowed} system calls allowed"),
            Err(e) => format!("{MISSING}: {e}"),
        },
    );
    Ok(barriers)
}

/// Swaps the root directory for an empty one that nobody can write to.
fn empty_root() -> Result<(), String> {
    let step = |what: &'static str| move |e: nix::errno::Errno| format!("{what}: {e}");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(step("make mounts private"))?;
    let at = ["/proc", "/tmp", "/usr"]
        .into_iter()
        .find(|at| Path::new(at).is_dir())
        .ok_or("no directory to mount an empty root on")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("none"), at, Some("tmpfs"), flags, Some("size=4k,mode=0555"))
        .map_err(step("mount an empty root"))?;
    chdir(at).map_err(step("enter the empty root"))?;
    pivot_root(".", ".").map_err(step("swap the root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(step("leave the old root"))?;
    chdir("/").map_err(step("enter the empty root"))?;
    mount(
        none,
        "/",
        none,
        flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY,
        none,
    )
    .map_err(step("make the empty root read-only"))
}

/// Limits that hold even where there is no control group.
fn limits() {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    let file = kinesis_protocol::lease::OUTPUT_BYTES_MAX.max(1 << 30);
    let _ = setrlimit(Resource::RLIMIT_FSIZE, file, file);
    // A write past the limit is an error for the guest, not the end of the process.
    // SAFETY: ignoring a signal installs no handler.
    let _ = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let files = hard.min(16_384);
        let _ = setrlimit(Resource::RLIMIT_NOFILE, files, files);
    }
}

/// Gives up every capability, also those in a namespace of its own.
fn drop_capabilities() {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Set {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let sets = [Set { effective: 0, permitted: 0, inheritable: 0 }; 2];
    // SAFETY: both structures have the layout that version 3 of the call expects.
    unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
}

fn landlock_version() -> i64 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call takes no structure.
    unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0usize,
            VERSION,
        )
    }
}

/// From here on no file can be opened but below `read` and `write`. Only for a process with one
/// thread.
pub(super) fn only_files(
    read: Option<BorrowedFd<'_>>,
    write: Option<BorrowedFd<'_>>,
) -> Result<bool, String> {
    let text = |e: landlock::RulesetError| format!("landlock: {e}");
    let reading: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let writing = reading
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|r| r.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|r| r.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .map_err(text)?;
    for (fd, access) in [(read, reading), (write, writing)] {
        if let Some(fd) = fd {
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access)).map_err(text)?;
        }
    }
    // They were given up before the system calls were filtered.
    let status = ruleset.no_new_privs(false).restrict_self().map_err(text)?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
