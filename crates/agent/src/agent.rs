//! A running agent: put together from its configuration, taken apart in order.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use kinesis_chain::{Agreement, Key};
use kinesis_protocol::{Address, Ending, LeaseState, NanoJoule, NodeId, NodeInfo, Resources};
use kinesis_runtime::{Runtime, RuntimeConfig};
use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret};
use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    AgentConfig, AgentError, Status,
    artifacts::Artifacts,
    book::Book,
    engine::Engine,
    escrow, files,
    hardware::{self, Hardware},
    local,
    node::{Node, Parts},
    pledge::{self, Pledges},
    session,
    wallet::{Wallet, stored},
};

/// How long the last endings may take to be recorded when the agent stops.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long giving notice of leases on chain may take when the agent stops.
const NOTICES_MAX: Duration = Duration::from_secs(16);
/// How long the close of the links may take.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// A running agent. Dropping it kills its sandboxes and closes its links without notice;
/// [`Self::run`] leaves in order.
#[derive(Debug)]
pub struct Agent {
    node: Arc<Node>,
    endpoint: Endpoint,
    drain_notice: Duration,
    tasks: JoinSet<()>,
}

/// What `agent.json` in the data directory says once the agent has joined.
#[derive(Debug, Serialize)]
struct Card<'a> {
    pid: u32,
    node: NodeId,
    supplier: Address,
    name: &'a str,
}

impl Agent {
    /// Starts an agent with real sandboxes. Does not wait for a utility: see [`Self::joined`].
    ///
    /// # Errors
    /// Where the configuration is out of bounds, the data directory cannot be used or is in use,
    /// the sandboxes cannot be opened, or the wires cannot be bound.
    pub async fn start(config: AgentConfig) -> Result<Self, AgentError> {
        config.validate()?;
        let book = lock(&config)?;
        let mut runtime =
            RuntimeConfig::new(config.data_dir.join("sandboxes"), config.runner.clone());
        runtime.mj_per_cpu_ms = u64::from(config.watts_per_core);
        runtime.isolation = config.isolation;
        let runtime = Runtime::open(runtime).await.map_err(AgentError::runtime)?;
        for (barrier, state) in runtime.isolation() {
            tracing::info!(barrier, state, "isolation");
        }
        Self::assemble(config, book, Arc::new(runtime)).await
    }

    /// Starts an agent over other sandboxes: for tests and for platforms with runtimes of their own.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        config: AgentConfig,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, AgentError> {
        config.validate()?;
        let book = lock(&config)?;
        Self::assemble(config, book, engine).await
    }

    async fn assemble(
        config: AgentConfig,
        book: Book,
        engine: Arc<dyn Engine>,
    ) -> Result<Self, AgentError> {
        let dir = &config.data_dir;
        let secret = NodeSecret::load_or_create(&dir.join("node.key")).map_err(AgentError::wire)?;
        let key = match &config.key {
            Some(opened) => opened.clone(),
            None => Key::load_or_create(&stored::key_path(dir)).map_err(AgentError::chain)?,
        };
        let penalty_max = config.max_penalty.map(NanoJoule::to_wei);
        let pledges = {
            let rpc = config.rpc_url.clone().map(|url| (url, config.rpc_is_told));
            Pledges::open(dir, key.clone(), secret.node_id(), penalty_max, rpc)?
        };
        let looked_at = dir.clone();
        let found = tokio::task::spawn_blocking(move || hardware::discover(&looked_at)).await;
        let info = describe(&config, found.unwrap_or_default(), engine.as_ref(), &secret, &key);
        info.validate().map_err(|reason| AgentError::Config { field: "node", reason })?;
        let wallet =
            Wallet::new(key.address(), config.exposure_max, dir.clone(), config.rpc_url.is_some());
        let contents = book.contents()?;
        let node = Arc::new(Node::new(Parts {
            info,
            book: Arc::new(book),
            contents,
            wallet: Arc::new(wallet),
            key: key.clone(),
            pledges: Arc::new(pledges),
            engine,
            artifacts: Artifacts::open(dir.join("artifacts"), config.cache_bytes_max)?,
            utilities: config.utilities.iter().map(|utility| utility.node).collect(),
        })?);
        let endpoint = Endpoint::bind(EndpointConfig {
            secret,
            bind: Some(config.bind.unwrap_or_else(|| ([0, 0, 0, 0], 0).into())),
            relay: config.utilities.iter().find_map(|utility| utility.relay.clone()),
            listen: false,
        })
        .await
        .map_err(AgentError::wire)?;
        let mut tasks = JoinSet::new();
        let owner = local::bind(dir)?;
        tasks.spawn(local::serve(node.clone(), owner));
        let reaper = node.clone();
        tasks.spawn(async move { reaper.reap().await });
        let sampler = node.clone();
        tasks.spawn(async move { sampler.sample_forever().await });
        tasks.spawn(pledge::watch(node.clone()));
        if let Some(rpc_url) = config.rpc_url.clone() {
            tasks.spawn(escrow::watch(node.clone(), rpc_url, key));
        }
        for utility in &config.utilities {
            let Some(peer) = node.peer(utility.node) else { continue };
            if let Some(address) = config.expects {
                // It was made a moment ago: nothing is set yet.
                let _ = peer.expects.set(address);
            }
            tasks.spawn(session::serve(node.clone(), peer, endpoint.clone(), utility.clone()));
        }
        let drain_notice = config.drain_notice;
        let mut agent = Self { node, endpoint, drain_notice, tasks };
        agent.spawn_card(&config);
        Ok(agent)
    }

    /// Writes `agent.json` once the first utility has welcomed the node.
    fn spawn_card(&mut self, config: &AgentConfig) {
        let (node, path) = (self.node.clone(), config.data_dir.join("agent.json"));
        // A card of an earlier process would name a process that is gone.
        let _ = std::fs::remove_file(&path);
        let joined = joined(node.clone());
        self.tasks.spawn(async move {
            joined.await;
            let card = Card {
                pid: std::process::id(),
                node: node.info.node,
                supplier: node.info.supplier,
                name: &node.info.name,
            };
            let json = serde_json::to_vec(&card).expect("a card serializes");
            if let Err(error) = files::replace(&path, &json) {
                tracing::warn!(error = crate::error::chain_of(&error), "no card was written");
            }
        });
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node.info.node
    }

    /// Where the node's earnings go.
    #[must_use]
    pub fn supplier(&self) -> Address {
        self.node.info.supplier
    }

    /// What the node says of itself.
    #[must_use]
    pub fn info(&self) -> &NodeInfo {
        &self.node.info
    }

    /// Waits until a utility has welcomed the node.
    pub async fn joined(&self) {
        joined(self.node.clone()).await;
    }

    /// The agent at a glance.
    #[must_use]
    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// Works until `shutdown`, then leaves: says so, serves what it has until it is moved elsewhere
    /// or the notice is over, reports the last endings, and closes.
    pub async fn run(mut self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        tracing::info!("leaving the grid");
        let notice = if self.node.leases().is_empty() { Duration::ZERO } else { self.drain_notice };
        self.node.leave(notice);
        let deadline = Instant::now() + notice;
        let over = |state| state == LeaseState::Ended;
        self.until(deadline, |node| node.leases().iter().all(|lease| over(lease.state()))).await;
        for lease in self.node.leases() {
            let reason = "its owner took the node off the grid".to_owned();
            lease.stop(Ending::NodeFailed { reason }, Duration::ZERO);
        }
        let last = Instant::now() + LAST_WORDS;
        self.until(last, |node| node.leases().iter().all(|lease| over(lease.state()))).await;
        // With nobody there to record them, endings wait in the book for the next start.
        let there = |node: &Node| node.peers.values().any(|peer| peer.link.borrow().is_some());
        self.until(last, |node| node.leases().is_empty() || !there(node)).await;
        self.settle_pledges(there).await;
        self.tasks.shutdown().await;
        if tokio::time::timeout(CLOSE_WAIT, self.endpoint.close()).await.is_err() {
            tracing::debug!("the links did not close in time");
        }
        tracing::info!("left the grid");
    }

    /// Waits for the utility's last word about leases whose terms were signed; gives notice on chain
    /// of what is left, where one is known.
    async fn settle_pledges(&self, there: impl Fn(&Node) -> bool) {
        let open = |node: &Node| node.pledges.open_ones();
        let last = Instant::now() + LAST_WORDS;
        self.until(last, |node| open(node).is_empty() || !there(node)).await;
        let give = async |agreement: Agreement| {
            let lease = agreement.lease;
            match self.node.pledges.give_notice(&agreement).await {
                Ok(Some(_)) => tracing::info!(%lease, "notice was given on chain"),
                Ok(None) => {}
                Err(error) => {
                    let error = crate::error::chain_of(&error);
                    tracing::warn!(%lease, error, "notice could not be given");
                }
            }
        };
        let notices = futures_util::stream::iter(open(&self.node))
            .for_each_concurrent(pledge::NOTICES_AT_ONCE, give);
        if tokio::time::timeout(NOTICES_MAX, notices).await.is_err() {
            tracing::warn!("notice of some leases was not given in time: `kinesis lease notice`");
        }
    }

    /// Stops at once, without a word to anybody, as a crash would.
    pub async fn abort(mut self) {
        self.node.abandon();
        self.tasks.shutdown().await;
        let _ = tokio::time::timeout(CLOSE_WAIT, self.endpoint.close()).await;
    }

    /// Waits until `holds` or `deadline`.
    async fn until(&self, deadline: Instant, holds: impl Fn(&Node) -> bool) {
        let mut changes = self.node.changes.subscribe();
        loop {
            changes.mark_unchanged();
            if holds(&self.node) {
                return;
            }
            // Links come and go without a change being counted, hence the poll.
            let poll = (Instant::now() + Duration::from_millis(200)).min(deadline);
            tokio::select! {
                () = tokio::time::sleep_until(poll) => if Instant::now() >= deadline { return },
                _ = changes.changed() => {}
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.node.abandon();
    }
}

/// Takes the data directory for this process alone.
fn lock(config: &AgentConfig) -> Result<Book, AgentError> {
    files::make_dir(&config.data_dir)?;
    Book::open(&config.data_dir.join("book.redb"))
}

async fn joined(node: Arc<Node>) {
    let waits = node.peers.values().map(|peer| {
        let mut links = peer.link.subscribe();
        Box::pin(async move {
            let _ = links.wait_for(Option::is_some).await;
        })
    });
    futures_util::future::select_all(waits).await;
}

fn describe(
    config: &AgentConfig,
    found: Hardware,
    engine: &dyn Engine,
    secret: &NodeSecret,
    key: &Key,
) -> NodeInfo {
    let Hardware { offered, mut attributes, total } = found;
    for (barrier, state) in engine.isolation() {
        let state = state.chars().filter(|c| !c.is_control()).take(120).collect();
        attributes.insert(format!("isolation.{barrier}"), state);
    }
    let mut offered = config.offered.applied_to(offered);
    if offered.gpus > 0 {
        // The owner offers GPUs the machine may not have: at most those that were found.
        let each = total.vram_mib.checked_div(total.gpus).unwrap_or(0);
        offered.gpus = offered.gpus.min(total.gpus);
        offered.vram_mib = each.saturating_mul(offered.gpus);
    }
    let offered: Resources = offered;
    NodeInfo {
        node: secret.node_id(),
        name: config.name.clone(),
        supplier: key.address(),
        tier: config.tier,
        region: config.region.clone(),
        offered,
        prices: config.prices,
        attributes,
    }
}
