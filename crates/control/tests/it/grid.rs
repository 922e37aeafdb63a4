//! The grid, asked about one thing at a time.

use std::sync::Arc;

use kinesis_control::{
    api::{AppState, ArtifactRef},
    grid::{AppSpec, Effect, Grid, GridConfig, PartSlot, Stop},
};
use kinesis_protocol::{
    AccountId, Address, AppId, AttoUsd, ContentHash, Counters, Epoch, LeaseId, LeaseReport,
    LeaseState, Manifest, NanoUsd, NodeId, NodeInfo, Prices, Resources, Tier, VersionId,
};

const ADA: AccountId = AccountId::from_bytes([1; 16]);

fn grid() -> Grid {
    Grid::new(GridConfig::default(), 0, Box::new(LeaseId::random))
}

fn node(n: u32) -> NodeInfo {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&n.to_be_bytes());
    NodeInfo {
        node: NodeId(key),
        name: format!("node {n}"),
        supplier: Address::from_slice(&key[..20]),
        tier: Tier::Crowd,
        region: String::new(),
        offered: Resources {
            cpu_millis: 4_000,
            mem_mib: 4_194_304,
            disk_mib: 4_096,
            ..Resources::default()
        },
        prices: Prices { mem_mib_ms: AttoUsd(1_000_000_000_000), ..Prices::default() },
        attributes: Default::default(),
    }
}

fn service(more: &str) -> AppSpec {
    app("service", &format!("[scale]\nwarm = 0\n{more}"))
}

fn app(kind: &str, more: &str) -> AppSpec {
    let manifest = format!("name = \"web\"\nkind = \"{kind}\"\ncomponent = \"a.wasm\"\n{more}");
    let artifact = ArtifactRef { hash: ContentHash([1; 32]), bytes: 1 };
    AppSpec {
        id: AppId::from_bytes([9; 16]),
        account: ADA,
        version: VersionId::from_bytes([2; 16]),
        version_number: 1,
        manifest: Arc::new(Manifest::parse(&manifest).unwrap()),
        artifacts: Arc::new([("a.wasm".to_owned(), artifact)].into()),
    }
}

fn join(grid: &mut Grid, now: u64, session: u64, info: NodeInfo, leases: &[LeaseReport]) {
    grid.node_joined(now, session, info, leases, &|_| None);
}

fn placed(effects: Vec<Effect>) -> Option<LeaseId> {
    effects.into_iter().find_map(|effect| match effect {
        Effect::Place(lease) => Some(lease),
        _ => None,
    })
}

#[test]
fn a_connection_that_takes_anothers_place_takes_its_routes() {
    let mut grid = grid();
    join(&mut grid, 1, 1, node(1), &[]);
    let app = service("");
    grid.set_app(2, app.clone(), Vec::new());
    let lease = placed(grid.drain()).expect("a place");
    grid.placed(3, lease, Some(Epoch(1)));
    let report = LeaseReport {
        lease,
        key: grid.leases()[&lease].spec.key,
        state: LeaseState::Active,
        counters: Counters::default(),
        in_flight: 0,
        ending: None,
    };
    let reports = [report];
    let free = node(1).offered;
    grid.node_heard(4, node(1).node, 1, 1, free, None, &reports, &|_| None);
    assert_eq!(grid.state(app.id), AppState::Running);
    let _ = grid.drain();
    // Nobody noticed that the first connection is gone.
    join(&mut grid, 5, 2, node(1), &reports);
    assert!(grid.drain().contains(&Effect::Routes(app.id)), "its routes go over the old link");
}

#[test]
fn nothing_is_placed_that_an_account_could_not_pay() {
    let mut grid = grid();
    // A minute of a tebibyte at the highest price costs $62,914.56, and margin and fee.
    join(&mut grid, 1, 1, node(1), &[]);
    grid.set_balance(ADA, NanoUsd(10_000_000_000));
    let dear = service("min = 2\nmax = 2\n[resources]\nmem_mib = 1048576\n");
    grid.set_app(2, dear.clone(), Vec::new());
    assert_eq!(placed(grid.drain()), None);
    let reason = grid.apps()[&dear.id].reason.clone().unwrap_or_default();
    assert!(reason.contains("balance does not last"), "{reason}");
    assert!(!grid.quote(&dear).placeable);
    // Enough for one of the two.
    grid.set_balance(ADA, NanoUsd(100_000 * 1_000_000_000));
    grid.passed(1_000);
    assert!(placed(grid.drain()).is_some());
    assert_eq!(grid.leases().len(), 1);
    grid.set_balance(ADA, NanoUsd(150_000 * 1_000_000_000));
    grid.passed(2_000);
    assert!(placed(grid.drain()).is_some());
    assert_eq!(grid.leases().len(), 2);
}

#[test]
fn keys_that_cost_nothing_do_not_fill_the_memory() {
    let mut grid = grid();
    for n in 0..3_000_u32 {
        let now = u64::from(n);
        join(&mut grid, now, now, node(n), &[]);
        grid.node_lost(now, node(n).node, now, "it left");
        let _ = grid.drain();
    }
    assert!(grid.nodes().len() <= 1_001, "{} nodes", grid.nodes().len());
    assert!(grid.nodes().contains_key(&node(2_999).node), "the newest are remembered");
}

#[test]
fn a_job_that_was_stopped_is_forgotten() {
    let mut grid = grid();
    let job = app("job", "");
    grid.set_app(1, job.clone(), vec![PartSlot::queued()]);
    grid.stop_app(2, job.id, Stop::Owner);
    assert!(grid.apps().is_empty());
    // Where it runs, once its end is recorded.
    join(&mut grid, 3, 1, node(1), &[]);
    grid.set_app(4, job.clone(), vec![PartSlot::queued()]);
    let lease = placed(grid.drain()).expect("a place");
    grid.stop_app(5, job.id, Stop::Owner);
    assert_eq!(grid.apps().len(), 1);
    grid.placed(6, lease, Some(Epoch(1)));
    grid.recorded(lease);
    assert!(grid.apps().is_empty() && grid.leases().is_empty());
}

#[test]
fn a_quote_survives_any_length_a_customer_names() {
    let mut grid = grid();
    join(&mut grid, 1, 1, node(1), &[]);
    let mut vast = service("");
    let artifact = ArtifactRef { hash: ContentHash([1; 32]), bytes: u64::MAX };
    vast.artifacts = Arc::new(["a.wasm", "b"].map(|path| (path.to_owned(), artifact)).into());
    assert!(grid.quote(&vast).ready_in_ms > 1_000_000);
}
