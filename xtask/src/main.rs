//! What the README's commands call. Everything that needs more than cargo is installed here, or the
//! command that installs it is printed.

mod bench;
mod contracts;
mod demo;
mod examples;
mod fuzz;
mod install;
mod lint;
mod shell;
mod test;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Builds, shows, tests and measures Kinesis.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring up a grid on this machine, run work on it, kill a machine under it, close the books.
    ///
    /// The story itself takes under a minute; the first build before it takes some 10 to 20 minutes
    /// on two cores.
    Demo {
        /// Write everything that was found to this file, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Leave the grid running on its documented ports and print its URLs.
        #[arg(long)]
        keep: bool,
        /// With `--keep`: take any free ports instead of the documented ones.
        #[arg(long, requires = "keep")]
        free_ports: bool,
        /// Settle on the chain at this RPC URL instead of the embedded one.
        #[arg(long, value_name = "URL")]
        chain: Option<String>,
    },
    /// Install what the tests need, build all and run every test.
    Test {
        /// Only tests whose name contains this; skips the contracts' own tests.
        filter: Option<String>,
    },
    /// Measure one promise of speed beside a peer; prints one line of JSON last.
    Bench {
        /// Which promise.
        #[arg(value_parser = bench::NAMES)]
        name: String,
        /// How often each side is measured.
        #[arg(long, default_value_t = 5)]
        repetitions: usize,
    },
    /// Feed what reads bytes from outside with bytes that look for new ways through it.
    Fuzz {
        /// One target; all of them, one after the other, where it is left out.
        #[arg(value_parser = fuzz::names())]
        target: Option<String>,
        /// How long each runs.
        #[arg(default_value_t = 60)]
        seconds: u32,
    },
    /// Format, clippy and licences; any finding fails.
    Lint,
    /// Build and test the contracts, and compare the committed artifacts with what they build to.
    Contracts {
        /// Prove the arithmetic of money instead, with halmos, and count what is proven.
        #[arg(long)]
        proofs: bool,
    },
    /// Build the examples into target/examples.
    Examples,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Demo { json, keep, free_ports, chain } => {
            demo::run(json, keep, free_ports, chain.as_deref())
        }
        Command::Test { filter } => test::run(filter.as_deref()),
        Command::Bench { name, repetitions } => bench::run(&name, repetitions),
        Command::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Command::Lint => lint::run(),
        Command::Contracts { proofs: true } => contracts::proofs(),
        Command::Contracts { proofs: false } => contracts::run(),
        Command::Examples => examples::all(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
