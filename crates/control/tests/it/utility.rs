//! A whole utility, short of sandboxes and a chain: the real control, store and wire, agents that
//! speak the real protocol, requests sent as the ingress sends them.

mod billing;
mod budget;
mod gone;
mod limits;
mod roots;
mod scaling;
mod trust;
mod writes;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use kinesis_agent::sim::{JobScript, SimAgent, SimConfig};
use kinesis_control::{
    Control, ControlConfig, ControlError, Cover, NotReady, Payer, Redemption, ReplicaRoute, Settle,
    SettleError,
    api::{AppState, AppView, ArtifactRef, Bill, DeployRequest, Event, Role, WithdrawRequest},
    settle::Standing,
};
use kinesis_protocol::{
    AccountId, Address, AppId, AttoUsd, Counters, Ending, LeaseTerms, NanoUsd, NodeId, PaymentRoot,
    Signature, SignedAck, SignedRoot, SlaOffer, Tier, U256, root::PaymentProof, sla::Ack,
};
use kinesis_store::{AppKind, Artifacts, IdempotencyKey, NewVersion, Store};
use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret, UtilityAddr, http::RequestBody};
use parking_lot::Mutex;

const LONG: Duration = Duration::from_secs(30);
const ESCROW: Address = Address::repeat_byte(0xe5);
const COURT: Address = Address::repeat_byte(0xc0);

/// A chain that is a few numbers in memory, and a key.
#[derive(Debug)]
struct SimulatedChain {
    key: kinesis_chain::Key,
    cover: Mutex<Cover>,
    stuck: std::sync::atomic::AtomicBool,
    /// What stands behind each supplier; nobody else has anything.
    standings: Mutex<HashMap<Address, Standing>>,
    signs: trust::Signs,
}

impl SimulatedChain {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            key: kinesis_chain::Key::random(),
            cover: Mutex::default(),
            stuck: false.into(),
            standings: Mutex::default(),
            signs: trust::Signs::default(),
        })
    }
}

#[async_trait]
impl Settle for SimulatedChain {
    fn payer(&self) -> Payer {
        Payer { utility: self.key.address(), series: 1, chain_id: 31337, escrow: ESCROW }
    }

    async fn sign(&self, root: PaymentRoot) -> Result<SignedRoot, SettleError> {
        let signature = self.key.sign_hash(&root.signing_hash(31337, ESCROW));
        Ok(SignedRoot { root, signature })
    }

    async fn fee_bp(&self) -> Result<u32, SettleError> {
        Ok(200)
    }

    async fn cover(&self) -> Result<Cover, SettleError> {
        Ok(*self.cover.lock())
    }

    async fn balance(&self) -> Result<U256, SettleError> {
        Ok(U256::from(10).pow(U256::from(27)))
    }

    async fn deposit(&self, wei: U256) -> Result<(), SettleError> {
        self.cover.lock().available_wei += wei;
        Ok(())
    }

    async fn standing(
        &self,
        supplier: Address,
        _node: NodeId,
        _bound: bool,
    ) -> Result<Option<Standing>, SettleError> {
        let none = Standing { active_wei: U256::ZERO, locks: 0, bound: false };
        Ok(Some(self.standings.lock().get(&supplier).cloned().unwrap_or(none)))
    }

    fn court(&self) -> Option<Address> {
        Some(COURT)
    }

    async fn sign_terms(&self, terms: LeaseTerms) -> Result<SlaOffer, SettleError> {
        self.signs.terms()?;
        let signature = self.key.sign_hash(&terms.signing_hash(31337, COURT));
        Ok(SlaOffer { chain_id: 31337, court: COURT, terms, signature })
    }

    async fn sign_ack(&self, ack: Ack) -> Result<SignedAck, SettleError> {
        self.signs.ack(&ack)?;
        let signature = self.key.sign_hash(&ack.signing_hash(31337, COURT));
        Ok(SignedAck { ack, signature })
    }

    async fn redeem_to_payer(
        &self,
        _key: &str,
        payment: &PaymentProof,
        _deadline: u64,
        _signature: &Signature,
    ) -> Result<Redemption, SettleError> {
        if self.stuck.load(std::sync::atomic::Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let mut cover = self.cover.lock();
        cover.redeemed_wei += payment.cumulative_wei;
        Ok(Redemption { paid_wei: payment.cumulative_wei, transaction: None })
    }
}

/// A utility and what it stands on.
struct Utility {
    control: Arc<Control>,
    store: Store,
    artifacts: Artifacts,
    secret: NodeSecret,
    endpoint: Endpoint,
    chain: Arc<SimulatedChain>,
    account: AccountId,
}

async fn bind(secret: &NodeSecret, port: u16) -> Endpoint {
    let bind = Some(SocketAddr::from(([127, 0, 0, 1], port)));
    let config = EndpointConfig { secret: secret.clone(), bind, relay: None, listen: true };
    let deadline = Instant::now() + LONG;
    loop {
        // After a restart the port is still the earlier socket's for a moment.
        match Endpoint::bind(config.clone()).await {
            Ok(endpoint) => return endpoint,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn config() -> ControlConfig {
    ControlConfig { tick: Duration::from_millis(200), apps_max: 3, ..ControlConfig::default() }
}

impl Utility {
    async fn start() -> Self {
        Self::start_as(config()).await
    }

    async fn start_as(config: ControlConfig) -> Self {
        Self::start_over(config, "sqlite::memory:").await
    }

    /// Over a database that somebody else may open as well.
    async fn start_over(config: ControlConfig, database: &str) -> Self {
        let store = Store::open(database).await.unwrap();
        let artifacts = Artifacts::open("memory:").await.unwrap();
        let secret = NodeSecret::generate();
        let endpoint = bind(&secret, 0).await;
        let chain = SimulatedChain::new();
        let settle: Arc<dyn Settle> = chain.clone();
        let (s, a) = (store.clone(), artifacts.clone());
        let control = Control::start(config, s, a, settle, endpoint.clone()).await.unwrap();
        let opened = control.create_account("acme", None).await.unwrap();
        let account = control.authenticate(&opened.api_key).await.unwrap();
        assert_eq!(account, opened.account);
        let key = IdempotencyKey::new("first").unwrap();
        control.deposit(account, NanoUsd(10_000_000_000), &key).await.unwrap();
        Self { control, store, artifacts, secret, endpoint, chain, account }
    }

    /// Stops it and starts it again over the same store, at the same address.
    async fn restart(&mut self) {
        self.control.shutdown().await;
        let port = self.addr().addrs[0].port();
        self.endpoint.close().await;
        // The socket is held for as long as the endpoint is.
        self.endpoint = bind(&NodeSecret::generate(), 0).await;
        self.endpoint = bind(&self.secret, port).await;
        let settle: Arc<dyn Settle> = self.chain.clone();
        let (s, a) = (self.store.clone(), self.artifacts.clone());
        self.control = Control::start(config(), s, a, settle, self.endpoint.clone()).await.unwrap();
    }

    fn addr(&self) -> UtilityAddr {
        self.endpoint.addr()
    }

    async fn supplier(&self, name: &str, tier: Tier) -> SimAgent {
        let mut config = SimConfig::new(name, self.addr());
        config.info.tier = tier;
        let agent = SimAgent::start(config).await.unwrap();
        tokio::time::timeout(LONG, agent.welcomed(1)).await.expect("a welcome");
        // It is welcomed a moment before it gets leases.
        let deadline = Instant::now() + LONG;
        while self.control.nodes().await.unwrap().iter().all(|node| node.node != agent.node()) {
            assert!(Instant::now() < deadline, "{name} never joined");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        agent
    }

    async fn suppliers(&self, count: usize) -> Vec<SimAgent> {
        let mut agents = Vec::new();
        for n in 0..count {
            agents.push(self.supplier(&format!("supplier {n}"), Tier::Crowd).await);
        }
        agents
    }

    async fn request(&self, manifest: &str) -> DeployRequest {
        let bytes = Bytes::from_static(b"a component");
        let hash = self.artifacts.put_bytes(bytes.clone()).await.unwrap();
        let length = bytes.len() as u64;
        self.store.grant_artifact(self.account, hash, length, 1).await.unwrap();
        let artifact = ArtifactRef { hash, bytes: length };
        DeployRequest {
            manifest: manifest.to_owned(),
            artifacts: [("a.wasm".to_owned(), artifact)].into(),
        }
    }

    async fn deploy(&self, manifest: &str) -> AppView {
        let request = self.request(manifest).await;
        self.control.deploy(self.account, &request, None).await.unwrap()
    }

    async fn app(&self, name: &str) -> AppView {
        self.control.app(self.account, name).await.unwrap()
    }

    /// Waits until an app is as it should be.
    async fn until(&self, name: &str, what: &str, fits: impl Fn(&AppView) -> bool) -> AppView {
        let deadline = Instant::now() + LONG;
        loop {
            let app = self.app(name).await;
            if fits(&app) {
                return app;
            }
            assert!(Instant::now() < deadline, "never {what}: {app:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn protected(&self, name: &str) -> AppView {
        self.until(name, "active with a warm standby", |app| {
            let is = |role, state: &str| {
                app.replicas.iter().any(|lease| lease.role == role && lease.state == state)
            };
            app.replicas.len() == 2 && is(Role::Active, "active") && is(Role::Standby, "warm")
        })
        .await
    }

    /// One request as the ingress sends it: another replica where one fails, waiting where none is.
    async fn get(&self, app: AppId) -> Result<String, NotReady> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let route = self.control.wait_ready(app, deadline).await?;
            let Some(replica) = route.replicas.iter().find(|replica| replica.is_usable()) else {
                continue;
            };
            match send(replica).await {
                Some(body) => return Ok(body),
                None => self.control.suspect(replica.lease),
            }
        }
    }

    async fn exact(&self) {
        let audit = self.store.audit().await.unwrap();
        assert!(audit.findings.is_empty(), "{:?}", audit.findings);
        let totals = self.store.totals().await.unwrap();
        assert_eq!((totals.difference_nanousd.0, totals.difference_nanojoule.0), (0, 0));
    }
}

async fn send(replica: &ReplicaRoute) -> Option<String> {
    let request = http::Request::get("/").header("host", "a").body(RequestBody::empty()).unwrap();
    let response = replica.client.send(request).await.ok()?;
    let body = response.into_body().collect().await.ok()?.to_bytes();
    String::from_utf8(body.to_vec()).ok()
}

fn service(name: &str, more: &str) -> String {
    format!("name = \"{name}\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n{more}")
}

fn agent_of<'a>(agents: &'a [SimAgent], app: &AppView, role: Role) -> &'a SimAgent {
    let lease = app.replicas.iter().find(|lease| lease.role == role).expect("such a lease");
    agents.iter().find(|agent| agent.node() == lease.node).expect("its agent")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_costs_no_request_and_its_standby_is_replaced() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(3).await;
    let app = utility.deploy(&service("web", "")).await;
    let before = utility.protected("web").await;
    assert_ne!(before.replicas[0].supplier, before.replicas[1].supplier);
    utility.get(app.id).await.unwrap();
    let standby = before.replicas.iter().find(|l| l.role == Role::Standby).unwrap().lease;
    let mut events = utility.control.subscribe();
    agent_of(&agents, &before, Role::Active).kill();
    for _ in 0..50 {
        utility.get(app.id).await.expect("no request is refused while a standby takes over");
    }
    let after = utility.protected("web").await;
    let active = after.replicas.iter().find(|lease| lease.role == Role::Active).unwrap();
    assert_eq!(active.lease, standby);
    let taken_over = async {
        loop {
            if let Event::TakeOver { to, .. } = &*events.recv().await.unwrap() {
                return *to;
            }
        }
    };
    assert_eq!(tokio::time::timeout(LONG, taken_over).await.unwrap(), standby);
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_noticed_and_comes_back_fenced() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(2).await;
    let app = utility.deploy(&service("web", "")).await;
    let before = utility.protected("web").await;
    let silent = agent_of(&agents, &before, Role::Active);
    silent.silence(true);
    for _ in 0..20 {
        utility.get(app.id).await.expect("the standby takes over");
    }
    let old = before.replicas.iter().find(|lease| lease.role == Role::Active).unwrap().lease;
    silent.silence(false);
    // With two suppliers the new standby can only go where the old lease was.
    let after = utility.protected("web").await;
    assert!(after.replicas.iter().all(|lease| lease.lease != old));
    assert_eq!(
        after.replicas.iter().find(|l| l.role == Role::Standby).unwrap().node,
        silent.node()
    );
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_supplier_a_request_waits_for_the_replacement() {
    let utility = Utility::start().await;
    let mut agents = utility.suppliers(1).await;
    let app = utility.deploy(&service("web", "")).await;
    utility.until("web", "running", |app| app.state == AppState::Running).await;
    utility.get(app.id).await.unwrap();
    agents[0].kill();
    let (answer, restarted) = tokio::join!(utility.get(app.id), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        agents[0].restart().await
    });
    restarted.unwrap();
    answer.expect("the request waited for the new lease");
    let reason = utility.app("web").await.reason.unwrap_or_default();
    assert!(reason.contains("no standby") || reason.is_empty(), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_billed_paid_and_proven() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(1).await;
    agents[0].behave(|agent| agent.answers_in = Duration::from_millis(150));
    let app = utility.deploy(&service("web", "[scale]\nwarm = 0\n")).await;
    for _ in 0..4 {
        utility.get(app.id).await.unwrap();
    }
    let payment =
        tokio::time::timeout(LONG, agents[0].paid(|payment| payment.cumulative_wei > U256::ZERO));
    let payment = payment.await.expect("a payment");
    assert!(payment.verify(31337, ESCROW));
    assert_eq!(payment.supplier, agents[0].info().supplier);
    utility.until("web", "wholly metered", |app| app.requests == 4).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let bill = utility.control.usage(utility.account, "web", None).await.unwrap();
    let line = &bill.lines[0];
    assert!((600..5_000).contains(&line.counters.wall_ms), "{line:?}");
    assert!(line.billed_nanousd > line.supplier_nanousd && line.supplier_nanojoule.0 > 0);
    assert_eq!(
        bill.customer_nanousd,
        bill.suppliers_nanousd + bill.margin_nanousd + bill.fee_nanousd
    );
    // Idle costs nothing more.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let settled =
        utility.control.usage(utility.account, "web", None).await.unwrap().customer_nanousd;
    tokio::time::sleep(Duration::from_millis(800)).await;
    let later = utility.control.usage(utility.account, "web", None).await.unwrap().customer_nanousd;
    assert_eq!(settled, later);
    let grid = utility.control.grid().await.unwrap();
    assert_eq!(grid.totals.difference, 0);
    assert!(grid.root.is_some() && grid.nodes[0].state == "up");
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_tried_again_elsewhere_and_billed_once() {
    let utility = Utility::start().await;
    let crowd = utility.supplier("crowd", Tier::Crowd).await;
    let other = utility.supplier("other", Tier::Crowd).await;
    let center = utility.supplier("center", Tier::Datacenter).await;
    let outputs = vec![("frame".to_owned(), Bytes::from_static(b"pixels"))];
    for agent in [&other, &center] {
        let after = Duration::from_millis(300);
        let job = JobScript::Completes { after, outputs: outputs.clone() };
        agent.behave(|agent| agent.job = job);
    }
    let fails = JobScript::Fails { after: Duration::from_millis(50), reason: "exit 1".into() };
    crowd.behave(|agent| agent.job = fails);
    let manifest = "name = \"work\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n[[part]]\n\
                    tier = \"crowd\"\n[[part]]\ntier = \"datacenter\"\n";
    utility.deploy(manifest).await;
    let app = utility.until("work", "completed", |app| app.state == AppState::Completed).await;
    let parts = app.job.unwrap().parts;
    assert!(parts.iter().all(|part| part.state == "completed"), "{parts:?}");
    assert_eq!((parts[0].tier, parts[1].tier), (Some(Tier::Crowd), Some(Tier::Datacenter)));
    assert_eq!(parts[0].node, Some(other.node()));
    let bill = utility.control.usage(utility.account, "work", None).await.unwrap();
    for line in &bill.lines {
        let completed = line.ending.as_deref() == Some("completed");
        assert_eq!(line.billed_nanousd > NanoUsd::ZERO, completed, "{line:?}");
    }
    assert_eq!(bill.lines.iter().filter(|line| line.billed_nanousd.0 > 0).count(), 2);
    let left = utility.control.outputs(utility.account, "work").await.unwrap();
    assert_eq!(left.iter().map(|file| file.part).collect::<Vec<_>>(), [0, 1]);
    assert!(utility.store.granted_artifact(utility.account, left[0].hash).await.unwrap().is_some());
    tokio::time::timeout(LONG, center.paid(|p| p.cumulative_wei > U256::ZERO)).await.unwrap();
    assert!(crowd.payment().is_none_or(|payment| payment.cumulative_wei == U256::ZERO));
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_utility_takes_its_leases_up_again() {
    let mut utility = Utility::start().await;
    let agents = utility.suppliers(2).await;
    let app = utility.deploy(&service("web", "")).await;
    let before = utility.protected("web").await;
    utility.get(app.id).await.unwrap();
    utility.restart().await;
    for agent in &agents {
        tokio::time::timeout(LONG, agent.welcomed(2)).await.expect("it dials again");
    }
    utility.get(app.id).await.expect("it serves on");
    let after = utility.protected("web").await;
    let ids = |app: &AppView| app.replicas.iter().map(|lease| lease.lease).collect::<Vec<_>>();
    assert_eq!(ids(&before), ids(&after), "healthy leases are kept");
    utility.until("web", "told of both requests", |app| app.requests == 2).await;
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_takes_over_and_the_old_one_comes_back() {
    let utility = Utility::start().await;
    let _agents = utility.suppliers(3).await;
    let first = utility.deploy(&service("web", "")).await;
    utility.protected("web").await;
    let second = utility.deploy(&service("web", "[env]\nA = \"b\"\n")).await;
    assert_eq!((second.id, second.version), (first.id, 2));
    let rolled = |number| {
        move |app: &AppView| {
            app.replicas.len() == 2
                && app.replicas.iter().all(|lease| lease.version == number)
                && app.replicas.iter().any(|lease| lease.state == "active")
        }
    };
    for _ in 0..10 {
        utility.get(first.id).await.expect("it answers while it rolls over");
    }
    utility.until("web", "version 2", rolled(2)).await;
    let back = utility.control.rollback(utility.account, "web", None).await.unwrap();
    assert_eq!(back.version, 1);
    utility.until("web", "version 1 again", rolled(1)).await;
    let conflict = utility.control.rollback(utility.account, "web", None).await;
    assert!(matches!(conflict, Err(ControlError::Conflict(_))), "{conflict:?}");
    let stopped = utility.control.stop(utility.account, "web").await.unwrap();
    assert_eq!(stopped.state, AppState::Stopped);
    assert_eq!(utility.get(first.id).await, Err(NotReady::Stopped));
    utility.until("web", "rid of its leases", |app| app.replicas.is_empty()).await;
}
