//! The desk: turns customers' USD into the JOULE that suppliers are owed, and JOULE that came back from
//! suppliers into USD.
//!
//! What is owed must lie in escrow before it is signed, so the desk buys ahead: it looks at the JOULE
//! it has beyond what it owes (in its wallet and in escrow), and
//!
//! | it has | it |
//! | --- | --- |
//! | less than [`DeskConfig::low`] | buys up to [`DeskConfig::high`] |
//! | more than [`DeskConfig::sell_above`] | sells down to [`DeskConfig::high`], of its wallet |
//! | between | does nothing: no trade follows a single customer |
//!
//! No trade is worth more than [`DeskConfig::trade_max`], no day's trades more than
//! [`DeskConfig::day_max`], and none gives less than the time-weighted price less
//! [`DeskConfig::tolerance_bp`], fees and its own effect on the price included: the contract itself
//! refuses a trade that somebody pushed the price under. What the quote already shows to be outside is
//! not sent.
//!
//! A trade is in the store before it is sent, its number is its idempotency key on chain, and its
//! posting says what the receipt says. Whoever crashes in between asks for the same trade again; with
//! another key, or on another market, nobody can, and the desk says which it has to be. A market that
//! gave less than it had to is not traded with again, also not after a restart: its trade says so.

use std::{sync::Arc, time::Duration};

use kinesis_protocol::{JoulePrice, NanoJoule, NanoUsd, U256, money::NANO};
use kinesis_store::{DeskTrade, NewTrade, Store, TradeBegun, TradeMoved, TradeSide};
use tracing::{info, warn};

use crate::{
    ControlError, SettleError,
    market::{Holdings, Market, Order, TradePlace},
};

const BP: u32 = 10_000;
/// How long after a trade that did not come about another is tried.
const PAUSE_MS: u64 = 5_000;

/// How much the desk holds, and how it trades.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeskConfig {
    /// With less JOULE than this beyond what is owed it buys.
    pub low: NanoJoule,
    /// So much it has after a trade.
    pub high: NanoJoule,
    /// With more than this it sells.
    pub sell_above: NanoJoule,
    /// The least that a trade is worth.
    pub trade_min: NanoUsd,
    /// The most that a trade is worth.
    pub trade_max: NanoUsd,
    /// The most that all trades of a day are worth.
    pub day_max: NanoUsd,
    /// How much worse than the time-weighted price a trade may be, in ten-thousandths.
    pub tolerance_bp: u32,
    /// How long a trade may wait for its block.
    pub deadline: Duration,
    /// How often the inventory is looked at.
    pub every: Duration,
}

impl Default for DeskConfig {
    fn default() -> Self {
        Self {
            low: NanoJoule(200 * NANO),
            high: NanoJoule(2_000 * NANO),
            sell_above: NanoJoule(4_000 * NANO),
            trade_min: NanoUsd(NANO / 100),
            trade_max: NanoUsd(100 * NANO),
            day_max: NanoUsd(1_000 * NANO),
            tolerance_bp: 100,
            deadline: Duration::from_secs(120),
            every: Duration::from_secs(2),
        }
    }
}

impl DeskConfig {
    /// Says what makes no sense.
    ///
    /// # Errors
    /// A sentence.
    pub fn validate(&self) -> Result<(), String> {
        let zero = NanoJoule::ZERO;
        if self.low < zero || self.high <= self.low || self.sell_above <= self.high {
            return Err(format!(
                "the desk's low mark of {} JOULE must be below its high mark of {}, and that below \
                 {}, above which it sells",
                self.low, self.high, self.sell_above
            ));
        }
        if self.trade_min <= NanoUsd::ZERO || self.trade_max < self.trade_min {
            return Err(format!("a trade is worth at least {}", self.trade_min));
        }
        if self.day_max < self.trade_max {
            return Err(format!("a day's trades are worth at least one, {}", self.trade_max));
        }
        if self.tolerance_bp >= BP {
            return Err("a trade that may give nothing is none: tolerate less than 10000".into());
        }
        Ok(())
    }
}

/// What the desk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    /// JOULE at its own address.
    pub wallet: NanoJoule,
    /// JOULE in escrow beyond what is owed; negative where the escrow covers too little.
    pub spare: NanoJoule,
    /// USD at its own address.
    pub usd: NanoUsd,
}

impl Stock {
    /// The JOULE that it has beyond what it owes.
    #[must_use]
    pub const fn free(&self) -> NanoJoule {
        NanoJoule(self.wallet.0.saturating_add(self.spare.0))
    }
}

/// What the desk wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// To buy JOULE for this much.
    Buy(NanoUsd),
    /// To sell this much.
    Sell(NanoJoule),
}

/// What the desk wants; `Ok(None)` where it has what it needs. `day_left` may be traded today still.
///
/// # Errors
/// What it would need and may not, or has nothing to do it with.
pub fn wish(
    config: &DeskConfig,
    at: &Stock,
    day_left: NanoUsd,
    price: JoulePrice,
) -> Result<Option<Wish>, &'static str> {
    let free = at.free();
    if free < config.low {
        let missing = NanoJoule(config.high.0.saturating_sub(free.0));
        let wanted = price.to_usd(missing).max(config.trade_min).min(config.trade_max);
        if at.usd < config.trade_min {
            return Err("there is no stablecoin left to buy JOULE with");
        }
        let usd = wanted.min(at.usd).min(day_left);
        if usd < config.trade_min {
            return Err("the day's trades have reached their bound");
        }
        return Ok(Some(Wish::Buy(usd)));
    }
    if free > config.sell_above {
        let surplus = NanoJoule(free.0.saturating_sub(config.high.0)).min(at.wallet);
        let most = config.trade_max.min(day_left);
        if most < config.trade_min {
            return Err("the day's trades have reached their bound");
        }
        let joule = surplus.min(price.to_joule(most));
        if price.to_usd(joule) >= config.trade_min {
            return Ok(Some(Wish::Sell(joule)));
        }
    }
    Ok(None)
}

/// A wish as a trade: amounts in the tokens' smallest units, the least that is accepted rounded up.
/// `None` where it comes to nothing.
#[must_use]
pub fn plan(
    config: &DeskConfig,
    wish: Wish,
    price: JoulePrice,
    unit_attousd: u64,
    now_s: u64,
) -> Option<NewTrade> {
    let nano = U256::from(NANO.unsigned_abs());
    let (unit, nanousd) = (U256::from(unit_attousd), U256::from(price.nanousd().unsigned_abs()));
    if unit.is_zero() {
        return None;
    }
    let kept = |fair: U256| {
        (fair * U256::from(BP.saturating_sub(config.tolerance_bp))).div_ceil(U256::from(BP))
    };
    let (side, amount_in, min_out, worth_nanousd) = match wish {
        Wish::Buy(usd) => {
            let units = U256::from(usd.0.max(0).unsigned_abs()) * nano / unit;
            // Atto-USD times a billion, by nano-USD a JOULE: wei.
            (TradeSide::Buy, units, kept(units * unit * nano / nanousd), usd)
        }
        Wish::Sell(joule) => {
            let wei = joule.to_wei();
            let worth = price.to_usd(joule);
            (TradeSide::Sell, wei, kept(wei * nanousd / nano / unit), worth)
        }
    };
    let small = |v: U256| u128::try_from(v).ok().filter(|v| *v > 0);
    let deadline_s = now_s.saturating_add(config.deadline.as_secs().max(1));
    Some(NewTrade {
        side,
        amount_in: small(amount_in)?,
        min_out: small(min_out)?,
        deadline_s,
        worth_nanousd,
        price,
    })
}

/// What came of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Round {
    /// It has what it needs, or waits a moment after a trade that did not come about.
    Rest,
    /// It would trade, and does not: why.
    Held(String),
    /// A trade was posted.
    Traded(DeskTrade),
    /// A trade had no effect, and never will.
    Refused(DeskTrade),
    /// A trade is under way.
    Pending(u64),
}

/// The desk of one utility instance. Several over one store trade one after another.
#[derive(Debug)]
pub struct Desk {
    config: DeskConfig,
    store: Store,
    market: Arc<dyn Market>,
    not_before_ms: u64,
}

impl Desk {
    /// A desk; whatever an earlier one left unfinished it finishes first.
    #[must_use]
    pub fn new(config: DeskConfig, store: Store, market: Arc<dyn Market>) -> Self {
        Self { config, store, market, not_before_ms: 0 }
    }

    /// How it trades.
    #[must_use]
    pub const fn config(&self) -> &DeskConfig {
        &self.config
    }

    /// Whether it waits a moment after a trade that did not come about.
    #[must_use]
    pub const fn pauses(&self, now_ms: u64) -> bool {
        now_ms < self.not_before_ms
    }

    /// What it has at its own address, in billionths.
    ///
    /// # Errors
    /// Where the chain does not answer, or says what does not fit.
    pub async fn holdings(&self) -> Result<(NanoUsd, NanoJoule), ControlError> {
        let Holdings { usd_units, joule_wei } = self.market.holdings().await?;
        let unit = self.market.unit_attousd().await?;
        let usd = usd_units.saturating_mul(unit.into());
        let nano =
            |atto: u128| i64::try_from(atto / u128::from(NANO.unsigned_abs())).unwrap_or(i64::MAX);
        Ok((NanoUsd(nano(usd)), NanoJoule(nano(joule_wei))))
    }

    /// Finishes what is under way, or trades once where its stock asks for it. `price` is the market's
    /// time-weighted one, `None` where none is known.
    ///
    /// # Errors
    /// Where store, chain or market fail: nothing is lost, the next look goes on with it.
    pub async fn round(
        &mut self,
        stock: &Stock,
        price: Option<JoulePrice>,
        now_ms: u64,
    ) -> Result<Round, ControlError> {
        if let Some(open) = self.store.open_trade().await? {
            return self.pursue(open, now_ms).await;
        }
        let last = self.store.last_traded(&self.market.place()).await?;
        if let Some(short) = last
            && is_short(&short, self.market.unit_attousd().await?)
        {
            return Ok(Round::Held(format!(
                "trade {} gave less than the market had to: it is not trusted; trade on another, \
                 with --exchange",
                short.number
            )));
        }
        if self.pauses(now_ms) {
            return Ok(Round::Rest);
        }
        let Some(price) = price else {
            return Ok(Round::Held("the market's price is not known".into()));
        };
        let spent = self.store.traded_today(now_ms).await?;
        let day_left = NanoUsd(self.config.day_max.0.saturating_sub(spent.0).max(0));
        let wish = match wish(&self.config, stock, day_left, price) {
            Ok(Some(wish)) => wish,
            Ok(None) => return Ok(Round::Rest),
            Err(why) => return Ok(Round::Held(why.into())),
        };
        let unit = self.market.unit_attousd().await?;
        let now_s = self.now_s(now_ms).await?;
        let Some(plan) = plan(&self.config, wish, price, unit, now_s) else {
            return Ok(Round::Rest);
        };
        let quote = self.market.quote(plan.side, plan.amount_in).await?;
        if quote < plan.min_out {
            self.not_before_ms = now_ms.saturating_add(PAUSE_MS);
            return Ok(Round::Held(outside(&plan, quote, unit)));
        }
        let place = self.market.place();
        match self.store.begin_trade(&plan, &place, self.config.day_max, now_ms).await? {
            TradeBegun::Planned(trade) | TradeBegun::Another(trade) => {
                self.pursue(trade, now_ms).await
            }
            TradeBegun::OverDay { .. } => {
                Ok(Round::Held("the day's trades have reached their bound".into()))
            }
        }
    }

    /// The time that deadlines are judged by. A chain that nothing happens on tells the time of its
    /// last block; one may also be ahead.
    async fn now_s(&self, now_ms: u64) -> Result<u64, ControlError> {
        Ok(self.market.now_s().await?.max(now_ms / 1_000))
    }

    /// Sends a trade that is in the store, or asks what became of it, and posts that.
    async fn pursue(&mut self, open: DeskTrade, now_ms: u64) -> Result<Round, ControlError> {
        let number = open.number;
        if open.place != self.market.place() {
            return Ok(Round::Held(elsewhere(&open)));
        }
        let NewTrade { side, amount_in, min_out, deadline_s, .. } = open.plan;
        let order = Order { side, amount_in, min_out, deadline_s };
        let unit_attousd = self.market.unit_attousd().await?;
        let traded = match self.market.trade(&key(number), &order).await {
            Ok(traded) => traded,
            Err(SettleError::Refused(why)) => {
                warn!(number, side = side.as_str(), why, "the market refused a trade of the desk");
                self.not_before_ms = now_ms.saturating_add(PAUSE_MS);
                let refused = self.store.refuse_trade(number, &why, now_ms).await?;
                return Ok(Round::Refused(refused));
            }
            Err(SettleError::Pending(_)) => {
                // A chain that does not answer makes it no less late.
                let now_s = self.now_s(now_ms).await.unwrap_or(now_ms / 1_000);
                let late = now_s > deadline_s;
                return Ok(if late {
                    Round::Held(overdue(number))
                } else {
                    Round::Pending(number)
                });
            }
            Err(error) => return Err(error.into()),
        };
        let moved =
            TradeMoved { usd_units: traded.usd_units, joule_wei: traded.joule_wei, unit_attousd };
        let hash = traded.transaction.to_string();
        let done = self.store.finish_trade(number, &moved, &hash, now_ms).await?;
        if is_short(&done, unit_attousd) {
            // What moved is posted all the same: the books follow the tokens.
            warn!(number, amount_in, min_out, ?traded, "a trade gave less than the market had to");
        }
        info!(
            number,
            side = side.as_str(),
            usd = %done.purse_nanousd.unwrap_or_default(),
            joule = %done.purse_nanojoule.unwrap_or_default(),
            "the desk traded"
        );
        Ok(Round::Traded(done))
    }
}

/// A trade's idempotency key on chain.
fn key(number: u64) -> String {
    format!("desk:{number}")
}

/// Whether a trade took more than it was given, or gave less than it had to.
fn is_short(trade: &DeskTrade, unit_attousd: u64) -> bool {
    let Some(received) = trade.amount_out else { return false };
    let NewTrade { side, amount_in, min_out, .. } = trade.plan;
    let (purse, given) = match side {
        TradeSide::Buy => {
            let usd = trade.purse_nanousd.unwrap_or_default();
            (usd.0, amount_in.saturating_mul(unit_attousd.into()))
        }
        TradeSide::Sell => (trade.purse_nanojoule.unwrap_or_default().0, amount_in),
    };
    // The purse is floored: what left it is what was given, rounded up at most.
    let left = u128::from(purse.min(0).unsigned_abs());
    received < min_out || left > given.div_ceil(u128::from(NANO.unsigned_abs()))
}

/// Why a trade is neither sent nor asked after.
fn elsewhere(open: &DeskTrade) -> String {
    let TradePlace { chain_id, sender, market } = open.place;
    format!(
        "trade {} of {sender} on the market {market} of chain {chain_id} is not known to have ended, \
         and only that key can finish it there: start with it and --exchange {market} until it has",
        open.number
    )
}

/// What is said of a trade that takes too long.
fn overdue(number: u64) -> String {
    format!(
        "trade {number} is past its deadline and not final: it is asked after until it is, and nothing \
         else is traded; see that the chain's endpoint answers and that transactions can be paid for"
    )
}

/// Why a trade is not sent.
fn outside(plan: &NewTrade, quote: u128, unit_attousd: u64) -> String {
    let nano = u128::from(NANO.unsigned_abs());
    let billionths = |amount: u128| i64::try_from(amount).unwrap_or(i64::MAX);
    let shown = |amount: u128| match plan.side {
        TradeSide::Buy => format!("{} JOULE", NanoJoule(billionths(amount / nano))),
        TradeSide::Sell => {
            NanoUsd(billionths(amount.saturating_mul(unit_attousd.into()) / nano)).to_string()
        }
    };
    format!(
        "the market offers {}, the least that the time-weighted price allows is {}",
        shown(quote),
        shown(plan.min_out)
    )
}

#[cfg(test)]
mod tests;
