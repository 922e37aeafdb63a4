//! `kinesis audit`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{OnChain, results::ResultCommand};

/// `kinesis audit`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis audit books --url http://127.0.0.1:8081
  kinesis audit roots yesterday.json today.json
  kinesis audit accuse first.json second.json  what the court takes, it slashes
  kinesis audit run dossier/dossier.json       what really comes out of a deterministic job
  kinesis audit claim dossier/dossier.json     have its result judged by auditors drawn by lot

Exits with 3 where something is wrong."
)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

/// How a utility's books are looked at.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check what a utility signed against its escrow and against itself
    Books(AuditBooks),
    /// Check signed roots and payment proofs in files against each other
    Roots(AuditFiles),
    /// Accuse a utility: of two roots for one tick, or with one file of a total above its cover
    Accuse(AuditAccuse),
    /// Show the cases before the court
    Cases(OnChain),
    /// Show one case
    Case(AuditCase),
    /// Slash, once the window for a veto is over; anyone may
    Execute(AuditCase),
    /// As the guardian: stop a case within its window
    Veto(AuditCase),
    /// Collect a supplier's compensation from an executed case; anyone may
    Collect(AuditCollect),
    #[command(flatten)]
    Results(ResultCommand),
}

/// `kinesis audit books`
#[derive(Debug, Args)]
pub(crate) struct AuditBooks {
    /// Payment proofs or signed roots that you hold, to be checked with those of the utility
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// Files with what was signed.
#[derive(Debug, Args)]
pub(crate) struct AuditFiles {
    /// Payment proofs or signed roots: one, or a list, in each file
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis audit accuse`
#[derive(Debug, Args)]
pub(crate) struct AuditAccuse {
    /// One or two files, each with a signed root or a payment proof
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A command about a case.
#[derive(Debug, Args)]
pub(crate) struct AuditCase {
    /// The case's number
    #[arg(value_name = "CASE")]
    pub(crate) case: u64,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis audit collect`
#[derive(Debug, Args)]
pub(crate) struct AuditCollect {
    /// The case's number
    #[arg(value_name = "CASE")]
    pub(crate) case: u64,
    /// The supplier's payment proof for a root of the case
    #[arg(value_name = "FILE")]
    pub(crate) proof: PathBuf,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}
