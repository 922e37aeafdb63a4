//! The exchange of USD and JOULE: what it holds, what it asks.

use alloy::primitives::U256;
use serde::{Deserialize, Serialize};

use super::Protocol;
use crate::{ChainError, Joules, contracts::Exchange};

/// The exchange now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    /// The time-weighted price of one JOULE in atto-USD; `None` while its window is not filled.
    pub price_attousd: Option<u64>,
    /// The price of this moment, which a trade in this block may have moved: for display.
    pub spot_attousd: u64,
    /// USD in reserve, in the stablecoin's smallest unit.
    pub usd_units: U256,
    /// JOULE in reserve.
    pub joule: Joules,
    /// The trading fee in basis points.
    pub fee_bp: u16,
}

impl Protocol {
    /// Prices and reserves.
    ///
    /// # Errors
    /// Where it is not open or the endpoint fails.
    pub async fn market(&self) -> Result<Market, ChainError> {
        let at = self.at.exchange;
        let reserves = self.read(at, &Exchange::reservesCall {}).await?;
        Ok(Market {
            price_attousd: self.price().await?,
            spot_attousd: self.read(at, &Exchange::spotCall {}).await?.saturating_to(),
            usd_units: reserves._0,
            joule: Joules(reserves._1),
            fee_bp: self.read(at, &Exchange::feeBpCall {}).await?,
        })
    }

    /// The time-weighted price of one JOULE in atto-USD: the one to settle by, since no single block
    /// moves it. `None` while its window is not filled.
    ///
    /// # Errors
    /// Where the exchange is not open or the endpoint fails.
    pub async fn price(&self) -> Result<Option<u64>, ChainError> {
        match self.read(self.at.exchange, &Exchange::priceCall {}).await {
            Ok(price) => Ok(Some(price.saturating_to())),
            Err(ChainError::Reverted(why)) if why.starts_with("TooYoung") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What this much of the stablecoin, in its smallest unit, would buy now.
    ///
    /// # Errors
    /// Where the exchange is not open or the endpoint fails.
    pub async fn quote_buy(&self, usd_units: U256) -> Result<Joules, ChainError> {
        let call = Exchange::quoteBuyCall { usdIn: usd_units };
        Ok(Joules(self.read(self.at.exchange, &call).await?))
    }

    /// What this much JOULE would sell for now, in the stablecoin's smallest unit.
    ///
    /// # Errors
    /// Where the exchange is not open or the endpoint fails.
    pub async fn quote_sell(&self, amount: Joules) -> Result<U256, ChainError> {
        let call = Exchange::quoteSellCall { jouleIn: amount.0 };
        self.read(self.at.exchange, &call).await
    }
}
