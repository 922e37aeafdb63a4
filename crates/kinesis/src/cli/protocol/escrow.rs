//! `kinesis escrow`.

use clap::{Args, Subcommand};
use kinesis_chain::Joules;
use kinesis_protocol::Address;

use super::OnChain;

/// `kinesis escrow`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis escrow show                          what covers what you sign
  kinesis escrow deposit 5000 --as utility.key
  kinesis escrow withdraw 1000                 asks for 1000 JOULE back; 0 cancels
  kinesis escrow claim                         takes them once they have thawed

A withdrawal thaws longer than suppliers need to redeem. A signed total above what covers it costs the
utility stake."
)]
pub(crate) struct Escrow {
    #[command(subcommand)]
    pub(crate) command: EscrowCommand,
}

/// What can be done with an escrow account.
#[derive(Debug, Subcommand)]
pub(crate) enum EscrowCommand {
    /// Show an account: what is in, what covers, what was redeemed
    Show(EscrowShow),
    /// Put JOULE in, for yourself or for another utility
    Deposit(EscrowDeposit),
    /// Ask for JOULE back: they thaw first (0 cancels)
    Withdraw(EscrowWithdraw),
    /// Take what has thawed
    Claim(EscrowClaim),
}

/// Which account of a utility.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Series {
    /// Which series: each instance of a utility has its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) series: u64,
}

/// `kinesis escrow show`
#[derive(Debug, Args)]
pub(crate) struct EscrowShow {
    /// Whose [default: yours]
    #[arg(value_name = "UTILITY")]
    pub(crate) utility: Option<Address>,
    #[command(flatten)]
    pub(crate) series: Series,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis escrow deposit`
#[derive(Debug, Args)]
pub(crate) struct EscrowDeposit {
    /// How much, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    /// For which utility; only it can take the JOULE back [default: you]
    #[arg(long = "for", value_name = "ADDRESS")]
    pub(crate) utility: Option<Address>,
    #[command(flatten)]
    pub(crate) series: Series,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis escrow withdraw`
#[derive(Debug, Args)]
pub(crate) struct EscrowWithdraw {
    /// How much, in JOULE, in place of what was asked for before
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    #[command(flatten)]
    pub(crate) series: Series,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis escrow claim`
#[derive(Debug, Args)]
pub(crate) struct EscrowClaim {
    /// Who receives it [default: you]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Option<Address>,
    #[command(flatten)]
    pub(crate) series: Series,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}
