//! `cargo xtask bench NAME`.

use anyhow::{Context, Result, ensure};

use crate::{
    examples, install,
    shell::{cargo, command, step, target},
};

/// The version of `wasmtime serve` that is measured beside us: the one we embed.
const WASMTIME: &str = "48.0.8";

/// What is measured.
pub(crate) const NAMES: [&str; 8] =
    ["route", "start", "failover", "meter", "memory", "settle", "gas", "chain"];

/// Builds with optimisation, installs the peers, and measures.
pub(crate) fn run(name: &str, repetitions: usize) -> Result<()> {
    let peers = target().join("peers");
    match name {
        "route" => {
            install::programs(&["nginx", "wrk"])?;
            let args = ["install", "--locked", "--quiet", "wasmtime-cli", "--version", WASMTIME];
            // The defaults but for what `serve` does not use.
            let features = [
                "--no-default-features",
                "--features",
                "serve,run,component-model,component-model-async,cranelift,pooling-allocator,parallel-compilation",
            ];
            if !peers.join("bin/wasmtime").is_file() {
                let mut install = cargo();
                install.args(args).args(features).arg("--root").arg(&peers);
                install.env("CARGO_TARGET_DIR", target().join("peers-build"));
                step("wasmtime-cli, to measure beside (some 10 minutes, once)", &mut install)?;
            }
        }
        "failover" => install::programs(&["nginx", "haproxy", "ip"])?,
        "start" => install::programs(&["crun", "cc"])?,
        // anvil is one of the contracts' tools.
        "chain" | "gas" => install::npm("contracts")?,
        _ => {}
    }
    examples::rust()?;
    let mut build = cargo();
    build.args(["build", "--locked", "--workspace", "--release"]);
    build.args(["--bin", "kinesis", "--bin", "kinesis-bench"]);
    step("release build", &mut build)?;
    let mut bench = command(target().join("release/kinesis-bench"));
    bench.arg(name).arg("--kinesis").arg(target().join("release/kinesis"));
    bench.arg("--examples").arg(target().join("examples")).arg("--peers").arg(peers);
    bench.args(["--repetitions", &repetitions.to_string()]);
    let status = bench.status().context("kinesis-bench")?;
    ensure!(status.success(), "the bench ended with {status}");
    Ok(())
}
