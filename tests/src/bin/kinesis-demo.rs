//! `cargo xtask demo`: the grid's story, told with real processes.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use kinesis_tests::demo::{Options, tell};

/// Brings up a grid on this machine, runs work on it, kills a machine under it, and closes the books.
#[derive(Debug, Parser)]
struct Args {
    /// The kinesis binary.
    #[arg(long)]
    kinesis: PathBuf,
    /// The folder of examples.
    #[arg(long)]
    examples: PathBuf,
    /// The dated price file.
    #[arg(long)]
    prices: PathBuf,
    /// Write everything that was found to this file, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Leave the grid running and print its URLs. It uses the documented ports then.
    #[arg(long)]
    keep: bool,
    /// Settle on the chain at this RPC URL instead of the embedded one.
    #[arg(long)]
    chain: Option<String>,
    /// Requests a second while a machine is killed.
    #[arg(long, default_value_t = 200)]
    rate: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let told = tokio::select! {
        told = run(args) => told,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nInterrupted. Every process was stopped and the demo's data removed.");
            return ExitCode::from(130);
        }
    };
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("kinesis-demo-").tempdir()?;
    let options = Options {
        kinesis: args.kinesis,
        examples: args.examples,
        prices: args.prices,
        data: folder.path().to_owned(),
        chain: args.chain,
        documented_ports: args.keep,
        requests_per_second: args.rate,
    };
    let told = tell(&options, &|line| anstream::println!("{line}")).await?;
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&told.report)?;
        std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
    }
    if args.keep {
        let endpoints = told.grid.endpoints()?;
        let data = folder.keep();
        println!("\nThe grid goes on. Page and API: {}", endpoints.portal);
        println!("Apps answer below {} by their name, for instance:", endpoints.ingress);
        println!("  KINESIS_CONFIG={} kinesis ps", data.join("customer.toml").display());
        println!("Press Ctrl-C to stop it; its data stays in {}.", data.display());
        tokio::signal::ctrl_c().await?;
    }
    let elapsed = told.report.elapsed_ms;
    drop(told.suppliers);
    told.grid.stop().await?;
    println!("\nAll of it took {}.{} s.", elapsed / 1000, elapsed % 1000 / 100);
    Ok(())
}
