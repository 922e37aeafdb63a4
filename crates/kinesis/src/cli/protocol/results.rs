//! The commands of `kinesis audit` about signed results, and `kinesis auditor`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kinesis_chain::Joules;

use super::{OfAddress, OnChain};

/// How a signed result is doubted, and judged.
#[derive(Debug, Subcommand)]
pub(crate) enum ResultCommand {
    /// Run a deterministic job again here, and compare with what its supplier signed
    Run(AuditRun),
    /// Claim that a signed result is false, and stake JOULE on it
    Claim(AuditClaim),
    /// Show what was claimed, or one claim with its panel
    Claims(AuditClaims),
    /// Show what the court of results asks, and how many auditors it has
    Court(OnChain),
    /// Show an auditor
    Auditor(OfAddress),
    /// As an auditor: bond JOULE for a place
    Enrol(AuditEnrol),
    /// As an auditor: take a place, once the bond is old enough
    Sit(OnChain),
    /// As an auditor: give the place up and take the bond back
    Quit(OnChain),
    /// Draw the panel of a claim; anyone may
    Draw(AuditOf),
    /// End a claim whose panel nobody drew in time; anyone may
    Lapse(AuditOf),
    /// As an auditor on the panel: run the job and commit to what came out
    Commit(AuditCommit),
    /// As an auditor on the panel: reveal what was committed to
    Reveal(AuditWork),
    /// End a claim once all have revealed or their time is over; anyone may
    Settle(AuditOf),
}

/// A command about a claim.
#[derive(Debug, Args)]
pub(crate) struct AuditOf {
    /// The claim's number
    #[arg(value_name = "CLAIM")]
    pub(crate) claim: u64,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis audit run`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis result render --part 2 --out dossier && kinesis audit run dossier/dossier.json

Exits with 3 where something else comes out than was signed.")]
pub(crate) struct AuditRun {
    /// The dossier: a file, or its URL; contents lie beside it under artifacts/HASH
    #[arg(value_name = "DOSSIER")]
    pub(crate) dossier: String,
    /// How long it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3_600)]
    pub(crate) within: u64,
    #[command(flatten)]
    pub(crate) work: Workplace,
}

/// `kinesis audit claim`
#[derive(Debug, Args)]
pub(crate) struct AuditClaim {
    /// The dossier's file
    #[arg(value_name = "DOSSIER")]
    pub(crate) dossier: PathBuf,
    /// Where auditors find the dossier: an http(s) URL, or file:///… for auditors of this machine
    /// [default: the file itself]
    #[arg(long, value_name = "URL")]
    pub(crate) locator: Option<String>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis audit claims`
#[derive(Debug, Args)]
pub(crate) struct AuditClaims {
    /// One claim [default: the newest]
    #[arg(value_name = "CLAIM")]
    pub(crate) claim: Option<u64>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis audit enrol`
#[derive(Debug, Args)]
pub(crate) struct AuditEnrol {
    /// How much, in JOULE [default: what a place costs]
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Option<Joules>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis audit commit`
#[derive(Debug, Args)]
pub(crate) struct AuditCommit {
    /// The dossier: a file, or its URL [default: where the claim says it is]
    #[arg(long, value_name = "DOSSIER", conflicts_with = "unavailable")]
    pub(crate) dossier: Option<String>,
    /// Say that the job cannot be had or run
    #[arg(long)]
    pub(crate) unavailable: bool,
    /// Let the claim lead to servers that are not public, too [default: on a development chain only]
    #[arg(long)]
    pub(crate) fetch_private: bool,
    #[command(flatten)]
    pub(crate) of: AuditWork,
}

/// A command of an auditor about a claim.
#[derive(Debug, Args)]
pub(crate) struct AuditWork {
    /// The claim's number
    #[arg(value_name = "CLAIM")]
    pub(crate) claim: u64,
    #[command(flatten)]
    pub(crate) work: Workplace,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// Where an auditor works.
#[derive(Debug, Clone, Args)]
pub(crate) struct Workplace {
    /// Where findings, their salts and sandboxes are kept [default: `auditor` below the data
    /// directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,
    /// The most MiB that a job may need to be fetched
    #[arg(long, value_name = "MIB", default_value_t = 1_024)]
    pub(crate) fetch_mib: u32,
}

/// `kinesis auditor`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis auditor --as wallet.key --enrol
  kinesis auditor --as wallet.key --rpc https://rpc.example --contracts contracts.json

Takes a place in the court of results and does what that asks: draws panels, runs the jobs it is drawn
for, commits, reveals, settles. It may be stopped and started again at any time; what it has found is
kept in its working directory. `kinesis audit quit` takes the bond back.")]
pub(crate) struct Auditor {
    /// Bond what a place costs, where the bond does not cover one
    #[arg(long)]
    pub(crate) enrol: bool,
    /// Take dossiers from files below this directory, too [default: only over HTTP]
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<PathBuf>,
    /// Take dossiers from servers that are not public, too [default: on a development chain only]
    #[arg(long)]
    pub(crate) fetch_private: bool,
    /// How many jobs may run at once; together they get no more than three quarters of the memory
    #[arg(long, value_name = "COUNT", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) jobs: u32,
    #[command(flatten)]
    pub(crate) work: Workplace,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}
