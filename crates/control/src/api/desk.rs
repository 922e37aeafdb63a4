//! The price of a JOULE, and the desk that converts.

use kinesis_protocol::{B256, JoulePrice, NanoJoule, NanoUsd};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where the price of a JOULE comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PriceSource {
    /// The market's time-weighted price.
    Market,
    /// The utility named it.
    Fixed,
}

/// What one JOULE costs now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriceView {
    /// The price that everything is posted at, in billionths of a dollar.
    #[schema(value_type = i64)]
    pub price_nanousd: JoulePrice,
    /// Where it comes from.
    pub source: PriceSource,
    /// How old it is; `None` for a fixed one.
    pub age_ms: Option<u64>,
    /// Whether it is so old that nothing new is taken on.
    pub stale: bool,
    /// Why there was no newer one when it was asked for last; `None` where there was.
    pub problem: Option<String>,
}

/// What the desk has. All of it lies on chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StockView {
    /// Stablecoin at the utility's address.
    #[schema(value_type = i64)]
    pub usd_nanousd: NanoUsd,
    /// JOULE at the utility's address.
    #[schema(value_type = i64)]
    pub wallet_nanojoule: NanoJoule,
    /// JOULE in escrow beyond what is owed, fees included; negative where it covers too little.
    #[schema(value_type = i64)]
    pub spare_nanojoule: NanoJoule,
    /// With less than this in wallet and spare it buys.
    #[schema(value_type = i64)]
    pub low_nanojoule: NanoJoule,
    /// So much it has after a trade.
    #[schema(value_type = i64)]
    pub high_nanojoule: NanoJoule,
    /// With more than this it sells.
    #[schema(value_type = i64)]
    pub sell_above_nanojoule: NanoJoule,
    /// What was traded within the last day.
    #[schema(value_type = i64)]
    pub day_nanousd: NanoUsd,
    /// The most that is traded within a day.
    #[schema(value_type = i64)]
    pub day_max_nanousd: NanoUsd,
    /// Why it does not trade though it would; `None` where nothing keeps it.
    pub held: Option<String>,
    /// When this was seen.
    pub at_ms: u64,
}

/// A trade of the desk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TradeView {
    /// Its number.
    pub number: u64,
    /// `buy`: JOULE for USD; `sell`: USD for JOULE.
    pub side: String,
    /// `open`, `done` or `refused`.
    pub state: String,
    /// By how much the desk's USD changed; `None` where nothing moved.
    #[schema(value_type = Option<i64>)]
    pub usd_nanousd: Option<NanoUsd>,
    /// By how much the desk's JOULE changed; `None` where nothing moved.
    #[schema(value_type = Option<i64>)]
    pub joule_nanojoule: Option<NanoJoule>,
    /// The time-weighted price when it was planned.
    #[schema(value_type = i64)]
    pub price_nanousd: JoulePrice,
    /// When it was planned.
    pub planned_at_ms: u64,
    /// The transaction on chain.
    #[schema(value_type = Option<String>)]
    pub transaction: Option<B256>,
    /// Why nothing came of it.
    pub reason: Option<String>,
}

/// The price of a JOULE, what the desk has, and what it traded. Public: it names no customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeskView {
    /// What one JOULE costs.
    pub price: PriceView,
    /// What it has; `None` where there is no market, or it was not looked at yet.
    pub stock: Option<StockView>,
    /// What its conversions have brought so far, the JOULE that it has more or less than it gave counted
    /// at today's price: moves of the price, the market's fee and the spread.
    #[schema(value_type = i64)]
    pub result_nanousd: NanoUsd,
    /// How much more JOULE it got by conversions than it gave; negative where it gave from what it had
    /// at first.
    #[schema(value_type = i64)]
    pub position_nanojoule: NanoJoule,
    /// Its newest trades, newest first.
    pub trades: Vec<TradeView>,
}
