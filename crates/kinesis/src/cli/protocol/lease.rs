//! `kinesis lease`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OnChain;

/// `kinesis lease`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis lease show ~/.local/share/kinesis/supply/leases
  kinesis lease accuse ~/.local/share/kinesis/utility/leases/lse_0f….json --as utility.key
  kinesis lease answer ~/.local/share/kinesis/supply/leases/lse_0f….json --as supplier.key

An app's [sla] has its suppliers sign that they serve, or say in time that they do not. Utility and
supplier keep what was signed in the folder `leases` of their data directories, a file for each lease."
)]
pub(crate) struct Lease {
    #[command(subcommand)]
    pub(crate) command: LeaseCommand,
}

/// What can be done about a lease whose terms were signed.
#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Show what was signed, how far it is acknowledged, and what the court knows
    Show(LeaseShow),
    /// As the utility: accuse the supplier of silence; stakes JOULE on it
    Accuse(LeaseAccuse),
    /// End an accusation with a later acknowledgement; anyone may
    Answer(LeaseFile),
    /// Give the utility its stake back once its case is over; anyone may
    Close(LeaseFile),
    /// As the supplier: say that you answer for a lease no more
    Notice(LeaseFile),
}

/// `kinesis lease show`
#[derive(Debug, Args)]
pub(crate) struct LeaseShow {
    /// Files with signed terms, or folders of them
    #[arg(value_name = "FILE|DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Do not ask the court
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis lease accuse`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis lease accuse lse_0f….json --as utility.key
  kinesis audit execute 3                      once the window for answers and vetoes is over

Whoever accuses a supplier that holds a later acknowledgement loses its stake to it. Without --since
the silence begins where the file says that the utility's word ends.")]
pub(crate) struct LeaseAccuse {
    /// The file with the signed terms
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Since when nothing was acknowledged, in seconds since 1970
    #[arg(long, value_name = "SECONDS")]
    pub(crate) since: Option<u64>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A command about one lease.
#[derive(Debug, Args)]
pub(crate) struct LeaseFile {
    /// The file with the signed terms
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}
