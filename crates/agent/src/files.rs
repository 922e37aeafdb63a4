//! Files that hold either all of the old or all of the new, and are the owner's alone.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::AgentError;

/// Makes `dir` and its parents, readable by the owner only.
pub(crate) fn make_dir(dir: &Path) -> Result<(), AgentError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(AgentError::file("create", dir))
}

/// Replaces the file at `path` in one step, synced, mode 0600.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), AgentError> {
    let beside = path.with_extension(format!("{:08x}.tmp", rand::random::<u32>()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&beside);
        AgentError::file("write", path)(error)
    })
}
