//! The grid under a simulated clock, network and store: from a seed, the same every time.
//!
//! Nodes die, fall silent, lose their connection, refuse; the utility is killed and restarted from
//! what its store holds, with writes half done. After a stretch of faults everything is left to
//! settle. Whatever happened:
//! * a replica and its standby are never on one supplier;
//! * an epoch is never handed out twice;
//! * at the end one node, and one only, is active for each replica, with its standby warm elsewhere;
//! * no node holds a lease nobody knows, and nobody waits for a lease no node holds;
//! * every part of a job is completed and billed exactly once, and what was tried again never;
//! * nothing is believed beyond what was used, and of honest nodes all of it.

mod checks;
mod effects;
mod machine;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use kinesis_control::{
    api::{AppState, ArtifactRef, Event},
    grid::{
        AppSpec, Effect, Grid, GridConfig, Lease, Mark, Over, PartOutcome, PartPhase, PartSlot,
        Phase,
    },
    meter::Observed,
};
use kinesis_protocol::{
    AccountId, Address, AppId, AttoUsd, ContentHash, Counters, Ending, Epoch, LeaseId, LeaseKey,
    LeaseReport, LeaseSpec, LeaseState, Manifest, NodeId, NodeInfo, Prices, Replica, Resources,
    Tier, VersionId, Workload,
    message::{ToAgent, ToUtility},
    usage::Traffic,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use machine::{Machine, machine};

const START_MS: u64 = 1_000_000;
const STEP_MS: u64 = 10;
const FAULTS_MS: u64 = 40_000;
const SETTLE_MS: u64 = 25_000;
const NODES: u8 = 7;

#[test]
fn whatever_happens_it_settles() {
    let seeds: u64 = std::env::var("KINESIS_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let first = std::env::var("KINESIS_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let seeds = if std::env::var("KINESIS_SEED").is_ok() { 1 } else { seeds };
    let (mut slow, mut beside, mut grown) = (0, 0, 0);
    for seed in first..first + seeds {
        let mut sim = Sim::new(seed);
        sim.run();
        (slow, beside) = (slow + sim.slow, beside + sim.beside);
        grown += u64::from(sim.grown);
    }
    eprintln!("{slow} slow starts, {beside} leases beside one, {grown} grew under load");
    assert!(seeds < 10 || beside > 0, "nothing was slow");
    assert!(seeds < 10 || grown > seeds / 2, "{grown} of {seeds} grew under load");
}

#[test]
fn a_seed_replays_exactly() {
    let trace = || {
        let mut sim = Sim::new(7);
        sim.run();
        sim.trace
    };
    assert_eq!(trace(), trace());
}

struct Sim {
    seed: u64,
    rng: ChaCha8Rng,
    now: u64,
    grid: Grid,
    nodes: Vec<Machine>,
    store: Durable,
    writes: VecDeque<(u64, Write)>,
    next_session: u64,
    next_lease: u64,
    /// Starts that took long, and leases that were placed beside one.
    slow: u32,
    beside: u32,
    /// Whether the second app's third replica served.
    grown: bool,
    apps: Vec<AppSpec>,
    trace: Vec<String>,
}

/// What the store holds.
#[derive(Default)]
struct Durable {
    epochs: BTreeMap<(AppId, Replica), u64>,
    leases: BTreeMap<LeaseId, Row>,
    parts: BTreeMap<(VersionId, u32), Part>,
    over: BTreeMap<AppId, AppState>,
}

struct Row {
    lease: Lease,
    standby: bool,
    counters: Counters,
    ended: Option<Ending>,
}

#[derive(Default, Clone)]
struct Part {
    running: Option<LeaseId>,
    /// Another attempt, beside that one.
    beside: Option<LeaseId>,
    attempts: u32,
    completed: Vec<LeaseId>,
    failed: bool,
}

enum Write {
    Place(LeaseId),
    Activated(LeaseId),
    Ended(Box<Over>),
    State(AppId, AppState),
}

fn spec(n: u8, manifest: &str) -> AppSpec {
    let artifact = ArtifactRef { hash: ContentHash([n; 32]), bytes: 1_000 };
    AppSpec {
        id: AppId::from_bytes([n; 16]),
        account: AccountId::from_bytes([1; 16]),
        version: VersionId::from_bytes([n; 16]),
        version_number: 1,
        manifest: Arc::new(Manifest::parse(manifest).unwrap()),
        artifacts: Arc::new([("a.wasm".to_owned(), artifact)].into()),
    }
}

fn service(n: u8, name: &str, scale: &str) -> AppSpec {
    let small = "[resources]\ncpu_millis = 500\nmem_mib = 64\n";
    spec(
        n,
        &format!(
            "name = \"{name}\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n{small}[scale]\n{scale}\n"
        ),
    )
}

fn job(n: u8, name: &str) -> AppSpec {
    let small = "[resources]\ncpu_millis = 500\nmem_mib = 64\n";
    spec(
        n,
        &format!(
            "name = \"{name}\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n{small}[job]\nparts = 4\nretries = 10\n"
        ),
    )
}

/// The ingress saw plenty, all the time: what bounds a report is time alone.
fn plenty(now: u64) -> impl Fn(LeaseId) -> Option<Observed> {
    let traffic = Traffic { rx_bytes: 1 << 40, tx_bytes: 1 << 40, requests: 1 << 40 };
    move |_| Some(Observed { traffic, busy_ms: (1 << 40) + now })
}

impl Sim {
    fn new(seed: u64) -> Self {
        let start = START_MS;
        let mut sim = Self {
            seed,
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: start,
            grid: Grid::new(GridConfig::default(), start, Box::new(|| unreachable!())),
            nodes: (1..=NODES).map(machine).collect(),
            store: Durable::default(),
            writes: VecDeque::new(),
            next_session: 0,
            next_lease: 0,
            slow: 0,
            beside: 0,
            grown: false,
            apps: vec![
                service(10, "one", "min = 1\nmax = 1\nwarm = 1"),
                service(11, "two", "min = 2\nmax = 3\nwarm = 1\nidle_ms = 2000"),
                service(12, "lazy", "min = 0\nmax = 1\nwarm = 0\nidle_ms = 1000"),
                job(13, "work"),
            ],
            trace: Vec::new(),
        };
        for machine in &mut sim.nodes {
            machine.dials_at += start;
        }
        for part in 0..4 {
            sim.store.parts.insert((VersionId::from_bytes([13; 16]), part), Part::default());
        }
        sim.boot();
        sim
    }

    /// Starts the utility from what the store holds.
    fn boot(&mut self) {
        // Ids must not repeat over restarts, nor depend on anything but the seed.
        self.next_lease += 1_000_000;
        let (mut next, seed) = (self.next_lease, self.seed);
        let ids = move || {
            next += 1;
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            bytes[8..].copy_from_slice(&next.to_be_bytes());
            LeaseId::from_bytes(bytes)
        };
        self.grid = Grid::new(GridConfig::default(), self.now, Box::new(ids));
        self.writes.clear();
        for row in self.store.leases.values().filter(|row| row.ended.is_none()) {
            let mut lease = row.lease.clone();
            lease.standby = row.standby;
            lease.phase = Phase::Lost;
            lease.since_ms = self.now;
            lease.restored = true;
            lease.counters = row.counters;
            lease.base = row.counters;
            lease.suspected_at_ms = None;
            lease.fenced_at_ms = None;
            (lease.claims, lease.hedge) = (false, false);
            lease.marks = Mark::start(lease.placed_at_ms);
            self.grid.restore(lease);
        }
        for app in self.apps.clone() {
            if self.store.over.contains_key(&app.id) {
                continue;
            }
            let mut slots = Vec::new();
            for ((version, _), part) in &mut self.store.parts {
                if *version != app.version {
                    continue;
                }
                let open = |lease: &LeaseId| {
                    self.store.leases.get(lease).is_some_and(|row| row.ended.is_none())
                };
                let (first, beside) = (part.running.filter(open), part.beside.filter(open));
                let held = first.or(beside);
                let beside = beside.filter(|_| first.is_some() && part.completed.is_empty());
                if part.running.is_some() && held.is_none() {
                    // Its attempt's end was written, what follows was not.
                    (part.running, part.beside) = (None, None);
                    part.attempts += 1;
                }
                let phase = match (held, part.completed.is_empty()) {
                    (_, false) => PartPhase::Completed,
                    (Some(lease), _) => PartPhase::Running(lease),
                    (None, _) => PartPhase::Queued { not_before_ms: 0 },
                };
                let attempts = part.attempts;
                slots.push(PartSlot { phase, beside, attempts, ..PartSlot::queued() });
            }
            self.grid.set_app(self.now, app, slots);
        }
        self.act();
    }

    fn run(&mut self) {
        let start = self.now;
        while self.now < start + FAULTS_MS {
            self.fault();
            self.step();
        }
        for machine in &mut self.nodes {
            if !machine.alive {
                machine.alive = true;
                machine.dials_at = self.now + 100;
            }
            machine.mute_until = 0;
        }
        let settled = self.now + SETTLE_MS;
        while self.now < settled {
            self.step();
        }
        self.check_settled();
    }

    /// Now and then something breaks.
    fn fault(&mut self) {
        if self.rng.random_range(0..100) >= 2 {
            return;
        }
        let which = self.rng.random_range(0..self.nodes.len());
        let now = self.now;
        match self.rng.random_range(0..100) {
            0..20 => self.kill(which),
            20..45 => self.nodes[which].mute_until = now + self.rng.random_range(100..2_500),
            45..65 => {
                let machine = &mut self.nodes[which];
                if let Some(session) = machine.session.take() {
                    machine.dials_at = now + 50;
                    let id = machine.info.node;
                    self.grid.node_lost(now, id, session, "the cable");
                    self.act();
                }
            }
            65..85 => {
                let serving: Vec<LeaseId> = self
                    .grid
                    .leases()
                    .values()
                    .filter(|lease| lease.phase == Phase::Active)
                    .map(|lease| lease.spec.lease)
                    .collect();
                if !serving.is_empty() {
                    let lease = serving[self.rng.random_range(0..serving.len())];
                    self.grid.suspect(now, lease);
                    self.act();
                }
            }
            85..93 => {
                self.grid.wake(now, self.apps[2].id);
                self.act();
            }
            _ => self.crash(),
        }
    }

    fn kill(&mut self, which: usize) {
        let (now, lifeline) = (self.now, self.rng.random_bool(0.7));
        let back = now + self.rng.random_range(300..6_000);
        let machine = &mut self.nodes[which];
        if !machine.alive {
            return;
        }
        machine.alive = false;
        machine.dials_at = back;
        machine.to_utility.clear();
        machine.to_node.clear();
        // What it wrote down it finds again: every lease, ended, with its last counters.
        for held in machine.leases.values_mut().filter(|held| held.state != LeaseState::Ended) {
            held.state = LeaseState::Ended;
            held.counters = held.told;
            held.ending = Some(Ending::NodeFailed { reason: "restarted".into() });
        }
        let (id, session) = (machine.info.node, machine.session.take());
        if let (true, Some(session)) = (lifeline, session) {
            self.grid.node_lost(now, id, session, "its process died");
            self.act();
        }
    }

    /// `kill -9` of the utility: writes on their way are done, or not.
    fn crash(&mut self) {
        self.trace.push(format!("{} crash", self.now));
        let pending: Vec<Write> = self.writes.drain(..).map(|(_, write)| write).collect();
        for write in pending {
            if self.rng.random_bool(0.5) {
                let _ = self.write(&write);
            }
        }
        for machine in &mut self.nodes {
            if machine.session.take().is_some() {
                machine.dials_at = self.now + self.rng.random_range(20..1_500);
            }
            machine.to_utility.clear();
            machine.to_node.clear();
        }
        self.boot();
    }

    /// Requests in flight at the second app: waves, which end with the faults.
    fn load(&self) -> u64 {
        let passed = self.now - START_MS;
        if passed < FAULTS_MS && (passed / 5_000) % 2 == 1 { 60 } else { 0 }
    }

    fn step(&mut self) {
        self.now += STEP_MS;
        let now = self.now;
        while let Some((at, _)) = self.writes.front() {
            if *at > now {
                break;
            }
            if let Some((_, write)) = self.writes.pop_front() {
                self.finish(write);
            }
        }
        for which in 0..self.nodes.len() {
            self.drive(which);
        }
        if now.is_multiple_of(50) {
            self.grid.passed(now);
            for app in 0..3 {
                let in_flight = if app == 1 { self.load() } else { 0 };
                self.grid.load(now, self.apps[app].id, in_flight);
            }
            self.grown |= self
                .grid
                .leases_of(self.apps[1].id)
                .any(|lease| lease.spec.key.replica == Replica(2) && lease.phase == Phase::Active);
            self.act();
        }
        if now.is_multiple_of(1_000) {
            // The tick: what is believed is written down.
            let believed: Vec<_> = self.grid.counters().map(|(id, c)| (id, *c)).collect();
            for (id, counters) in believed {
                if let Some(row) = self.store.leases.get_mut(&id) {
                    row.counters = row.counters.max(&counters);
                }
            }
        }
        self.check_always();
    }
}
