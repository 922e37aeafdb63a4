//! `cargo xtask lint`.

use anyhow::Result;

use crate::{
    install,
    shell::{cargo, root, step},
};

/// Format, clippy and licences; any finding fails.
pub(crate) fn run() -> Result<()> {
    install::wasm_targets()?;
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    step(
        "format of the examples",
        cargo().args(["fmt", "--all", "--check"]).current_dir(root().join("examples")),
    )?;
    step(
        "clippy",
        cargo().args(["clippy", "--locked", "--workspace", "--all-targets", "--", "-Dwarnings"]),
    )?;
    step(
        "clippy of the examples",
        cargo()
            .args(["clippy", "--locked", "--release", "--", "-Dwarnings"])
            .current_dir(root().join("examples")),
    )?;
    if !cargo().args(["deny", "--version"]).output()?.status.success() {
        step("cargo install cargo-deny", cargo().args(["install", "--locked", "cargo-deny"]))?;
    }
    // Advisories need a database from a network that need not be there: licences, bans, sources.
    for manifest in ["Cargo.toml", "examples/Cargo.toml", "fuzz/Cargo.toml"] {
        step(
            &format!("cargo deny of {manifest}"),
            cargo()
                .args(["deny", "--manifest-path", manifest, "check", "--config", "deny.toml"])
                .args(["licenses", "bans", "sources"])
                .current_dir(root()),
        )?;
    }
    Ok(())
}
