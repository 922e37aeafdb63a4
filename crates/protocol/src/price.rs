//! Unit prices: atto-USD for each unit of each counter.

use serde::{Deserialize, Serialize};

use crate::{
    money::{AttoUsd, NanoUsd, floor_to_nano},
    usage::Counters,
};

/// What a supplier asks for each unit of each counter, in atto-USD. Zero means free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// Per millisecond of work.
    pub wall_ms: AttoUsd,
    /// Per millisecond of CPU time.
    pub cpu_ms: AttoUsd,
    /// Per millisecond of one GPU held.
    pub gpu_ms: AttoUsd,
    /// Per MiB of granted memory and millisecond of work.
    pub mem_mib_ms: AttoUsd,
    /// Per MiB of granted GPU memory and millisecond of work.
    pub vram_mib_ms: AttoUsd,
    /// Per millijoule.
    pub energy_mj: AttoUsd,
    /// Per byte received.
    pub rx_bytes: AttoUsd,
    /// Per byte sent.
    pub tx_bytes: AttoUsd,
    /// Per request.
    pub requests: AttoUsd,
}

impl Prices {
    /// The highest unit price that is taken seriously: a millionth of a dollar.
    pub const UNIT_MAX: AttoUsd = AttoUsd(1_000_000_000_000);

    /// The prices by name, in the order of [`Counters::by_name`].
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, AttoUsd); 9] {
        [
            ("wall_ms", self.wall_ms),
            ("cpu_ms", self.cpu_ms),
            ("gpu_ms", self.gpu_ms),
            ("mem_mib_ms", self.mem_mib_ms),
            ("vram_mib_ms", self.vram_mib_ms),
            ("energy_mj", self.energy_mj),
            ("rx_bytes", self.rx_bytes),
            ("tx_bytes", self.tx_bytes),
            ("requests", self.requests),
        ]
    }

    /// Says which price is out of bounds.
    ///
    /// # Errors
    /// A sentence that names the counter.
    pub fn validate(&self) -> Result<(), String> {
        match self.by_name().into_iter().find(|(_, price)| *price > Self::UNIT_MAX) {
            None => Ok(()),
            Some((name, price)) => Err(format!(
                "price of {name} is {} atto-USD, the most is {}",
                price.0,
                Self::UNIT_MAX.0
            )),
        }
    }

    /// What all of `used` costs, floored once. Monotone in every counter.
    #[must_use]
    pub fn cost(&self, used: &Counters) -> NanoUsd {
        floor_to_nano(
            self.by_name()
                .into_iter()
                .zip(used.by_name())
                .map(|((_, price), (_, units))| price.times(units))
                .fold(0_i128, i128::saturating_add),
        )
    }

    /// What an hour of full use of `granted` costs: the figure quotes and caps speak of.
    /// Traffic and requests are not in it, since no one can say them beforehand.
    #[must_use]
    pub fn per_hour(&self, granted: &crate::resources::Resources) -> NanoUsd {
        const HOUR_MS: u64 = 3_600_000;
        self.cost(&Counters {
            wall_ms: HOUR_MS,
            cpu_ms: HOUR_MS * u64::from(granted.cpu_millis) / 1000,
            gpu_ms: HOUR_MS * u64::from(granted.gpus),
            mem_mib_ms: HOUR_MS * u64::from(granted.mem_mib),
            vram_mib_ms: HOUR_MS * u64::from(granted.vram_mib),
            ..Counters::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn posting_differences_adds_up_to_one_floor(
            steps in prop::collection::vec((0..10_000_u64, 0..10_000_u64), 1..50),
            wall in 0..1_000_000_000_u64,
            cpu in 0..1_000_000_000_u64,
        ) {
            let prices = Prices { wall_ms: AttoUsd(wall), cpu_ms: AttoUsd(cpu), ..Prices::default() };
            let (mut used, mut posted) = (Counters::default(), NanoUsd::ZERO);
            for (w, c) in steps {
                used.wall_ms += w;
                used.cpu_ms += c;
                let difference = prices.cost(&used) - posted;
                prop_assert!(difference >= NanoUsd::ZERO);
                posted += difference;
            }
            prop_assert_eq!(posted, prices.cost(&used));
        }
    }

    #[test]
    fn the_dearest_hour_does_not_overflow() {
        let prices = Prices { wall_ms: AttoUsd(u64::MAX), ..Prices::default() };
        assert_eq!(prices.cost(&Counters { wall_ms: u64::MAX, ..Counters::default() }).0, i64::MAX);
        assert!(prices.validate().unwrap_err().contains("wall_ms"));
    }
}
