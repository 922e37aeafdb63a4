//! Whether a lease is granted: a pure decision over what the agent holds and what it is asked.
//!
//! Every refusal is a sentence for the customer who asks why nothing was placed here. A lease that
//! is held already is granted again, whatever else changed since: grants are idempotent by id.

use kinesis_protocol::{
    Epoch, LeaseId, LeaseKey, LeaseSpec, Prices, Resources, Workload,
    lease::{GuestFile, OUTPUT_FILES_MAX},
    result::ENGINE,
};

/// The most leases one agent holds, endings that wait to be recorded included.
pub const LEASES_MAX: usize = 1_024;
/// The longest term a lease may have without word of its utility: a day.
pub const TERM_MS_MAX: u64 = 24 * 3600 * 1000;

/// A lease that the agent holds, as far as this decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Its id.
    pub lease: LeaseId,
    /// Its fencing key.
    pub key: LeaseKey,
    /// What it was granted; nothing once it has ended.
    pub granted: Resources,
}

/// All that the decision looks at.
#[derive(Debug)]
pub struct Situation<'a> {
    /// What the owner offers.
    pub offered: Resources,
    /// What the owner asks.
    pub prices: Prices,
    /// Why nothing new is taken: paused, leaving, unpaid. `None` while leases are taken.
    pub paused: Option<String>,
    /// Every lease held.
    pub held: &'a [Holding],
    /// The most bytes of artifacts one lease may bring.
    pub artifact_bytes_max: u64,
    /// The newest epoch ever granted here for the replica that is asked for, and to whom.
    pub newest: Option<(Epoch, LeaseId)>,
}

/// What to do with a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Start it.
    Grant,
    /// It runs already; say so again.
    Repeat,
    /// Start nothing and say why.
    Refuse(String),
}

/// What is still free of `offered`.
#[must_use]
pub fn free(offered: &Resources, held: &[Holding]) -> Resources {
    let taken =
        held.iter().fold(Resources::default(), |sum, holding| sum.saturating_add(&holding.granted));
    offered.saturating_sub(&taken)
}

/// Decides about `spec`.
#[must_use]
pub fn decide(situation: &Situation<'_>, spec: &LeaseSpec) -> Decision {
    if let Some(holding) = situation.held.iter().find(|holding| holding.lease == spec.lease) {
        return if holding.key == spec.key {
            Decision::Repeat
        } else {
            Decision::Refuse(format!("this lease is held for {}", holding.key))
        };
    }
    match refusal(situation, spec) {
        None => Decision::Grant,
        Some(reason) => Decision::Refuse(reason),
    }
}

fn refusal(situation: &Situation<'_>, spec: &LeaseSpec) -> Option<String> {
    if let Some(reason) = &situation.paused {
        return Some(reason.clone());
    }
    if let Some((newest, lease)) = situation.newest
        && newest >= spec.key.epoch
    {
        return Some(format!(
            "epoch {} of this replica is not newer than epoch {newest}, which {lease} had here",
            spec.key.epoch
        ));
    }
    if spec.prices != situation.prices {
        return Some("the prices are not what this node asks now".into());
    }
    if let Some(reason) = nonsense(situation, spec) {
        return Some(reason);
    }
    if situation.held.len() >= LEASES_MAX {
        return Some(format!("this node holds {LEASES_MAX} leases already"));
    }
    free(&situation.offered, situation.held).shortfall(&spec.granted)
}

/// What no honest utility asks for.
fn nonsense(situation: &Situation<'_>, spec: &LeaseSpec) -> Option<String> {
    if spec.workload == Workload::Unknown {
        return Some("this agent does not know this kind of workload: it needs a newer one".into());
    }
    if spec.granted.cpu_millis == 0 || spec.granted.mem_mib == 0 {
        return Some("a lease needs some CPU and some memory".into());
    }
    if spec.term_ms == 0 || spec.term_ms > TERM_MS_MAX {
        return Some(format!("the term must be 1 to {TERM_MS_MAX} ms"));
    }
    if spec.standby && matches!(spec.workload, Workload::Job(_)) {
        return Some("a job has no standby".into());
    }
    if let Some(terms) = spec.audit.as_ref().filter(|terms| terms.engine != ENGINE) {
        // Its result would be another, and signed.
        return Some(format!("it is to be run by {}, this node has {ENGINE}", cut(&terms.engine)));
    }
    let program = spec.workload.program();
    if program.files.len() > OUTPUT_FILES_MAX {
        return Some(format!("at most {OUTPUT_FILES_MAX} files"));
    }
    if let Some(file) = program.files.iter().find(|file| !is_plain(&file.path)) {
        return Some(format!("\"{}\" is not a plain relative path", cut(&file.path)));
    }
    let artifacts = program
        .files
        .iter()
        .fold(program.component_bytes, |sum, file: &GuestFile| sum.saturating_add(file.bytes));
    let most = situation.artifact_bytes_max;
    (artifacts > most)
        .then(|| format!("its artifacts hold {artifacts} bytes, this node keeps at most {most}"))
}

/// Whether `path` is relative and stays below where it starts.
#[must_use]
pub fn is_plain(path: &str) -> bool {
    kinesis_protocol::manifest::relative_path(path)
}

fn cut(s: &str) -> String {
    s.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_protocol::{
        AppId, ContentHash, Replica,
        lease::{Instance, Program, ServiceWorkload},
    };
    use proptest::prelude::*;

    fn spec(epoch: u64, cpu_millis: u32) -> LeaseSpec {
        LeaseSpec {
            lease: LeaseId::random(),
            key: LeaseKey {
                app: AppId::from_bytes([1; 16]),
                replica: Replica(0),
                epoch: Epoch(epoch),
            },
            app_name: "hello".into(),
            standby: false,
            workload: Workload::Service(ServiceWorkload {
                program: Program {
                    component: ContentHash([1; 32]),
                    component_bytes: 1,
                    env: [].into(),
                    files: vec![],
                    network: vec![],
                },
                instance: Instance::Fresh,
                concurrency: 1,
                request_ms_max: 1000,
            }),
            granted: Resources { cpu_millis, mem_mib: 1, ..Resources::default() },
            prices: Prices::default(),
            term_ms: 1000,
            audit: None,
            sla: None,
        }
    }

    fn offers(held: &[Holding]) -> Situation<'_> {
        Situation {
            offered: Resources { cpu_millis: 1000, mem_mib: 100, ..Resources::default() },
            prices: Prices::default(),
            paused: None,
            held,
            artifact_bytes_max: 100,
            newest: None,
        }
    }

    fn refused(decision: &Decision, because: &str) {
        assert!(
            matches!(decision, Decision::Refuse(reason) if reason.contains(because)),
            "{decision:?} does not say {because:?}"
        );
    }

    #[test]
    fn a_lease_that_is_held_is_granted_again_even_while_paused() {
        let spec = spec(3, 1000);
        let held = [Holding { lease: spec.lease, key: spec.key, granted: spec.granted }];
        let mut situation = offers(&held);
        situation.paused = Some("paused by its owner".into());
        situation.newest = Some((Epoch(3), spec.lease));
        assert_eq!(decide(&situation, &spec), Decision::Repeat);
        let mut other = spec.clone();
        other.key.epoch = Epoch(4);
        refused(&decide(&situation, &other), "is held for");
    }

    #[test]
    fn every_refusal_says_why() {
        let held = [Holding {
            lease: LeaseId::random(),
            key: spec(1, 1).key,
            granted: spec(1, 600).granted,
        }];
        let mut situation = offers(&held);
        refused(&decide(&situation, &spec(2, 500)), "CPU");
        assert_eq!(decide(&situation, &spec(2, 400)), Decision::Grant);
        situation.newest = Some((Epoch(2), held[0].lease));
        refused(&decide(&situation, &spec(2, 400)), "not newer than epoch 2");
        refused(&decide(&situation, &spec(1, 400)), "not newer");
        assert_eq!(decide(&situation, &spec(3, 400)), Decision::Grant);
        let mut cheap = spec(3, 400);
        cheap.prices.wall_ms = kinesis_protocol::AttoUsd(1);
        refused(&decide(&situation, &cheap), "prices");
        let mut endless = spec(3, 400);
        endless.term_ms = u64::MAX;
        refused(&decide(&situation, &endless), "term");
        let mut vast = spec(3, 400);
        if let Workload::Service(service) = &mut vast.workload {
            service.program.component_bytes = 101;
        }
        refused(&decide(&situation, &vast), "artifacts");
        let newer = LeaseSpec { workload: Workload::Unknown, ..spec(3, 400) };
        refused(&decide(&situation, &newer), "does not know this kind of workload");
        situation.paused = Some("paused by its owner".into());
        refused(&decide(&situation, &spec(3, 400)), "paused");
    }

    #[test]
    fn paths_that_climb_are_not_plain() {
        for bad in
            ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\0b", "a\\b", "a/", "a\nb"]
        {
            assert!(!is_plain(bad), "{bad:?}");
        }
        assert!(is_plain("models/weights.bin"));
    }

    proptest! {
        #[test]
        fn grants_never_exceed_what_is_offered(wanted in prop::collection::vec(1..600_u32, 1..20)) {
            let mut held: Vec<Holding> = Vec::new();
            for (epoch, cpu) in wanted.into_iter().enumerate() {
                let spec = spec(epoch as u64 + 1, cpu);
                if decide(&offers(&held), &spec) == Decision::Grant {
                    held.push(Holding { lease: spec.lease, key: spec.key, granted: spec.granted });
                }
            }
            let sum: u32 = held.iter().map(|holding| holding.granted.cpu_millis).sum();
            prop_assert!(sum <= 1000);
        }
    }
}
