//! Amounts of JOULE to the last wei, and moments, as people write and read them.

use std::{fmt, str::FromStr};

use alloy::primitives::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Decimals of JOULE.
const DECIMALS: usize = 18;
/// The longest text that is looked at.
const TEXT_MAX: usize = 64;

/// An amount of JOULE in wei (1e-18). Written with a point, exactly: `12.5` is 12.5e18 wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Joules(pub U256);

/// Why a text is no amount of JOULE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an amount of JOULE such as 12.5 with at most 18 decimals, got \"{0}\"")]
pub struct JoulesError(String);

impl FromStr for Joules {
    type Err = JoulesError;

    fn from_str(text: &str) -> Result<Self, JoulesError> {
        parse(text).map(Self).ok_or_else(|| JoulesError(text.chars().take(40).collect()))
    }
}

fn parse(text: &str) -> Option<U256> {
    units(text, DECIMALS)
}

/// A decimal number in units of its last decimal; `None` where it has more decimals than that.
pub(crate) fn units(text: &str, decimals: usize) -> Option<U256> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let pointless = fraction.is_empty() && text.contains('.');
    if text.len() > TEXT_MAX || fraction.len() > decimals || whole.is_empty() || pointless {
        return None;
    }
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let unit = U256::from(10).pow(U256::from(decimals));
    let whole = U256::from_str_radix(whole, 10).ok()?.checked_mul(unit)?;
    // One digit more than is there: of no decimals, none is left to be read.
    let padded = format!("0{fraction:0<decimals$}");
    whole.checked_add(U256::from_str_radix(&padded, 10).ok()?)
}

impl fmt::Display for Joules {
    /// The exact amount, without zeros that say nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&decimal(self.0, DECIMALS))
    }
}

/// In JSON an amount is text, in wei: no reader of numbers keeps 96 bits.
impl Serialize for Joules {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Joules {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        U256::from_str_radix(&text, 10).map(Self).map_err(D::Error::custom)
    }
}

/// `amount` billionths-and-the-like as a decimal number: `1500` of three decimals is `1.5`.
#[must_use]
pub fn decimal(amount: U256, decimals: usize) -> String {
    let digits = format!("{amount:0>width$}", amount = amount.to_string(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// A number of 256 bits is text in JSON.
pub(crate) mod text {
    use alloy::primitives::U256;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(number: &U256, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(number)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<U256, D::Error> {
        U256::from_str_radix(&String::deserialize(d)?, 10).map_err(D::Error::custom)
    }
}

/// A length of time in the largest unit that it is a whole number of: `90 d`, `36 h`, `5 min`, `7 s`.
#[must_use]
pub fn span(seconds: u64) -> String {
    let unit = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let found = unit.into_iter().find(|(of, _)| seconds > 0 && seconds.is_multiple_of(*of));
    found.map_or_else(|| format!("{seconds} s"), |(of, name)| format!("{} {name}", seconds / of))
}

/// A moment in seconds since 1970, as a date and time in UTC.
#[must_use]
pub fn moment(seconds: u64) -> String {
    const DAY_S: u64 = 86_400;
    // Beyond the year 9999 it means "never".
    if seconds > 253_402_300_799 {
        return "never".to_owned();
    }
    let (days, of_day) = (seconds / DAY_S, seconds % DAY_S);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The date of a day since 1970: years are counted from March, so that leap days come last.
const fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        let wei = |text: &str| text.parse::<Joules>().map(|joules| joules.0.to_string());
        assert_eq!(wei("12.5").unwrap(), "12500000000000000000");
        assert_eq!(wei("0.000000000000000001").unwrap(), "1");
        assert_eq!(wei("1").unwrap(), "1000000000000000000");
        let long = "9".repeat(80);
        for bad in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1,5", "0x10", "1_000", " 1", &long] {
            assert!(wei(bad).is_err(), "{bad}");
        }
        assert!(wei("0.0000000000000000001").is_err(), "a nineteenth decimal is not dropped");
    }

    #[test]
    fn spans_are_whole() {
        let spans =
            [(0, "0 s"), (7, "7 s"), (300, "5 min"), (129_600, "36 h"), (7_776_000, "90 d")];
        for (seconds, text) in spans {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(moment(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(moment(1_795_277_639), "2026-11-21 16:13:59 UTC");
        assert_eq!(moment(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(moment(u64::MAX), "never");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(wei in any::<u128>()) {
            let joules = Joules(U256::from(wei));
            prop_assert_eq!(joules.to_string().parse::<Joules>().unwrap(), joules);
            let json = serde_json::to_string(&joules).unwrap();
            prop_assert_eq!(serde_json::from_str::<Joules>(&json).unwrap(), joules);
        }
    }
}
