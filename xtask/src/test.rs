//! `cargo xtask test`.

use std::process::Stdio;

use anyhow::{Result, bail};

use crate::{
    contracts::{self, Count},
    examples, install,
    shell::{cargo, step},
};

/// Installs what the tests need, builds all, runs all, and counts.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    eprintln!("From nothing this takes some 30 minutes on two cores: the build is most of it.");
    step("format", cargo().args(["fmt", "--all", "--check"]))?;
    install::programs(&[
        "chromium",
        "chromedriver",
        "postgres",
        "ip",
        "cc",
        "node",
        "npm",
        "python3",
    ])?;
    install::nextest()?;
    examples::all()?;
    install::npm("contracts")?;
    install::chain_tools()?;
    let mut count = if filter.is_some() { Count::default() } else { contracts::test()? };
    step("build", cargo().args(["build", "--locked", "--workspace", "--all-targets"]))?;
    let rust = nextest(filter)?;
    count.passed += rust.passed;
    count.failed += rust.failed;
    count.flaky += rust.flaky;
    if count.flaky > 0 {
        println!("\n{} of them only when tried again: see FLAKY above", count.flaky);
    }
    println!("\n{} passed, {} failed", count.passed, count.failed);
    if count.failed > 0 || count.passed == 0 {
        bail!("not every test passed");
    }
    Ok(())
}

/// Runs the Rust tests and reads nextest's own count.
fn nextest(filter: Option<&str>) -> Result<Count> {
    eprintln!("==> cargo nextest run");
    let mut run = cargo();
    run.args(["nextest", "run", "--locked", "--workspace", "--all-targets", "--no-fail-fast"]);
    run.args(["--hide-progress-bar", "--status-level=slow", "--final-status-level=flaky"]);
    // What they need was installed above: nothing may be skipped for want of it.
    run.env("KINESIS_REQUIRE_ANVIL", "1").env("KINESIS_REQUIRE_TOOLS", "1");
    run.args(filter).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = run.spawn()?;
    let mut count = Count::default();
    let mut counted = false;
    if let Some(stderr) = child.stderr.take() {
        use std::io::{BufRead, BufReader};
        for line in BufReader::new(stderr).lines() {
            let line = line?;
            eprintln!("{line}");
            if let Some(summary) = summary(&line) {
                (count, counted) = (summary, true);
            }
        }
    }
    let status = child.wait()?;
    if !counted || (!status.success() && count.failed == 0) {
        bail!("nextest ended with {status}");
    }
    Ok(count)
}

/// Reads `Summary [ 1.2s] 3 tests run: 2 passed (1 flaky), 1 failed, 0 skipped`.
fn summary(line: &str) -> Option<Count> {
    let counts = line.trim_start().strip_prefix("Summary [")?.split_once(':')?.1;
    let of = |word: &str| {
        counts.split(',').find_map(|part| {
            let mut words = part.split_whitespace();
            let number = words.next()?.parse::<u64>().ok()?;
            (words.next()? == word).then_some(number)
        })
    };
    let flaky = counts.split_once('(').and_then(|(_, rest)| {
        let (number, rest) = rest.split_once(' ')?;
        rest.starts_with("flaky").then(|| number.parse().ok())?
    });
    Some(Count {
        passed: of("passed").unwrap_or(0),
        flaky: flaky.unwrap_or(0),
        failed: of("failed").unwrap_or(0) + of("timed").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn a_summary_is_read() {
        let line = "     Summary [   4.2s] 9 tests run: 6 passed (1 flaky), 2 failed, 1 timed out, 3 skipped";
        let count = summary(line).expect("a summary");
        assert_eq!((count.passed, count.failed, count.flaky), (6, 3, 1));
        assert!(summary("        PASS [   0.1s] x").is_none());
    }
}
