//! The parts of a job: tried, tried again, and tried twice at once where a start is slow.
//!
//! A part has one attempt ([`PartPhase::Running`]), and another beside it while that one is slow to
//! get ready. Whichever works first goes on, and the other is released; should both come to an end,
//! the first that completed is the part's, here as in the store, and the other costs nothing.

use kinesis_protocol::{AppId, Ending, LeaseId, Replica, manifest::Kind};

use super::{App, Grid, Lease, PartOutcome, PartPhase, PartSlot, Phase, place::Purpose};

/// How many failures a part remembers the nodes of.
const FAILED_ON_MAX: usize = 16;
/// How many slow parts of a job are looked after at a time.
const HEDGES_MAX: usize = 64;

impl PartSlot {
    /// Whether this is its attempt, or the one beside that.
    pub(super) fn has(&self, lease: LeaseId) -> bool {
        self.phase == PartPhase::Running(lease) || self.beside == Some(lease)
    }
}

impl Grid {
    /// Places what a job still lacks.
    pub(super) fn reconcile_job(&mut self, now_ms: u64, id: AppId) {
        self.choose_attempts(now_ms, id);
        let Some(app) = self.apps.get(&id) else { return };
        let (mut due, mut lost, mut slow) = (Vec::new(), Vec::new(), Vec::new());
        let (mut waits, mut starting) = (false, false);
        let is_lost = |lease: LeaseId| {
            let held = self.leases.get(&lease).filter(|held| held.phase == Phase::Lost);
            held.is_some_and(|held| {
                now_ms.saturating_sub(held.since_ms) > self.config.patience_ms
                    && now_ms >= self.grace_until_ms
            })
        };
        for (part, number) in app.parts.iter().zip(0_u32..) {
            match part.phase {
                PartPhase::Queued { not_before_ms } if not_before_ms <= now_ms => {
                    due.push(Replica(number));
                }
                PartPhase::Queued { .. } => waits = true,
                PartPhase::Running(lease) => {
                    let both = [Some(lease), part.beside].into_iter().flatten();
                    lost.extend(both.filter(|lease| is_lost(*lease)));
                    if let Some(held) = self.leases.get(&lease).filter(|held| held.is_starting()) {
                        starting = true;
                        let alone = part.beside.is_none() && !part.failed_beside;
                        if alone && self.is_slow(now_ms, held) {
                            slow.push(Replica(number));
                        }
                    }
                }
                PartPhase::Completed | PartPhase::Failed => {}
            }
        }
        // An attempt of an older version, or one that is no part's any more.
        let is_current = |lease: &Lease| {
            let part = usize::try_from(lease.spec.key.replica.0).ok();
            let part = part.and_then(|part| app.parts.get(part));
            part.is_some_and(|part| part.has(lease.spec.lease))
        };
        let stray: Vec<LeaseId> = self
            .leases_of(id)
            .filter(|lease| !is_current(lease))
            .map(|lease| lease.spec.lease)
            .collect();
        for lease in stray {
            self.release(now_ms, lease);
        }
        for lease in lost {
            let reason = "its node was lost".to_owned();
            self.end(now_ms, lease, Ending::NodeFailed { reason });
            waits = true;
        }
        waits |= !self.place_parts(now_ms, id, due, Purpose::Serve);
        slow.truncate(HEDGES_MAX);
        self.place_parts(now_ms, id, slow, Purpose::Hedge);
        if let Some(app) = self.apps.get_mut(&id) {
            app.unsatisfied |= waits;
            app.starting |= starting;
        }
    }

    /// Where one of a part's two attempts works, it goes on, and the other is let go: the one placed
    /// first, where both do. Until it has ended, the other may still be the one that completed.
    fn choose_attempts(&mut self, now_ms: u64, id: AppId) {
        let Some(App { parts, .. }) = self.apps.get_mut(&id) else { return };
        let works = |lease: LeaseId| {
            self.leases.get(&lease).is_some_and(|lease| lease.phase == Phase::Active)
        };
        let mut let_go = Vec::new();
        for part in parts {
            let (PartPhase::Running(first), Some(beside)) = (part.phase.clone(), part.beside)
            else {
                continue;
            };
            if works(first) {
                let_go.push(beside);
            } else if works(beside) {
                (part.phase, part.beside) = (PartPhase::Running(beside), Some(first));
                let_go.push(first);
            }
        }
        for lease in let_go {
            self.release(now_ms, lease);
        }
    }

    /// What an attempt's end means for its part; `None` where the attempt was superseded.
    pub(super) fn attempt_ended(
        &mut self,
        now_ms: u64,
        lease: &Lease,
        ending: &Ending,
        granted: bool,
    ) -> Option<PartOutcome> {
        let id = lease.spec.lease;
        let app = self.apps.get_mut(&lease.spec.key.app)?;
        let App { spec, parts, stop, .. } = app;
        let Kind::Job(job) = &spec.manifest.kind else { return None };
        let part = usize::try_from(lease.spec.key.replica.0).ok().and_then(|i| parts.get_mut(i))?;
        let PartPhase::Running(first) = part.phase else { return None };
        if !part.has(id) {
            return None;
        }
        let other = if first == id { part.beside } else { Some(first) };
        // One that was told to end ends: it takes nobody's place.
        let goes_on = |lease: &LeaseId| {
            self.leases.get(lease).is_some_and(|lease| {
                lease.is_live() || (lease.phase == Phase::Lost && lease.fenced_at_ms.is_none())
            })
        };
        let other = other.filter(goes_on);
        part.beside = None;
        if matches!(ending, Ending::Completed { .. }) {
            part.phase = PartPhase::Completed;
            part.reason = None;
            return Some(PartOutcome::Completed);
        }
        if lease.fenced_at_ms.is_some() && stop.is_none() && first != id {
            // Let go for the other that works.
            return None;
        }
        part.reason = Some(ending.to_string());
        if stop.is_some() {
            part.phase = PartPhase::Failed;
            return None;
        }
        if granted {
            part.failed_on.push_back((lease.node, lease.info.supplier));
            if part.failed_on.len() > FAILED_ON_MAX {
                part.failed_on.pop_front();
            }
        }
        if let Some(other) = other {
            part.phase = PartPhase::Running(other);
            part.failed_beside |= granted;
            return Some(PartOutcome::Other);
        }
        // Two that were tried at once are one try.
        let failed_beside = std::mem::take(&mut part.failed_beside);
        let counts = granted || failed_beside;
        part.attempts += u32::from(counts);
        if part.attempts > job.retries {
            part.phase = PartPhase::Failed;
            return Some(PartOutcome::Failed);
        }
        let pause = if counts { 200_u64 << part.attempts.min(6) } else { 0 };
        let not_before_ms = now_ms + pause;
        part.phase = PartPhase::Queued { not_before_ms };
        Some(PartOutcome::Again { counts, not_before_ms })
    }
}
