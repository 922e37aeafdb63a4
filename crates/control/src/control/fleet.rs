//! Connections of agents: hello, frames in both directions, lifelines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kinesis_protocol::{
    AttoUsd, Benchmark, NodeId, NodeInfo, Prices,
    benchmark::{Answer, CHECKPOINTS_MAX},
    message::{self, HEARTBEAT_MS, ToAgent, ToUtility},
};
use kinesis_wire::{Endpoint, FrameReceiver, FrameSender, Link, WireError};
use rand::Rng;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tracing::{debug, warn};

use super::{Control, clock::millis};

/// Frames that may wait for one agent.
const FRAMES_MAX: usize = 1_024;
/// How long an agent may take to say hello, or to name its lifeline.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Lifelines that may be open without having named their agent.
const NAMELESS_MAX: usize = 256;
/// Length of a lifeline's token, in hexadecimal digits.
const TOKEN_DIGITS: usize = 64;
/// The most that is paid for a byte: $10 for a gigabyte.
const BYTE_PRICE_MAX: AttoUsd = AttoUsd(10_000_000_000);
/// The most that is paid for a millijoule: about $10 for a kilowatt-hour.
const MILLIJOULE_PRICE_MAX: AttoUsd = AttoUsd(3_000_000_000);
/// Recorded nodes are looked through after so many records.
const PRUNE_EVERY: u64 = 512;
/// For how long a node that never held a lease stays recorded.
const KNOWN_FOR_MS: u64 = 30 * 86_400_000;
/// How many stretches of a benchmark are recomputed.
const STRETCHES_CHECKED: usize = 2;
/// What a node is told that did not do the work it claims.
const DISPROVED: &str = "the benchmark was answered with work that was not done: let the agent measure \
                         itself, with a build that this utility can check";

/// The newest connection of a node.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) link: Link,
    pub(crate) frames: mpsc::Sender<ToAgent>,
}

/// A benchmark that was asked for.
struct Challenge {
    nonce: [u8; 32],
    asked: Instant,
}

impl Control {
    pub(super) async fn accept_agents(self: Arc<Self>, endpoint: Endpoint) {
        loop {
            tokio::select! {
                link = endpoint.accept() => {
                    let Some(link) = link else { return };
                    self.spawn(Self::serve_agent(Arc::clone(&self), link));
                }
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// One connection, from hello to its end.
    async fn serve_agent(self: Arc<Self>, link: Link) {
        let node = link.peer();
        let result = tokio::select! {
            result = self.session(&link) => result,
            () = self.stopping.cancelled() => Ok("the utility stops".to_owned()),
        };
        let reason = result.unwrap_or_else(|error| error.to_string());
        debug!(node = node.short(), reason, "a connection ended");
        link.close(&reason);
    }

    async fn session(self: &Arc<Self>, link: &Link) -> Result<String, WireError> {
        let (mut sender, mut receiver) = link.accept_control::<ToAgent, ToUtility>().await?;
        let hello = tokio::time::timeout(HELLO_TIMEOUT, receiver.recv()).await;
        let Ok(Ok(Some(ToUtility::Hello { version, version_min, info, leases }))) = hello else {
            return Ok("the first message was no hello".into());
        };
        let version = match self.admit(link, version, version_min, &info) {
            Ok(version) => version,
            Err(reason) => {
                sender.send(&ToAgent::Rejected { reason: reason.clone() }).await?;
                // It must have read why before the connection goes.
                let _ = sender.finish().await;
                let _ = tokio::time::timeout(HELLO_TIMEOUT, link.closed()).await;
                return Ok(reason);
            }
        };
        let node = info.node;
        let number = self.next_session.fetch_add(1, Ordering::Relaxed) + 1;
        let token: [u8; 32] = rand::rng().random();
        let lifeline = self.lifeline_public.clone();
        sender
            .send(&ToAgent::Welcome {
                version,
                utility: self.payer.utility,
                series: self.payer.series,
                chain_id: self.payer.chain_id,
                escrow: self.payer.escrow,
                joule_price: self.price(),
                lifeline_token: lifeline.as_ref().map(|_| hex::encode(token)),
                lifeline,
            })
            .await?;
        let (frames, queue) = mpsc::channel(FRAMES_MAX);
        if let Some(payment) = self.payment_for(info.supplier) {
            let _ = frames.try_send(payment);
        }
        let challenge = Challenge { nonce: rand::rng().random(), asked: Instant::now() };
        if !self.config.benchmark.is_zero() {
            let work_ms = millis(self.config.benchmark);
            let _ = frames.try_send(ToAgent::Challenge { nonce: challenge.nonce, work_ms });
        }
        self.lifelines.lock().insert(hex::encode(token), (node, number));
        let withheld = self.stand(node, number, info.supplier);
        self.remember_node(&info, None);
        let session = Session { number, link: link.clone(), frames };
        self.with(|grid, now| {
            // In one step: of two connections at once, the grid and the sessions keep the same.
            let before = self.sessions.lock().insert(node, session);
            if let Some(before) = before {
                before.link.close("a newer connection of this node took its place");
            }
            grid.node_standing(now, node, withheld);
            grid.node_joined(now, number, info, &leases, &|lease| self.observed(lease));
        });
        let seq = Arc::new(AtomicU64::new(0));
        let reason = tokio::select! {
            reason = self.read_frames(node, number, &mut receiver, &challenge, &seq) => reason,
            reason = write_frames(&mut sender, queue, &seq) => reason,
            reason = Self::serve_streams(Arc::clone(self), link.clone(), node) => reason,
            reason = link.closed() => reason,
        };
        self.with(|grid, now| grid.node_lost(now, node, number, &reason));
        self.stand_down(node, number);
        self.lifelines.lock().remove(&hex::encode(token));
        let mut sessions = self.sessions.lock();
        if sessions.get(&node).is_some_and(|session| session.number == number) {
            sessions.remove(&node);
        }
        drop(sessions);
        Ok(reason)
    }

    /// Whether an agent may join, and which version is spoken.
    fn admit(
        &self,
        link: &Link,
        version: u32,
        version_min: u32,
        info: &NodeInfo,
    ) -> Result<u32, String> {
        let version = message::common_version(version, version_min).ok_or_else(|| {
            format!(
                "this utility speaks versions {} to {}, you speak {version_min} to {version}: \
                 install a build that fits",
                message::VERSION_MIN,
                message::VERSION
            )
        })?;
        info.validate()?;
        believable(&info.prices)?;
        if info.node != link.peer() {
            return Err("the hello names another node than the connection proves".into());
        }
        let sessions = self.sessions.lock();
        if sessions.len() >= self.config.nodes_max && !sessions.contains_key(&info.node) {
            return Err(format!("this utility serves {} nodes already", self.config.nodes_max));
        }
        Ok(version)
    }

    async fn read_frames(
        self: &Arc<Self>,
        node: NodeId,
        number: u64,
        receiver: &mut FrameReceiver<ToUtility>,
        challenge: &Challenge,
        newest: &AtomicU64,
    ) -> String {
        let mut benchmarked = false;
        loop {
            let message = match receiver.recv().await {
                Ok(Some(message)) => message,
                Ok(None) => return "it ended the connection".into(),
                Err(error) => return error.to_string(),
            };
            match message {
                ToUtility::Heartbeat { seq, free, paused, leases } => {
                    newest.store(seq, Ordering::Relaxed);
                    self.with(|grid, now| {
                        grid.node_heard(now, node, number, seq, free, paused, &leases, &|lease| {
                            self.observed(lease)
                        });
                    });
                }
                ToUtility::Granted { lease, signature } => {
                    self.take_grant(node, lease, signature);
                }
                ToUtility::Refused { lease, reason } => {
                    self.with(|grid, now| grid.refused(now, node, lease, &reason));
                }
                ToUtility::Leaving { .. } => {
                    self.with(|grid, now| grid.node_leaving(now, node, number));
                }
                ToUtility::Benchmark { nonce, result } => {
                    // Once for each challenge: checking costs work here too.
                    if nonce == challenge.nonce && !benchmarked {
                        benchmarked = true;
                        let took = challenge.asked.elapsed();
                        self.spawn(Self::check_benchmark(
                            Arc::clone(self),
                            node,
                            nonce,
                            result,
                            took,
                        ));
                    }
                }
                ToUtility::Hello { .. } => return "it said hello twice".into(),
                ToUtility::Unknown => {}
            }
        }
    }

    /// Recomputes a few stretches of a benchmark, chosen by chance. The speed believed is the work
    /// over the time the utility itself saw pass.
    async fn check_benchmark(
        self: Arc<Self>,
        node: NodeId,
        nonce: [u8; 32],
        answer: Answer,
        took: Duration,
    ) {
        let stretches = answer.checkpoints.len();
        let sample: Vec<usize> = match stretches {
            0 => Vec::new(),
            _ => (0..STRETCHES_CHECKED).map(|_| rand::rng().random_range(0..stretches)).collect(),
        };
        let said_enough = (1..=CHECKPOINTS_MAX).contains(&stretches);
        let answer = Answer { elapsed_ms: answer.elapsed_ms.max(millis(took)).max(1), ..answer };
        let speed = answer.rounds_per_second();
        let honest = tokio::task::spawn_blocking(move || {
            said_enough && sample.into_iter().all(|at| answer.verify_stretch(&nonce, at))
        })
        .await
        .unwrap_or(false);
        if !honest {
            warn!(node = node.short(), "a benchmark was answered with work that was not done");
            self.with(|grid, now| grid.node_disproved(now, node));
            self.send(node, ToAgent::Rejected { reason: DISPROVED.to_owned() });
            return;
        }
        let benchmark = Benchmark { rounds_per_second: speed };
        let info = self.with(|grid, _| {
            grid.node_benchmarked(node, benchmark);
            grid.nodes().get(&node).map(|node| node.info.clone())
        });
        if let Some(info) = info {
            self.remember_node(&info, Some(benchmark));
        }
    }

    fn remember_node(self: &Arc<Self>, info: &NodeInfo, benchmark: Option<Benchmark>) {
        let (this, info) = (Arc::clone(self), info.clone());
        let before = self.nodes_remembered.fetch_add(1, Ordering::Relaxed);
        self.spawn(async move {
            let now = this.clock.now_ms();
            if let Err(problem) = this.store.upsert_node(&info, benchmark, now).await {
                warn!(node = info.node.short(), error = ?problem, "a node could not be recorded");
            }
            if before.is_multiple_of(PRUNE_EVERY) {
                let keep = this.sessions.lock().keys().copied().collect();
                let (since, most) = (now.saturating_sub(KNOWN_FOR_MS), this.config.nodes_max);
                if let Err(problem) = this.store.prune_nodes(since, most, &keep).await {
                    warn!(error = ?problem, "nodes that are long gone could not be forgotten");
                }
            }
        });
    }

    pub(super) async fn accept_lifelines(self: Arc<Self>, listener: TcpListener) {
        let nameless = Arc::new(Semaphore::new(NAMELESS_MAX));
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // Where too many have not said whose they are, this one is closed: an agent
                        // dials again, and does without until then.
                        if let Ok(permit) = Arc::clone(&nameless).try_acquire_owned() {
                            self.spawn(Self::lifeline(Arc::clone(&self), stream, permit));
                        }
                    }
                    Err(problem) => {
                        // Too many open files, most likely: it passes.
                        warn!(error = %problem, "a lifeline could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                () = self.stopping.cancelled() => return,
            }
        }
    }

    /// Holds a lifeline: the kernel closes it when the agent's process dies, whatever killed it.
    async fn lifeline(self: Arc<Self>, mut stream: TcpStream, nameless: OwnedSemaphorePermit) {
        let mut token = [0; TOKEN_DIGITS];
        let read = tokio::time::timeout(HELLO_TIMEOUT, stream.read_exact(&mut token)).await;
        let Ok(Ok(_)) = read else { return };
        let known =
            std::str::from_utf8(&token).ok().and_then(|token| self.lifelines.lock().remove(token));
        let Some((node, number)) = known else { return };
        let link = {
            let sessions = self.sessions.lock();
            sessions.get(&node).filter(|s| s.number == number).map(|s| s.link.clone())
        };
        let Some(link) = link else { return };
        drop(nameless);
        let mut ignored = [0; 64];
        loop {
            tokio::select! {
                read = stream.read(&mut ignored) => match read {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                },
                _ = link.closed() => return,
                () = self.stopping.cancelled() => return,
            }
        }
        // The grid closes the link after it has switched the routes.
        self.with(|grid, now| grid.node_lost(now, node, number, "its process died"));
    }
}

/// What no hour's price shows must not be dear: a customer could not see it coming.
fn believable(prices: &Prices) -> Result<(), String> {
    let hidden = [
        ("rx_bytes", prices.rx_bytes, BYTE_PRICE_MAX),
        ("tx_bytes", prices.tx_bytes, BYTE_PRICE_MAX),
        ("energy_mj", prices.energy_mj, MILLIJOULE_PRICE_MAX),
    ];
    match hidden.into_iter().find(|(_, price, most)| price > most) {
        None => Ok(()),
        Some((name, price, most)) => Err(format!(
            "price of {name} is {} atto-USD, the most this utility sells is {}",
            price.0, most.0
        )),
    }
}

/// Writes what waits; says that the utility is here where nothing does.
async fn write_frames(
    sender: &mut FrameSender<ToAgent>,
    mut queue: mpsc::Receiver<ToAgent>,
    seq: &AtomicU64,
) -> String {
    loop {
        let next = tokio::time::timeout(Duration::from_millis(HEARTBEAT_MS), queue.recv()).await;
        let message = match next {
            Ok(Some(message)) => message,
            Ok(None) => return "another connection took its place".into(),
            Err(_) => ToAgent::Alive { seq: seq.load(Ordering::Relaxed) },
        };
        if let Err(error) = sender.send(&message).await {
            return error.to_string();
        }
    }
}
