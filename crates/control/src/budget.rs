//! What an app may still cost: warn, then stop. Pure.

use kinesis_protocol::NanoUsd;

/// What follows from an app's spending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Fine,
    /// Go on, and tell its owner.
    Warn,
    /// Stop: the next second would cost more than there is.
    Stop,
}

/// Judges an app. `spent` includes work that is not posted yet; `last_tick` is what it cost in the
/// last second, expected to be what the next one costs; `balance` is what its account has left,
/// less what all its apps have not been posted yet.
#[must_use]
pub fn judge(
    spent: NanoUsd,
    last_tick: NanoUsd,
    budget: Option<NanoUsd>,
    warn_percent: u32,
    balance: NanoUsd,
) -> Verdict {
    if balance <= NanoUsd::ZERO || (last_tick > NanoUsd::ZERO && balance < last_tick) {
        return Verdict::Stop;
    }
    let Some(budget) = budget else { return Verdict::Fine };
    let next = spent.checked_add(last_tick).unwrap_or(NanoUsd(i64::MAX));
    if next > budget || spent >= budget {
        Verdict::Stop
    } else if spent >= budget.share(warn_percent.saturating_mul(100)) {
        Verdict::Warn
    } else {
        Verdict::Fine
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_warns_then_stops_before_the_budget_is_passed() {
        let at = |spent, tick| {
            judge(NanoUsd(spent), NanoUsd(tick), Some(NanoUsd(100)), 80, NanoUsd(1_000))
        };
        assert_eq!(at(79, 1), Verdict::Fine);
        assert_eq!(at(80, 1), Verdict::Warn);
        assert_eq!(at(99, 1), Verdict::Warn);
        assert_eq!(at(99, 2), Verdict::Stop);
        assert_eq!(at(100, 0), Verdict::Stop);
    }

    #[test]
    fn an_empty_account_stops_everything() {
        assert_eq!(judge(NanoUsd(1), NanoUsd(1), None, 80, NanoUsd(0)), Verdict::Stop);
        assert_eq!(judge(NanoUsd(1), NanoUsd(5), None, 80, NanoUsd(4)), Verdict::Stop);
        assert_eq!(judge(NanoUsd(1), NanoUsd(5), None, 80, NanoUsd(5)), Verdict::Fine);
    }

    proptest! {
        #[test]
        fn steady_spending_never_passes_a_budget(
            budget in 1..1_000_000_i64, each in 1..10_000_i64,
        ) {
            let mut spent = NanoUsd::ZERO;
            let mut last = NanoUsd(each);
            while judge(spent, last, Some(NanoUsd(budget)), 80, NanoUsd(i64::MAX)) != Verdict::Stop {
                last = NanoUsd(each);
                spent += last;
            }
            prop_assert!(spent <= NanoUsd(budget));
        }
    }
}
