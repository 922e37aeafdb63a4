//! What all parts of a running agent share: its leases, its utilities, its wallet, its book.

mod meter;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use kinesis_chain::{Joules, Key};
use kinesis_protocol::{
    Address, Ending, Epoch, LeaseId, LeaseReport, LeaseSpec, LeaseState, NanoJoule, NodeId,
    NodeInfo, Resources, U256,
};
use kinesis_wire::Link;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    AgentError,
    artifacts::Artifacts,
    book::{Book, Contents, EPOCHS_MAX, Meter, Named, Payer, names_of},
    engine::Engine,
    lease::{
        Changes, Lease,
        drive::{FENCE_NOTICE, drive},
    },
    pledge::Pledges,
    policy::{self, Decision, Holding, Situation},
    wallet::{SharedWallet, Terms},
};

/// How often leases are checked for their term.
const REAP_EVERY: Duration = Duration::from_millis(200);
/// The setting under which the book keeps that the owner paused the node.
const PAUSED: &str = "paused";

/// One utility this agent works for.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its node id.
    pub node: NodeId,
    /// The link to it, while there is one that was welcomed.
    pub link: watch::Sender<Option<Link>>,
    /// When the last frame came.
    pub heard: Mutex<Instant>,
    /// What it said of its payments.
    pub terms: Mutex<Option<Terms>>,
    /// Why it last rejected this node.
    pub rejected: Mutex<Option<String>>,
    /// What it says of the supplier's stake.
    pub standing: Mutex<Said>,
    /// Who it has to be on chain; unset where nobody was named.
    pub expects: OnceLock<Address>,
}

impl Peer {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            link: watch::Sender::new(None),
            heard: Mutex::new(Instant::now()),
            terms: Mutex::new(None),
            rejected: Mutex::new(None),
            standing: Mutex::default(),
            expects: OnceLock::new(),
        }
    }
}

impl Peer {
    /// Why it gives this node no lease, and what it has read of the supplier's stake.
    pub(crate) fn said(&self) -> (Option<String>, Option<Joules>) {
        let said = self.standing.lock();
        (said.withheld.clone(), said.stake_wei.map(Joules))
    }
}

/// What a utility has said of the supplier's stake.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What it has read on chain, in wei; `None` before it said so.
    pub stake_wei: Option<U256>,
    /// Why it gives this node no lease.
    pub withheld: Option<String>,
}

/// Why nothing new is taken.
#[derive(Debug, Default)]
struct Closed {
    /// The owner's words.
    paused: Option<String>,
    /// The agent is stopping, and until when it serves what it has.
    leaving: Option<Instant>,
}

/// The agent's shared state.
#[derive(Debug)]
pub(crate) struct Node {
    pub info: NodeInfo,
    pub book: Arc<Book>,
    pub wallet: SharedWallet,
    /// The supplier's: signs what comes out of deterministic jobs.
    pub key: Key,
    /// What it has signed about leases.
    pub pledges: Arc<Pledges>,
    pub engine: Arc<dyn Engine>,
    pub artifacts: Artifacts,
    pub peers: BTreeMap<NodeId, Arc<Peer>>,
    /// Grows whenever something happened that heartbeats report.
    pub changes: Changes,
    /// Asks for the escrows to be read now.
    pub read_escrow: Notify,
    earned_before: HashMap<Payer, NanoJoule>,
    closed: Mutex<Closed>,
    leases: Mutex<Leases>,
    /// The lives of the leases.
    lives: Mutex<JoinSet<()>>,
    /// Serialises what is counted as earned with what is written.
    accounts: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Leases {
    held: BTreeMap<LeaseId, Arc<Lease>>,
    /// The newest epoch ever granted of each replica, by the utility that named it.
    newest: BTreeMap<Named, (Epoch, LeaseId)>,
}

impl Leases {
    /// Remembers an epoch as a replica's newest; returns what was forgotten for it.
    fn renew(&mut self, name: Named, epoch: Epoch, lease: LeaseId) -> Option<Named> {
        self.newest.insert(name, (epoch, lease));
        let of_it = || self.newest.range(names_of(name.0)).map(|(name, _)| *name);
        let oldest = if of_it().count() > EPOCHS_MAX { of_it().find(|n| *n != name) } else { None };
        if let Some(oldest) = &oldest {
            self.newest.remove(oldest);
        }
        oldest
    }
}

/// The parts of a [`Node`].
#[derive(Debug)]
pub(crate) struct Parts {
    pub pledges: Arc<Pledges>,
    pub info: NodeInfo,
    pub book: Arc<Book>,
    pub contents: Contents,
    pub wallet: SharedWallet,
    pub key: Key,
    pub engine: Arc<dyn Engine>,
    pub artifacts: Artifacts,
    pub utilities: Vec<NodeId>,
}

impl Node {
    /// Puts the parts together. Leases that were running when an earlier process died have ended.
    pub(crate) fn new(parts: Parts) -> Result<Self, AgentError> {
        let Parts { pledges, info, book, contents, wallet, key, engine, artifacts, utilities } =
            parts;
        let changes: Changes = Arc::new(watch::Sender::new(0));
        let leftovers: HashMap<_, _> = engine.leftovers().into_iter().collect();
        let paused = book.setting(PAUSED)?;
        let mut node = Self {
            info,
            book,
            wallet,
            key,
            pledges,
            engine,
            artifacts,
            peers: utilities.into_iter().map(|id| (id, Arc::new(Peer::new(id)))).collect(),
            changes: changes.clone(),
            read_escrow: Notify::new(),
            earned_before: contents.earned,
            closed: Mutex::new(Closed { paused, leaving: None }),
            leases: Mutex::default(),
            lives: Mutex::default(),
            accounts: tokio::sync::Mutex::default(),
        };
        for peer in node.peers.values() {
            node.recall_terms(peer)?;
        }
        let mut leases = Leases { newest: contents.epochs, held: BTreeMap::new() };
        for (id, (mut record, mut meter)) in contents.leases {
            if record.ending.is_none() {
                if let Some(counters) = leftovers.get(&id) {
                    meter.counters = meter.counters.max(counters);
                }
                let reason = "the agent restarted".to_owned();
                record.ending = Some(Ending::NodeFailed { reason });
                let (written, earned) = node.account(record.payer, &record.spec, false, meter);
                node.book.end(&record, written, earned)?;
                meter = written;
            }
            leases.held.insert(id, Arc::new(Lease::new(record, meter, changes.clone())));
        }
        for id in leftovers.keys().filter(|id| !leases.held.contains_key(id)) {
            node.engine.forget(*id);
        }
        node.leases = Mutex::new(leases);
        Ok(node)
    }

    /// A utility by its id.
    pub(crate) fn peer(&self, utility: NodeId) -> Option<Arc<Peer>> {
        self.peers.get(&utility).cloned()
    }

    /// What a payer owed when this process started.
    pub(crate) fn earned_before(&self, payer: Payer) -> NanoJoule {
        self.earned_before.get(&payer).copied().unwrap_or_default()
    }

    /// Wakes whoever reports.
    pub(crate) fn touch(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// All leases.
    pub(crate) fn leases(&self) -> Vec<Arc<Lease>> {
        self.leases.lock().held.values().cloned().collect()
    }

    /// A lease that `utility` holds here.
    pub(crate) fn lease(&self, utility: NodeId, lease: LeaseId) -> Option<Arc<Lease>> {
        let leases = self.leases.lock();
        leases.held.get(&lease).filter(|lease| lease.utility == utility).cloned()
    }

    /// What is reported to `utility`.
    pub(crate) fn reports(&self, utility: NodeId) -> Vec<LeaseReport> {
        let leases = self.leases.lock();
        leases
            .held
            .values()
            .filter(|lease| lease.utility == utility)
            .map(|lease| lease.report())
            .collect()
    }

    fn holdings(leases: &Leases) -> Vec<Holding> {
        leases.held.values().map(|lease| lease.holding()).collect()
    }

    /// What is still free.
    pub(crate) fn free(&self) -> Resources {
        policy::free(&self.info.offered, &Self::holdings(&self.leases.lock()))
    }

    /// Why nothing new is taken from `utility`; `None` while it is.
    pub(crate) fn refusal(&self, utility: NodeId) -> Option<String> {
        {
            let closed = self.closed.lock();
            if closed.leaving.is_some() {
                return Some("this node is leaving the grid".into());
            }
            if let Some(words) = &closed.paused {
                return Some(format!("paused by its owner: {words}"));
            }
        }
        let terms = self.peer(utility).and_then(|peer| *peer.terms.lock());
        match terms {
            None => Some("this node has not been told who pays".into()),
            Some(terms) => self.wallet.refusal(terms.payer),
        }
    }

    /// Why the terms of a lease are not signed here; `None` where they are.
    fn unsigned(&self, utility: NodeId, spec: &LeaseSpec) -> Option<String> {
        let peer = self.peer(utility)?;
        let terms = (*peer.terms.lock())?;
        self.pledges.refusal(spec.lease, spec.sla.as_ref()?, &terms)
    }

    /// Decides about a grant, and starts the lease where it is granted.
    pub(crate) fn grant(self: &Arc<Self>, utility: NodeId, spec: LeaseSpec) -> Decision {
        let payer = self.peer(utility).and_then(|peer| *peer.terms.lock()).map(|terms| terms.payer);
        let paused = self.refusal(utility).or_else(|| self.unsigned(utility, &spec));
        let mut leases = self.leases.lock();
        if leases.held.get(&spec.lease).is_some_and(|lease| lease.utility != utility) {
            return Decision::Refuse("this lease is held for another utility".into());
        }
        let replica = (utility, spec.key.app, spec.key.replica);
        let decision = policy::decide(
            &Situation {
                offered: self.info.offered,
                prices: self.info.prices,
                paused,
                held: &Self::holdings(&leases),
                artifact_bytes_max: self.artifacts.bytes_max(),
                newest: leases.newest.get(&replica).copied(),
            },
            &spec,
        );
        let Some(payer) = payer.filter(|_| decision == Decision::Grant) else { return decision };
        tracing::info!(lease = %spec.lease, key = %spec.key, app = spec.app_name, "lease granted");
        let forgotten = leases.renew(replica, spec.key.epoch, spec.lease);
        let record = crate::book::LeaseRecord { utility, payer, spec, ending: None };
        let lease = Arc::new(Lease::new(record, Meter::default(), self.changes.clone()));
        leases.held.insert(lease.spec.lease, lease.clone());
        drop(leases);
        let mut lives = self.lives.lock();
        while lives.try_join_next().is_some() {}
        lives.spawn(drive(self.clone(), lease, forgotten));
        drop(lives);
        self.touch();
        decision
    }

    /// Drops every lease where it stands, which kills its sandbox.
    pub(crate) fn abandon(&self) {
        self.lives.lock().abort_all();
        self.leases.lock().held.clear();
    }

    /// Thaws a standby now.
    pub(crate) fn activate(&self, utility: NodeId, lease: LeaseId) {
        let Some(lease) = self.lease(utility, lease) else {
            tracing::debug!(%lease, "asked to activate a lease that is not held");
            return;
        };
        match lease.activate() {
            Ok(true) => self.fence_older(&lease),
            Ok(false) => {}
            Err(reason) => {
                let reason = format!("it could not be thawed: {reason}");
                lease.stop(Ending::NodeFailed { reason }, Duration::ZERO);
            }
        }
    }

    /// Ends the leases of older epochs whose place an active lease has taken.
    pub(crate) fn fence_older(&self, active: &Lease) {
        let key = active.spec.key;
        for other in self.leases() {
            let older = other.spec.key;
            if other.utility == active.utility
                && (older.app, older.replica) == (key.app, key.replica)
                && older.epoch < key.epoch
                && other.state() != LeaseState::Ended
            {
                let notice = if other.is_job() { Duration::ZERO } else { FENCE_NOTICE };
                other.stop(Ending::Fenced, notice);
            }
        }
    }

    /// Forgets a lease whose ending the utility has recorded.
    pub(crate) fn recorded(&self, utility: NodeId, id: LeaseId) {
        let Some(lease) = self.lease(utility, id) else { return };
        // A repeated word about an older report must not lose a lease that runs.
        if lease.state() != LeaseState::Ended {
            return;
        }
        self.leases.lock().held.remove(&id);
        self.engine.forget(id);
        let book = self.book.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = book.forget(id) {
                let error = crate::error::chain_of(&error);
                tracing::warn!(lease = %id, error, "a lease stays in the book");
            }
        });
        self.touch();
    }

    /// Ends what has outlived its term without word of its utility. Runs until it is dropped.
    pub(crate) async fn reap(&self) {
        let mut every = tokio::time::interval(REAP_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            for lease in self.leases() {
                let heard = self.peer(lease.utility).map(|peer| *peer.heard.lock());
                let term = Duration::from_millis(lease.spec.term_ms);
                if heard.is_none_or(|heard| heard.elapsed() > term)
                    && lease.state() != LeaseState::Ended
                {
                    lease.stop(Ending::Expired, Duration::ZERO);
                }
            }
        }
    }

    /// The owner takes the node off the grid for new leases, or puts it back (`None`).
    pub(crate) fn pause(&self, words: Option<String>) -> Result<(), AgentError> {
        self.book.set(PAUSED, words.as_deref())?;
        self.closed.lock().paused = words;
        self.touch();
        Ok(())
    }

    /// The owner's words, while she has paused the node.
    pub(crate) fn paused(&self) -> Option<String> {
        self.closed.lock().paused.clone()
    }

    /// Takes nothing new from now on, and says so.
    pub(crate) fn leave(&self, notice: Duration) {
        self.closed.lock().leaving.get_or_insert_with(|| Instant::now() + notice);
        self.touch();
    }

    /// Until when the node serves what it has, once it is leaving.
    pub(crate) fn leaving(&self) -> Option<Instant> {
        self.closed.lock().leaving
    }

    /// Keeps a utility's terms for the next start.
    pub(crate) fn remember_terms(
        &self,
        peer: &Peer,
        terms: Terms,
        price: kinesis_protocol::JoulePrice,
    ) -> Result<(), AgentError> {
        let json = serde_json::to_string(&(terms, price)).map_err(AgentError::Record)?;
        self.book.set(&format!("terms:{}", peer.node), Some(&json))
    }

    /// Takes up the terms of an earlier process: who pays for leases that it left, and what its
    /// payments were checked against.
    fn recall_terms(&self, peer: &Peer) -> Result<(), AgentError> {
        let Some(json) = self.book.setting(&format!("terms:{}", peer.node))? else { return Ok(()) };
        let (terms, price): (Terms, _) = serde_json::from_str(&json).map_err(AgentError::Record)?;
        *peer.terms.lock() = Some(terms);
        self.wallet.welcome(terms, price, self.earned_before(terms.payer))
    }
}
