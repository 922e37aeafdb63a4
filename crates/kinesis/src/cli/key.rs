//! Keys and who holds them: `kinesis key`, `kinesis signer`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kinesis_protocol::Address;
use serde::{Deserialize, Serialize};

use super::role::Data;

/// `kinesis key`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis key address ~/.local/share/kinesis/supply/supplier.key
  kinesis key encrypt utility.key --passphrase-file /run/secrets/utility
  kinesis key import utility.key --from UTC--2026-01-01--ab12

An encrypted file is a Web3 keystore, as other Ethereum tools read and write it. A passphrase is
asked for on the terminal or read from a file; no argument and no variable holds one."
)]
pub(crate) struct Key {
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

/// What can be done with a key.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, encrypted
    New(KeyFile),
    /// Show whose key a file holds
    Address(KeyFile),
    /// Encrypt a file that holds a plain key
    Encrypt(KeyFile),
    /// Take a key over from a file of another tool, encrypted
    Import(KeyImport),
}

/// A file with a key.
#[derive(Debug, Args)]
pub(crate) struct KeyFile {
    /// The file
    pub(crate) file: PathBuf,
    /// The first line of this file is the passphrase [default: asked for on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// `kinesis key import`
#[derive(Debug, Args)]
pub(crate) struct KeyImport {
    #[command(flatten)]
    pub(crate) into: KeyFile,
    /// A keystore of another tool, or 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// The passphrase of that file [default: asked for on the terminal, where one is needed]
    #[arg(long, value_name = "FILE")]
    pub(crate) from_passphrase_file: Option<PathBuf>,
}

/// `kinesis signer`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis signer --data ~/signer --passphrase-file /run/secrets/utility
  kinesis utility --signer ~/signer/signer.sock

Holds a utility's key, so that the process that strangers talk to does not. It signs payment roots,
one for each tick and never back, calls of the escrow that leave the money where it belongs, and
trades on the market whose proceeds come to its own address; nothing else. Only processes of the same user may ask it.")]
pub(crate) struct Signer {
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) settings: SignerSettings,
}

/// The settings of `kinesis signer`.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SignerSettings {
    /// Where it listens [default: signer.sock in the data directory]
    #[arg(long, value_name = "FILE", env = "KINESIS_SIGNER", hide_env_values = true)]
    pub(crate) socket: Option<PathBuf>,
    /// The file that holds the key [default: utility.key in the data directory, made where missing]
    #[arg(long, value_name = "FILE")]
    pub(crate) holder: Option<PathBuf>,
    /// The first line of this file opens an encrypted key [default: asked for on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// The chain it signs for [default: 31337, the development chain's]
    #[arg(long, value_name = "ID")]
    pub(crate) chain_id: Option<u64>,
    /// The escrow contract [default: the development chain's]
    #[arg(long, value_name = "ADDRESS", requires = "joule")]
    pub(crate) escrow: Option<Address>,
    /// The JOULE contract [default: the development chain's]
    #[arg(long, value_name = "ADDRESS", requires = "escrow")]
    pub(crate) joule: Option<Address>,
    /// The court of leases, for whose terms and acknowledgements it signs [default: the development
    /// chain's, elsewhere none]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) leases: Option<Address>,
    /// The market it trades USD and JOULE on [default: the development chain's, elsewhere none]
    #[arg(long, value_name = "ADDRESS", requires = "usd")]
    pub(crate) exchange: Option<Address>,
    /// The stablecoin of that market
    #[arg(long, value_name = "ADDRESS", requires = "exchange")]
    pub(crate) usd: Option<Address>,
}
