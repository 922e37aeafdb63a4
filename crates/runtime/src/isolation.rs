//! What stands between a guest and the machine.
//!
//! The outermost barrier is WebAssembly itself. Around the process that runs it stand control
//! groups ([`cgroup`], set up by the runtime) and namespaces, Landlock and seccomp (entered by the
//! child itself, in [`crate::runner`]).

pub(crate) mod cgroup;

/// How a missing barrier is said.
pub(crate) const MISSING: &str = "missing";

/// The user and group that sandboxes run as where the runtime is root: `nobody` and `nogroup`.
pub(crate) const NOBODY: (u32, u32) = (65534, 65534);
