//! A scripted utility: real endpoint, real lifeline, hands that grant, pay and fall silent.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use kinesis_agent::{Agent, AgentConfig, AgentError, RunnerCommand};
use kinesis_chain::Key;
use kinesis_protocol::{
    Address, AppId, ContentHash, Epoch, JoulePrice, LeaseId, LeaseKey, LeaseReport, LeaseSpec,
    NanoUsd, PaymentRoot, PaymentTree, Replica, Resources, SignedRoot, U256, Workload,
    lease::{Instance, JobWorkload, Program, ServiceWorkload},
    message::{StreamAnswer, StreamOpen, ToAgent, ToUtility, VERSION},
    root::PaymentProof,
};
use kinesis_wire::{
    Endpoint, EndpointConfig, FrameReceiver, FrameSender, Link, NodeSecret, Stream, UtilityAddr,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_util::task::AbortOnDropHandle;

use crate::sandboxes::Sandboxes;

/// However loaded the machine is, what must happen happens within this.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const CHAIN: u64 = 31_337;
pub(crate) const COMPONENT: &[u8] = b"a component";

/// Fails the test where `what` does not happen.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) artifacts: Mutex<HashMap<ContentHash, Bytes>>,
    pub(crate) outputs: Mutex<Vec<(LeaseId, ContentHash, Bytes)>>,
}

pub(crate) struct Utility {
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Key,
    pub(crate) escrow: Address,
    pub(crate) stored: Arc<Stored>,
    pub(crate) lifeline: TcpListener,
}

impl Utility {
    pub(crate) async fn start() -> Self {
        let endpoint = Endpoint::bind(EndpointConfig {
            secret: NodeSecret::generate(),
            bind: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            relay: None,
            listen: true,
        })
        .await
        .unwrap();
        let stored = Arc::new(Stored::default());
        stored.artifacts.lock().insert(ContentHash::of(COMPONENT), Bytes::from_static(COMPONENT));
        let lifeline = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let escrow = Address::repeat_byte(9);
        Self { endpoint, key: Key::random(), escrow, stored, lifeline }
    }

    pub(crate) fn addr(&self) -> UtilityAddr {
        self.endpoint.addr()
    }

    /// The next agent that dials, welcomed.
    pub(crate) async fn welcome(&self) -> Session {
        let link = soon("an agent dials", self.endpoint.accept()).await.unwrap();
        let (mut send, mut recv): (FrameSender<ToAgent>, FrameReceiver<ToUtility>) =
            link.accept_control().await.unwrap();
        let hello = soon("it says hello", recv.recv()).await.unwrap().unwrap();
        let ToUtility::Hello { info, leases, .. } = hello else { panic!("no hello: {hello:?}") };
        assert_eq!(info.node, link.peer());
        send.send(&ToAgent::Welcome {
            version: VERSION,
            utility: self.key.address(),
            series: 1,
            chain_id: CHAIN,
            escrow: self.escrow,
            joule_price: price(),
            lifeline: Some(self.lifeline.local_addr().unwrap().to_string()),
            lifeline_token: Some("ab".repeat(32)),
        })
        .await
        .unwrap();
        let (orders, mut ordered) = mpsc::unbounded_channel::<ToAgent>();
        let silent = watch::Sender::new(false);
        let mut quiet = silent.subscribe();
        let writer = tokio::spawn(async move {
            let mut alive = tokio::time::interval(Duration::from_millis(200));
            loop {
                let frame = tokio::select! {
                    Some(order) = ordered.recv() => order,
                    _ = alive.tick() => ToAgent::Alive { seq: 0 },
                };
                let _ = quiet.wait_for(|silent| !*silent).await;
                if send.send(&frame).await.is_err() {
                    return;
                }
            }
        });
        let (news, heard) = mpsc::unbounded_channel();
        let beat = watch::Sender::new(Beat { leases: leases.clone(), ..Beat::default() });
        let beats = beat.clone();
        let reader = tokio::spawn(async move {
            while let Ok(Some(frame)) = recv.recv().await {
                match frame {
                    ToUtility::Heartbeat { seq, free, paused, leases } => {
                        beats.send_replace(Beat { seq, free, paused, leases });
                    }
                    other => {
                        let _ = news.send(other);
                    }
                }
            }
        });
        let acceptor = tokio::spawn(serve_streams(link.clone(), self.stored.clone()));
        Session {
            link,
            info,
            hello: leases,
            orders,
            heard: tokio::sync::Mutex::new(heard),
            beat,
            silent,
            _tasks: [writer, reader, acceptor].map(AbortOnDropHandle::new),
        }
    }

    /// Waits for the lifeline, and reads its token.
    pub(crate) async fn lifeline(&self) -> tokio::net::TcpStream {
        let (mut socket, _) = soon("a lifeline", self.lifeline.accept()).await.unwrap();
        let mut token = [0; 64];
        soon("its token", socket.read_exact(&mut token)).await.unwrap();
        assert_eq!(&token[..], "ab".repeat(32).as_bytes());
        socket
    }

    /// What pays `supplier` this much in all.
    pub(crate) fn pays(&self, supplier: Address, tick: u64, nanojoule: u64) -> ToAgent {
        let wei = U256::from(nanojoule) * U256::from(1_000_000_000_u64);
        let tree = PaymentTree::new(vec![(supplier, wei)]).unwrap();
        let (cumulative_wei, proof) = tree.prove(supplier).unwrap();
        let root = PaymentRoot {
            utility: self.key.address(),
            series: 1,
            tick,
            root: tree.root(),
            total: tree.total_wei(),
        };
        let signature = self.key.sign_hash(&root.signing_hash(CHAIN, self.escrow));
        let signed = SignedRoot { root, signature };
        let payment = PaymentProof { signed, supplier, cumulative_wei, proof };
        ToAgent::Payment { payment, joule_price: price() }
    }
}

pub(crate) fn price() -> JoulePrice {
    JoulePrice::new(1_000_000_000).unwrap()
}

async fn serve_streams(link: Link, stored: Arc<Stored>) {
    while let Ok((open, mut stream)) = link.accept().await {
        let stored = stored.clone();
        tokio::spawn(async move {
            match open {
                StreamOpen::Artifact { hash } => {
                    let content = stored.artifacts.lock().get(&hash).cloned();
                    let Some(content) = content else {
                        let reason = "no such artifact".to_owned();
                        let _ = stream.answer(StreamAnswer::Refused { reason }).await;
                        return;
                    };
                    let bytes = Some(content.len() as u64);
                    let _ = stream.answer(StreamAnswer::Ready { bytes }).await;
                    let _ = stream.write_all(&content).await;
                    let _ = stream.shutdown().await;
                }
                StreamOpen::Output { lease, hash, .. } => {
                    let mut content = Vec::new();
                    if stream.read_to_end(&mut content).await.is_ok() {
                        stored.outputs.lock().push((lease, hash, content.into()));
                        let _ = stream.answer(StreamAnswer::Ready { bytes: None }).await;
                        let _ = stream.shutdown().await;
                    }
                }
                _ => {}
            }
        });
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Beat {
    pub(crate) seq: u64,
    pub(crate) free: Resources,
    pub(crate) paused: Option<String>,
    pub(crate) leases: Vec<LeaseReport>,
}

pub(crate) struct Session {
    pub(crate) link: Link,
    pub(crate) info: kinesis_protocol::NodeInfo,
    pub(crate) hello: Vec<LeaseReport>,
    orders: mpsc::UnboundedSender<ToAgent>,
    heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<ToUtility>>,
    beat: watch::Sender<Beat>,
    pub(crate) silent: watch::Sender<bool>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

impl Session {
    pub(crate) fn send(&self, order: ToAgent) {
        self.orders.send(order).unwrap();
    }

    /// The next frame that is no heartbeat.
    pub(crate) async fn next(&self) -> ToUtility {
        soon("an answer", async { self.heard.lock().await.recv().await }).await.unwrap()
    }

    pub(crate) async fn grant(&self, spec: &LeaseSpec) {
        self.send(ToAgent::Grant { spec: spec.clone() });
        assert_eq!(self.next().await, ToUtility::Granted { lease: spec.lease, signature: None });
    }

    pub(crate) async fn refused(&self, spec: &LeaseSpec) -> String {
        self.send(ToAgent::Grant { spec: spec.clone() });
        match self.next().await {
            ToUtility::Refused { lease, reason } if lease == spec.lease => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// Waits for a heartbeat that fits.
    pub(crate) async fn beat(&self, what: &str, fits: impl Fn(&Beat) -> bool) -> Beat {
        let mut beats = self.beat.subscribe();
        let found = soon(what, beats.wait_for(|beat| fits(beat))).await.unwrap();
        found.clone()
    }

    /// Waits for a heartbeat sent from now on.
    pub(crate) async fn next_beat(&self) -> Beat {
        let after = self.beat.borrow().seq + 1;
        self.beat("a later heartbeat", move |beat| beat.seq > after).await
    }

    /// Waits for a report of this lease that fits.
    pub(crate) async fn report(
        &self,
        lease: LeaseId,
        what: &str,
        fits: impl Fn(&LeaseReport) -> bool,
    ) -> LeaseReport {
        let find = |beat: &Beat| {
            beat.leases.iter().find(|report| report.lease == lease && fits(report)).cloned()
        };
        let beat = self.beat(what, |beat| find(beat).is_some()).await;
        find(&beat).unwrap()
    }

    pub(crate) async fn http(&self, spec: &LeaseSpec) -> Result<Stream, kinesis_wire::WireError> {
        let open = StreamOpen::Http { lease: spec.lease, epoch: spec.key.epoch };
        self.link.open_answered(&open).await.map(|(stream, _)| stream)
    }

    /// Sends a word to a lease and expects it back.
    pub(crate) async fn echo(&self, spec: &LeaseSpec) {
        let mut stream = soon("a stream opens", self.http(spec)).await.unwrap();
        echo(&mut stream).await;
    }
}

pub(crate) async fn echo(stream: &mut Stream) {
    let exchange = async {
        stream.write_all(b"ping").await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"ping");
    };
    soon("an echo", exchange).await;
}

/// An agent's directory, and how to start it there.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) config: AgentConfig,
}

impl House {
    pub(crate) fn new(utility: &Utility) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runner = RunnerCommand { program: "/bin/false".into(), args: vec![] };
        let mut config =
            AgentConfig::new(dir.path().join("data"), utility.addr(), "den".into(), runner);
        config.offered.cpu_millis = Some(4_000);
        config.offered.mem_mib = Some(1_024);
        config.offered.disk_mib = Some(1_024);
        config.bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        config.exposure_max = NanoUsd(1_000_000_000);
        Self { dir, config }
    }

    pub(crate) async fn start(&self, sandboxes: &Arc<Sandboxes>) -> Agent {
        // A predecessor's last write may still be on its way to the disk.
        let starting = async {
            loop {
                match Agent::start_with(self.config.clone(), sandboxes.clone()).await {
                    Err(AgentError::Busy { .. }) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    other => return other.unwrap(),
                }
            }
        };
        soon("the agent starts", starting).await
    }

    pub(crate) fn service(&self, replica: u32, epoch: u64) -> LeaseSpec {
        let workload = Workload::Service(ServiceWorkload {
            program: program(),
            instance: Instance::Fresh,
            concurrency: 8,
            request_ms_max: 1_000,
        });
        self.spec(workload, replica, epoch)
    }

    pub(crate) fn standby(&self, replica: u32, epoch: u64) -> LeaseSpec {
        LeaseSpec { standby: true, ..self.service(replica, epoch) }
    }

    pub(crate) fn job(&self) -> LeaseSpec {
        let job = JobWorkload { program: program(), args: vec![], wall_ms_max: 60_000, seed: None };
        self.spec(Workload::Job(job), 0, 1)
    }

    fn spec(&self, workload: Workload, replica: u32, epoch: u64) -> LeaseSpec {
        LeaseSpec {
            lease: LeaseId::random(),
            key: LeaseKey {
                app: AppId::from_bytes([4; 16]),
                replica: Replica(replica),
                epoch: Epoch(epoch),
            },
            app_name: "hello".into(),
            standby: false,
            workload,
            granted: Resources { cpu_millis: 500, mem_mib: 64, ..Resources::default() },
            prices: self.config.prices,
            term_ms: 60_000,
            audit: None,
            sla: None,
        }
    }
}

fn program() -> Program {
    Program {
        component: ContentHash::of(COMPONENT),
        component_bytes: COMPONENT.len() as u64,
        env: [].into(),
        files: vec![],
        network: vec![],
    }
}

/// An agent that has joined, its utility and its sandboxes.
pub(crate) struct Grid {
    pub(crate) utility: Utility,
    pub(crate) house: House,
    pub(crate) sandboxes: Arc<Sandboxes>,
    pub(crate) agent: Agent,
    pub(crate) session: Session,
}

pub(crate) async fn grid() -> Grid {
    grid_with(|_| {}).await
}

pub(crate) async fn grid_with(change: impl FnOnce(&mut AgentConfig)) -> Grid {
    let utility = Utility::start().await;
    let mut house = House::new(&utility);
    change(&mut house.config);
    let sandboxes = Arc::new(Sandboxes::default());
    let agent = house.start(&sandboxes).await;
    let session = utility.welcome().await;
    Grid { utility, house, sandboxes, agent, session }
}
