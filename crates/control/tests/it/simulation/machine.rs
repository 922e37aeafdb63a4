//! Suppliers' machines: what they hold, hear, say, and how their leases come along.

use super::*;

/// A supplier's machine.
pub(super) struct Machine {
    pub(super) info: NodeInfo,
    pub(super) alive: bool,
    pub(super) session: Option<u64>,
    pub(super) dials_at: u64,
    pub(super) mute_until: u64,
    pub(super) beats_at: u64,
    pub(super) seq: u64,
    pub(super) leases: BTreeMap<LeaseId, Held>,
    pub(super) to_utility: VecDeque<(u64, u64, ToUtility)>,
    pub(super) to_node: VecDeque<(u64, u64, ToAgent)>,
    pub(super) closed_session: Option<u64>,
}

pub(super) struct Held {
    pub(super) spec: LeaseSpec,
    pub(super) state: LeaseState,
    pub(super) ready_at: u64,
    pub(super) ends_at: Option<(u64, Ending)>,
    pub(super) activate: bool,
    pub(super) ending: Option<Ending>,
    pub(super) counters: Counters,
    /// The most it ever told anybody.
    pub(super) told: Counters,
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

pub(super) fn machine(n: u8) -> Machine {
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

impl Sim {
    /// One machine's share of a step.
    pub(super) fn drive(&mut self, which: usize) {
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
                        false => Ending::Completed { outputs: vec![], fuel: None, signed: None },
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
        let faults = now < START_MS + FAULTS_MS;
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
                        answers.push(ToUtility::Granted { lease, signature: None });
                        // Some take so long that another is asked as well.
                        let slow = faults && self.rng.random_bool(0.08);
                        let starts_in = match slow {
                            true => self.rng.random_range(7_000..16_000),
                            false => self.rng.random_range(20..600),
                        };
                        self.slow += u32::from(slow);
                        let held = Held {
                            spec,
                            state: LeaseState::Starting,
                            ready_at: now + starts_in,
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
                ToUtility::Granted { lease, .. } => self.grid.granted(now, id, lease),
                ToUtility::Refused { lease, reason } => self.grid.refused(now, id, lease, &reason),
                _ => {}
            }
            self.act();
        }
    }
}
