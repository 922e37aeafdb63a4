//! A simulated agent: speaks the real protocol over a real link, runs no sandbox.
//!
//! Everything that goes over the wire is what a real agent sends: hello, heartbeats, grants and
//! refusals, activations, endings repeated until recorded, HTTP over streams, outputs, a lifeline.
//! What stands behind it is a script ([`Behaviour`]) and a hand on the controls: [`SimAgent::kill`]
//! falls silent and drops the lifeline as a SIGKILL does, [`SimAgent::silence`] is a cut cable,
//! [`SimAgent::restart`] comes back with every lease lost.
//!
//! Counters grow as a real meter's do: wall time while a request is in flight or a job runs,
//! memory by wall time, CPU a tenth of wall time. [`SimAgent::set_counters`] makes it lie.

mod connection;
mod http;
mod leases;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use kinesis_chain::Key;
use kinesis_protocol::{
    Address, Counters, Ending, LeaseId, LeaseReport, NodeId, NodeInfo, Prices, Resources,
    SignedAck, Tier, U256, message::HEARTBEAT_MS, root::PaymentProof,
};
use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret, UtilityAddr, WireError};
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::task::AbortOnDropHandle;

use self::leases::SimLeases;

/// What happens to jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobScript {
    /// It completes after this long, and leaves these files.
    Completes {
        /// How long it works.
        after: Duration,
        /// What it leaves, by path.
        outputs: Vec<(String, Bytes)>,
    },
    /// It fails after this long.
    Fails {
        /// How long it works.
        after: Duration,
        /// Why it fails.
        reason: String,
    },
    /// It runs until it is ended.
    Runs,
}

/// What a simulated agent does with what it is asked.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// How long a lease takes to be ready.
    pub starts_in: Duration,
    /// Refuse every lease with this reason. `None`: grant what fits.
    pub refuses: Option<String>,
    /// Say in heartbeats that nothing new is taken. `None`: say nothing.
    pub paused: Option<String>,
    /// What happens to jobs.
    pub job: JobScript,
    /// How long a request takes.
    pub answers_in: Duration,
    /// How often a heartbeat is sent.
    pub heartbeat: Duration,
    /// Answer benchmarks with work that was not done.
    pub invents_benchmark: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            starts_in: Duration::from_millis(5),
            refuses: None,
            paused: None,
            job: JobScript::Completes { after: Duration::from_millis(20), outputs: Vec::new() },
            answers_in: Duration::ZERO,
            heartbeat: Duration::from_millis(HEARTBEAT_MS),
            invents_benchmark: false,
        }
    }
}

/// What to simulate.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// The node's key.
    pub secret: NodeSecret,
    /// What it says of itself; `info.node` is set from the key.
    pub info: NodeInfo,
    /// Whom it dials.
    pub utility: UtilityAddr,
    /// What it does.
    pub behaviour: Behaviour,
    /// Its supplier's key, which signs the terms of leases; `None`: it signs nothing.
    pub key: Option<Key>,
}

impl SimConfig {
    /// A node called `name` with a key of its own: 8 cores, 16 GiB, an address made from its key,
    /// small prices.
    #[must_use]
    pub fn new(name: &str, utility: UtilityAddr) -> Self {
        let secret = NodeSecret::generate();
        let node = secret.node_id();
        let info = NodeInfo {
            node,
            name: name.to_owned(),
            supplier: Address::from_slice(&node.0[..20]),
            tier: Tier::Crowd,
            region: String::new(),
            offered: Resources {
                cpu_millis: 8_000,
                mem_mib: 16_384,
                disk_mib: 65_536,
                ..Resources::default()
            },
            prices: sim_prices(),
            attributes: [("simulated".to_owned(), "yes".to_owned())].into(),
        };
        Self { secret, info, utility, behaviour: Behaviour::default(), key: None }
    }
}

fn sim_prices() -> Prices {
    crate::AgentConfig::default_prices()
}

/// All that outlives a connection.
#[derive(Debug)]
pub(crate) struct Shared {
    info: NodeInfo,
    utility: UtilityAddr,
    behaviour: Mutex<Behaviour>,
    leases: SimLeases,
    silent: watch::Sender<bool>,
    /// How often a utility has said welcome.
    welcomes: watch::Sender<u64>,
    payments: Mutex<Option<PaymentProof>>,
    payments_seen: watch::Sender<u64>,
    rejected: Mutex<Option<String>>,
    drop_link: tokio::sync::Notify,
    /// Held as long as the process would live.
    lifeline: Mutex<Option<AbortOnDropHandle<()>>>,
    leaving: Mutex<Option<Duration>>,
    key: Option<Key>,
    /// The newest acknowledgement of each lease.
    acks: watch::Sender<BTreeMap<LeaseId, SignedAck>>,
    /// What the utility said last of its stake, and why it gets no lease.
    standing: watch::Sender<Option<(U256, Option<String>)>>,
}

/// A simulated agent. Dropping it closes its link in an orderly way, and its socket.
#[derive(Debug)]
pub struct SimAgent {
    shared: Arc<Shared>,
    secret: NodeSecret,
    endpoint: Endpoint,
    tasks: JoinSet<()>,
}

impl SimAgent {
    /// Binds a socket on the loopback and begins to dial; does not wait for the answer.
    ///
    /// # Errors
    /// Where no socket can be bound.
    pub async fn start(config: SimConfig) -> Result<Self, WireError> {
        let SimConfig { secret, mut info, utility, behaviour, key } = config;
        info.node = secret.node_id();
        if let Some(key) = &key {
            info.supplier = key.address();
        }
        let shared = Arc::new(Shared {
            leases: SimLeases::new(info.offered, info.prices),
            info,
            utility,
            behaviour: Mutex::new(behaviour),
            silent: watch::Sender::new(false),
            welcomes: watch::Sender::new(0),
            payments: Mutex::new(None),
            payments_seen: watch::Sender::new(0),
            rejected: Mutex::new(None),
            drop_link: tokio::sync::Notify::new(),
            lifeline: Mutex::new(None),
            leaving: Mutex::new(None),
            key,
            acks: watch::Sender::default(),
            standing: watch::Sender::default(),
        });
        let endpoint = bind(&secret).await?;
        let mut agent = Self { shared, secret, endpoint, tasks: JoinSet::new() };
        agent.spawn();
        Ok(agent)
    }

    fn spawn(&mut self) {
        let (endpoint, shared) = (self.endpoint.clone(), self.shared.clone());
        self.tasks.spawn(connection::run(endpoint, shared));
    }

    /// Its node id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.info.node
    }

    /// What it says of itself.
    #[must_use]
    pub fn info(&self) -> &NodeInfo {
        &self.shared.info
    }

    /// Waits until it was welcomed at least `times` times.
    pub async fn welcomed(&self, times: u64) {
        let mut welcomes = self.shared.welcomes.subscribe();
        // The sender lives in `self`.
        let _ = welcomes.wait_for(|seen| *seen >= times).await;
    }

    /// How often it was welcomed.
    #[must_use]
    pub fn welcomes(&self) -> u64 {
        *self.shared.welcomes.borrow()
    }

    /// Why the utility last rejected it, if it has.
    #[must_use]
    pub fn rejected(&self) -> Option<String> {
        self.shared.rejected.lock().clone()
    }

    /// Changes what it does from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock());
    }

    /// Every lease it holds, as it reports them.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseReport> {
        self.shared.leases.reports()
    }

    /// Reports these counters for a lease from now on, whatever it did; `None`: the honest ones.
    pub fn set_counters(&self, lease: LeaseId, counters: Option<Counters>) {
        self.shared.leases.set_counters(lease, counters);
    }

    /// Ends a lease now.
    pub fn end(&self, lease: LeaseId, ending: Ending) {
        self.shared.leases.end(lease, ending);
    }

    /// The newest payment it was sent.
    #[must_use]
    pub fn payment(&self) -> Option<PaymentProof> {
        self.shared.payments.lock().clone()
    }

    /// Waits until it holds acknowledgements that fit.
    pub async fn acknowledged(
        &self,
        fits: impl Fn(&BTreeMap<LeaseId, SignedAck>) -> bool,
    ) -> BTreeMap<LeaseId, SignedAck> {
        let mut acks = self.shared.acks.subscribe();
        // The sender lives in `self`.
        acks.wait_for(|acks| fits(acks)).await.map(|acks| acks.clone()).unwrap_or_default()
    }

    /// Waits until the utility has said something of its stake that fits: what it has, in wei, and
    /// why it gets no lease.
    pub async fn standing(
        &self,
        fits: impl Fn(U256, Option<&str>) -> bool,
    ) -> (U256, Option<String>) {
        let mut said = self.shared.standing.subscribe();
        let fits = |said: &Option<(U256, Option<String>)>| {
            said.as_ref().is_some_and(|(stake, withheld)| fits(*stake, withheld.as_deref()))
        };
        said.wait_for(fits).await.ok().and_then(|said| said.clone()).unwrap_or_default()
    }

    /// Waits until it was sent a payment that fits.
    pub async fn paid(&self, fits: impl Fn(&PaymentProof) -> bool) -> PaymentProof {
        let mut seen = self.shared.payments_seen.subscribe();
        loop {
            seen.mark_unchanged();
            if let Some(payment) = self.payment().filter(|payment| fits(payment)) {
                return payment;
            }
            // The sender lives in `self`.
            let _ = seen.changed().await;
        }
    }

    /// Cuts or mends the cable: while it is silent nothing is sent, read or answered, and nothing
    /// is closed. Its leases live on.
    pub fn silence(&self, silent: bool) {
        self.shared.silent.send_replace(silent);
    }

    /// Closes the link; it dials again by itself.
    pub fn disconnect(&self) {
        self.shared.drop_link.notify_waiters();
    }

    /// Says that it leaves, and goes on serving what it has.
    pub fn leave(&self, notice: Duration) {
        *self.shared.leaving.lock() = Some(notice);
        self.shared.leases.touch();
    }

    /// Dies as from SIGKILL: the kernel closes its TCP connection, its QUIC connection falls
    /// silent, its sandboxes are gone.
    pub fn kill(&self) {
        // The tasks stay, silent: to drop them would close the link, which no SIGKILL does.
        self.shared.silent.send_replace(true);
        self.shared.lifeline.lock().take();
        self.shared.leases.kill_all();
    }

    /// Comes back after [`Self::kill`] as a restarted agent does: same key, same book; every lease
    /// is reported as ended by the node's failure with its last counters.
    ///
    /// # Errors
    /// Where no socket can be bound.
    pub async fn restart(&mut self) -> Result<(), WireError> {
        self.kill();
        self.tasks.shutdown().await;
        self.endpoint = bind(&self.secret).await?;
        self.shared.silent.send_replace(false);
        self.spawn();
        Ok(())
    }
}

async fn bind(secret: &NodeSecret) -> Result<Endpoint, WireError> {
    Endpoint::bind(EndpointConfig {
        secret: secret.clone(),
        bind: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        relay: None,
        listen: false,
    })
    .await
}
