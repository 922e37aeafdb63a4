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

/// Judges an app by its budget. `spent` includes work that is not posted yet; `next` is what it may
/// cost until it is judged again.
#[must_use]
pub fn judge(spent: NanoUsd, next: NanoUsd, budget: Option<NanoUsd>, warn_percent: u32) -> Verdict {
    let Some(budget) = budget else { return Verdict::Fine };
    let then = spent.checked_add(next).unwrap_or(NanoUsd(i64::MAX));
    if then > budget || spent >= budget {
        Verdict::Stop
    } else if spent >= budget.share(warn_percent.saturating_mul(100)) {
        Verdict::Warn
    } else {
        Verdict::Fine
    }
}

/// Whether an account has too little left for what it runs: `left` is its balance less what is not
/// posted yet, `reserve` what all of it may cost until it could be ended.
#[must_use]
pub fn is_dry(left: NanoUsd, reserve: NanoUsd) -> bool {
    left <= NanoUsd::ZERO || left < reserve
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_warns_then_stops_before_the_budget_is_passed() {
        let at = |spent, tick| judge(NanoUsd(spent), NanoUsd(tick), Some(NanoUsd(100)), 80);
        assert_eq!(at(79, 1), Verdict::Fine);
        assert_eq!(at(80, 1), Verdict::Warn);
        assert_eq!(at(99, 1), Verdict::Warn);
        assert_eq!(at(99, 2), Verdict::Stop);
        assert_eq!(at(100, 0), Verdict::Stop);
    }

    #[test]
    fn an_account_that_does_not_last_is_dry() {
        assert!(is_dry(NanoUsd(0), NanoUsd(0)));
        assert!(is_dry(NanoUsd(4), NanoUsd(5)));
        assert!(!is_dry(NanoUsd(5), NanoUsd(5)));
        assert!(!is_dry(NanoUsd(1), NanoUsd(0)));
    }

    proptest! {
        #[test]
        fn steady_spending_never_passes_a_budget(
            budget in 1..1_000_000_i64, each in 1..10_000_i64,
        ) {
            let mut spent = NanoUsd::ZERO;
            let mut last = NanoUsd(each);
            while judge(spent, last, Some(NanoUsd(budget)), 80) != Verdict::Stop {
                last = NanoUsd(each);
                spent += last;
            }
            prop_assert!(spent <= NanoUsd(budget));
        }
    }
}
