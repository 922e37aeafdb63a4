//! What one JOULE costs: a fixed price, or the market's time-weighted one as far as it is believed.
//!
//! Bills are in USD and do not depend on it. It decides how many JOULE a supplier gets for its share,
//! and what a supplier is paid that wants USD. A price that one reading says is believed where
//!
//! * it lies between two absolute bounds, so that nothing that is no price becomes one;
//! * it is no further than [`PriceLimits::move_bp`] from all that was believed in its *period*, and, as
//!   the first of a new one, in the period before. A period begins with a price and lasts
//!   [`PriceLimits::move_per`]; after a silence, the first of the next may be so far for each that has
//!   passed. A market that jumps is followed step by step, and however often it is asked, the price
//!   moves by 20 % in a period, and across the border of two by no more than twice that, one on the
//!   other.
//!
//! Otherwise, and where the market does not answer, the last one stays. It is in the store before it is
//! used, with its period, and so both outlive a restart. After [`PriceLimits::stale_after`] without a price the utility
//! deploys nothing new and pays no supplier in USD; what runs goes on, and is posted at the last price:
//! neither its customer nor its supplier did anything wrong, and the supplier's proofs are good on
//! chain as ever.

use std::time::Duration;

use kinesis_protocol::{JoulePrice, U256, money::NANO};
pub use kinesis_store::BelievedPrice as Believed;

use crate::market::Reading;

const BP: u128 = 10_000;

/// Which prices are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriceLimits {
    /// The lowest that is believed.
    pub min: JoulePrice,
    /// The highest.
    pub max: JoulePrice,
    /// By how much a price may differ from those of its period, up or down, in ten-thousandths of the
    /// lower.
    pub move_bp: u32,
    /// How long a period lasts.
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
    /// It is too far from those before.
    #[error(
        "the market's price went from {from} to {price}, further than is believed in that time"
    )]
    Jump {
        /// The one before that it is too far from.
        from: kinesis_protocol::NanoUsd,
        /// The new one.
        price: kinesis_protocol::NanoUsd,
    },
}

/// The same, read now at the latest: a clock that was ahead when it was kept, and is right by now,
/// would have it never grow old, nor its period end.
#[must_use]
pub fn not_ahead(kept: Believed, now_ms: u64) -> Believed {
    Believed { at_ms: kept.at_ms.min(now_ms), since_ms: kept.since_ms.min(now_ms), ..kept }
}

/// Whether two prices are within `most_bp` of the lower.
fn is_near(one: JoulePrice, other: JoulePrice, most_bp: u128) -> bool {
    let (low, high) = (one.min(other).nanousd(), one.max(other).nanousd());
    let (low, high) = (u128::from(low.unsigned_abs()), u128::from(high.unsigned_abs()));
    (high - low).saturating_mul(BP) <= low.saturating_mul(most_bp)
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
        let fresh = Believed { price, at_ms: now_ms, low: price, high: price, since_ms: now_ms };
        let Some(last) = self.last else { return Ok(fresh) };
        let per = self.limits.move_per.as_millis().max(1);
        let passed = u128::from(now_ms.saturating_sub(last.since_ms)) / per;
        let most_bp = passed.max(1).saturating_mul(self.limits.move_bp.into());
        let far = |from: &JoulePrice| !is_near(*from, price, most_bp);
        if let Some(from) = [last.low, last.high].into_iter().find(far) {
            return Err(PriceRefused::Jump { from: usd(from), price: usd(price) });
        }
        if passed > 0 {
            return Ok(fresh);
        }
        let (low, high) = (last.low.min(price), last.high.max(price));
        Ok(Believed { low, high, since_ms: last.since_ms, ..fresh })
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

    fn first(nanousd: i64, at_ms: u64) -> Believed {
        let price = price(nanousd);
        Believed { price, at_ms, low: price, high: price, since_ms: at_ms }
    }

    fn book() -> PriceBook {
        PriceBook::new(PriceLimits::default(), None, Some(first(10_000_000, 1_000)))
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
        assert!(told(&mut book, double, 61_000).is_err());
        // 100 % is five times 20 %.
        assert!(told(&mut book, double, 300_999).is_err());
        assert_eq!(told(&mut book, double, 301_000), Ok(price(20_000_000)));
    }

    #[test]
    fn a_price_that_creeps_moves_no_further_than_one_that_jumps() {
        for (up, restarts) in [(true, false), (false, false), (true, true)] {
            let (mut book, mut now, mut refused) = (book(), 1_000, 0);
            let mut within = Vec::new();
            // 20 % every 2 s, as far as it is believed: 120 % a minute would be 1.2^30.
            while now < 181_000 {
                now += 2_000;
                let last = book.market().unwrap();
                if restarts {
                    book = PriceBook::new(PriceLimits::default(), None, Some(last));
                }
                let last = last.price.nanousd().unsigned_abs();
                let next = if up { last / 10 * 12 } else { last * 10 / 12 + 1 };
                refused += usize::from(told(&mut book, mean(next), now).is_err());
                within.push((now, book.market().unwrap().price.nanousd()));
            }
            assert!(refused > 80, "{within:?}");
            // A step at once, one in each of the two minutes that followed, one at the end of the third.
            let (_, end) = within[within.len() - 1];
            let moved = if up { end * 1_000 / 10_000_000 } else { 10_000_000 * 1_000 / end };
            assert!(moved <= 1_729, "{moved}: {within:?}");
            // The market is followed all the same.
            assert!(moved > 1_400, "{moved}: {within:?}");
        }
    }

    #[test]
    fn a_price_of_the_future_is_one_of_now() {
        let kept = not_ahead(first(10_000_000, u64::MAX), 5_000);
        assert_eq!(kept, first(10_000_000, 5_000));
        let book = PriceBook::new(PriceLimits::default(), None, Some(kept));
        assert!(book.is_stale(605_001));
        assert_eq!(not_ahead(kept, 9_000), kept);
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
        let last = Some(first(5, 0));
        let mut book = PriceBook::new(PriceLimits::default(), Some(price(7)), last);
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
        /// Whatever a market says, whenever, and however often the utility is restarted: the price in
        /// use is one it said, within the bounds; within any minute no two that were believed are
        /// further apart than twice 20 %, one on the other, and each further minute adds one more.
        #[test]
        fn whatever_a_market_says(
            says in prop::collection::vec((say(), 0..9_u8, any::<bool>()), 1..120),
        ) {
            let limits = PriceLimits::default();
            let mut book = PriceBook::new(limits, None, None);
            let (mut now, mut believed) = (0, Vec::<(u64, i64)>::new());
            for ((says, passes), pause, restart) in says {
                now += if pause == 0 { passes } else { passes % 5_000 };
                let before = book.market();
                if restart {
                    book = PriceBook::new(limits, None, before);
                }
                let last = before.map_or(10_000_000, |last| last.price.nanousd().unsigned_abs());
                let attousd = match says {
                    Say::Price(attousd) => attousd,
                    Say::Share(bp) => u128::from(last) * u128::from(bp) * 100_000,
                };
                if let Ok(price) = told(&mut book, Reading::Mean(U256::from(attousd)), now) {
                    prop_assert_eq!(
                        u128::from(price.nanousd().unsigned_abs()),
                        attousd / u128::from(NANO.unsigned_abs())
                    );
                    prop_assert!((limits.min..=limits.max).contains(&price));
                    believed.push((now, price.nanousd()));
                } else {
                    prop_assert_eq!(book.market(), before);
                }
                book.turn();
                prop_assert_eq!(book.in_use(), book.market().map(|last| last.price));
            }
            for (i, (then, one)) in believed.iter().enumerate() {
                for (at, other) in &believed[i..] {
                    let (low, high) = (*one.min(other), *one.max(other));
                    let minutes = i32::try_from((at - then) / 60_000).unwrap();
                    let most = 1.2_f64.powi(minutes.saturating_add(2)) * (1.0 + 1e-9);
                    let ratio = high as f64 / low as f64;
                    prop_assert!(ratio <= most, "{} to {} in {} ms", one, other, at - then);
                }
            }
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Say {
        /// This.
        Price(u128),
        /// So many ten-thousandths of what was believed last.
        Share(u16),
    }

    /// What a market says, and how long after the last time.
    fn say() -> impl Strategy<Value = (Say, u64)> {
        let say = prop_oneof![
            1 => Just(Say::Price(0)),
            1 => Just(Say::Price(u128::MAX)),
            2 => (1..10_u128.pow(30)).prop_map(Say::Price),
            12 => (12_000..=12_000_u16).prop_map(Say::Share),
            6 => (8_334..=12_000_u16).prop_map(Say::Share),
            2 => (5_000..20_000_u16).prop_map(Say::Share),
        ];
        (say, 0..400_000_u64)
    }
}
