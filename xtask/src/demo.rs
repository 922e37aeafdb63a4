//! `cargo xtask demo`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::{
    examples,
    shell::{cargo, command, root, step, target},
};

/// Builds what the demo needs and starts it.
pub(crate) fn run(
    json: Option<PathBuf>,
    keep: bool,
    free_ports: bool,
    chain: Option<&str>,
) -> Result<()> {
    eprintln!("Building. The first time this takes some 10 to 20 minutes on two cores; the demo");
    eprintln!("itself then takes under a minute.");
    examples::rust()?;
    step("kinesis", cargo().args(["build", "--locked", "--workspace", "--bins"]))?;
    let mut demo = command(target().join("debug/kinesis-demo"));
    demo.arg("--kinesis").arg(target().join("debug/kinesis"));
    demo.arg("--examples").arg(target().join("examples"));
    demo.arg("--prices").arg(root().join("docs/prices.toml"));
    if let Some(json) = json {
        demo.arg("--json").arg(std::path::absolute(json)?);
    }
    if keep {
        demo.arg("--keep");
    }
    if free_ports {
        demo.arg("--free-ports");
    }
    if let Some(chain) = chain {
        demo.args(["--chain", chain]);
    }
    eprintln!();
    // Ctrl-C reaches the demo by itself; this program waits for it to clean up.
    // SAFETY: the handler ignores the signal, which is always sound.
    unsafe {
        use nix::sys::signal::{SigHandler, Signal, signal};
        signal(Signal::SIGINT, SigHandler::SigIgn)?;
    }
    reset_in_child(&mut demo);
    let status = demo.status().context("kinesis-demo")?;
    // It has said why it ended; scripts see the same number.
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => std::process::exit(code),
        None => bail!("the demo ended with {status}"),
    }
}

/// A child inherits what is ignored: it must not.
fn reset_in_child(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: sigaction is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            use nix::sys::signal::{SigHandler, Signal, signal};
            signal(Signal::SIGINT, SigHandler::SigDfl)?;
            Ok(())
        });
    }
}
