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
    // The database of advisories lies in a network that need not be there.
    let fetched = cargo().args(["deny", "fetch", "db"]).output()?.status.success();
    let mut checks = vec!["licenses", "bans", "sources"];
    if fetched {
        checks.push("advisories");
    } else {
        eprintln!("    the database of advisories cannot be fetched: they are not checked");
    }
    for manifest in ["Cargo.toml", "examples/Cargo.toml", "fuzz/Cargo.toml"] {
        step(
            &format!("cargo deny of {manifest}"),
            cargo()
                .args(["deny", "--manifest-path", manifest, "--config", "deny.toml", "check"])
                .args(&checks)
                .current_dir(root()),
        )?;
    }
    Ok(())
}
