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
}

/// `cargo xtask contracts`.
pub(crate) fn run() -> Result<()> {
    let count = test()?;
    println!("\n{} passed, {} failed", count.passed, count.failed);
    ensure!(count.failed == 0, "not every test of the contracts passed");
    Ok(())
}

/// Runs them and counts.
pub(crate) fn test() -> Result<Count> {
    install::npm()?;
    let folder = root().join("contracts");
    step(
        "artifacts",
        command("npm").args(["run", "--silent", "artifacts:check"]).current_dir(&folder),
    )?;
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
    Ok(count)
}
