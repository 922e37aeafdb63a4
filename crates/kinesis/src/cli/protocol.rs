//! The commands of the protocol's people: operators with stake, investors, voters, and whoever looks
//! at a utility's books.

pub(crate) mod audit;
pub(crate) mod deploy;
pub(crate) mod escrow;
pub(crate) mod exchange;
pub(crate) mod gov;
pub(crate) mod lease;
pub(crate) mod pool;
pub(crate) mod results;
pub(crate) mod stake;

use std::{path::PathBuf, str::FromStr};

use clap::Args;
use kinesis_chain::Joules;
use kinesis_protocol::Address;

use super::role::SupplyMoney;
use crate::env;

/// Which chain, and on whose behalf.
#[derive(Debug, Clone, Args)]
pub(crate) struct OnChain {
    /// The chain's JSON-RPC [default: the grid's, then http://127.0.0.1:8545/rpc]
    #[arg(
        long,
        value_name = "URL",
        env = "KINESIS_CHAIN",
        hide_env_values = true,
        display_order = 800
    )]
    pub(crate) rpc: Option<String>,
    /// Act as the holder of this file, or as an account of a development chain
    /// [default: wallet.key beside the profile, made when it is needed]
    #[arg(long = "as", value_name = "FILE|dev:N", display_order = 801)]
    pub(crate) acting: Option<Acting>,
    /// The first line of this file opens an encrypted key [default: asked for on the terminal]
    #[arg(long, value_name = "FILE", display_order = 802)]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Where the contracts are [default: the grid's; on a development chain, where `kinesis up` puts
    /// them]
    #[arg(
        long,
        value_name = "FILE",
        env = "KINESIS_CONTRACTS",
        hide_env_values = true,
        display_order = 803
    )]
    pub(crate) contracts: Option<PathBuf>,
    /// The grid's data directory, where chain and contracts are looked up
    #[arg(
        long,
        value_name = "DIR",
        env = env::DATA,
        hide_env_values = true,
        display_order = 804
    )]
    pub(crate) data: Option<PathBuf>,
}

/// On whose behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Acting {
    /// One of the well-known accounts of a development chain.
    Dev(usize),
    /// Whoever holds this file.
    File(PathBuf),
}

impl FromStr for Acting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(index) = text.strip_prefix("dev:") else { return Ok(Self::File(text.into())) };
        match index.parse() {
            Ok(index) if index < kinesis_chain::dev::ACCOUNTS => Ok(Self::Dev(index)),
            _ => Err(format!("expected dev:0 to dev:{}", kinesis_chain::dev::ACCOUNTS - 1)),
        }
    }
}

/// A command about somebody's account.
#[derive(Debug, Args)]
pub(crate) struct OfAddress {
    /// Whose [default: yours]
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: Option<Address>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A command with an amount.
#[derive(Debug, Args)]
pub(crate) struct Amount {
    /// How much, in JOULE
    #[arg(value_name = "AMOUNT")]
    pub(crate) amount: Joules,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A command that pays.
#[derive(Debug, Args)]
pub(crate) struct To {
    /// Who receives it [default: you]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: Option<Address>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// A length of time in whole seconds, written with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a time such as 90s, 10m, 12h or 14d, got \"{text}\"");
        let (digits, unit) =
            text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        let number: u64 = digits.parse().map_err(|_| wrong())?;
        number.checked_mul(seconds).map(Self).ok_or_else(wrong)
    }
}

/// `kinesis redeem`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis redeem                               what this machine's agent has stored
  kinesis redeem proof.json others.json --as wallet.key

The same as `kinesis supply redeem`, and with files for any supplier: whoever sends it pays for the
gas, the money goes to the supplier. A file holds one payment proof or a list of them.")]
pub(crate) struct Redeem {
    /// Payment proofs [default: what the agent has stored]
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) chain: OnChain,
}

/// `kinesis withdraw`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis withdraw

The same as `kinesis supply withdraw`: the utility redeems for you and pays US dollars.")]
pub(crate) struct Withdraw {
    #[command(flatten)]
    pub(crate) money: SupplyMoney,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        assert_eq!("90s".parse(), Ok(Span(90)));
        assert_eq!("14d".parse(), Ok(Span(1_209_600)));
        for bad in ["", "s", "9", "1.5h", "-1s", "5w", "99999999999999999999d", "1é"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn one_acts_as_a_file_or_a_development_account() {
        assert_eq!("dev:3".parse(), Ok(Acting::Dev(3)));
        assert_eq!("keys/a".parse(), Ok(Acting::File("keys/a".into())));
        assert!("dev:10".parse::<Acting>().is_err());
        assert!("dev:x".parse::<Acting>().is_err());
    }
}
