//! The customer's commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;
use kinesis_protocol::{AccountId, NanoUsd};

use crate::env;

/// `kinesis account`
#[derive(Debug, Args)]
pub(crate) struct Account {
    #[command(subcommand)]
    pub(crate) command: AccountCommand,
}

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Open an account and write its key to the profile (operator)
    Open(AccountOpen),
    /// Pay money into an account (operator)
    Deposit(AccountDeposit),
    /// Show the account and its balance
    Show,
}

/// How the operator proves itself.
#[derive(Debug, Args)]
pub(crate) struct Operator {
    /// The operator's token [default: utility/operator.token in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_token_file: Option<PathBuf>,
    /// The grid's data directory, where the token is looked for
    #[arg(long, value_name = "DIR", env = env::DATA, hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
}

/// `kinesis account open`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis account open --name me --usd 25.00
  kinesis account open --name me --usd 25.00 --idempotency-key customer-17 --replace

The key is written to the profile file ($KINESIS_CONFIG, or ~/.config/kinesis/config.toml), which
only you can read. A profile that already holds a key is kept unless --replace is given.")]
pub(crate) struct AccountOpen {
    /// What the account is called
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Pay this much in at once, in US dollars
    #[arg(long, value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(crate) usd: Option<NanoUsd>,
    /// Replace the key that the profile holds
    #[arg(long)]
    pub(crate) replace: bool,
    /// Opens and pays once only, however often it is sent with this key [default: a random one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) operator: Operator,
}

/// `kinesis account deposit`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis account deposit 10.00
  kinesis account deposit 10.00 --account acc_0193… --idempotency-key invoice-17")]
pub(crate) struct AccountDeposit {
    /// How much, in US dollars
    #[arg(value_name = "AMOUNT", allow_negative_numbers = true)]
    pub(crate) usd: NanoUsd,
    /// Into which account [default: the profile's]
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<AccountId>,
    /// Pays in once only, however often it is sent with this key [default: a random one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) operator: Operator,
}

/// `kinesis quote`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis quote                  what ./kinesis.toml describes
  kinesis quote site/kinesis.toml --json

Exits with 3 where the workload cannot be placed now.")]
pub(crate) struct Quote {
    /// A manifest, or a directory that holds a kinesis.toml
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) manifest: PathBuf,
}

/// `kinesis deploy`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis deploy                 what ./kinesis.toml describes
  kinesis deploy site --no-wait
  kinesis deploy site --json | jq -r .url

Files that the utility has already are not sent again. Deploying an app of the same name puts a new
version in its place, replica by replica.")]
pub(crate) struct Deploy {
    /// A manifest, or a directory that holds a kinesis.toml
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) manifest: PathBuf,
    /// Do not wait until it serves
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait until it serves
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub(crate) timeout: u64,
    /// Deploys once only, however often it is sent with this key [default: a random one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
}

/// `kinesis run`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis run render/kinesis.toml --out frames
  kinesis run job.toml --json | jq .billed_nanousd

Outputs land in DIR/PART/PATH. Ctrl-C stops waiting, not the job; `kinesis stop NAME` stops the job.")]
pub(crate) struct Run {
    /// A job's manifest, or a directory that holds a kinesis.toml
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) manifest: PathBuf,
    /// Download the outputs into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Give up waiting after this long [default: the job's own limit decides]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Runs once only, however often it is sent with this key [default: a random one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
}

/// `kinesis ps`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis ps                     apps that run
  kinesis ps --all               stopped, ended and deleted ones too
  kinesis ps guestbook           one app and its replicas")]
pub(crate) struct Ps {
    /// One app, with its replicas
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Show apps that have stopped or ended, or were deleted, too
    #[arg(long, short)]
    pub(crate) all: bool,
}

/// `kinesis logs`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis logs guestbook -f
  kinesis logs render --replica 3")]
pub(crate) struct Logs {
    /// Which app
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Which replica; for a job, which part
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) replica: u32,
    /// Go on as more is written
    #[arg(long, short)]
    pub(crate) follow: bool,
}

/// `kinesis result`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis result render --part 2
  kinesis result render --part 2 --out dossier     with all that it takes to run it again

A job with `seed` and without `network` gives the same bytes everywhere: its supplier signs them, and
`kinesis audit run dossier/dossier.json` shows whether that is true.")]
pub(crate) struct ResultOf {
    /// Which job
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Which part
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) part: u32,
    /// Write the dossier and what the job needs below this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// `kinesis usage`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis usage                  what every app has cost
  kinesis usage guestbook        its bill, line by line")]
pub(crate) struct Usage {
    /// Which app [default: all, one line each]
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

/// A command about one app.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Which app
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// `kinesis rollback`
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// Which app
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Goes back once only, however often it is sent with this key [default: a random one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
}

/// `kinesis completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis completions bash > ~/.local/share/bash-completion/completions/kinesis
  kinesis completions zsh > ~/.zfunc/_kinesis")]
pub(crate) struct Completions {
    /// Which shell
    pub(crate) shell: Shell,
}
