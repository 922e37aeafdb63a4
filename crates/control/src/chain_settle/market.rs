//! A market on a chain: the exchange of the deployment, or whatever has its interface.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kinesis_chain::{
    Settlement, Until,
    settlement::{MarketPrice, MarketTokens, Order as ChainOrder, Side},
};
use kinesis_protocol::{Address, U256};
use parking_lot::Mutex;
use tokio::{sync::OnceCell, time::Instant};

use super::chain;
use crate::{
    SettleError,
    market::{Holdings, Market, Order, Reading, TradePlace, TradeSide, Traded},
};

/// A market on a chain, on behalf of a utility.
#[derive(Debug, Clone)]
pub(super) struct ChainMarket {
    utility: Settlement,
    market: Address,
    /// What it trades, asked once.
    tokens: Arc<OnceCell<MarketTokens>>,
    poked: Arc<Mutex<Option<Instant>>>,
}

impl ChainMarket {
    pub(super) fn new(utility: Settlement, market: Address) -> Self {
        Self { utility, market, tokens: Arc::default(), poked: Arc::default() }
    }

    async fn tokens(&self) -> Result<&MarketTokens, SettleError> {
        let ask = || async { self.utility.market_tokens(self.market).await.map_err(chain) };
        self.tokens.get_or_try_init(ask).await
    }
}

const fn side(side: TradeSide) -> Side {
    match side {
        TradeSide::Buy => Side::Buy,
        TradeSide::Sell => Side::Sell,
    }
}

/// More of a token than there can be is as much as can be said.
fn small(amount: U256) -> u128 {
    u128::try_from(amount).unwrap_or(u128::MAX)
}

#[async_trait]
impl Market for ChainMarket {
    fn place(&self) -> TradePlace {
        let (chain_id, sender) = (self.utility.chain_id(), self.utility.address());
        TradePlace { chain_id, sender, market: self.market }
    }

    async fn price(&self) -> Result<Reading, SettleError> {
        self.tokens().await?;
        Ok(match self.utility.market_price(self.market).await.map_err(chain)? {
            MarketPrice::Mean(attousd) => Reading::Mean(attousd),
            MarketPrice::Young { spot } => Reading::Young { spot },
        })
    }

    async fn poke(&self) -> Result<(), SettleError> {
        let Some(window_s) = self.tokens().await?.poke_s else { return Ok(()) };
        // Four points in a window: no price is older than a window and a quarter.
        let every = Duration::from_secs(u64::from(window_s)) / 4;
        if self.poked.lock().is_some_and(|at| at.elapsed() < every) {
            return Ok(());
        }
        self.utility.poke_market(self.market).await.map_err(chain)?;
        *self.poked.lock() = Some(Instant::now());
        Ok(())
    }

    async fn unit_attousd(&self) -> Result<u64, SettleError> {
        Ok(self.tokens().await?.unit_attousd)
    }

    async fn now_s(&self) -> Result<u64, SettleError> {
        self.utility.now_s().await.map_err(chain)
    }

    async fn holdings(&self) -> Result<Holdings, SettleError> {
        let own = self.utility.address();
        let usd = self.tokens().await?.usd;
        let usd_units = self.utility.token_balance(usd, own).await.map_err(chain)?;
        let joule_wei = self.utility.joule_balance(own).await.map_err(chain)?;
        Ok(Holdings { usd_units: small(usd_units), joule_wei: small(joule_wei) })
    }

    async fn quote(&self, given: TradeSide, amount_in: u128) -> Result<u128, SettleError> {
        let amount_in = U256::from(amount_in);
        let quote = self.utility.market_quote(self.market, side(given), amount_in).await;
        quote.map(small).map_err(chain)
    }

    async fn trade(&self, key: &str, order: &Order) -> Result<Traded, SettleError> {
        let asked = ChainOrder {
            side: side(order.side),
            amount_in: U256::from(order.amount_in),
            min_out: U256::from(order.min_out),
            deadline_s: order.deadline_s,
        };
        let tokens = self.tokens().await?;
        let traded = self.utility.trade_once(key, tokens, &asked, Until::Final).await;
        let traded = traded.map_err(chain)?;
        Ok(Traded {
            usd_units: small(traded.usd_units),
            joule_wei: small(traded.joule_wei),
            transaction: traded.transaction,
        })
    }
}
