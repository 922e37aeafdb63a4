//! `kinesis exchange`.

use clap::{Args, Subcommand};
use kinesis_chain::Joules;
use kinesis_protocol::Address;

use super::{OnChain, Span};

/// `kinesis exchange`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis exchange price
  kinesis exchange quote buy 25.00             what $25.00 would buy now
  kinesis exchange buy 25.00                   gives $25.00 of the exchange's stablecoin
  kinesis exchange sell 100                    gives 100 JOULE

A trade gives no less than it is quoted at, less --slippage-bp, or nothing happens."
)]
pub(crate) struct Exchange {
    #[command(subcommand)]
    pub(crate) command: ExchangeCommand,
}

/// What can be done at the exchange.
#[derive(Debug, Subcommand)]
pub(crate) enum ExchangeCommand {
    /// Show the price and what the exchange holds
    Price(OnChain),
    /// Show what a trade would come to now
    Quote(ExchangeQuote),
    /// Give US dollars for JOULE
    Buy(ExchangeBuy),
    /// Give JOULE for US dollars
    Sell(ExchangeSell),
    /// On a development chain, as its deployer: make play dollars
    Play(ExchangePlay),
}

/// `kinesis exchange quote`
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct ExchangeQuote {
    #[command(subcommand)]
    pub(crate) command: QuoteCommand,
}

/// Which way.
#[derive(Debug, Subcommand)]
pub(crate) enum QuoteCommand {
    /// For US dollars
    Buy(QuoteBuy),
    /// For JOULE
    Sell(QuoteSell),
}

/// `kinesis exchange quote buy`
#[derive(Debug, Args)]
pub(crate) struct QuoteBuy {
    /// How much is given, in US dollars
    #[arg(value_name = "USD")]
    pub(crate) usd: String,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis exchange quote sell`
#[derive(Debug, Args)]
pub(crate) struct QuoteSell {
    /// How much is given, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// How bad a trade may be.
#[derive(Debug, Args)]
pub(crate) struct Bounds {
    /// By how much it may give less than it is quoted at, in ten-thousandths
    #[arg(long, value_name = "BP", default_value_t = 100,
        value_parser = clap::value_parser!(u16).range(0..10_000))]
    pub(crate) slippage_bp: u16,
    /// By how much its price may be worse than the time-weighted one, the fee included, in
    /// ten-thousandths
    #[arg(long, value_name = "BP", default_value_t = 500,
        value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub(crate) impact_bp: u16,
    /// For how long it may run
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub(crate) valid: Span,
    /// Who receives what is bought [default: you]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Option<Address>,
}

/// `kinesis exchange buy`
#[derive(Debug, Args)]
pub(crate) struct ExchangeBuy {
    /// How much is given, in US dollars
    #[arg(value_name = "USD")]
    pub(crate) usd: String,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis exchange sell`
#[derive(Debug, Args)]
pub(crate) struct ExchangeSell {
    /// How much is given, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis exchange play`
#[derive(Debug, Args)]
pub(crate) struct ExchangePlay {
    /// How much, in play dollars
    #[arg(value_name = "USD")]
    pub(crate) usd: String,
    /// Who receives it [default: you]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Option<Address>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}
