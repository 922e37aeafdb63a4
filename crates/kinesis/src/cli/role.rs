//! The roles' commands. Every setting can come from a flag, from the environment, or from a TOML
//! file, so that one struct is both: the flags and the file's keys are the same.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Subcommand};
use kinesis_protocol::{Address, NanoJoule, NanoUsd, Prices, Tier};
use serde::{Deserialize, Serialize};

use crate::{env, listen::Listen};

/// Where a role keeps its data and finds its configuration.
#[derive(Debug, Clone, Args)]
pub(crate) struct Data {
    /// Everything it writes goes below this directory
    #[arg(long, value_name = "DIR", env = env::DATA, hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
    /// A TOML file with the settings below [default: config.toml in the data directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// `kinesis up`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis up
  kinesis up --suppliers crowd,crowd,datacenter
  kinesis up --ingress 0.0.0.0:80 --portal 9000
  kinesis up --chain http://127.0.0.1:8545     on a chain that runs already

Ctrl-C stops all of it; what it knows stays in the data directory. A process that dies is started
again. Where everything answers is written to endpoints.json in the data directory.")]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) settings: UpSettings,
}

/// The settings of `kinesis up`: its own, and those of the utility.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct UpSettings {
    #[command(flatten)]
    pub(crate) own: UpOwn,
    #[command(flatten)]
    pub(crate) utility: UtilitySettings,
}

/// What `kinesis up` decides itself.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpOwn {
    /// Local suppliers: how many, or their tiers (crowd,datacenter,...) [default: 1]
    #[arg(long, value_name = "N|TIERS", env = "KINESIS_SUPPLIERS", hide_env_values = true)]
    pub(crate) suppliers: Option<String>,
    /// Use the chain that answers at this URL instead of the embedded one
    #[arg(long, value_name = "URL", env = "KINESIS_CHAIN", hide_env_values = true)]
    pub(crate) chain: Option<String>,
    /// Where the embedded chain answers JSON-RPC [default: 8545]
    #[arg(long, value_name = "[IP:]PORT", env = "KINESIS_RPC", hide_env_values = true)]
    pub(crate) rpc: Option<Listen>,
}

/// `kinesis chain`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis chain --data ~/chain --rpc 8545
  cast block-number --rpc-url http://127.0.0.1:8545/rpc

It is a development chain: its accounts are the well-known test accounts.")]
pub(crate) struct Chain {
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) settings: ChainSettings,
}

/// The settings of `kinesis chain`.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ChainSettings {
    /// Where it answers JSON-RPC [default: 8545]
    #[arg(long, value_name = "[IP:]PORT", env = "KINESIS_RPC", hide_env_values = true)]
    pub(crate) rpc: Option<Listen>,
}

/// `kinesis utility`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis utility --data ~/utility --chain http://127.0.0.1:8545/rpc
  kinesis utility --store postgres://kinesis@db/kinesis --artifacts s3://kinesis-artifacts

On a development chain the contracts are deployed and the utility is given play dollars, with which
its desk buys the JOULE that it owes. On any other chain name the contracts with --escrow and
--exchange, and have the exchange's stablecoin at the utility's address; without --exchange, have
JOULE there and name a --joule-price.")]
pub(crate) struct Utility {
    #[command(flatten)]
    pub(crate) data: Data,
    /// The chain's JSON-RPC [default: http://127.0.0.1:8545/rpc]
    #[arg(long, value_name = "URL", env = "KINESIS_CHAIN", hide_env_values = true)]
    pub(crate) chain: Option<String>,
    #[command(flatten)]
    pub(crate) settings: UtilitySettings,
}

/// The settings of `kinesis utility`, less the chain's.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UtilitySettings {
    /// Where customers' apps answer [default: 8080]
    #[arg(long, value_name = "[IP:]PORT", env = "KINESIS_INGRESS", hide_env_values = true)]
    pub(crate) ingress: Option<Listen>,
    /// Where the page and the API answer [default: 8081]
    #[arg(long, value_name = "[IP:]PORT", env = "KINESIS_PORTAL", hide_env_values = true)]
    pub(crate) portal: Option<Listen>,
    /// Where the relay answers [default: 8082]
    #[arg(long, value_name = "[IP:]PORT", env = "KINESIS_RELAY", hide_env_values = true)]
    pub(crate) relay: Option<Listen>,
    /// Where agents dial, UDP [default: 8083]
    #[arg(long, value_name = "[IP:]PORT", env = "KINESIS_WIRE", hide_env_values = true)]
    pub(crate) wire: Option<Listen>,
    /// Where agents hold their lifelines, TCP [default: 8084]
    #[arg(long, value_name = "[IP:]PORT", env = "KINESIS_LIFELINE", hide_env_values = true)]
    pub(crate) lifeline: Option<Listen>,
    /// The ledger: sqlite:///PATH or postgres://... [default: SQLite in the data directory]
    #[arg(long, value_name = "URL", env = "KINESIS_STORE", hide_env_values = true)]
    pub(crate) store: Option<String>,
    /// The artifacts: file:///DIR or s3://BUCKET [default: a directory in the data directory]
    #[arg(long, value_name = "URL", env = "KINESIS_ARTIFACTS", hide_env_values = true)]
    pub(crate) artifacts: Option<String>,
    /// The escrow contract [default: deployed, on a development chain]
    #[arg(long, value_name = "ADDRESS", env = "KINESIS_ESCROW", hide_env_values = true)]
    pub(crate) escrow: Option<Address>,
    /// Where USD and JOULE are exchanged [default: deployed, on a development chain]
    #[arg(long, value_name = "ADDRESS", env = "KINESIS_EXCHANGE", hide_env_values = true)]
    pub(crate) exchange: Option<Address>,
    /// Which of the utility's payment trees this instance signs [default: 1]
    #[arg(long, value_name = "N", env = "KINESIS_SERIES", hide_env_values = true)]
    pub(crate) series: Option<u64>,
    /// What is kept on top of the supplier's share, in ten-thousandths [default: 1500]
    #[arg(long, value_name = "BP", env = "KINESIS_MARGIN_BP", hide_env_values = true)]
    pub(crate) margin_bp: Option<u32>,
    /// What one JOULE costs, in US dollars [default: the exchange's time-weighted price]
    #[arg(long, value_name = "USD", env = "KINESIS_JOULE_PRICE", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) joule_price: Option<NanoUsd>,
    /// How many JOULE are deposited in escrow at a time [default: 1000]
    #[arg(long, value_name = "JOULE", env = "KINESIS_ESCROW_DEPOSIT", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) escrow_deposit: Option<NanoJoule>,
    /// With less JOULE than this beyond what is owed the desk buys [default: 200]
    #[arg(long, value_name = "JOULE", env = "KINESIS_DESK_LOW", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) desk_low: Option<NanoJoule>,
    /// So much JOULE it has after a trade; above twice this it sells [default: 2000]
    #[arg(long, value_name = "JOULE", env = "KINESIS_DESK_HIGH", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) desk_high: Option<NanoJoule>,
    /// The most that one trade of the desk is worth, in US dollars [default: 100]
    #[arg(long, value_name = "USD", env = "KINESIS_DESK_TRADE_MAX", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) desk_trade_max: Option<NanoUsd>,
    /// The most that all its trades of a day are worth, in US dollars [default: 1000]
    #[arg(long, value_name = "USD", env = "KINESIS_DESK_DAY_MAX", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) desk_day_max: Option<NanoUsd>,
    /// How much worse than the time-weighted price a trade may be, fee included, in ten-thousandths
    /// [default: 100]
    #[arg(long, value_name = "BP", env = "KINESIS_DESK_SLIPPAGE_BP", hide_env_values = true)]
    pub(crate) desk_slippage_bp: Option<u32>,
    /// Have this signing process hold the utility's key (`kinesis signer`)
    #[arg(long, value_name = "SOCKET", env = "KINESIS_SIGNER", hide_env_values = true)]
    pub(crate) signer: Option<PathBuf>,
    /// The first line of this file opens an encrypted utility.key
    #[arg(long, value_name = "FILE", conflicts_with = "signer")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Read the escrow's events from this block on [default: on a development chain the first, on
    /// another the newest at the first start]
    #[arg(long, value_name = "BLOCK", env = "KINESIS_INDEX_FROM", hide_env_values = true)]
    pub(crate) index_from: Option<u64>,
    /// Give leases only to machines whose supplier has this much stake on chain, its own or borrowed,
    /// and has claimed them [default: 0, none; `kinesis up`: 100 on its own chain]
    #[arg(long, value_name = "JOULE", env = "KINESIS_MIN_STAKE", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) min_stake: Option<NanoJoule>,
    /// Where all contracts are, those that stake is read from and leases are judged by among them
    /// [default: deployed, on a development chain; elsewhere the escrow alone]
    #[arg(long, value_name = "FILE", env = "KINESIS_CONTRACTS", hide_env_values = true)]
    pub(crate) contracts: Option<PathBuf>,
    /// Apps answer at NAME.DOMAIN [default: localhost]
    #[arg(long, value_name = "DOMAIN", env = "KINESIS_DOMAIN", hide_env_values = true)]
    pub(crate) domain: Option<String>,
    /// Serve HTTPS to customers with this certificate chain (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "KINESIS_TLS_CERT",
        hide_env_values = true,
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "KINESIS_TLS_KEY",
        hide_env_values = true,
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,
}

/// `kinesis supply`
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  kinesis supply join --utility http://127.0.0.1:8081
  kinesis supply status
  kinesis supply redeem --rpc http://127.0.0.1:8545/rpc"
)]
pub(crate) struct Supply {
    #[command(subcommand)]
    pub(crate) command: SupplyCommand,
}

/// What a supplier can do.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it in a process")]
pub(crate) enum SupplyCommand {
    /// Offer this machine to a utility, until Ctrl-C
    Join(Join),
    /// Show what this machine does for the grid
    Status(SupplyData),
    /// Take no new leases
    Pause(SupplyData),
    /// Take leases again
    Resume(SupplyData),
    /// Show what was earned and what can be redeemed
    Earnings(SupplyMoney),
    /// Redeem the newest payment proof on chain, without the utility
    Redeem(SupplyRedeem),
    /// Be paid in US dollars by the utility
    Withdraw(SupplyMoney),
}

/// A command to the agent in a data directory.
#[derive(Debug, Args)]
pub(crate) struct SupplyData {
    /// The agent's data directory
    #[arg(long, value_name = "DIR", env = env::DATA, hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
}

/// A command about an agent's money.
#[derive(Debug, Args)]
pub(crate) struct SupplyMoney {
    #[command(flatten)]
    pub(crate) data: SupplyData,
    /// The chain's JSON-RPC [default: the one it joined with]
    #[arg(long, value_name = "URL")]
    pub(crate) rpc: Option<String>,
    /// The first line of this file opens an encrypted supplier.key [default: asked for on the
    /// terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// `kinesis supply redeem`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis supply redeem
  kinesis supply redeem --rpc http://127.0.0.1:8545/rpc --data ~/.local/share/kinesis/supply

Needs the proof that the agent has stored, the chain, and nothing else: neither the agent nor the
utility has to run. Redeeming the same proof again pays nothing and is no error.")]
pub(crate) struct SupplyRedeem {
    #[command(flatten)]
    pub(crate) money: SupplyMoney,
}

/// `kinesis supply join`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  kinesis supply join --utility http://127.0.0.1:8081
  kinesis supply join --utility http://127.0.0.1:8081 --name den --cpu-millis 2000 --mem-mib 4096
  kinesis supply join --utility 06ab…@203.0.113.7:8083 --rpc https://rpc.example --tier datacenter

Counters that can be priced: wall_ms, cpu_ms, gpu_ms, mem_mib_ms, vram_mib_ms, energy_mj, rx_bytes,
tx_bytes, requests, each in quintillionths (1e-18) of a US dollar per unit.")]
pub(crate) struct Join {
    #[command(flatten)]
    pub(crate) data: Data,
    #[command(flatten)]
    pub(crate) settings: JoinSettings,
}

/// The settings of `kinesis supply join`.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JoinSettings {
    /// Whom to supply: a utility's portal, its address on the wires, or its address on chain, of which
    /// the registry says where it is
    #[arg(long, value_name = "URL|TOKEN|ADDRESS", env = "KINESIS_UTILITY", hide_env_values = true)]
    pub(crate) utility: Option<String>,
    /// The chain's JSON-RPC; name your own so as not to depend on the utility's word
    #[arg(long, value_name = "URL", env = "KINESIS_CHAIN", hide_env_values = true)]
    pub(crate) rpc: Option<String>,
    /// Where the contracts are, to find a utility by its address on chain [default: on a development
    /// chain, where `kinesis up` puts them]
    #[arg(long, value_name = "FILE", env = "KINESIS_CONTRACTS", hide_env_values = true)]
    pub(crate) contracts: Option<PathBuf>,
    /// What the machine is called [default: its host name]
    #[arg(long, value_name = "NAME", env = "KINESIS_NAME", hide_env_values = true)]
    pub(crate) name: Option<String>,
    /// Where it stands: crowd or datacenter [default: crowd]
    #[arg(long, value_name = "TIER", env = "KINESIS_TIER", hide_env_values = true)]
    pub(crate) tier: Option<Tier>,
    /// Its region, such as eu-west
    #[arg(long, value_name = "REGION", env = "KINESIS_REGION", hide_env_values = true)]
    pub(crate) region: Option<String>,
    /// Offer this much CPU, in thousandths of a core [default: all of it]
    #[arg(long, value_name = "N", env = "KINESIS_CPU_MILLIS", hide_env_values = true)]
    pub(crate) cpu_millis: Option<u32>,
    /// Offer this much memory [default: most of it]
    #[arg(long, value_name = "N", env = "KINESIS_MEM_MIB", hide_env_values = true)]
    pub(crate) mem_mib: Option<u32>,
    /// Offer this much disk [default: part of what is free]
    #[arg(long, value_name = "N", env = "KINESIS_DISK_MIB", hide_env_values = true)]
    pub(crate) disk_mib: Option<u32>,
    /// Ask this price, for each of the counters below; can be given several times
    #[arg(long = "price", value_name = "COUNTER=ATTOUSD")]
    #[serde(with = "price_table")]
    pub(crate) prices: Vec<Price>,
    /// Stop taking leases when more than this is owed and not covered [default: 0.10]
    #[arg(long, value_name = "USD", env = "KINESIS_EXPOSURE", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) exposure: Option<NanoUsd>,
    /// What a busy core draws, in watts, where the machine cannot say [default: 8]
    #[arg(long, value_name = "WATTS", env = "KINESIS_WATTS_PER_CORE", hide_env_values = true)]
    pub(crate) watts_per_core: Option<u32>,
    /// How long to go on serving after being told to stop [default: 30]
    #[arg(long, value_name = "SECONDS", env = "KINESIS_DRAIN", hide_env_values = true)]
    pub(crate) drain: Option<u64>,
    /// Sign no terms whose penalties for silence are more than this, all leases together [default:
    /// what the supplier has at stake]
    #[arg(long, value_name = "JOULE", env = "KINESIS_MAX_PENALTY", hide_env_values = true)]
    #[serde(with = "text")]
    pub(crate) max_penalty: Option<NanoJoule>,
    /// The first line of this file opens an encrypted supplier.key [default: asked for on the
    /// terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// What is asked for one unit of one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Price {
    /// The counter's name.
    pub(crate) counter: String,
    /// The price in atto-USD.
    pub(crate) attousd: u64,
}

impl FromStr for Price {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (counter, attousd) =
            s.split_once('=').ok_or("expected COUNTER=ATTOUSD, such as cpu_ms=3000000000")?;
        let attousd = attousd.parse().map_err(|_| format!("\"{attousd}\" is not an integer"))?;
        Self::new(counter, attousd)
    }
}

impl Price {
    fn new(counter: &str, attousd: u64) -> Result<Self, String> {
        let known = Prices::default().by_name().map(|(name, _)| name);
        if !known.contains(&counter) {
            return Err(format!("there is no counter \"{counter}\", only {}", known.join(", ")));
        }
        Ok(Self { counter: counter.to_owned(), attousd })
    }
}

/// Prices are a table in TOML.
mod price_table {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::Price;

    pub(super) fn serialize<S: Serializer>(prices: &[Price], s: S) -> Result<S::Ok, S::Error> {
        let table: BTreeMap<_, _> = prices.iter().map(|p| (&p.counter, p.attousd)).collect();
        table.serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<Price>, D::Error> {
        <BTreeMap<String, u64>>::deserialize(d)?
            .into_iter()
            .map(|(counter, attousd)| Price::new(&counter, attousd).map_err(Error::custom))
            .collect()
    }
}

/// Amounts are text in TOML: a number would be read as billionths.
mod text {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S, T>(amount: &Option<T>, s: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
        T: Display,
    {
        amount.as_ref().map(ToString::to_string).serialize(s)
    }

    pub(super) fn deserialize<'de, D, T>(d: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(d)?.parse().map(Some).map_err(Error::custom)
    }
}
