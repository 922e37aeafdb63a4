//! Signed results: which a grid asks for, and which it takes.

use std::sync::Arc;

use kinesis_chain::Key;
use kinesis_control::{
    api::{AppState, ArtifactRef, Event},
    grid::{AppSpec, Audited, Effect, Grid, GridConfig, PartOutcome, PartSlot},
};
use kinesis_protocol::{
    AccountId, Address, AppId, AttoUsd, ContentHash, Counters, Ending, Epoch, JoulePrice, LeaseId,
    LeaseReport, LeaseSpec, LeaseState, Manifest, NodeId, NodeInfo, Prices, Resources, Tier,
    VersionId,
    result::{AuditTerms, Completed, ENGINE, JobResult, SignedResult},
};

const UTILITY: Address = Address::repeat_byte(0xb0);
const NOW_MS: u64 = 1_700_000_000_000;

fn terms() -> AuditTerms {
    AuditTerms {
        engine: ENGINE.to_owned(),
        chain_id: 31_337,
        audits: Address::repeat_byte(0xa0),
        joule_price: JoulePrice::new(10_000_000).unwrap(),
    }
}

fn node(supplier: Address) -> NodeInfo {
    NodeInfo {
        node: NodeId([1; 32]),
        name: "tower".into(),
        supplier,
        tier: Tier::Crowd,
        region: String::new(),
        offered: Resources {
            cpu_millis: 4_000,
            mem_mib: 4_096,
            disk_mib: 4_096,
            ..Resources::default()
        },
        prices: Prices { wall_ms: AttoUsd(1_000_000_000), ..Prices::default() },
        attributes: Default::default(),
    }
}

fn job(more: &str) -> AppSpec {
    let manifest = format!("name = \"render\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n{more}");
    let artifact = ArtifactRef { hash: ContentHash([1; 32]), bytes: 1 };
    AppSpec {
        id: AppId::from_bytes([9; 16]),
        account: AccountId::from_bytes([1; 16]),
        version: VersionId::from_bytes([2; 16]),
        version_number: 1,
        manifest: Arc::new(Manifest::parse(&manifest).unwrap()),
        artifacts: Arc::new([("a.wasm".to_owned(), artifact)].into()),
    }
}

/// A grid on which one part of a job runs, on the node of this supplier.
fn running(job: &AppSpec, supplier: Address) -> (Grid, LeaseSpec) {
    let mut grid = Grid::new(GridConfig::default(), NOW_MS, Box::new(LeaseId::random));
    grid.set_audited(Some(Audited { terms: terms(), utility: UTILITY }));
    grid.node_joined(NOW_MS, 1, node(supplier), &[], &|_| None);
    grid.set_app(NOW_MS, job.clone(), vec![PartSlot::queued()]);
    let placed = grid.drain().into_iter().find_map(|effect| match effect {
        Effect::Place(lease) => Some(lease),
        _ => None,
    });
    let lease = placed.expect("a place");
    grid.placed(NOW_MS, lease, Some(Epoch(1)));
    grid.granted(NOW_MS, NodeId([1; 32]), lease);
    let spec = grid.leases()[&lease].spec.clone();
    (grid, spec)
}

fn used() -> Counters {
    Counters { wall_ms: 800, ..Counters::default() }
}

/// What a supplier signs of a part that took 800 ms.
fn sign(spec: &LeaseSpec, key: &Key) -> SignedResult {
    let result = JobResult::of(&Completed {
        spec,
        supplier: key.address(),
        utility: UTILITY,
        outputs: &[],
        fuel: Some(42),
        counters: &used(),
        finished_at_s: NOW_MS / 1_000 + 1,
    })
    .unwrap();
    let hash = result.signing_hash(31_337, Address::repeat_byte(0xa0));
    SignedResult { signature: key.sign_hash(&hash), result }
}

/// Tells the grid that the part ended with this; returns what became of it, and what was refused.
fn end(
    grid: &mut Grid,
    spec: &LeaseSpec,
    signed: Option<SignedResult>,
) -> (Ending, Option<PartOutcome>, Vec<String>) {
    let signed = signed.map(Box::new);
    let report = LeaseReport {
        lease: spec.lease,
        key: spec.key,
        state: LeaseState::Ended,
        counters: used(),
        in_flight: 0,
        ending: Some(Ending::Completed { outputs: vec![], fuel: Some(42), signed }),
    };
    let free = Resources { cpu_millis: 4_000, mem_mib: 4_096, ..Resources::default() };
    grid.node_heard(NOW_MS + 1_000, NodeId([1; 32]), 1, 1, free, None, &[report], &|_| None);
    let effects = grid.drain();
    let over = effects.iter().find_map(|effect| match effect {
        Effect::Ended(over) => Some(over.as_ref().clone()),
        _ => None,
    });
    let over = over.expect("it is over");
    let refused = effects.iter().filter_map(|effect| match effect {
        Effect::Tell(Event::ReportRefused { reason, .. }) => Some(reason.clone()),
        _ => None,
    });
    (over.ending, over.part, refused.collect())
}

#[test]
fn a_deterministic_job_ends_with_its_suppliers_signature_or_not_at_all() {
    let job = job("[job]\nseed = 7\nretries = 2\n");
    let key = Key::random();
    let (mut grid, spec) = running(&job, key.address());
    assert_eq!(spec.audit, Some(terms()));
    let (ending, part, refused) = end(&mut grid, &spec, Some(sign(&spec, &key)));
    assert!(matches!(ending, Ending::Completed { signed: Some(_), .. }), "{ending}");
    assert_eq!((part, refused.len()), (Some(PartOutcome::Completed), 0));

    let stranger = Key::random();
    type Forge<'a> = &'a dyn Fn(&LeaseSpec) -> Option<SignedResult>;
    let another = |spec: &LeaseSpec| Some(sign(spec, &stranger));
    let forged = |spec: &LeaseSpec| {
        let mut signed = sign(spec, &stranger);
        signed.result.supplier = key.address();
        Some(signed)
    };
    let elsewhere = |spec: &LeaseSpec| {
        let mut signed = sign(spec, &key);
        signed.signature = key.sign_hash(&signed.result.signing_hash(1, UTILITY));
        Some(signed)
    };
    let cases: [(Forge<'_>, &str, usize); 4] = [
        (&|_| None, "signed no result", 0),
        (&another, "another supplier", 1),
        (&forged, "not signed by the supplier", 1),
        (&elsewhere, "not signed by the supplier", 1),
    ];
    for (forge, words, told) in cases {
        let (mut grid, spec) = running(&job, key.address());
        let (ending, part, refused) = end(&mut grid, &spec, forge(&spec));
        let Ending::NodeFailed { reason } = &ending else { panic!("{ending}") };
        assert!(reason.contains(words), "{reason}");
        assert!(matches!(part, Some(PartOutcome::Again { counts: true, .. })), "{part:?}");
        assert_eq!(refused.len(), told, "{refused:?}");
        assert_ne!(grid.state(job.id), AppState::Completed);
    }
}

#[test]
fn a_result_at_a_price_of_its_own_is_not_taken() {
    let job = job("[job]\nseed = 7\n");
    let key = Key::random();
    let (mut grid, spec) = running(&job, key.address());
    let mut signed = sign(&spec, &key);
    signed.result.price = Default::default();
    let hash = signed.result.signing_hash(31_337, Address::repeat_byte(0xa0));
    signed.signature = key.sign_hash(&hash);
    let (ending, _, refused) = end(&mut grid, &spec, Some(signed));
    assert!(
        matches!(&ending, Ending::NodeFailed { reason } if reason.contains("price")),
        "{ending}"
    );
    assert_eq!(refused.len(), 1);
}

#[test]
fn nothing_is_asked_of_a_job_that_is_not_the_same_everywhere() {
    for more in ["", "network = [\"example.org:443\"]\n[job]\nseed = 7\n"] {
        let job = job(more);
        let (mut grid, spec) = running(&job, Address::repeat_byte(1));
        assert_eq!(spec.audit, None, "{more}");
        let (ending, part, _) = end(&mut grid, &spec, None);
        assert!(matches!(ending, Ending::Completed { .. }), "{ending}");
        assert_eq!(part, Some(PartOutcome::Completed));
    }
}
