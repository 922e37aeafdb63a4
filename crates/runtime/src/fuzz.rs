//! What the fuzz targets reach. It is there for them alone.

use std::path::{Path, PathBuf};

/// Does with a component what the compiling child does.
pub fn component(bytes: &[u8]) {
    crate::runner::examine(bytes);
}

/// Where a file for a guest is laid out.
///
/// # Errors
/// Where the path might lead out.
pub fn inside(dir: &Path, path: &str) -> Result<PathBuf, String> {
    crate::host::inside(dir, path)
}
