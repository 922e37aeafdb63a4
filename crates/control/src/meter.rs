//! What is believed of a usage report.
//!
//! Two bounds. What no honest meter can say (more wall time than has passed since the grant, more
//! CPU or memory than that time and the granted resources allow) refuses the whole report: nothing
//! of it is recorded. What the utility's own ingress saw less of (requests, bytes, busy time), and
//! work that nobody is to pay for any more, is cut: a supplier is paid for what both ends can vouch
//! for. Either way the next report carries the total again, so an honest supplier loses nothing by a
//! report that came early.

use kinesis_protocol::{Counters, Resources, usage::Traffic};

/// How much two honest clocks may differ, in milliseconds, and by which share of the time.
const CLOCK_SLACK_MS: u64 = 50;
const CLOCK_SLACK_SHARE: u64 = 1_000;
/// How much longer than the ingress a node may have been busy: the way of a cancellation to the
/// guest. As a share of the busy time, and in milliseconds.
const BUSY_SLACK_MS: u64 = 100;
const BUSY_SLACK_SHARE: u64 = 50;

/// What the utility saw of a lease itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// Bodies and requests that passed its ingress.
    pub traffic: Traffic,
    /// Milliseconds with at least one request in flight there.
    pub busy_ms: u64,
}

/// What a lease may have used.
#[derive(Debug, Clone, Copy)]
pub struct Bounds<'a> {
    /// What it was granted.
    pub granted: &'a Resources,
    /// Milliseconds since the grant.
    pub held_ms: u64,
    /// The working time that may be paid: until it was fenced, and as it was reported before.
    pub paid_ms: u64,
    /// The longest its work may take at all: a job's own limit.
    pub wall_ms_max: Option<u64>,
    /// What the ingress saw; `None` for jobs, whose traffic nobody sees and nobody pays for.
    pub observed: Option<Observed>,
}

/// Why a report was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A counter is above anything an honest meter can say.
    #[error("{counter} is {reported}, at most {most} is possible")]
    Impossible {
        /// Which counter.
        counter: &'static str,
        /// What was reported.
        reported: u64,
        /// The most that is possible.
        most: u64,
    },
}

/// What is believed after `report`, when `accepted` was believed before. Never less than before: a
/// replayed or reordered report changes nothing.
///
/// # Errors
/// Where the report cannot be true; `accepted` then stays as it was.
pub fn accept(
    accepted: &Counters,
    report: &Counters,
    bounds: &Bounds<'_>,
) -> Result<Counters, Refused> {
    let slack = CLOCK_SLACK_MS + bounds.held_ms / CLOCK_SLACK_SHARE;
    let held = bounds.held_ms.saturating_add(slack);
    // A guest that is ended at its limit has run a little longer than it.
    let wall_most = bounds.wall_ms_max.map_or(held, |most| held.min(most.saturating_add(1_000)));
    let most = Counters::ceiling(bounds.granted, wall_most, &Traffic::UNBOUNDED);
    if let Some((counter, reported, most)) = report.exceeds(&most) {
        return Err(Refused::Impossible { counter, reported, most });
    }
    let paid = bounds.paid_ms.min(wall_most);
    let (wall, traffic) = match bounds.observed {
        Some(Observed { traffic, busy_ms }) => {
            let slack = BUSY_SLACK_MS + busy_ms / BUSY_SLACK_SHARE;
            (busy_ms.saturating_add(slack).min(paid), traffic)
        }
        // Nobody sees the traffic of a job, and nobody pays for it.
        None => (paid, Traffic::default()),
    };
    let mut seen = least(report, &Counters::ceiling(bounds.granted, wall, &traffic));
    if bounds.observed.is_some_and(|observed| observed.traffic.requests == 0) {
        // Nobody asked it anything: whatever it did, nobody ordered.
        seen = Counters { energy_source: seen.energy_source, ..Counters::default() };
    }
    Ok(accepted.max(&seen))
}

/// What of a report is within `most`.
fn least(report: &Counters, most: &Counters) -> Counters {
    Counters {
        wall_ms: report.wall_ms.min(most.wall_ms),
        cpu_ms: report.cpu_ms.min(most.cpu_ms),
        gpu_ms: report.gpu_ms.min(most.gpu_ms),
        mem_mib_ms: report.mem_mib_ms.min(most.mem_mib_ms),
        vram_mib_ms: report.vram_mib_ms.min(most.vram_mib_ms),
        energy_mj: report.energy_mj.min(most.energy_mj),
        energy_source: report.energy_source,
        rx_bytes: report.rx_bytes.min(most.rx_bytes),
        tx_bytes: report.tx_bytes.min(most.tx_bytes),
        requests: report.requests.min(most.requests),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GRANTED: Resources =
        Resources { cpu_millis: 1000, mem_mib: 64, disk_mib: 0, gpus: 0, vram_mib: 0 };

    fn bounds(held_ms: u64, observed: Option<Observed>) -> Bounds<'static> {
        Bounds { granted: &GRANTED, held_ms, wall_ms_max: None, paid_ms: u64::MAX, observed }
    }

    fn used(wall_ms: u64) -> Counters {
        Counters {
            wall_ms,
            cpu_ms: wall_ms / 2,
            mem_mib_ms: wall_ms * 64,
            energy_mj: wall_ms * 4,
            requests: 3,
            tx_bytes: 30,
            ..Counters::default()
        }
    }

    fn saw(busy_ms: u64, requests: u64) -> Option<Observed> {
        let traffic = Traffic { requests, tx_bytes: requests * 10, rx_bytes: 0 };
        Some(Observed { traffic, busy_ms })
    }

    #[test]
    fn an_honest_report_is_believed_to_the_millisecond() {
        let accepted = accept(&Counters::default(), &used(900), &bounds(1_000, saw(905, 3)));
        assert_eq!(accepted, Ok(used(900)));
    }

    #[test]
    fn an_inflated_report_is_refused_whole() {
        let before = used(100);
        let refused = accept(&before, &used(5_000), &bounds(1_000, saw(905, 3))).unwrap_err();
        assert!(refused.to_string().contains("wall_ms is 5000"), "{refused}");
        let mut cpu = used(900);
        cpu.cpu_ms = 10_000;
        assert!(accept(&before, &cpu, &bounds(1_000, None)).is_err());
    }

    #[test]
    fn what_the_ingress_did_not_see_is_cut() {
        let accepted =
            accept(&Counters::default(), &used(900), &bounds(1_000, saw(300, 2))).unwrap();
        assert_eq!((accepted.requests, accepted.tx_bytes), (2, 20));
        assert!(accepted.wall_ms < 410, "{}", accepted.wall_ms);
        assert_eq!(accepted.mem_mib_ms, accepted.wall_ms * 64);
    }

    #[test]
    fn an_app_nobody_asked_costs_nothing() {
        let accepted = accept(&Counters::default(), &used(900), &bounds(1_000, saw(0, 0))).unwrap();
        assert_eq!(accepted, Counters::default());
    }

    #[test]
    fn traffic_that_nobody_saw_is_not_believed() {
        let told = Counters { rx_bytes: u64::MAX, tx_bytes: u64::MAX, ..used(900) };
        let accepted = accept(&Counters::default(), &told, &bounds(1_000, None)).unwrap();
        assert_eq!(accepted, Counters { tx_bytes: 0, requests: 0, ..used(900) });
    }

    #[test]
    fn work_that_nobody_pays_for_any_more_is_cut() {
        for observed in [None, saw(905, 3)] {
            let fenced = Bounds { paid_ms: 300, ..bounds(1_000, observed) };
            let accepted = accept(&used(100), &used(900), &fenced).unwrap();
            assert_eq!((accepted.wall_ms, accepted.mem_mib_ms), (300, 300 * 64));
            assert_eq!(accept(&used(500), &used(900), &fenced).unwrap().wall_ms, 500);
        }
    }

    #[test]
    fn a_job_may_not_outrun_its_limit() {
        let limited = Bounds { wall_ms_max: Some(2_000), ..bounds(60_000, None) };
        assert!(accept(&Counters::default(), &used(2_010), &limited).is_ok());
        assert!(accept(&Counters::default(), &used(4_000), &limited).is_err());
    }

    proptest! {
        #[test]
        fn replays_and_reordering_never_change_the_total(
            walls in prop::collection::vec(0..10_000_u64, 1..20),
            seed in any::<u64>(),
        ) {
            let bounds = bounds(10_000, saw(10_000, 3));
            let fold = |walls: &[u64]| walls.iter().fold(Counters::default(), |accepted, wall| {
                accept(&accepted, &used(*wall), &bounds).unwrap_or(accepted)
            });
            let mut shuffled = walls.clone();
            shuffled.rotate_left(usize::try_from(seed % walls.len() as u64).unwrap());
            shuffled.extend_from_slice(&walls);
            prop_assert_eq!(fold(&walls), fold(&shuffled));
        }

        #[test]
        fn no_report_is_believed_beyond_the_time_that_passed(
            wall in any::<u64>(), cpu in any::<u64>(), held in 0..1_000_000_u64, busy in any::<u64>(),
        ) {
            let report = Counters { wall_ms: wall, cpu_ms: cpu, ..Counters::default() };
            if let Ok(accepted) = accept(&Counters::default(), &report, &bounds(held, saw(busy, 1))) {
                prop_assert!(accepted.wall_ms <= held + 50 + held / 1_000);
                prop_assert!(accepted.cpu_ms <= (held + 50 + held / 1_000) * 11 / 10 + 101);
            }
        }
    }
}
