//! The contracts' own tests, and whether the committed artifacts are what the sources build to.

use anyhow::{Context, Result, ensure};

use crate::{
    install,
    shell::{command, root, step},
};

/// Passed and failed tests.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Passed, but not at the first try.
    pub(crate) flaky: u64,
}

/// `cargo xtask contracts`.
pub(crate) fn run() -> Result<()> {
    let count = test()?;
    println!("\n{} passed, {} failed", count.passed, count.failed);
    ensure!(count.failed == 0, "not every test of the contracts passed");
    Ok(())
}

/// `cargo xtask contracts --proofs`.
pub(crate) fn proofs() -> Result<()> {
    install::npm("contracts")?;
    step(
        "proofs",
        command("npm").args(["run", "--silent", "proofs"]).current_dir(root().join("contracts")),
    )
}

/// Runs them and counts.
pub(crate) fn test() -> Result<Count> {
    install::npm("contracts")?;
    let folder = root().join("contracts");
    step(
        "artifacts",
        command("npm").args(["run", "--silent", "artifacts:check"]).current_dir(&folder),
    )?;
    step(
        "storage layouts",
        command("npm").args(["run", "--silent", "layouts:check"]).current_dir(&folder),
    )?;
    // Ethers and OpenZeppelin's JavaScript on the vectors that Rust and Solidity are held to.
    step("vectors", command("npm").args(["run", "--silent", "vectors"]).current_dir(&folder))?;
    eprintln!("==> forge test");
    let output = command("npm")
        .args(["test", "--silent", "--", "--json"])
        .current_dir(&folder)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let suites: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("forge said: {}", String::from_utf8_lossy(&output.stdout)))?;
    let mut count = Count::default();
    for (suite, result) in suites.as_object().into_iter().flatten() {
        for (test, result) in result["test_results"].as_object().into_iter().flatten() {
            if result["status"] == "Success" {
                count.passed += 1;
            } else {
                count.failed += 1;
                eprintln!("FAILED {suite} {test}: {}", result["reason"]);
            }
        }
    }
    eprintln!("    contracts: {} passed, {} failed", count.passed, count.failed);
    ensure!(count.passed > 0, "forge ran no test");
    count.failed += growth(&suites)?;
    Ok(count)
}

/// How many of the measured transactions cost more gas than `contracts/snapshots/` says: forge itself
/// compares only where it prints for people.
fn growth(suites: &serde_json::Value) -> Result<u64> {
    let mut grown = 0;
    for suite in suites.as_object().into_iter().flat_map(serde_json::Map::values) {
        for test in suite["test_results"].as_object().into_iter().flat_map(serde_json::Map::values)
        {
            for (group, measured) in test["gas_snapshots"].as_object().into_iter().flatten() {
                let path = root().join(format!("contracts/snapshots/{group}.json"));
                let committed: serde_json::Value = serde_json::from_slice(
                    &std::fs::read(&path).with_context(|| path.display().to_string())?,
                )?;
                for (name, now) in measured.as_object().into_iter().flatten() {
                    let (now, before) = (gas(now)?, gas(&committed[name]).unwrap_or(0));
                    if now > before {
                        grown += 1;
                        eprintln!("FAILED {group}: {name}: {now} gas, where it was {before}");
                    }
                }
            }
        }
    }
    Ok(grown)
}

fn gas(value: &serde_json::Value) -> Result<u64> {
    Ok(value.as_str().context("a number in quotes")?.parse()?)
}
