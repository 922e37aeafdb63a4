//! The exchange of USD and JOULE: what it holds, what it asks, and trades that cannot end worse than
//! they were looked at.
//!
//! It may be the protocol's own ([`Exchange`]) or an adapter of a market that is there already, which
//! has no reserves and no fee of its own to tell of. What a trade came to is read from the tokens'
//! own events, which are the same for both.

use alloy::{
    primitives::{Address, B256, U256},
    rpc::types::TransactionReceipt,
    sol_types::SolEvent as _,
};
use serde::{Deserialize, Serialize};

use super::{Protocol, hash};
use crate::{
    ChainError, Joules,
    amount::{decimal, units},
    contracts::{DevDollar, Exchange},
};

/// Basis points in the whole.
const WHOLE_BP: u16 = 10_000;
/// The most decimals of a stablecoin: a price is in atto-USD.
const DECIMALS_MAX: u8 = 18;

/// The exchange now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Market {
    /// The time-weighted price of one JOULE in atto-USD; `None` while its window is not filled.
    pub price_attousd: Option<u64>,
    /// The price of this moment, which a trade in this block may have moved: for display.
    pub spot_attousd: u64,
    /// USD in reserve, in the stablecoin's smallest unit; zero where the market tells of none.
    pub usd_units: U256,
    /// JOULE in reserve; zero where the market tells of none.
    pub joule: Joules,
    /// The trading fee in basis points; zero where the market tells of none.
    pub fee_bp: u16,
    /// The stablecoin.
    pub usd: Address,
    /// Its decimals.
    pub usd_decimals: u8,
}

/// What is given in a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Give {
    /// USD, in the stablecoin's smallest unit.
    Usd(U256),
    /// JOULE.
    Joule(Joules),
}

/// How bad a trade may be at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TradeBounds {
    /// By how much it may give less than the exchange offers now, in basis points.
    pub slippage_bp: u16,
    /// By how much its price may be worse than the time-weighted one, in basis points, the fee
    /// included. It is not asked for while there is no time-weighted price.
    pub impact_bp: u16,
    /// For how long it may run, in seconds.
    pub valid_s: u64,
}

impl Default for TradeBounds {
    /// 1 % less than offered, 5 % from the time-weighted price, two minutes.
    fn default() -> Self {
        Self { slippage_bp: 100, impact_bp: 500, valid_s: 120 }
    }
}

/// What a trade would come to now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// What is given.
    pub give: Give,
    /// What is received.
    pub receive: Give,
    /// What one JOULE costs in it, in atto-USD.
    pub at_attousd: U256,
    /// The price of this moment, in atto-USD.
    pub spot_attousd: u64,
    /// The time-weighted price, in atto-USD.
    pub price_attousd: Option<u64>,
    /// By how much it is worse than the time-weighted price, in basis points; zero where it is none.
    pub impact_bp: u16,
}

/// What a trade came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// What was given.
    pub gave: Give,
    /// What was received.
    pub received: Give,
    /// What one JOULE cost, in atto-USD.
    pub at_attousd: U256,
    /// The price before, in atto-USD.
    pub before_attousd: u64,
    /// The price after, in atto-USD.
    pub after_attousd: u64,
    /// The transaction.
    pub transaction: B256,
}

impl Protocol {
    /// Prices and reserves.
    ///
    /// # Errors
    /// Where it is not open or the endpoint fails.
    pub async fn market(&self) -> Result<Market, ChainError> {
        let at = self.at.exchange;
        let spot = self.read(at, &Exchange::spotCall {}).await?;
        // An adapter of another market has neither: what it has not it refuses, in whatever way.
        let reserves = self.read(at, &Exchange::reservesCall {}).await.ok();
        let fee_bp = self.read(at, &Exchange::feeBpCall {}).await.ok();
        Ok(Market {
            price_attousd: self.price().await?,
            spot_attousd: spot.saturating_to(),
            usd_units: reserves.as_ref().map_or(U256::ZERO, |reserves| reserves._0),
            joule: Joules(reserves.map_or(U256::ZERO, |reserves| reserves._1)),
            fee_bp: fee_bp.unwrap_or(0),
            usd: self.at.usd,
            usd_decimals: self.usd_decimals().await?,
        })
    }

    /// The decimals of the stablecoin.
    ///
    /// # Errors
    /// Where it is none that the protocol trades in, or the endpoint fails.
    pub async fn usd_decimals(&self) -> Result<u8, ChainError> {
        match self.read(self.at.usd, &DevDollar::decimalsCall {}).await? {
            decimals if decimals <= DECIMALS_MAX => Ok(decimals),
            _ => Err(ChainError::Nonsense("the stablecoin has more than 18 decimals")),
        }
    }

    /// How much of the stablecoin an address holds, in its smallest unit.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn usd_balance(&self, of: Address) -> Result<U256, ChainError> {
        self.read(self.at.usd, &DevDollar::balanceOfCall { account: of }).await
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

    /// What a trade would come to now, and how far that is from the time-weighted price.
    ///
    /// # Errors
    /// Where the exchange is not open, the amount comes to nothing, or the endpoint fails.
    pub async fn quote(&self, give: Give) -> Result<Quote, ChainError> {
        let receive = match give {
            Give::Usd(usd) => Give::Joule(self.quote_buy(usd).await?),
            Give::Joule(joule) => Give::Usd(self.quote_sell(joule).await?),
        };
        let at_attousd = rate(give, receive, self.usd_decimals().await?).ok_or_else(|| {
            ChainError::Senseless("that is too little: it comes to nothing".to_owned())
        })?;
        let price_attousd = self.price().await?;
        let spot = self.read(self.at.exchange, &Exchange::spotCall {}).await?;
        let impact_bp = price_attousd.map_or(0, |price| worse_bp(give, at_attousd, price));
        let spot_attousd = spot.saturating_to();
        Ok(Quote { give, receive, at_attousd, spot_attousd, price_attousd, impact_bp })
    }

    /// Trades with the exchange, within bounds; whatever is received goes to `to`.
    ///
    /// # Errors
    /// Where it would end worse than the bounds allow, this account holds too little, the exchange is
    /// not open, or the endpoint fails.
    pub async fn trade(
        &self,
        give: Give,
        bounds: TradeBounds,
        to: Address,
    ) -> Result<Trade, ChainError> {
        let at = self.at.exchange;
        let begun = match give {
            Give::Usd(_) => self.begun::<Exchange::buyCall>(at).await?,
            Give::Joule(_) => self.begun::<Exchange::sellCall>(at).await?,
        };
        let quote = self.quote(give).await?;
        if !begun && quote.impact_bp > bounds.impact_bp {
            return Err(ChainError::Reverted(format!(
                "ImpactTooHigh: this trade is {} % worse than the time-weighted price, and at most {} % \
                 is allowed: trade less at a time, or allow more with --impact-bp",
                decimal(U256::from(quote.impact_bp), 2),
                decimal(U256::from(bounds.impact_bp), 2)
            )));
        }
        let keep = U256::from(WHOLE_BP.saturating_sub(bounds.slippage_bp));
        let least = |offered: U256| {
            let least = offered.saturating_mul(keep) / U256::from(WHOLE_BP);
            least.max(U256::ONE)
        };
        let deadline = U256::from(self.now_s().await?.saturating_add(bounds.valid_s));
        let receipt = match (give, quote.receive) {
            (Give::Usd(usd), Give::Joule(joule)) => {
                self.allow_usd(at, usd, begun).await?;
                let call = Exchange::buyCall { usdIn: usd, minOut: least(joule.0), to, deadline };
                self.send(at, &call).await?
            }
            (Give::Joule(joule), Give::Usd(usd)) => {
                self.allow::<Exchange::sellCall>(at, joule.0).await?;
                let call =
                    Exchange::sellCall { jouleIn: joule.0, minOut: least(usd), to, deadline };
                self.send(at, &call).await?
            }
            _ => return Err(ChainError::Nonsense("one currency was traded for itself")),
        };
        let received = match quote.receive {
            Give::Joule(_) => Give::Joule(Joules(arrived(&receipt, self.contracts.joule, to))),
            Give::Usd(_) => Give::Usd(arrived(&receipt, self.at.usd, to)),
        };
        let after = self.read(at, &Exchange::spotCall {}).await?;
        let decimals = self.usd_decimals().await?;
        Ok(Trade {
            gave: give,
            received,
            at_attousd: rate(give, received, decimals).unwrap_or_default(),
            before_attousd: quote.spot_attousd,
            after_attousd: after.saturating_to(),
            transaction: hash(&receipt),
        })
    }

    /// Lets the exchange take this much of the stablecoin.
    async fn allow_usd(
        &self,
        exchange: Address,
        value: U256,
        begun: bool,
    ) -> Result<(), ChainError> {
        if begun {
            return Ok(());
        }
        let (account, has) = (self.address(), self.usd_balance(self.address()).await?);
        if has < value {
            let decimals = usize::from(self.usd_decimals().await?);
            let (has, value) = (decimal(has, decimals), decimal(value, decimals));
            return Err(ChainError::Reverted(format!(
                "ERC20InsufficientBalance: {account} has {has} of the exchange's USD and needs {value}"
            )));
        }
        self.approve(self.at.usd, exchange, value).await
    }

    /// On a development chain, as its deployer: makes play dollars.
    ///
    /// # Errors
    /// Where the stablecoin is not play money, or not this account's to make.
    pub async fn make_play_usd(&self, to: Address, amount: U256) -> Result<B256, ChainError> {
        Ok(hash(&self.send(self.at.usd, &DevDollar::mintCall { to, amount }).await?))
    }
}

/// What came to `to` of a token, by its own word.
fn arrived(receipt: &TransactionReceipt, token: Address, to: Address) -> U256 {
    let logs = receipt.logs().iter().filter(|log| log.address() == token);
    logs.filter_map(|log| DevDollar::Transfer::decode_log(&log.inner).ok())
        .filter(|transfer| transfer.to == to)
        .fold(U256::ZERO, |sum, transfer| sum.saturating_add(transfer.value))
}

/// What one JOULE costs in atto-USD; `None` where a side comes to nothing.
fn rate(give: Give, receive: Give, usd_decimals: u8) -> Option<U256> {
    let (Give::Usd(usd), Give::Joule(joule)) = (match give {
        Give::Usd(_) => (give, receive),
        Give::Joule(_) => (receive, give),
    }) else {
        return None;
    };
    if usd.is_zero() || joule.0.is_zero() {
        return None;
    }
    // atto-USD a JOULE: usd * 10^(18 - decimals) * 10^18 / wei.
    let scale = U256::from(10).pow(U256::from(36_u8.saturating_sub(usd_decimals)));
    usd.checked_mul(scale).map(|scaled| scaled / joule.0)
}

/// By how much a trade's price is worse for who trades than `price`, in basis points.
fn worse_bp(give: Give, at: U256, price: u64) -> u16 {
    let price = U256::from(price);
    let more = match give {
        Give::Usd(_) => at.saturating_sub(price),
        Give::Joule(_) => price.saturating_sub(at),
    };
    let of = more.saturating_mul(U256::from(WHOLE_BP)).checked_div(price);
    of.map_or(u16::MAX, |bp| bp.saturating_to())
}

/// USD as people write it, in a stablecoin's smallest unit; `None` where the text is none, or says
/// more decimals than the stablecoin has.
#[must_use]
pub fn usd_units(text: &str, decimals: u8) -> Option<U256> {
    units(text.strip_prefix('$').unwrap_or(text), usize::from(decimals))
}

/// USD in a stablecoin's smallest unit, as people write it.
#[must_use]
pub fn usd_text(units: U256, decimals: u8) -> String {
    format!("${}", decimal(units, usize::from(decimals)))
}

/// A price in atto-USD, as people write it.
#[must_use]
pub fn price_text(attousd: U256) -> String {
    format!("${}", decimal(attousd, 18))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joule(whole: u64) -> Joules {
        Joules(U256::from(whole) * U256::from(10).pow(U256::from(18)))
    }

    #[test]
    fn a_rate_is_in_atto_usd_whatever_the_decimals() {
        let cent = U256::from(10).pow(U256::from(16));
        let dollar = |decimals: u8| U256::from(10).pow(U256::from(decimals));
        for decimals in [0, 2, 6, 18] {
            let usd = Give::Usd(dollar(decimals));
            assert_eq!(rate(usd, Give::Joule(joule(100)), decimals), Some(cent));
            assert_eq!(rate(Give::Joule(joule(100)), usd, decimals), Some(cent));
        }
        assert_eq!(rate(Give::Usd(U256::ZERO), Give::Joule(joule(1)), 6), None);
        assert_eq!(rate(Give::Usd(U256::ONE), Give::Usd(U256::ONE), 6), None);
    }

    #[test]
    fn worse_is_dearer_for_who_buys_and_cheaper_for_who_sells() {
        let (buy, sell) = (Give::Usd(U256::ONE), Give::Joule(joule(1)));
        assert_eq!(worse_bp(buy, U256::from(105), 100), 500);
        assert_eq!(worse_bp(buy, U256::from(95), 100), 0);
        assert_eq!(worse_bp(sell, U256::from(95), 100), 500);
        assert_eq!(worse_bp(sell, U256::from(105), 100), 0);
        assert_eq!(worse_bp(buy, U256::from(1), 0), u16::MAX);
    }

    #[test]
    fn usd_is_exact_or_refused() {
        assert_eq!(usd_units("12.50", 6), Some(U256::from(12_500_000)));
        assert_eq!(usd_units("$3", 2), Some(U256::from(300)));
        for bad in ["", "$", "-1", "1.2345678", "1e3", "1.", ".5"] {
            assert_eq!(usd_units(bad, 6), None, "{bad}");
        }
        assert_eq!(usd_text(U256::from(12_500_000), 6), "$12.5");
        assert_eq!(price_text(U256::from(10).pow(U256::from(16))), "$0.01");
    }
}
