//! `kinesis stake`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kinesis_chain::Joules;
use kinesis_protocol::{Address, NodeId};

use super::{Amount, OfAddress, OnChain, To};

/// `kinesis stake`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis stake bond 250
  kinesis stake claim --agent ~/.local/share/kinesis/supply
  kinesis stake thaw 100                       asks for 100 JOULE back
  kinesis stake unbond                         takes them once they have thawed

Stake answers for what its operator promised: it can be slashed until it has left. Amounts are JOULE."
)]
pub(crate) struct Stake {
    #[command(subcommand)]
    pub(crate) command: StakeCommand,
}

/// What can be done with stake.
#[derive(Debug, Subcommand)]
pub(crate) enum StakeCommand {
    /// Show an operator's stake, its claims and its offer
    Show(OfAddress),
    /// Put JOULE into an operator's own stake
    Bond(StakeBond),
    /// Ask for stake back: it thaws first (0 cancels)
    Thaw(Amount),
    /// Take what has thawed
    Unbond(To),
    /// Claim this machine: its supplier and its node sign, the chain keeps both
    Claim(StakeClaim),
    /// End a claim on a node
    Release(StakeNode),
    /// Show who claims a node, and whose claim binds
    Claims(StakeNode),
    /// As a utility: publish where you are and what you promise
    Offer(StakeOffer),
    /// As a utility: end your offer
    Retire(OnChain),
    /// Show the utilities of this chain, to supply one with `kinesis supply join --utility ADDRESS`
    Offers(StakeOffers),
}

/// `kinesis stake bond`
#[derive(Debug, Args)]
pub(crate) struct StakeBond {
    /// How much, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    /// For which operator; only it can take the stake back [default: you]
    #[arg(long = "for", value_name = "ADDRESS")]
    pub(crate) operator: Option<Address>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis stake claim`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis stake claim
  kinesis stake claim --agent /var/lib/kinesis --as wallet.key    another account pays for the gas

A claim needs stake: the supplier's own, or a loan from the pool (`kinesis pool borrow`). Of all
claims on a node, the one with the highest number that the node itself has signed binds.")]
pub(crate) struct StakeClaim {
    /// The agent's data directory, which holds the supplier's and the node's key
    #[arg(long, value_name = "DIR")]
    pub(crate) agent: Option<PathBuf>,
    /// How long the signatures may be used
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    pub(crate) valid: u64,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A command about a node.
#[derive(Debug, Args)]
pub(crate) struct StakeNode {
    /// The node, as `kinesis supply status --json` shows it
    #[arg(value_name = "NODE")]
    pub(crate) node: NodeId,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis stake offers`
#[derive(Debug, Args)]
pub(crate) struct StakeOffers {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) limit: u64,
    /// From this place in the list on
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) from: u64,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis stake offer`
#[derive(Debug, Args)]
pub(crate) struct StakeOffer {
    /// Where the utility is reached
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: String,
    /// What it adds to a supplier's price, in ten-thousandths
    #[arg(long, value_name = "BP", default_value_t = 1500)]
    pub(crate) margin_bp: u16,
    /// The share of requests that it promises to answer, in ten-thousandths
    #[arg(long, value_name = "BP", default_value_t = 9990)]
    pub(crate) availability_bp: u16,
    /// The longest interruption that it promises when a machine dies
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub(crate) failover_ms: u32,
    /// What a customer is credited of its bill where a promise is broken, in ten-thousandths
    #[arg(long, value_name = "BP", default_value_t = 1000)]
    pub(crate) credit_bp: u16,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}
