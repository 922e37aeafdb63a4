//! `kinesis protocol`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OnChain;

/// `kinesis protocol`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis protocol deploy --rpc https://rpc.example --as deployer.key --config deploy.toml --dry-run
  kinesis protocol deploy --rpc https://rpc.example --as deployer.key --config deploy.toml
  kinesis protocol verify --rpc https://rpc.example --contracts contracts.json"
)]
pub(crate) struct Protocol {
    #[command(subcommand)]
    pub(crate) command: ProtocolCommand,
}

/// What can be done with the contracts as a whole.
#[derive(Debug, Subcommand)]
pub(crate) enum ProtocolCommand {
    /// Put the contracts on a chain, or finish what was begun
    Deploy(ProtocolDeploy),
    /// Check that contracts are what they say: their code, their owners, who may do what
    Verify(ProtocolVerify),
}

/// `kinesis protocol deploy`
#[derive(Debug, Args)]
#[command(after_help = "\
Addresses follow from the deployer and the file: run again, it finds what is there and makes the rest.
In the end everything belongs to the timelock, whose only proposer is the governor; the deployer keeps
no right. Not for the well-known keys of development chains, on any other chain.

Exits with 3 where what stands there in the end is not as it should be.")]
pub(crate) struct ProtocolDeploy {
    /// Parameters that differ from the defaults; on any but a development chain it names the
    /// stablecoin: see docs/protocol/deploy.md
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to write the addresses, for --contracts
    #[arg(long, value_name = "FILE", default_value = "contracts.json")]
    pub(crate) out: PathBuf,
    /// Show what would be done and what it costs, and send nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis protocol verify`
#[derive(Debug, Args)]
#[command(after_help = "\
Anybody may, of any chain. What is behind each proxy has to be the code of this release; an upgrade that
was voted for since is reported like any other code. Exits with 3 where something does not hold.")]
pub(crate) struct ProtocolVerify {
    /// Also check that the parameters are those of this file; votes may have changed them since
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}
