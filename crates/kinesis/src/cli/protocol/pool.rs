//! `kinesis pool`.

use clap::{Args, Subcommand};
use kinesis_chain::Joules;
use kinesis_protocol::Address;

use super::{Amount, OfAddress, OnChain};

/// `kinesis pool`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis pool status
  kinesis pool deposit 5000                    as an investor
  kinesis pool borrow 200 --as supplier.key    as a supplier without stake
  kinesis pool leave --all                     out again, through the queue

The pool lends bond, never money: a loan stands beside the supplier's own stake and is slashed after
it. The pool is paid out of what the supplier redeems. Amounts are JOULE."
)]
pub(crate) struct Pool {
    #[command(subcommand)]
    pub(crate) command: PoolCommand,
}

/// What can be done with the pool.
#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Show what is in the pool, on what terms, and your part of it
    Status(OfAddress),
    /// As an investor: put JOULE in
    Deposit(Amount),
    /// As an investor: put shares into the queue of those who leave
    Leave(PoolLeave),
    /// Pay the queue as far as it is ready; anyone may
    Settle(OnChain),
    /// As a supplier with credit: borrow bond
    Borrow(PoolBorrow),
    /// As a supplier: pay a loan back; it thaws first
    Repay(Amount),
    /// Take back to the pool what has thawed of a loan; anyone may
    Reclaim(PoolSupplier),
    /// As the underwriter: say how much a supplier may borrow
    Credit(PoolCredit),
}

/// `kinesis pool leave`
#[derive(Debug, Args)]
pub(crate) struct PoolLeave {
    /// Shares of this worth in JOULE, at today's price
    #[arg(value_name = "AMOUNT", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) amount: Option<Joules>,
    /// All shares
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis pool borrow`
#[derive(Debug, Args)]
pub(crate) struct PoolBorrow {
    /// How much, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    /// The most that pool and growing stake together may take of your earnings, in ten-thousandths
    #[arg(long, value_name = "BP", default_value_t = 2000)]
    pub(crate) share_max_bp: u16,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A command about a supplier.
#[derive(Debug, Args)]
pub(crate) struct PoolSupplier {
    /// The supplier's address
    #[arg(value_name = "SUPPLIER")]
    pub(crate) supplier: Address,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis pool credit`
#[derive(Debug, Args)]
pub(crate) struct PoolCredit {
    /// The supplier's address
    #[arg(value_name = "SUPPLIER")]
    pub(crate) supplier: Address,
    /// How much it may have on loan in all, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}
