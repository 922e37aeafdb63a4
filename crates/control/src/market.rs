//! What the desk needs of a market of USD and JOULE, as a trait, so that it is tried without one.

use async_trait::async_trait;
use kinesis_protocol::{B256, U256};
pub use kinesis_store::{TradePlace, TradeSide};

use crate::SettleError;

/// What a market says one JOULE costs, in atto-USD. Nobody has looked at it yet: see
/// [`PriceBook`](crate::price::PriceBook).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Its time-weighted price, which no single block moves.
    Mean(U256),
    /// It is younger than its window: the price of this moment, which anybody may have moved.
    Young {
        /// That price.
        spot: U256,
    },
}

/// What the desk has at its own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holdings {
    /// USD, in the stablecoin's smallest unit.
    pub usd_units: u128,
    /// JOULE, in wei.
    pub joule_wei: u128,
}

/// A trade, as it is sent: all of it is in the store before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// What is given.
    pub side: TradeSide,
    /// How much of it, in the token's smallest unit.
    pub amount_in: u128,
    /// The least that is accepted, in the other token's smallest unit.
    pub min_out: u128,
    /// The latest time, in seconds since 1970.
    pub deadline_s: u64,
}

/// What a trade moved, as its receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traded {
    /// USD, in the stablecoin's smallest unit.
    pub usd_units: u128,
    /// JOULE, in wei.
    pub joule_wei: u128,
    /// The transaction.
    pub transaction: B256,
}

/// A market of USD and JOULE, on behalf of the utility.
#[async_trait]
pub trait Market: Send + Sync + std::fmt::Debug {
    /// Who trades here, and where here is.
    fn place(&self) -> TradePlace;

    /// What one JOULE costs.
    ///
    /// # Errors
    /// Where it does not answer, or is not open.
    async fn price(&self) -> Result<Reading, SettleError>;

    /// Has it note its price, where it wants that and it is time.
    ///
    /// # Errors
    /// Where it does not answer.
    async fn poke(&self) -> Result<(), SettleError> {
        Ok(())
    }

    /// What the stablecoin's smallest unit is worth, in atto-USD; never zero.
    ///
    /// # Errors
    /// Where it does not answer.
    async fn unit_attousd(&self) -> Result<u64, SettleError>;

    /// The time by which it judges a trade's deadline, in seconds since 1970.
    ///
    /// # Errors
    /// Where the chain does not answer.
    async fn now_s(&self) -> Result<u64, SettleError>;

    /// What the utility has at its own address.
    ///
    /// # Errors
    /// Where the chain does not answer.
    async fn holdings(&self) -> Result<Holdings, SettleError>;

    /// What a trade would bring now.
    ///
    /// # Errors
    /// Where it does not answer, or is not open.
    async fn quote(&self, side: TradeSide, amount_in: u128) -> Result<u128, SettleError>;

    /// Trades, once for each key. Asked again with the same key and order, after whatever crash, it
    /// says what that one trade moved.
    ///
    /// # Errors
    /// [`SettleError::Refused`] where it had no effect and never will; [`SettleError::Pending`] where
    /// it is not final yet: ask again.
    async fn trade(&self, key: &str, order: &Order) -> Result<Traded, SettleError>;
}
