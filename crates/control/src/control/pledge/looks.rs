//! Whose silence it was: a process that stood still heard nobody.

/// After such a gap between two rounds nobody is judged: this process stood still, and what it was
/// told meanwhile is not read yet.
const STALL_MS: u64 = 5_000;
/// When it was looked for silence, in the utility's time.
#[derive(Debug, Default)]
pub(super) struct Looks {
    /// The first time, and as much later as this process stood still: silence before that may have
    /// been ours.
    began_ms: Option<u64>,
    last_ms: u64,
}

impl Looks {
    /// Notes that it is looked now. Since when silence counts; `None` where nobody is judged now.
    pub(super) fn now(&mut self, now_ms: u64) -> Option<u64> {
        let Some(began_ms) = self.began_ms else {
            (self.began_ms, self.last_ms) = (Some(now_ms), now_ms);
            return None;
        };
        let gap_ms = now_ms.saturating_sub(self.last_ms);
        self.last_ms = now_ms;
        if gap_ms <= STALL_MS {
            return Some(began_ms);
        }
        self.began_ms = Some(began_ms.saturating_add(gap_ms));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_this_process_stood_still_nobody_was_silent() {
        let mut looks = Looks::default();
        assert_eq!(looks.now(10_000), None, "the first look judges nobody");
        assert_eq!(looks.now(11_000), Some(10_000));
        // This process stood still for a minute: nobody was silent meanwhile.
        assert_eq!(looks.now(71_000), None);
        assert_eq!(looks.now(72_000), Some(70_000));
    }
}
