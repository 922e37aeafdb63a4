//! Running other programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// Where cargo builds to.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// A command in the repository's root, without what cargo told this program about itself: some
/// build scripts read it, and would be run again.
pub(crate) fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(root());
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        let of_this_package = name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || matches!(name.as_ref(), "CARGO" | "CARGO_BIN_NAME" | "CARGO_CRATE_NAME");
        if of_this_package || name == "LD_LIBRARY_PATH" {
            command.env_remove(&key);
        }
    }
    command
}

/// cargo itself, as rustup chooses it for this repository.
pub(crate) fn cargo() -> Command {
    let mut command = command("cargo");
    command.env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Says what is done, does it, and says how long it took.
pub(crate) fn step(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{what}: {}", command.get_program().display()))?;
    ensure!(status.success(), "{what}: {status}");
    eprintln!("    {what}: {} s", start.elapsed().as_secs());
    Ok(())
}

/// Whether a program is on the path.
pub(crate) fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    })
}
