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

const STEP_MS: u64 = 10;
const FAULTS_MS: u64 = 40_000;
const SETTLE_MS: u64 = 25_000;
const NODES: u8 = 7;

#[test]
fn whatever_happens_it_settles() {
    let seeds = std::env::var("KINESIS_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let first = std::env::var("KINESIS_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let seeds = if std::env::var("KINESIS_SEED").is_ok() { 1 } else { seeds };
    for seed in first..first + seeds {
        Sim::new(seed).run();
    }
}

#[test]
fn a_seed_replays_exactly() {
    assert_eq!(Sim::new(7).run(), Sim::new(7).run());
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

/// A supplier's machine.
struct Machine {
    info: NodeInfo,
    alive: bool,
    session: Option<u64>,
    dials_at: u64,
    mute_until: u64,
    beats_at: u64,
    seq: u64,
    leases: BTreeMap<LeaseId, Held>,
    to_utility: VecDeque<(u64, u64, ToUtility)>,
    to_node: VecDeque<(u64, u64, ToAgent)>,
    closed_session: Option<u64>,
}

struct Held {
    spec: LeaseSpec,
    state: LeaseState,
    ready_at: u64,
    ends_at: Option<(u64, Ending)>,
    activate: bool,
    ending: Option<Ending>,
    counters: Counters,
    /// The most it ever told anybody.
    told: Counters,
}

impl Machine {
    fn reports(&mut self) -> Vec<LeaseReport> {
        self.leases
            .iter_mut()
            .map(|(id, held)| {
                held.told = held.counters;
                LeaseReport {
                    lease: *id,
                    key: held.spec.key,
                    state: held.state,
                    counters: held.counters,
                    in_flight: 0,
                    ending: held.ending.clone(),
                }
            })
            .collect()
    }

    fn free(&self) -> Resources {
        self.leases
            .values()
            .filter(|held| held.state != LeaseState::Ended)
            .fold(self.info.offered, |free, held| free.saturating_sub(&held.spec.granted))
    }
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

fn machine(n: u8) -> Machine {
    Machine {
        info: NodeInfo {
            node: NodeId([n; 32]),
            name: format!("machine {n}"),
            // Two machines of one supplier, the others each of their own.
            supplier: Address::repeat_byte(n.max(2)),
            tier: if n.is_multiple_of(3) { Tier::Datacenter } else { Tier::Crowd },
            region: String::new(),
            offered: Resources {
                cpu_millis: 4_000,
                mem_mib: 4_096,
                disk_mib: 4_096,
                ..Resources::default()
            },
            prices: Prices { wall_ms: AttoUsd(1_000_000 * u64::from(n)), ..Prices::default() },
            attributes: BTreeMap::new(),
        },
        alive: true,
        session: None,
        dials_at: u64::from(n) * 20,
        mute_until: 0,
        beats_at: 0,
        seq: 0,
        leases: BTreeMap::new(),
        to_utility: VecDeque::new(),
        to_node: VecDeque::new(),
        closed_session: None,
    }
}

/// The ingress saw plenty, all the time: what bounds a report is time alone.
fn plenty(now: u64) -> impl Fn(LeaseId) -> Option<Observed> {
    let traffic = Traffic { rx_bytes: 1 << 40, tx_bytes: 1 << 40, requests: 1 << 40 };
    move |_| Some(Observed { traffic, busy_ms: (1 << 40) + now })
}

impl Sim {
    fn new(seed: u64) -> Self {
        let start = 1_000_000;
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
            apps: vec![
                service(10, "one", "min = 1\nmax = 1\nwarm = 1"),
                service(11, "two", "min = 2\nmax = 3\nwarm = 1"),
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
                let held = part.running.filter(|lease| {
                    self.store.leases.get(lease).is_some_and(|row| row.ended.is_none())
                });
                if part.running.is_some() && held.is_none() {
                    // Its attempt's end was written, what follows was not.
                    part.running = None;
                    part.attempts += 1;
                }
                let phase = match (held, part.completed.is_empty()) {
                    (_, false) => PartPhase::Completed,
                    (Some(lease), _) => PartPhase::Running(lease),
                    (None, _) => PartPhase::Queued { not_before_ms: 0 },
                };
                slots.push(PartSlot { phase, attempts: part.attempts, ..PartSlot::queued() });
            }
            self.grid.set_app(self.now, app, slots);
        }
        self.act();
    }

    fn run(mut self) -> Vec<String> {
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
        self.trace
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
                self.grid.load(now, self.apps[app].id, 0);
            }
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

    /// One machine's share of a step.
    fn drive(&mut self, which: usize) {
        let now = self.now;
        let machine = &mut self.nodes[which];
        if now < machine.mute_until {
            return;
        }
        if !machine.alive {
            if now >= machine.dials_at {
                machine.alive = true;
            }
            return;
        }
        if let Some(closed) = machine.closed_session.take()
            && machine.session == Some(closed)
        {
            machine.session = None;
            machine.dials_at = now + 50;
        }
        if machine.session.is_none() && now >= machine.dials_at {
            self.next_session += 1;
            machine.session = Some(self.next_session);
            machine.to_node.clear();
            machine.to_utility.clear();
            let (info, reports) = (machine.info.clone(), machine.reports());
            self.grid.node_joined(now, self.next_session, info, &reports, &plenty(now));
            self.act();
        }
        self.work(which);
        self.read_frames(which);
        self.write_frames(which);
    }

    /// Leases get ready, work, and end.
    fn work(&mut self, which: usize) {
        let (now, rng) = (self.now, &mut self.rng);
        let machine = &mut self.nodes[which];
        let mut fenced: Vec<LeaseKey> = Vec::new();
        let reached = machine.session.is_some();
        for held in machine.leases.values_mut() {
            let before = held.state;
            if held.state == LeaseState::Starting && now >= held.ready_at {
                held.state = match held.spec.standby && !held.activate {
                    true => LeaseState::Warm,
                    false => LeaseState::Active,
                };
                if let Workload::Job(_) = held.spec.workload {
                    let fails = rng.random_bool(0.1);
                    let ending = match fails {
                        true => Ending::Failed { reason: "exit 1".into() },
                        false => Ending::Completed { outputs: vec![], fuel: None },
                    };
                    held.ends_at = Some((now + rng.random_range(500..9_000), ending));
                }
            }
            if held.state == LeaseState::Warm && held.activate {
                held.state = LeaseState::Active;
            }
            // Nobody asks a service anything while its utility is away.
            let job = matches!(held.spec.workload, Workload::Job(_));
            if held.state == LeaseState::Active && (job || reached) {
                held.counters.wall_ms += STEP_MS / 2;
            }
            if let Some((at, ending)) = held.ends_at.clone()
                && held.state != LeaseState::Ended
                && now >= at
            {
                held.state = LeaseState::Ended;
                held.ending = Some(ending);
            }
            if held.state != before {
                machine.beats_at = now;
                if held.state == LeaseState::Active {
                    fenced.push(held.spec.key);
                }
            }
        }
        for key in fenced {
            for held in machine.leases.values_mut() {
                let older = held.spec.key.app == key.app
                    && held.spec.key.replica == key.replica
                    && held.spec.key.epoch < key.epoch;
                if older && held.state != LeaseState::Ended {
                    held.state = LeaseState::Ended;
                    held.ending = Some(Ending::Fenced);
                }
            }
        }
    }

    fn read_frames(&mut self, which: usize) {
        let now = self.now;
        let machine = &mut self.nodes[which];
        while machine.to_node.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, session, message)) = machine.to_node.pop_front() else { return };
            if machine.session != Some(session) {
                continue;
            }
            let mut answers = Vec::new();
            match message {
                ToAgent::Grant { spec } => {
                    let lease = spec.lease;
                    if self.rng.random_bool(0.03) || !machine.free().fits(&spec.granted) {
                        answers.push(ToUtility::Refused { lease, reason: "not now".into() });
                    } else {
                        answers.push(ToUtility::Granted { lease });
                        let held = Held {
                            spec,
                            state: LeaseState::Starting,
                            ready_at: now + self.rng.random_range(20..600),
                            ends_at: None,
                            activate: false,
                            ending: None,
                            counters: Counters::default(),
                            told: Counters::default(),
                        };
                        machine.leases.entry(lease).or_insert(held);
                    }
                }
                ToAgent::Activate { lease } => {
                    if let Some(held) = machine.leases.get_mut(&lease) {
                        held.activate = true;
                    }
                }
                ToAgent::Release { lease, .. } => {
                    if let Some(held) = machine.leases.get_mut(&lease) {
                        held.ends_at = Some((now + 20, Ending::Released));
                    }
                }
                ToAgent::Recorded { lease } => {
                    let ended = |held: &Held| held.state == LeaseState::Ended;
                    if machine.leases.get(&lease).is_some_and(ended) {
                        machine.leases.remove(&lease);
                    }
                }
                _ => {}
            }
            let at = now + self.rng.random_range(1..30);
            machine.to_utility.extend(answers.into_iter().map(|answer| (at, session, answer)));
        }
    }

    fn write_frames(&mut self, which: usize) {
        let now = self.now;
        let machine = &mut self.nodes[which];
        let Some(session) = machine.session else { return };
        if now >= machine.beats_at {
            machine.beats_at = now + 200;
            machine.seq += 1;
            let (seq, free, leases) = (machine.seq, machine.free(), machine.reports());
            let beat = ToUtility::Heartbeat { seq, free, paused: None, leases };
            machine.to_utility.push_back((now + self.rng.random_range(1..30), session, beat));
        }
        let id = machine.info.node;
        while let Some((at, ..)) = self.nodes[which].to_utility.front() {
            if *at > now {
                break;
            }
            let Some((_, session, message)) = self.nodes[which].to_utility.pop_front() else {
                return;
            };
            match message {
                ToUtility::Heartbeat { seq, free, paused, leases } => {
                    self.grid.node_heard(
                        now,
                        id,
                        session,
                        seq,
                        free,
                        paused,
                        &leases,
                        &plenty(now),
                    );
                }
                ToUtility::Granted { lease } => self.grid.granted(now, id, lease),
                ToUtility::Refused { lease, reason } => self.grid.refused(now, id, lease, &reason),
                _ => {}
            }
            self.act();
        }
    }
}
