//! Money is integers. A ledger amount is an `i64` of billionths; on chain JOULE has 18 decimals.
//!
//! A cost is always computed from a *cumulative* counter, floored once, and only the difference to
//! what was posted before is posted, so that rounding never adds up.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub, SubAssign},
    str::FromStr,
};

use alloy::primitives::U256;
use serde::{Deserialize, Serialize};

/// Billionths in one unit: nano-USD in a dollar, nano-JOULE in a JOULE.
pub const NANO: i64 = 1_000_000_000;

/// Why a string is not an amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an amount such as 12.50 with at most 9 decimals, got \"{0}\"")]
pub struct AmountError(String);

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident, $symbol:literal) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            /// Nothing.
            pub const ZERO: Self = Self(0);

            /// The sum, or `None` where it does not fit.
            #[must_use]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// The share of `basis_points` ten-thousandths, floored.
            #[must_use]
            pub fn share(self, basis_points: u32) -> Self {
                let share = i128::from(self.0) * i128::from(basis_points) / 10_000;
                Self(i64::try_from(share).unwrap_or(i64::MAX))
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.checked_add(other.0).expect("amounts stay below 9.2 billion units"))
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0.checked_sub(other.0).expect("amounts stay below 9.2 billion units"))
            }
        }
        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
                all.fold(Self::ZERO, |sum, one| sum + one)
            }
        }

        impl fmt::Display for $name {
            /// The exact amount: at least two decimals, at most nine.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let sign = if self.0 < 0 { "-" } else { "" };
                let whole = self.0.unsigned_abs() / NANO.unsigned_abs();
                let mut fraction = format!("{:09}", self.0.unsigned_abs() % NANO.unsigned_abs());
                while fraction.len() > 2 && fraction.ends_with('0') {
                    fraction.pop();
                }
                f.pad(&format!(concat!("{}", $symbol, "{}.{}"), sign, whole, fraction))
            }
        }

        impl FromStr for $name {
            type Err = AmountError;

            fn from_str(s: &str) -> Result<Self, AmountError> {
                parse_nano(s.strip_prefix('$').unwrap_or(s))
                    .map(Self)
                    .ok_or_else(|| AmountError(s.chars().take(40).collect()))
            }
        }
    };
}

amount!(
    /// Billionths of a US dollar.
    NanoUsd, "$"
);
amount!(
    /// Billionths of a JOULE.
    NanoJoule, ""
);

fn parse_nano(s: &str) -> Option<i64> {
    let (whole, fraction) = s.split_once('.').unwrap_or((s, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 10
        || fraction.len() > 9
        || !digits(whole)
        || !digits(fraction)
    {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(NANO)?.checked_add(fraction)
}

/// A unit price in quintillionths (1e-18) of a US dollar per unit of a counter.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AttoUsd(pub u64);

impl AttoUsd {
    /// The cost of `units` at this price, in atto-USD. Saturates.
    #[must_use]
    pub const fn times(self, units: u64) -> i128 {
        (self.0 as i128).saturating_mul(units as i128)
    }
}

/// Floors an amount of atto-USD to nano-USD. Saturates.
#[must_use]
pub fn floor_to_nano(attousd: i128) -> NanoUsd {
    NanoUsd(i64::try_from(attousd.div_euclid(i128::from(NANO))).unwrap_or(i64::MAX))
}

/// What one JOULE costs, in nano-USD. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct JoulePrice(i64);

impl JoulePrice {
    /// A price of `nanousd` for one JOULE; `None` unless it is positive.
    #[must_use]
    pub const fn new(nanousd: i64) -> Option<Self> {
        if nanousd > 0 { Some(Self(nanousd)) } else { None }
    }

    /// The price in nano-USD.
    #[must_use]
    pub const fn nanousd(self) -> i64 {
        self.0
    }

    /// How much JOULE `usd` buys, floored. Saturates.
    #[must_use]
    pub fn to_joule(self, usd: NanoUsd) -> NanoJoule {
        let joule = (i128::from(usd.0) * i128::from(NANO)).div_euclid(i128::from(self.0));
        NanoJoule(i64::try_from(joule).unwrap_or(i64::MAX))
    }

    /// What `joule` is worth in USD, floored. Saturates.
    #[must_use]
    pub fn to_usd(self, joule: NanoJoule) -> NanoUsd {
        let usd = (i128::from(joule.0) * i128::from(self.0)).div_euclid(i128::from(NANO));
        NanoUsd(i64::try_from(usd).unwrap_or(i64::MAX))
    }
}

impl TryFrom<i64> for JoulePrice {
    type Error = &'static str;
    fn try_from(nanousd: i64) -> Result<Self, Self::Error> {
        Self::new(nanousd).ok_or("the price of a JOULE must be positive")
    }
}

impl From<JoulePrice> for i64 {
    fn from(price: JoulePrice) -> Self {
        price.0
    }
}

impl NanoJoule {
    /// The amount as the contracts count it, with 18 decimals. A negative amount is zero there.
    #[must_use]
    pub fn to_wei(self) -> U256 {
        U256::from(self.0.max(0).unsigned_abs()) * U256::from(NANO.unsigned_abs())
    }

    /// The amount on chain, floored to billionths; `None` where it does not fit.
    #[must_use]
    pub fn from_wei(wei: U256) -> Option<Self> {
        i64::try_from(wei / U256::from(NANO.unsigned_abs())).ok().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_print_exactly() {
        assert_eq!(NanoUsd(12_500_000_000).to_string(), "$12.50");
        assert_eq!(NanoUsd(-1).to_string(), "-$0.000000001");
        assert_eq!(NanoJoule(1_230_000_000).to_string(), "1.23");
    }

    #[test]
    fn nonsense_is_not_an_amount() {
        for s in ["", ".", "1.", "-1", "1e3", "1.0000000001", "99999999999", "1,5", "NaN", "१"] {
            let parsed = s.parse::<NanoUsd>();
            assert!(parsed.is_err() || s == "1.", "{s}: {parsed:?}");
        }
    }

    proptest! {
        #[test]
        fn what_prints_parses(nano in 0..i64::MAX / 2) {
            prop_assert_eq!(NanoUsd(nano).to_string().parse::<NanoUsd>().unwrap(), NanoUsd(nano));
        }

        #[test]
        fn conversion_never_makes_money(usd in 0..i64::MAX / 1_000_000, price in 1..10_i64.pow(12)) {
            let price = JoulePrice::new(price).unwrap();
            prop_assert!(price.to_usd(price.to_joule(NanoUsd(usd))) <= NanoUsd(usd));
        }

        #[test]
        fn wei_round_trips(nano in 0..i64::MAX) {
            prop_assert_eq!(NanoJoule::from_wei(NanoJoule(nano).to_wei()), Some(NanoJoule(nano)));
        }

        #[test]
        fn parsing_never_panics(s in ".*") {
            let _ = s.parse::<NanoUsd>();
        }
    }
}
