//! The grid, asked about one thing at a time.

mod silence;
mod starts;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use kinesis_control::{
    api::{AppState, ArtifactRef},
    grid::{
        AppSpec, Effect, Grid, GridConfig, Lease, PartOutcome, PartPhase, PartSlot, Phase, Stop,
    },
    meter::Observed,
};
use kinesis_protocol::{
    AccountId, Address, AppId, AttoUsd, ContentHash, Counters, Ending, Epoch, LeaseId, LeaseReport,
    LeaseState, Manifest, NanoUsd, NodeId, NodeInfo, Prices, Resources, Tier, VersionId,
    message::ToAgent, usage::Traffic,
};

const ACME: AccountId = AccountId::from_bytes([1; 16]);

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
        account: ACME,
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
    grid.set_balance(ACME, NanoUsd(10_000_000_000));
    let dear = service("min = 2\nmax = 2\n[resources]\nmem_mib = 1048576\n");
    grid.set_app(2, dear.clone(), Vec::new());
    assert_eq!(placed(grid.drain()), None);
    let reason = grid.apps()[&dear.id].reason.clone().unwrap_or_default();
    assert!(reason.contains("balance does not last"), "{reason}");
    assert!(!grid.snapshot(3, ACME).quote(&dear).placeable);
    // Enough for one of the two.
    grid.set_balance(ACME, NanoUsd(100_000 * 1_000_000_000));
    grid.passed(1_000);
    assert!(placed(grid.drain()).is_some());
    assert_eq!(grid.leases().len(), 1);
    grid.set_balance(ACME, NanoUsd(150_000 * 1_000_000_000));
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
fn a_service_that_was_stopped_is_forgotten() {
    for stop in [Stop::Owner, Stop::Budget, Stop::Deleted] {
        let mut grid = grid();
        join(&mut grid, 1, 1, node(1), &[]);
        let spec = service("");
        grid.set_app(2, spec.clone(), Vec::new());
        let lease = placed(grid.drain()).expect("a place");
        grid.placed(3, lease, Some(Epoch(1)));
        hear(&mut grid, 4, lease, LeaseState::Active, Counters::default(), None);
        grid.stop_app(5, spec.id, stop);
        // It says why it does not answer while it ends, unless its name may be another's already.
        let routes = grid.routes(spec.id);
        assert_eq!(routes.is_none(), stop == Stop::Deleted, "{routes:?}");
        assert!(routes.is_none_or(|routes| routes.serving.is_empty()));
        let _ = grid.drain();
        hear(&mut grid, 6, lease, LeaseState::Ended, Counters::default(), None);
        grid.recorded(lease);
        assert!(grid.apps().is_empty() && grid.leases().is_empty(), "{stop:?}");
        assert!(grid.drain().contains(&Effect::Routes(spec.id)));
        assert!(grid.routes(spec.id).is_none());
    }
}

#[test]
fn a_quote_survives_any_length_a_customer_names() {
    let mut grid = grid();
    join(&mut grid, 1, 1, node(1), &[]);
    let mut vast = service("");
    let artifact = ArtifactRef { hash: ContentHash([1; 32]), bytes: u64::MAX };
    vast.artifacts = Arc::new(["a.wasm", "b"].map(|path| (path.to_owned(), artifact)).into());
    assert!(grid.snapshot(2, ACME).quote(&vast).ready_in_ms > 1_000_000);
}

/// All leases that are asked for now.
fn all_placed(effects: &[Effect]) -> Vec<LeaseId> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Place(lease) => Some(*lease),
            _ => None,
        })
        .collect()
}

fn said(lease: &Lease, state: LeaseState, counters: Counters) -> LeaseReport {
    let ending = (state == LeaseState::Ended).then(|| Ending::Completed {
        outputs: vec![],
        fuel: None,
        signed: None,
    });
    LeaseReport {
        lease: lease.spec.lease,
        key: lease.spec.key,
        state,
        counters,
        in_flight: 0,
        ending,
    }
}

/// The node of a lease says this of it, and of nothing else.
fn hear(
    grid: &mut Grid,
    now: u64,
    lease: LeaseId,
    state: LeaseState,
    counters: Counters,
    seen: Option<Observed>,
) {
    let lease = grid.leases()[&lease].clone();
    let node = &grid.nodes()[&lease.node];
    let (session, free) = (node.session, node.info.offered);
    let reports = [said(&lease, state, counters)];
    grid.node_heard(now, lease.node, session, now, free, None, &reports, &|_| seen);
}

fn cheap(n: u32, wall: u64) -> NodeInfo {
    NodeInfo { prices: Prices { wall_ms: AttoUsd(wall), ..Prices::default() }, ..node(n) }
}

/// Lets time pass as the utility does; every node goes on speaking.
fn pass(grid: &mut Grid, from: u64, until: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    for now in (from..=until).step_by(50) {
        let nodes: Vec<_> = grid.nodes().values().map(|n| (n.info.clone(), n.session)).collect();
        for (info, session) in nodes {
            let held: Vec<_> =
                grid.leases().values().filter(|l| l.node == info.node).cloned().collect();
            let reports: Vec<_> = held
                .iter()
                .filter(|lease| !matches!(lease.phase, Phase::Placing | Phase::Ended))
                .map(|lease| {
                    let state = match lease.phase {
                        Phase::Active => LeaseState::Active,
                        Phase::Warm => LeaseState::Warm,
                        Phase::Draining => LeaseState::Draining,
                        _ => LeaseState::Starting,
                    };
                    said(lease, state, lease.counters)
                })
                .collect();
            grid.node_heard(now, info.node, session, now, info.offered, None, &reports, &|_| None);
        }
        grid.passed(now);
        effects.extend(grid.drain());
    }
    effects
}

#[test]
fn a_job_is_over_when_its_bill_is() {
    let mut grid = grid();
    join(&mut grid, 1, 1, cheap(1, 1), &[]);
    let job = app("job", "");
    grid.set_app(2, job.clone(), vec![PartSlot::queued()]);
    let lease = placed(grid.drain()).expect("a place");
    grid.placed(3, lease, Some(Epoch(1)));
    hear(&mut grid, 4, lease, LeaseState::Active, Counters::default(), None);
    hear(&mut grid, 5, lease, LeaseState::Ended, Counters::default(), None);
    let effects = grid.drain();
    assert!(effects.iter().any(|effect| matches!(
        effect,
        Effect::Ended(over) if over.part == Some(PartOutcome::Completed)
    )));
    assert_eq!(grid.state(job.id), AppState::Running, "nothing is posted yet");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::State(..))));
    grid.recorded(lease);
    let effects = grid.drain();
    assert!(effects.contains(&Effect::State(job.id, AppState::Completed, None)), "{effects:?}");
}

#[test]
fn a_part_that_failed_is_tried_on_another_suppliers_node() {
    let mut grid = grid();
    // The cheapest two are one supplier's.
    let second = NodeInfo { supplier: node(1).supplier, ..cheap(2, 2) };
    for (session, info) in (1..).zip([cheap(1, 1), second, cheap(3, 300)]) {
        join(&mut grid, 1, session, info, &[]);
    }
    grid.set_app(2, app("job", ""), vec![PartSlot::queued()]);
    let first = placed(grid.drain()).expect("a place");
    assert_eq!(grid.leases()[&first].node, node(1).node);
    grid.placed(3, first, Some(Epoch(1)));
    hear(&mut grid, 4, first, LeaseState::Active, Counters::default(), None);
    let mut report = said(&grid.leases()[&first], LeaseState::Ended, Counters::default());
    report.ending = Some(Ending::Failed { reason: "exit 1".into() });
    grid.node_heard(5, node(1).node, 1, 5, node(1).offered, None, &[report], &|_| None);
    grid.recorded(first);
    let second = placed(pass(&mut grid, 50, 1_500)).expect("another try");
    assert_eq!(grid.leases()[&second].node, node(3).node);
}

#[test]
fn work_is_not_reported_when_its_balance_is_long_spent() {
    for kind in ["job", "service"] {
        let mut grid = grid();
        join(&mut grid, 1, 1, cheap(1, 1), &[]);
        let spec =
            if kind == "job" { app("job", "[job]\nwall_ms_max = 9000000\n") } else { service("") };
        let parts = if kind == "job" { vec![PartSlot::queued()] } else { Vec::new() };
        grid.set_app(2, spec, parts);
        let lease = placed(grid.drain()).expect("a place");
        grid.placed(3, lease, Some(Epoch(1)));
        // Busy all the time, and silent about it for an hour.
        let seen = |now| {
            let traffic = Traffic { requests: 1_000, ..Traffic::default() };
            Some(Observed { busy_ms: now, traffic })
        };
        let hour = 3_600_000;
        for now in (1_000..hour).step_by(1_000) {
            hear(&mut grid, now, lease, LeaseState::Active, Counters::default(), seen(now));
        }
        let all = Counters { wall_ms: hour - 10, requests: 1, ..Counters::default() };
        hear(&mut grid, hour, lease, LeaseState::Active, all, seen(hour));
        let believed = grid.leases()[&lease].counters.wall_ms;
        assert!((10_000..40_000).contains(&believed), "{kind}: {believed}");
        // Whoever reports as it works is paid for every millisecond from then on.
        let mut wall_ms = believed;
        for now in (hour..2 * hour).step_by(500) {
            wall_ms += 500;
            let counters = Counters { wall_ms, requests: 1, ..Counters::default() };
            hear(&mut grid, now + 500, lease, LeaseState::Active, counters, seen(now + 500));
        }
        assert_eq!(grid.leases()[&lease].counters.wall_ms, wall_ms, "{kind}");
    }
}

#[test]
fn traffic_is_covered_before_it_is_posted() {
    let mut grid = grid();
    let mut info = cheap(1, 0);
    info.prices.tx_bytes = AttoUsd(10_000_000_000);
    join(&mut grid, 1, 1, info, &[]);
    grid.set_balance(ACME, NanoUsd(100_000_000_000));
    grid.set_app(2, service(""), Vec::new());
    let lease = placed(grid.drain()).expect("a place");
    grid.placed(3, lease, Some(Epoch(1)));
    hear(&mut grid, 4, lease, LeaseState::Active, Counters::default(), None);
    let mut busy = HashMap::new();
    let idle = grid.exposures(&mut busy, &|_| None);
    assert_eq!(idle, [], "an idle service costs nothing");
    let traffic = Traffic { tx_bytes: 1_000_000_000, requests: 1, ..Traffic::default() };
    let seen = Observed { busy_ms: 10, traffic };
    let exposed = grid.exposures(&mut busy, &|_| Some(seen));
    // A gigabyte that no report has told of yet costs ten dollars, margin and fee on top.
    assert_eq!(exposed.len(), 1);
    assert!(exposed[0].reserve >= NanoUsd(11_500_000_000), "{exposed:?}");
    assert_eq!(grid.exposures(&mut busy, &|_| Some(seen)), [], "nothing more came");
    // A minute at that rate costs more than the account has: nothing more of it is placed.
    for now in [20_000, 31_000] {
        let told =
            Counters { wall_ms: 10, tx_bytes: 1_000_000_000, requests: 1, ..Counters::default() };
        hear(
            &mut grid,
            now,
            lease,
            LeaseState::Active,
            told,
            Some(Observed { traffic: Traffic { tx_bytes: 1_000_000 * now, ..traffic }, ..seen }),
        );
    }
    let mut other = service("");
    other.id = AppId::from_bytes([8; 16]);
    assert!(!grid.snapshot(31_000, ACME).quote(&other).placeable);
}

#[test]
fn a_standby_that_says_it_serves_is_not_believed() {
    // What a utility that was killed had recorded: one serves, one stands by.
    let mut before = grid();
    join(&mut before, 1, 1, cheap(1, 1), &[]);
    join(&mut before, 1, 2, cheap(2, 2), &[]);
    let spec = app("service", "[scale]\nwarm = 1\n");
    before.set_app(2, spec.clone(), Vec::new());
    let serves = placed(before.drain()).expect("a place");
    before.placed(3, serves, Some(Epoch(1)));
    hear(&mut before, 4, serves, LeaseState::Active, Counters::default(), None);
    let stands = placed(before.drain()).expect("a standby");
    before.placed(5, stands, Some(Epoch(2)));
    hear(&mut before, 6, stands, LeaseState::Warm, Counters::default(), None);

    let mut grid = grid();
    for lease in [serves, stands] {
        let mut lease = before.leases()[&lease].clone();
        (lease.phase, lease.restored) = (Phase::Lost, true);
        grid.restore(lease);
    }
    grid.set_app(10, spec.clone(), Vec::new());
    let report = |id, state| [said(&before.leases()[&id], state, Counters::default())];
    let claim = report(stands, LeaseState::Active);
    join(&mut grid, 20, 1, cheap(2, 2), &claim);
    assert!(!grid.routes(spec.id).unwrap().serving.iter().any(|s| s.lease == stands));
    join(&mut grid, 30, 2, cheap(1, 1), &report(serves, LeaseState::Active));
    let serving: Vec<_> = grid.routes(spec.id).unwrap().serving.iter().map(|s| s.lease).collect();
    assert_eq!(serving, [serves]);
    let released = ToAgent::Release { lease: stands, notice_ms: 0 };
    assert!(grid.drain().contains(&Effect::Send(node(2).node, released)), "and is replaced");
}

#[test]
fn what_reports_lies_serves_no_longer_than_it_must() {
    let mut grid = grid();
    for (session, info) in (1..).zip([cheap(1, 1), cheap(2, 2)]) {
        join(&mut grid, 1, session, info, &[]);
    }
    grid.set_app(2, service(""), Vec::new());
    let lies = placed(grid.drain()).expect("a place");
    grid.placed(3, lies, Some(Epoch(1)));
    hear(&mut grid, 4, lies, LeaseState::Active, Counters::default(), None);
    let _ = grid.drain();
    let impossible = Counters { wall_ms: 1 << 40, ..Counters::default() };
    for now in 5..8 {
        hear(&mut grid, now, lies, LeaseState::Active, impossible, None);
    }
    let _ = pass(&mut grid, 50, 500);
    let next = grid.leases().values().find(|lease| lease.node == node(2).node);
    assert!(next.is_some(), "nobody was asked to take its place");
}

#[test]
fn a_thousand_parts_take_little_longer_than_one() {
    let mut grid = grid();
    for n in 0..5_000 {
        let mut info = cheap(n, 1 + u64::from(n % 7));
        info.offered.cpu_millis = 1_000;
        join(&mut grid, 1, u64::from(n), info, &[]);
    }
    let _ = grid.drain();
    let job = |parts: u32| app("job", &format!("[job]\nparts = {parts}\n"));
    let fastest = |run: &mut dyn FnMut()| {
        let once = |run: &mut dyn FnMut()| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        };
        (0..3).map(|_| once(run)).min().unwrap_or(Duration::MAX)
    };
    let quoted = |parts: u32| {
        let spec = job(parts);
        fastest(&mut || {
            let quote = grid.snapshot(2, ACME).quote(&spec);
            assert!(quote.placeable && quote.placements.len() == parts as usize);
        })
    };
    let (one, many) = (quoted(1), quoted(1_000));
    assert!(many < one * 100, "a quote of one part takes {one:?}, of a thousand {many:?}");
    let begun = Instant::now();
    grid.set_app(3, job(1), vec![PartSlot::queued()]);
    let one = begun.elapsed();
    let begun = Instant::now();
    let large = AppSpec { id: AppId::from_bytes([8; 16]), ..job(1_000) };
    grid.set_app(4, large, vec![PartSlot::queued(); 1_000]);
    let many = begun.elapsed();
    assert_eq!(all_placed(&grid.drain()).len(), 1_001);
    eprintln!("placing takes {one:?} for one part, {many:?} for a thousand");
    assert!(many < one * 200, "placing takes {one:?} for one part, {many:?} for a thousand");
}
