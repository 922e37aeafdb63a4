//! What one JOULE costs: a fixed price, or the market's time-weighted one as far as it is believed.
//!
//! Bills are in USD and do not depend on it. It decides how many JOULE a supplier gets for its share,
//! and what a supplier is paid that wants USD. A price that one reading says is believed where
//!
//! * it lies between two absolute bounds, so that nothing that is no price becomes one;
//! * it is no further from the last one that was believed than [`PriceLimits::move_bp`] for each
//!   started [`PriceLimits::move_per`] since: a market that jumps is followed step by step.
//!
//! Otherwise, and where the market does not answer, the last one stays. It is in the store before it is
//! used, and so outlives a restart. After [`PriceLimits::stale_after`] without a price the utility
//! deploys nothing new and pays no supplier in USD; what runs goes on, and is posted at the last price:
//! neither its customer nor its supplier did anything wrong, and the supplier's proofs are good on
//! chain as ever.

use std::time::Duration;

use kinesis_protocol::{JoulePrice, U256, money::NANO};

use crate::market::Reading;

const BP: u128 = 10_000;

/// Which prices are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceLimits {
    /// The lowest that is believed.
    pub min: JoulePrice,
    /// The highest.
    pub max: JoulePrice,
    /// By how much a price may differ from the last one, up or down, in ten-thousandths of the lower,
    /// for each started `move_per` since that was read.
    pub move_bp: u32,
    /// See `move_bp`.
    pub move_per: Duration,
    /// After how long without a price no new work is taken.
    pub stale_after: Duration,
    /// How often the market is asked.
    pub every: Duration,
    /// Whether the price of a market younger than its window counts: on a development chain, which
    /// was made a moment ago and is worth nothing.
    pub young: bool,
}

impl Default for PriceLimits {
    fn default() -> Self {
        Self {
            min: JoulePrice::new(1_000).expect("a positive price"),
            max: JoulePrice::new(1_000 * NANO).expect("a positive price"),
            move_bp: 2_000,
            move_per: Duration::from_secs(60),
            stale_after: Duration::from_secs(600),
            every: Duration::from_secs(2),
            young: false,
        }
    }
}

/// Why a price was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceRefused {
    /// The market has no time-weighted price yet.
    #[error("the market is younger than the window of its price")]
    Young,
    /// It is out of all bounds.
    #[error("the market's price of {attousd} atto-USD is no price between {min} and {max}")]
    Absurd {
        /// What it said.
        attousd: U256,
        /// The lowest that is believed.
        min: kinesis_protocol::NanoUsd,
        /// The highest.
        max: kinesis_protocol::NanoUsd,
    },
    /// It is too far from the last one.
    #[error("the market's price went from {last} to {price}, further than is believed at once")]
    Jump {
        /// The last one.
        last: kinesis_protocol::NanoUsd,
        /// The new one.
        price: kinesis_protocol::NanoUsd,
    },
}

/// A price that was believed, and when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Believed {
    /// The price.
    pub price: JoulePrice,
    /// When it was read, in milliseconds since 1970.
    pub at_ms: u64,
}

/// The price of a JOULE, as a state machine without I/O.
#[derive(Debug, Clone)]
pub struct PriceBook {
    limits: PriceLimits,
    fixed: Option<JoulePrice>,
    last: Option<Believed>,
    /// What is used until the next tick.
    in_use: Option<JoulePrice>,
    problem: Option<String>,
}

const fn usd(price: JoulePrice) -> kinesis_protocol::NanoUsd {
    kinesis_protocol::NanoUsd(price.nanousd())
}

impl PriceBook {
    /// A book with a fixed price, or with the last one that an earlier run believed.
    #[must_use]
    pub fn new(limits: PriceLimits, fixed: Option<JoulePrice>, last: Option<Believed>) -> Self {
        let in_use = fixed.or(last.map(|last| last.price));
        Self { limits, fixed, last, in_use, problem: None }
    }

    /// Whether a reading is believed, and what price it says. Changes nothing.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, reading: Reading, now_ms: u64) -> Result<Believed, PriceRefused> {
        let attousd = match reading {
            Reading::Mean(attousd) => attousd,
            Reading::Young { spot } if self.limits.young => spot,
            Reading::Young { .. } => return Err(PriceRefused::Young),
        };
        let (min, max) = (self.limits.min, self.limits.max);
        let price = u64::try_from(attousd / U256::from(NANO.unsigned_abs())).ok();
        let price = price.and_then(|nanousd| i64::try_from(nanousd).ok()).and_then(JoulePrice::new);
        let price = price
            .filter(|price| (min..=max).contains(price))
            .ok_or(PriceRefused::Absurd { attousd, min: usd(min), max: usd(max) })?;
        if let Some(last) = self.last {
            let per = self.limits.move_per.as_millis().max(1);
            let started = 1 + u128::from(now_ms.saturating_sub(last.at_ms)) / per;
            let most = started.saturating_mul(self.limits.move_bp.into());
            let (low, high) = (price.min(last.price), price.max(last.price));
            let (low, high) = (low.nanousd().unsigned_abs(), high.nanousd().unsigned_abs());
            if u128::from(high - low) * BP > u128::from(low).saturating_mul(most) {
                return Err(PriceRefused::Jump { last: usd(last.price), price: usd(price) });
            }
        }
        Ok(Believed { price, at_ms: now_ms })
    }

    /// Takes over what [`Self::check`] believed.
    pub fn believe(&mut self, believed: Believed) {
        self.last = Some(believed);
        self.problem = None;
        if self.in_use.is_none() {
            self.in_use = Some(believed.price);
        }
    }

    /// There was no price, or none to believe.
    pub fn missed(&mut self, why: impl ToString) {
        self.problem = Some(why.to_string());
    }

    /// A tick begins: what was believed last is used from now on. Whether that changed anything.
    pub fn turn(&mut self) -> bool {
        let before = self.in_use;
        self.in_use = self.fixed.or(self.last.map(|last| last.price)).or(before);
        self.in_use != before
    }

    /// The price of all postings until the next tick; `None` while none was ever believed.
    #[must_use]
    pub const fn in_use(&self) -> Option<JoulePrice> {
        self.in_use
    }

    /// The market's price as it was believed last.
    #[must_use]
    pub const fn market(&self) -> Option<Believed> {
        self.last
    }

    /// Whether the price is a fixed one.
    #[must_use]
    pub const fn is_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// Why there was no newer price, the last time one was asked for.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// How old the price in use is; `None` for a fixed one.
    #[must_use]
    pub fn age_ms(&self, now_ms: u64) -> Option<u64> {
        let last = self.last.filter(|_| self.fixed.is_none())?;
        Some(now_ms.saturating_sub(last.at_ms))
    }

    /// Whether the price is too old to take on anything new. A fixed one never is.
    #[must_use]
    pub fn is_stale(&self, now_ms: u64) -> bool {
        let most = self.limits.stale_after.as_millis();
        self.age_ms(now_ms).is_some_and(|age| u128::from(age) > most)
    }

    /// Whether the market's price is too old to trade by.
    #[must_use]
    pub fn is_market_stale(&self, now_ms: u64) -> bool {
        let most = self.limits.stale_after.as_millis();
        self.last.is_none_or(|last| u128::from(now_ms.saturating_sub(last.at_ms)) > most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mean(nanousd: u64) -> Reading {
        Reading::Mean(U256::from(nanousd) * U256::from(NANO.unsigned_abs()))
    }

    fn price(nanousd: i64) -> JoulePrice {
        JoulePrice::new(nanousd).unwrap()
    }

    fn told(
        book: &mut PriceBook,
        reading: Reading,
        now_ms: u64,
    ) -> Result<JoulePrice, PriceRefused> {
        let believed = book.check(reading, now_ms)?;
        book.believe(believed);
        Ok(believed.price)
    }

    fn book() -> PriceBook {
        let last = Believed { price: price(10_000_000), at_ms: 1_000 };
        PriceBook::new(PriceLimits::default(), None, Some(last))
    }

    #[test]
    fn a_market_that_lies_is_not_believed() {
        let mut first = PriceBook::new(PriceLimits::default(), None, None);
        for reading in [
            mean(0),
            Reading::Mean(U256::from(1)),
            Reading::Mean(U256::MAX),
            mean(999),
            mean(1_000_000_000_001),
        ] {
            let refused = told(&mut first, reading, 5);
            assert!(
                matches!(refused, Err(PriceRefused::Absurd { .. })),
                "{reading:?}: {refused:?}"
            );
        }
        assert_eq!(
            told(&mut first, Reading::Young { spot: U256::MAX }, 5),
            Err(PriceRefused::Young)
        );
        assert_eq!(first.in_use(), None, "nothing is invented");

        let mut book = book();
        for lie in [mean(12_000_001), mean(8_333_333), mean(5_000), mean(900_000_000_000)] {
            let refused = told(&mut book, lie, 2_000);
            assert!(matches!(refused, Err(PriceRefused::Jump { .. })), "{lie:?}: {refused:?}");
        }
        book.turn();
        assert_eq!(book.in_use(), Some(price(10_000_000)), "the last one stays");
        assert_eq!(told(&mut book, mean(12_000_000), 2_000), Ok(price(12_000_000)));
    }

    #[test]
    fn a_price_that_really_moved_is_reached_step_by_step() {
        let mut book = book();
        let double = mean(20_000_000);
        assert!(told(&mut book, double, 60_999).is_err());
        // 100 % is five times 20 %.
        assert!(told(&mut book, double, 240_999).is_err());
        assert_eq!(told(&mut book, double, 241_000), Ok(price(20_000_000)));
    }

    #[test]
    fn a_tick_has_one_price() {
        let mut book = book();
        told(&mut book, mean(10_500_000), 2_000).unwrap();
        assert_eq!(book.in_use(), Some(price(10_000_000)));
        assert!(book.turn());
        assert_eq!(book.in_use(), Some(price(10_500_000)));
        assert!(!book.turn());
    }

    #[test]
    fn a_fixed_price_wins_and_never_ages() {
        let last = Believed { price: price(5), at_ms: 0 };
        let mut book = PriceBook::new(PriceLimits::default(), Some(price(7)), Some(last));
        assert_eq!((book.in_use(), book.age_ms(u64::MAX)), (Some(price(7)), None));
        assert!(!book.is_stale(u64::MAX));
        assert!(book.is_market_stale(u64::MAX));
        assert!(!book.turn());
    }

    #[test]
    fn a_price_grows_old() {
        let mut book = book();
        assert!(!book.is_stale(601_000));
        assert!(book.is_stale(601_001));
        book.missed("the chain is away");
        assert_eq!(book.problem(), Some("the chain is away"));
        told(&mut book, mean(10_000_000), 601_001).unwrap();
        assert!(!book.is_stale(601_002) && book.problem().is_none());
    }

    #[test]
    fn a_young_market_counts_only_where_it_may() {
        let young = Reading::Young { spot: U256::from(10_u64.pow(16)) };
        let limits = PriceLimits { young: true, ..PriceLimits::default() };
        let mut book = PriceBook::new(limits, None, None);
        assert_eq!(told(&mut book, young, 1), Ok(price(10_000_000)));
        assert_eq!(book.in_use(), Some(price(10_000_000)));
    }

    proptest! {
        /// Whatever a market says, whenever: the price in use is one it said, within the bounds, and
        /// never further from the one before than the time since allows.
        #[test]
        fn whatever_a_market_says(
            says in prop::collection::vec(
                (prop_oneof![Just(0_u128), Just(u128::MAX), 1..10_u128.pow(30)], 0..200_000_u64),
                1..60,
            ),
        ) {
            let limits = PriceLimits::default();
            let mut book = PriceBook::new(limits, None, None);
            let mut now = 0;
            for (attousd, passes) in says {
                now += passes;
                let before = book.market();
                if let Ok(believed) = book.check(Reading::Mean(U256::from(attousd)), now) {
                    book.believe(believed);
                    prop_assert_eq!(
                        u128::from(believed.price.nanousd().unsigned_abs()),
                        attousd / u128::from(NANO.unsigned_abs())
                    );
                    prop_assert!((limits.min..=limits.max).contains(&believed.price));
                    if let Some(before) = before {
                        let steps = 1 + (now - before.at_ms) / 60_000;
                        let (a, b) = (before.price.nanousd(), believed.price.nanousd());
                        let (low, high) = (i128::from(a.min(b)), i128::from(a.max(b)));
                        prop_assert!((high - low) * 5 <= low * i128::from(steps));
                    }
                } else {
                    prop_assert_eq!(book.market(), before);
                }
                book.turn();
                prop_assert_eq!(book.in_use(), book.market().map(|last| last.price));
            }
        }
    }
}
