//! `cargo xtask bench NAME`: each promise of speed, beside a peer.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use kinesis_tests::bench::{Setup, chain, failover, gas, memory, meter, route, settle, start};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Measures one promise beside a peer and prints one line of JSON last.
#[derive(Debug, Parser)]
struct Args {
    /// Which promise.
    name: Name,
    /// The kinesis binary.
    #[arg(long)]
    kinesis: PathBuf,
    /// The folder of built examples.
    #[arg(long)]
    examples: PathBuf,
    /// Where peers are installed that the system does not have.
    #[arg(long)]
    peers: PathBuf,
    /// How often each side is measured.
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
}

/// The benchmarks.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Requests a second, and latency added.
    Route,
    /// First byte, cold and warm.
    Start,
    /// Failed requests and the longest gap when a machine dies or falls silent.
    Failover,
    /// Billed time against the guest's clock and the cgroup's counter.
    Meter,
    /// Memory of an idle agent, and of a utility with a thousand agents.
    Memory,
    /// Transactions a second into the embedded chain, and how long a year of blocks takes to open.
    Chain,
    /// What redemptions cost in gas, beside a 1inch-style cumulative claim.
    Gas,
    /// A tick of the payment tree for a million suppliers, and the proofs from it.
    Settle,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    // A thousand simulated agents hold some ten thousand files.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let setup = Setup {
        kinesis: args.kinesis,
        examples: args.examples,
        peers: args.peers,
        repetitions: args.repetitions,
    };
    match args.name {
        Name::Route => route::run(&setup).await,
        Name::Start => start::run(&setup).await,
        Name::Failover => failover::run(&setup).await,
        Name::Meter => meter::run(&setup).await,
        Name::Memory => memory::run(&setup).await,
        Name::Chain => chain::run(&setup).await,
        Name::Gas => gas::run(&setup).await,
        Name::Settle => settle::run(&setup),
    }
}
