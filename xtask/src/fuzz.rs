//! Coverage-guided fuzzing of everything that reads bytes from outside: the targets in `fuzz/`.
//!
//! libFuzzer, linked by `libfuzzer-sys`, with the same flags as `cargo fuzz --sanitizer none` gives:
//! coverage is counted by LLVM's own pass, which the stable compiler carries. Nothing here is unsafe
//! code of ours, so that what a sanitizer would find besides is little; on a nightly compiler
//! `cargo fuzz run TARGET` in `fuzz/` has it, too.

use std::{fs, path::Path, process::Stdio};

use anyhow::{Context, Result, ensure};

use crate::{
    install,
    shell::{cargo, command, root, step, target},
};

/// A target, and the feature of `fuzz/Cargo.toml` that it needs. What builds fastest comes first.
const TARGETS: [(&str, &str); 9] = [
    ("manifest", "protocol"),
    ("message", "protocol"),
    ("proof", "protocol"),
    ("path", "runtime"),
    ("component", "runtime"),
    ("frame", "wire"),
    ("rpc", "chain"),
    ("head", "outlet"),
    ("report", "outlet"),
];

/// The names of all targets.
pub(crate) fn names() -> [&'static str; 9] {
    TARGETS.map(|(name, _)| name)
}

const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];
/// An input that takes longer, in seconds, or more memory, in MiB, counts as found.
const INPUT_S_MAX: u32 = 20;
const INPUT_MIB_MAX: u32 = 4_096;
/// The longest input that is tried, in bytes.
const INPUT_BYTES_MAX: u32 = 16 << 10;

/// Runs one target, or all, each for so many seconds.
pub(crate) fn run(only: Option<&str>, seconds: u32) -> Result<()> {
    // libFuzzer is C++.
    install::programs(&["c++"])?;
    let wanted = TARGETS.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    let mut found = Vec::new();
    for (name, feature) in wanted {
        build(name, feature)?;
        if !fuzz(name, seconds)? {
            found.push(*name);
        }
    }
    ensure!(found.is_empty(), "something was found by {}: see above", found.join(", "));
    Ok(())
}

/// What the compiler builds for here. Named, so that build scripts and macros are built as ever.
fn host() -> Result<String> {
    let output = command("rustc").arg("-vV").output().context("rustc -vV")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn build(name: &str, feature: &str) -> Result<()> {
    let manifest = root().join("fuzz/Cargo.toml");
    step(
        &format!("build the fuzz target {name} (minutes, the first time)"),
        cargo()
            .args(["build", "--quiet", "--release", "--locked", "--bin", name])
            .args(["--features", feature, "--target", &host()?])
            .arg("--manifest-path")
            .arg(manifest)
            .env("CARGO_TARGET_DIR", target().join("fuzz"))
            .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
            .env_remove("RUSTFLAGS"),
    )
}

/// Whether nothing was found.
fn fuzz(name: &str, seconds: u32) -> Result<bool> {
    let folder = target().join("fuzz");
    let (corpus, found) = (folder.join("corpus").join(name), folder.join("found").join(name));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&found)?;
    let program = folder.join(host()?).join("release").join(name);
    eprintln!("==> fuzz {name} for {seconds} s");
    let ended = command(&program)
        .arg(&corpus)
        .arg(root().join("fuzz/seeds").join(name))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={INPUT_S_MAX}"))
        .arg(format!("-rss_limit_mb={INPUT_MIB_MAX}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .stdin(Stdio::null())
        .status()
        .with_context(|| program.display().to_string())?;
    if !ended.success() {
        eprintln!("    {name}: {ended}; what did it lies in {}", found.display());
        eprintln!("    again: {} FILE", shown(&program));
    }
    Ok(ended.success())
}

fn shown(program: &Path) -> String {
    program.strip_prefix(root()).unwrap_or(program).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_listed_and_has_seeds() {
        let folder = root().join("fuzz");
        let mut sources: Vec<String> = fs::read_dir(folder.join("fuzz_targets"))
            .expect("the targets")
            .flatten()
            .map(|entry| entry.path().with_extension("").file_name().map(|s| s.to_owned()))
            .map(|name| name.unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        sources.sort();
        let mut names = names().map(str::to_owned).to_vec();
        names.sort();
        assert_eq!(sources, names);
        for name in names {
            let seeds = fs::read_dir(folder.join("seeds").join(&name)).expect("seeds");
            assert!(seeds.count() > 0, "{name}");
        }
    }
}
