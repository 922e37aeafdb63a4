//! Usage: counters that only grow, per lease.
//!
//! A lost, repeated or reordered report costs nothing, since the next one carries the total. The
//! utility believes a report only within [`Counters::exceeds`].

use serde::{Deserialize, Deserializer, Serialize};

use crate::resources::Resources;

/// Whether energy was read off hardware or computed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum EnergySource {
    /// Computed from CPU and GPU time and a rated power.
    #[default]
    Estimated,
    /// Read from the machine's own energy counter (RAPL, NVML).
    Measured,
}

impl EnergySource {
    /// `estimated` or `measured`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Estimated => "estimated",
            Self::Measured => "measured",
        }
    }
}

fn known_source<'de, D: Deserializer<'de>>(from: D) -> Result<EnergySource, D::Error> {
    let measured = String::deserialize(from)? == EnergySource::Measured.as_str();
    Ok(if measured { EnergySource::Measured } else { EnergySource::Estimated })
}

/// Everything a lease has used since it was granted. Cumulative and monotone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Milliseconds in which the lease did work for somebody: a request in flight, a job running.
    pub wall_ms: u64,
    /// Milliseconds of CPU time, all cores added.
    pub cpu_ms: u64,
    /// Milliseconds for which GPUs were held, all GPUs added.
    pub gpu_ms: u64,
    /// Granted memory times working time: MiB x ms.
    pub mem_mib_ms: u64,
    /// Granted GPU memory times working time: MiB x ms.
    pub vram_mib_ms: u64,
    /// Energy in millijoules.
    pub energy_mj: u64,
    /// Where `energy_mj` comes from. What this version does not know counts as estimated.
    #[serde(deserialize_with = "known_source")]
    pub energy_source: EnergySource,
    /// Bytes of request bodies received.
    pub rx_bytes: u64,
    /// Bytes of response bodies sent.
    pub tx_bytes: u64,
    /// Requests answered to their end.
    pub requests: u64,
}

/// More than this many watts for each granted core or GPU is not believed.
pub const WATTS_PER_CORE_MAX: u64 = 50;
/// More than this many watts for each held GPU is not believed.
pub const WATTS_PER_GPU_MAX: u64 = 1_500;

impl Counters {
    /// The counters by name, in the order of [`crate::price::Prices::by_name`].
    #[must_use]
    pub const fn by_name(&self) -> [(&'static str, u64); 9] {
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

    /// Whether no counter is below the one in `earlier`.
    #[must_use]
    pub fn covers(&self, earlier: &Self) -> bool {
        self.by_name().iter().zip(earlier.by_name()).all(|((_, now), (_, then))| *now >= then)
    }

    /// The larger of both, counter by counter: what two honest copies agree on after a crash.
    #[must_use]
    pub fn max(&self, other: &Self) -> Self {
        Self {
            wall_ms: self.wall_ms.max(other.wall_ms),
            cpu_ms: self.cpu_ms.max(other.cpu_ms),
            gpu_ms: self.gpu_ms.max(other.gpu_ms),
            mem_mib_ms: self.mem_mib_ms.max(other.mem_mib_ms),
            vram_mib_ms: self.vram_mib_ms.max(other.vram_mib_ms),
            energy_mj: self.energy_mj.max(other.energy_mj),
            // A side without energy says nothing of where it comes from.
            energy_source: match (self.energy_mj, other.energy_mj) {
                (0, 1..) => other.energy_source,
                (1.., 0) => self.energy_source,
                _ => self.energy_source.min(other.energy_source),
            },
            rx_bytes: self.rx_bytes.max(other.rx_bytes),
            tx_bytes: self.tx_bytes.max(other.tx_bytes),
            requests: self.requests.max(other.requests),
        }
    }

    /// The most that a lease with `granted` resources can have used, when it may have worked for at
    /// most `wall_ms`, and when others counted `traffic` for it.
    #[must_use]
    pub fn ceiling(granted: &Resources, wall_ms: u64, traffic: &Traffic) -> Self {
        let cores_ms = wall_ms.saturating_mul(u64::from(granted.cpu_millis)).div_ceil(1000);
        let gpu_ms = wall_ms.saturating_mul(u64::from(granted.gpus));
        Self {
            wall_ms,
            // The scheduler may run a little past its quota within a period.
            cpu_ms: cores_ms.saturating_add(cores_ms / 10).saturating_add(100),
            gpu_ms,
            mem_mib_ms: wall_ms.saturating_mul(u64::from(granted.mem_mib)),
            vram_mib_ms: wall_ms.saturating_mul(u64::from(granted.vram_mib)),
            energy_mj: cores_ms
                .saturating_add(100)
                .saturating_mul(WATTS_PER_CORE_MAX)
                .saturating_add(gpu_ms.saturating_mul(WATTS_PER_GPU_MAX)),
            energy_source: EnergySource::Measured,
            rx_bytes: traffic.rx_bytes,
            tx_bytes: traffic.tx_bytes,
            requests: traffic.requests,
        }
    }

    /// The first counter that is above `ceiling`, with both values; `None` where all keep it.
    #[must_use]
    pub fn exceeds(&self, ceiling: &Self) -> Option<(&'static str, u64, u64)> {
        self.by_name()
            .into_iter()
            .zip(ceiling.by_name())
            .find(|((_, used), (_, most))| used > most)
            .map(|((name, used), (_, most))| (name, used, most))
    }
}

/// What a utility's own ingress counted for a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of request bodies it sent to the lease.
    pub rx_bytes: u64,
    /// Bytes of response bodies it got from the lease.
    pub tx_bytes: u64,
    /// Requests it sent to the lease.
    pub requests: u64,
}

impl Traffic {
    /// No bound: for jobs, whose traffic no ingress sees and nobody prices.
    pub const UNBOUNDED: Self = Self { rx_bytes: u64::MAX, tx_bytes: u64::MAX, requests: u64::MAX };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counters() -> impl Strategy<Value = Counters> {
        prop::array::uniform9(0..u64::MAX).prop_map(|v| Counters {
            wall_ms: v[0],
            cpu_ms: v[1],
            gpu_ms: v[2],
            mem_mib_ms: v[3],
            vram_mib_ms: v[4],
            energy_mj: v[5],
            energy_source: EnergySource::Estimated,
            rx_bytes: v[6],
            tx_bytes: v[7],
            requests: v[8],
        })
    }

    proptest! {
        #[test]
        fn the_larger_pair_covers_both(a in counters(), b in counters()) {
            let max = a.max(&b);
            prop_assert!(max.covers(&a) && max.covers(&b));
            prop_assert_eq!(max, b.max(&a));
        }

        #[test]
        fn a_ceiling_never_overflows(wall in any::<u64>(), cpu in any::<u32>(), gpus in any::<u32>()) {
            let granted = Resources { cpu_millis: cpu, gpus, ..Resources::default() };
            let ceiling = Counters::ceiling(&granted, wall, &Traffic::UNBOUNDED);
            prop_assert_eq!(ceiling.exceeds(&ceiling), None);
        }
    }

    #[test]
    fn measured_energy_stays_measured_until_some_of_it_is_estimated() {
        let of =
            |energy_mj, energy_source| Counters { energy_mj, energy_source, ..Counters::default() };
        let measured = of(5, EnergySource::Measured);
        assert_eq!(Counters::default().max(&measured), measured);
        let estimated = of(7, EnergySource::Estimated);
        assert_eq!(measured.max(&estimated).energy_source, EnergySource::Estimated);
    }

    #[test]
    fn one_millisecond_too_many_is_named() {
        let granted = Resources { cpu_millis: 1000, mem_mib: 64, ..Resources::default() };
        let ceiling = Counters::ceiling(&granted, 1000, &Traffic::default());
        let inflated = Counters { wall_ms: 1001, ..Counters::default() };
        assert_eq!(inflated.exceeds(&ceiling), Some(("wall_ms", 1001, 1000)));
        let unseen = Counters { requests: 1, ..Counters::default() };
        assert_eq!(unseen.exceeds(&ceiling), Some(("requests", 1, 0)));
    }
}
