//! The shell around the grid: a running utility.
//!
//! | part | does |
//! | --- | --- |
//! | `act` | carries out what the grid wants |
//! | `fleet` | connections, hellos, heartbeats, lifelines |
//! | `standing` | what stake stands behind each node |
//! | `pledge` | what suppliers sign about leases, and its acknowledgement |
//! | `streams` | artifacts, outputs, logs |
//! | `record` | what must last |
//! | `ledger` | the second's tick, the escrow |
//! | `judge` | budgets and balances |
//! | `outlet` | what customers and operators ask for |
//! | `gone` | apps that are over, and who asks for them |
//! | `views` | what they are shown |
//! | `withdraw` | suppliers who want USD |
//! | `price` | what a JOULE costs |
//! | `desk` | the inventory of USD and JOULE |
//!
//! The grid's lock is held for as long as it takes to carry out what cannot wait (frames are queued,
//! routes are swapped); nothing awaits while it is held. Locks are taken in the order grid, replicas,
//! sessions, traffic.

mod act;
mod chain_events;
mod clock;
mod desk;
mod fleet;
mod gone;
mod judge;
mod ledger;
mod outlet;
mod owed;
mod pledge;
mod price;
mod record;
mod restore;
mod results;
mod standing;
mod streams;
mod views;
mod withdraw;

pub use chain_events::{CHAIN_EVENTS_MAX, ChainEventsQuery};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use kinesis_protocol::{Address, AppId, JoulePrice, LeaseId, NanoJoule, NodeId, U256};
use kinesis_store::{Artifacts, Store, Terms};
use kinesis_wire::{Endpoint, http::LeaseTraffic};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore, broadcast, watch},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};

use crate::{
    ControlConfig, ControlError, Cover,
    api::{AppState, Event, GridView},
    desk::Desk,
    grid::{Grid, GridConfig, Node},
    price::PriceBook,
    routes::{AppRoute, ReplicaRoute, Routes},
    settle::{Payer, Settle},
};
use clock::{Clock, millis};
use fleet::Session;
use ledger::{Ledger, SignedTree};
use pledge::Pledges;
use standing::Standings;

/// How often the grid is told that time has passed.
const PASSING: Duration = Duration::from_millis(50);
/// How often the load of services is looked at.
const LOAD_EVERY: u32 = 5;
/// How long the chain may take to answer at a start.
const CHAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Questions about hosts without a route at a time.
const ASKING_MAX: usize = 2;
/// Events that a slow watcher may be behind.
const EVENTS_MAX: usize = 1_024;

/// Why no replica became usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// There is no such service.
    #[error("there is no such app")]
    Unknown,
    /// Its owner stopped it.
    #[error("the app is stopped; deploy it again to start it")]
    Stopped,
    /// Its budget is used up.
    #[error("the app's budget is used up")]
    OverBudget,
    /// None in time.
    #[error("no replica became ready in time: {0}")]
    TimedOut(String),
}

/// A running utility.
pub struct Control {
    config: ControlConfig,
    store: Store,
    artifacts: Artifacts,
    settle: Arc<dyn Settle>,
    payer: Payer,
    terms: Terms,
    clock: Clock,
    grid: Mutex<Grid>,
    replicas: Mutex<HashMap<LeaseId, Arc<ReplicaRoute>>>,
    sessions: Mutex<HashMap<NodeId, Session>>,
    traffic: Mutex<HashMap<LeaseId, Arc<LeaseTraffic>>>,
    /// What nodes sent as outputs of each lease: files and bytes.
    outputs: Mutex<HashMap<LeaseId, (usize, u64)>>,
    logs_kept: AtomicU64,
    nodes_remembered: AtomicU64,
    next_session: AtomicU64,
    lifelines: Mutex<HashMap<String, (NodeId, u64)>>,
    lifeline_addr: Option<SocketAddr>,
    lifeline_public: Option<String>,
    routes: ArcSwap<Routes>,
    changed: watch::Sender<u64>,
    events: broadcast::Sender<Arc<Event>>,
    ledger: tokio::sync::Mutex<Ledger>,
    unposted: AtomicBool,
    recent: ArcSwap<HashMap<Address, NanoJoule>>,
    signed: ArcSwapOption<SignedTree>,
    cover: Mutex<Option<Cover>>,
    owed_total: Mutex<U256>,
    fund: Notify,
    /// Held while JOULE moves from the wallet into escrow.
    depositing: tokio::sync::Mutex<()>,
    prices: Mutex<PriceBook>,
    /// What one JOULE costs until the next tick.
    price: Mutex<JoulePrice>,
    seen: Mutex<Option<desk::Seen>>,
    url_template: ArcSwap<String>,
    deploying: tokio::sync::Mutex<()>,
    /// Questions about hosts without a route that the store is asked at a time.
    asking: Semaphore,
    withdrawing: tokio::sync::Mutex<()>,
    standings: Standings,
    pledges: Pledges,
    page: tokio::sync::Mutex<Option<(Instant, GridView)>>,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("payer", &self.payer).finish_non_exhaustive()
    }
}

impl Control {
    /// Starts: reads the store, waits for agents, and keeps everything as it is wanted until
    /// [`shutdown`](Self::shutdown).
    ///
    /// # Errors
    /// Where the store cannot be read, the chain does not answer within 30 s, or the lifeline
    /// cannot be bound.
    pub async fn start(
        config: ControlConfig,
        store: Store,
        artifacts: Artifacts,
        settle: Arc<dyn Settle>,
        endpoint: Endpoint,
    ) -> Result<Arc<Self>, ControlError> {
        let fee_bp = fee_of(settle.as_ref()).await?;
        let terms = Terms { margin_bp: config.margin_bp, fee_bp };
        let clock = Clock::start();
        let (prices, price) = price::open_book(&config, &store, settle.as_ref(), clock).await?;
        let listener = match config.lifeline {
            None => None,
            Some(addr) => {
                let listen = |source| ControlError::Listen { addr, source };
                Some(TcpListener::bind(addr).await.map_err(listen)?)
            }
        };
        let lifeline_addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let lifeline_public =
            config.lifeline_public.clone().or_else(|| lifeline_addr.map(|addr| addr.to_string()));
        if let Some(dir) = &config.log_dir
            && let Err(problem) = tokio::fs::create_dir_all(dir).await
        {
            warn!(dir = %dir.display(), error = %problem, "logs will not be kept");
        }
        let pledges = Pledges::open(config.agreements_dir.clone())?;
        let grid = Grid::new(
            GridConfig {
                grace_ms: millis(config.grace),
                drain_ms: millis(config.drain),
                term_ms: millis(config.lease_term),
                covered_ms: millis(config.cover),
                markup_bp: config.margin_bp.saturating_add(fee_bp),
                ..GridConfig::default()
            },
            clock.now_ms(),
            Box::new(LeaseId::random),
        );
        let control = Arc::new(Self {
            payer: settle.payer(),
            config,
            store,
            artifacts,
            settle,
            terms,
            clock,
            grid: Mutex::new(grid),
            replicas: Mutex::default(),
            sessions: Mutex::default(),
            traffic: Mutex::default(),
            outputs: Mutex::default(),
            logs_kept: AtomicU64::new(0),
            nodes_remembered: AtomicU64::new(0),
            next_session: AtomicU64::new(0),
            lifelines: Mutex::default(),
            lifeline_addr,
            lifeline_public,
            routes: ArcSwap::default(),
            changed: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS_MAX),
            ledger: tokio::sync::Mutex::default(),
            unposted: AtomicBool::new(true),
            recent: ArcSwap::default(),
            signed: ArcSwapOption::empty(),
            cover: Mutex::default(),
            owed_total: Mutex::default(),
            fund: Notify::new(),
            depositing: tokio::sync::Mutex::default(),
            prices: Mutex::new(prices),
            price: Mutex::new(price),
            seen: Mutex::default(),
            url_template: ArcSwap::from_pointee("http://{app}.localhost:8080".to_owned()),
            deploying: tokio::sync::Mutex::default(),
            asking: Semaphore::new(ASKING_MAX),
            withdrawing: tokio::sync::Mutex::default(),
            standings: Standings::default(),
            pledges,
            page: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        });
        control.ask_for_results();
        control.restore_payments().await?;
        control.restore_grid().await?;
        control.spawn(Self::treasure(Arc::clone(&control)));
        if let Some(market) = control.settle.market() {
            let (config, store) = (control.config.desk.clone(), control.store.clone());
            let desk = Desk::new(config, store, Arc::clone(&market));
            control.spawn(Self::keep_poking(Arc::clone(&control), Arc::clone(&market)));
            control.spawn(Self::keep_price(Arc::clone(&control), market));
            control.spawn(Self::keep_desk(Arc::clone(&control), desk));
        }
        control.spawn(Self::keep_time(Arc::clone(&control)));
        control.spawn(Self::keep_ticking(Arc::clone(&control)));
        control.spawn(Self::keep_standings(Arc::clone(&control)));
        control.spawn(Self::keep_word(Arc::clone(&control)));
        if let Some(listener) = listener {
            control.spawn(Self::accept_lifelines(Arc::clone(&control), listener));
        }
        control.spawn(Self::accept_agents(Arc::clone(&control), endpoint));
        Ok(control)
    }

    /// Posts what is known, signs, and stops. Leases go on at their agents for their term.
    pub async fn shutdown(self: &Arc<Self>) {
        if let Err(problem) = self.tick().await {
            warn!(error = ?problem, "the last tick was not posted: the next start does it");
        }
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.is_err() {
            warn!("some work was not finished: the next start does it");
        }
        // Whoever still holds this keeps no connection, and no socket, alive with it.
        self.routes.store(Arc::default());
        self.changed.send_modify(|version| *version += 1);
        self.replicas.lock().clear();
        self.sessions.lock().clear();
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Tells the grid that time passes, and how busy services are.
    async fn keep_time(self: Arc<Self>) {
        let mut every = tokio::time::interval(PASSING);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut count, mut seen) = (0_u32, HashMap::new());
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.stopping.cancelled() => return,
            }
            count = count.wrapping_add(1);
            self.with(|grid, now| grid.passed(now));
            if count % LOAD_EVERY == 0 {
                for (app, in_flight) in self.loads(&mut seen) {
                    self.with(|grid, now| grid.load(now, app, in_flight));
                }
            }
        }
    }

    async fn keep_ticking(self: Arc<Self>) {
        let mut every = tokio::time::interval(self.config.tick);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = every.tick() => {}
                () = self.stopping.cancelled() => return,
            }
            self.ask_for_results();
            // In a task of its own, so that a panic in one tick does not end all of them.
            let mut one = JoinSet::new();
            let this = Arc::clone(&self);
            one.spawn(async move { this.tick().await });
            match one.join_next().await {
                Some(Ok(Err(problem))) => warn!(error = ?problem, "a tick failed"),
                Some(Err(problem)) => error!(error = %problem, "a tick panicked"),
                _ => {}
            }
        }
    }

    /// Where agents hold their lifelines.
    #[must_use]
    pub fn lifeline_addr(&self) -> Option<SocketAddr> {
        self.lifeline_addr
    }

    /// Who pays, in which series, on which chain.
    #[must_use]
    pub fn payer(&self) -> Payer {
        self.payer
    }

    /// Says how an app's URL is made: `{app}` stands for its name, as in
    /// `http://{app}.localhost:8080`. Called once the ingress knows its port.
    pub fn set_url_template(&self, template: &str) {
        self.url_template.store(Arc::new(template.to_owned()));
    }

    /// The newest routes.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// Grows by one with every change of the routes.
    #[must_use]
    pub fn routes_changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What happens from now on. A slow reader is told how much it missed.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Waits until a service has a usable replica, waking it where it is idle. Returns at once
    /// where it has one. The returned route had at least one usable replica a moment ago.
    ///
    /// Whoever waits looks again after every change of the routes, and only the deadline, or the
    /// app's own end, makes it give up: that nothing serves at this moment says nothing about the
    /// next, while a standby takes over or a replacement starts.
    ///
    /// # Errors
    /// Where the app is unknown or stopped, and where `deadline` passes.
    pub async fn wait_ready(
        self: &Arc<Self>,
        app: AppId,
        deadline: Instant,
    ) -> Result<Arc<AppRoute>, NotReady> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            let Some(route) = self.routes.load().apps.get(&app).cloned() else {
                return Err(self.why_gone(app).await);
            };
            match route.state {
                AppState::Stopped => return Err(NotReady::Stopped),
                AppState::OverBudget => return Err(NotReady::OverBudget),
                _ => {}
            }
            if route.replicas.iter().any(|replica| replica.is_usable()) {
                return Ok(route);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let grid = self.grid.lock();
                let reason = grid.apps().get(&app).and_then(|app| app.reason.clone());
                return Err(NotReady::TimedOut(reason.unwrap_or_else(|| "it is starting".into())));
            }
            self.with(|grid, now| grid.wake(now, app));
            // A link may close without a change of the routes: look now and then all the same.
            let look = left.min(Duration::from_millis(250));
            let _ = tokio::time::timeout(look, changed.changed()).await;
        }
    }

    /// The ingress saw a stream to this lease fail. Returns at once; where a standby is warm it has
    /// taken over when this returns.
    pub fn suspect(self: &Arc<Self>, lease: LeaseId) {
        self.with(|grid, now| {
            let node = grid.leases().get(&lease).map(|lease| lease.node);
            let dead = node.and_then(|node| {
                let sessions = self.sessions.lock();
                let session = sessions.get(&node)?;
                session.link.is_closed().then_some((node, session.number))
            });
            match dead {
                Some((node, number)) => {
                    grid.node_lost(now, node, number, "its connection is closed");
                }
                None => grid.suspect(now, lease),
            }
        });
    }

    /// How many nodes are connected.
    #[must_use]
    pub fn nodes_up(&self) -> usize {
        self.grid.lock().nodes().values().filter(|node| Node::is_up(node)).count()
    }
}

/// Asks the chain for its fee, for as long as a chain that was just restarted may need.
async fn fee_of(settle: &dyn Settle) -> Result<u32, ControlError> {
    let deadline = Instant::now() + CHAIN_TIMEOUT;
    loop {
        match settle.fee_bp().await {
            Ok(fee_bp) => return Ok(fee_bp),
            Err(problem) if Instant::now() > deadline => return Err(problem.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}
