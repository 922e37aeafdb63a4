//! What is needed besides cargo. As root it is installed; otherwise the exact command is printed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::shell::{cargo, command, has, root, step, target};

/// A program, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 13] = [
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("postgres", "postgresql"),
    ("ip", "iproute2"),
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("crun", "crun"),
    ("cc", "gcc"),
    ("c++", "g++"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("python3", "python3-venv"),
];

/// Installs the Debian packages that have these programs, where they are missing.
pub(crate) fn programs(wanted: &[&str]) -> Result<()> {
    let there = |program: &str| match program {
        "ip" => has("ip") || PathBuf::from("/usr/sbin/ip").is_file(),
        "nginx" | "haproxy" => has(program) || PathBuf::from("/usr/sbin").join(program).is_file(),
        "postgres" => has("postgres") || postgres(),
        // Debian's python3 cannot make environments before python3-venv is there.
        "python3" => has("python3") && python_can("ensurepip"),
        _ => has(program),
    };
    let packages: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| wanted.contains(program) && !there(program))
        .map(|(_, package)| *package)
        .collect();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    if !has("apt-get") {
        bail!("please install what Debian calls: {names}");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("please run this first:\n  sudo apt-get update && sudo apt-get install -y {names}");
    }
    step("apt-get update", command("apt-get").args(["update", "-qq"]))?;
    step(
        &format!("apt-get install {names}"),
        command("apt-get")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}

fn python_can(module: &str) -> bool {
    let import = format!("import {module}");
    command("python3").args(["-c", &import]).output().is_ok_and(|output| output.status.success())
}

fn postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.into_iter().any(|version| version.path().join("bin/postgres").is_file())
}

/// Adds the targets that guests are built for.
pub(crate) fn wasm_targets() -> Result<()> {
    if !has("rustup") {
        bail!(
            "rustup is missing: install Rust from https://rustup.rs, or the target wasm32-wasip2"
        );
    }
    let listed = command("rustup").args(["target", "list", "--installed"]).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    if listed.lines().any(|line| line == "wasm32-wasip2") {
        return Ok(());
    }
    step(
        "rustup target add wasm32-wasip2",
        command("rustup").args(["target", "add", "wasm32-wasip2"]),
    )
}

/// cargo-nextest, which runs the tests.
pub(crate) fn nextest() -> Result<()> {
    if cargo().args(["nextest", "--version"]).output()?.status.success() {
        return Ok(());
    }
    step("cargo install cargo-nextest", cargo().args(["install", "--locked", "cargo-nextest"]))
}

/// The packages of a folder with a lock file, from the npm registry, as locked.
pub(crate) fn npm(folder: &str) -> Result<()> {
    programs(&["node", "npm"])?;
    ci(&root().join(folder))
}

/// The tools that are run against the embedded chain. They are many and large, and so kept with what
/// is built.
pub(crate) fn chain_tools() -> Result<()> {
    programs(&["node", "npm"])?;
    let (from, to) = (root().join("tests/tools"), target().join("tools"));
    std::fs::create_dir_all(&to)?;
    for file in ["package.json", "package-lock.json"] {
        std::fs::copy(from.join(file), to.join(file)).with_context(|| file.to_owned())?;
    }
    ci(&to)
}

fn ci(folder: &Path) -> Result<()> {
    let (lock, stamp) = (folder.join("package-lock.json"), folder.join("node_modules/.locked"));
    let wanted = std::fs::read(&lock).with_context(|| lock.display().to_string())?;
    if std::fs::read(&stamp).is_ok_and(|had| had == wanted) {
        return Ok(());
    }
    let npm = ["ci", "--no-audit", "--no-fund", "--loglevel=error"];
    let what = format!("npm ci in {}", folder.display());
    step(&what, command("npm").args(npm).current_dir(folder))?;
    Ok(std::fs::write(stamp, wanted)?)
}

/// A virtual environment with what the examples take from PyPI; returns its folder.
pub(crate) fn venv() -> Result<PathBuf> {
    let venv = target().join("venv");
    let requirements = root().join("examples/python/requirements.txt");
    let wanted = std::fs::read(&requirements)?;
    let stamp = venv.join(".requirements");
    if std::fs::read(&stamp).is_ok_and(|had| had == wanted) {
        return Ok(venv);
    }
    programs(&["python3"])?;
    let _ = std::fs::remove_dir_all(&venv);
    step("python3 -m venv target/venv", command("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = ["install", "--quiet", "--no-deps", "--disable-pip-version-check"];
    step(
        "pip install what the examples need",
        command(venv.join("bin/pip")).args(pip).arg("-r").arg(&requirements),
    )?;
    std::fs::write(stamp, wanted)?;
    Ok(venv)
}
