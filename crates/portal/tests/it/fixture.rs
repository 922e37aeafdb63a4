//! A utility whose portal is asked without a socket.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use kinesis_agent::sim::{SimAgent, SimConfig};
use kinesis_control::{
    Control, ControlConfig, Cover, Payer, Redemption, Settle, SettleError,
    api::{AppView, ArtifactRef},
};
use kinesis_portal::{OperatorToken, Portal, PortalConfig};
use kinesis_protocol::{
    Address, ContentHash, PaymentRoot, Signature, SignedRoot, Tier, U256, root::PaymentProof,
};
use kinesis_store::{Artifacts, Store};
use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret};
use serde_json::{Value, json};
use tower::ServiceExt;

/// How long a test waits for what has to happen.
pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const COMPONENT: &[u8] = b"a component";

/// A chain that is a few numbers in memory, and a key.
#[derive(Debug)]
struct SimulatedChain {
    key: kinesis_chain::Key,
    cover: Mutex<Cover>,
}

pub(crate) const ESCROW: Address = Address::repeat_byte(0xe5);
pub(crate) const REGISTRY: Address = Address::repeat_byte(0x4e);

#[async_trait]
impl Settle for SimulatedChain {
    fn payer(&self) -> Payer {
        Payer { utility: self.key.address(), series: 1, chain_id: 31_337, escrow: ESCROW }
    }

    fn contracts(&self) -> Vec<(&'static str, Address)> {
        vec![("escrow", ESCROW), ("registry", REGISTRY)]
    }

    async fn sign(&self, root: PaymentRoot) -> Result<SignedRoot, SettleError> {
        let signature = self.key.sign_hash(&root.signing_hash(31_337, ESCROW));
        Ok(SignedRoot { root, signature })
    }

    async fn fee_bp(&self) -> Result<u32, SettleError> {
        Ok(200)
    }

    async fn cover(&self) -> Result<Cover, SettleError> {
        Ok(*self.cover.lock().unwrap())
    }

    async fn balance(&self) -> Result<U256, SettleError> {
        Ok(U256::from(10).pow(U256::from(27)))
    }

    async fn deposit(&self, wei: U256) -> Result<(), SettleError> {
        self.cover.lock().unwrap().available_wei += wei;
        Ok(())
    }

    async fn redeem_to_payer(
        &self,
        _key: &str,
        payment: &PaymentProof,
        _deadline: u64,
        _signature: &Signature,
    ) -> Result<Redemption, SettleError> {
        Ok(Redemption { paid_wei: payment.cumulative_wei, transaction: None })
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The JSON of an answer that has to have this status.
    pub(crate) fn with(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self.json()
    }
}

pub(crate) struct Utility {
    pub(crate) router: Router,
    pub(crate) config: PortalConfig,
    pub(crate) control: Arc<Control>,
    pub(crate) store: Store,
    pub(crate) artifacts: Artifacts,
    endpoint: Endpoint,
}

impl Utility {
    pub(crate) async fn start() -> Self {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let artifacts = Artifacts::open("memory:").await.unwrap();
        let bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let secret = NodeSecret::generate();
        let config = EndpointConfig { secret, bind, relay: None, listen: true };
        let endpoint = Endpoint::bind(config).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let key = kinesis_chain::Key::load_or_create(&directory.path().join("key")).unwrap();
        let settle = Arc::new(SimulatedChain { key, cover: Mutex::default() });
        let config = ControlConfig { tick: Duration::from_millis(200), ..ControlConfig::default() };
        let (s, a) = (store.clone(), artifacts.clone());
        let control = Control::start(config, s, a, settle, endpoint.clone()).await.unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut config = PortalConfig::new(any_port, OperatorToken::random());
        config.wire = Some(endpoint.addr().to_string());
        config.rpc = Some("http://127.0.0.1:8545/rpc".to_owned());
        config.limits.artifact_bytes = 1 << 20;
        config.limits.watchers = 3;
        let router =
            Portal::router(config.clone(), Arc::clone(&control), store.clone(), artifacts.clone());
        Self { router, config, control, store, artifacts, endpoint }
    }

    pub(crate) async fn supplier(&self, name: &str, tier: Tier) -> SimAgent {
        let mut config = SimConfig::new(name, self.endpoint.addr());
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

    pub(crate) fn operator(&self) -> Caller<'_> {
        Caller { utility: self, token: Some(self.config.operator.reveal().to_owned()) }
    }

    pub(crate) fn anyone(&self) -> Caller<'_> {
        Caller { utility: self, token: None }
    }

    pub(crate) fn with_key(&self, key: &str) -> Caller<'_> {
        Caller { utility: self, token: Some(key.to_owned()) }
    }

    /// A customer with money.
    pub(crate) async fn customer(&self, name: &str) -> Caller<'_> {
        let opened = self.operator().post("/v1/accounts", Some(name), json!({"name": name})).await;
        let opened = opened.with(201);
        let path = format!("/v1/accounts/{}/deposits", opened["account"].as_str().unwrap());
        let paid = self.operator().post(&path, Some("first"), json!({"usd": "25.00"})).await;
        assert_eq!(paid.with(200)["balance_nanousd"], 25_000_000_000_i64);
        self.with_key(opened["api_key"].as_str().unwrap())
    }
}

/// Somebody who asks.
#[derive(Clone)]
pub(crate) struct Caller<'a> {
    utility: &'a Utility,
    token: Option<String>,
}

impl Caller<'_> {
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Answer {
        if let Some(token) = &self.token {
            let value = format!("Bearer {token}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let response = self.utility.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(LONG, to_bytes(body, 16 << 20)).await.unwrap().unwrap();
        Answer { status: parts.status, headers: parts.headers, body: body.to_vec() }
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        self.send(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: Value) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    pub(crate) async fn put(&self, content: &[u8]) -> Answer {
        let path = format!("/v1/artifacts/{}", ContentHash::of(content));
        let body = Body::from(content.to_vec());
        self.send(Request::put(path).body(body).unwrap()).await
    }

    /// Uploads the component and deploys this manifest.
    pub(crate) async fn deploy(&self, key: &str, manifest: &str) -> Answer {
        self.put(COMPONENT).await.with(201);
        self.post("/v1/apps", Some(key), request(manifest)).await
    }

    /// Waits until an app is as it should be.
    pub(crate) async fn until(&self, name: &str, fits: impl Fn(&AppView) -> bool) -> AppView {
        let deadline = Instant::now() + LONG;
        loop {
            let app = self.get(&format!("/v1/apps/{name}")).await.with(200);
            let app: AppView = serde_json::from_value(app).unwrap();
            if fits(&app) {
                return app;
            }
            assert!(Instant::now() < deadline, "never as it should be: {app:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What is deployed: this manifest, and the component.
pub(crate) fn request(manifest: &str) -> Value {
    let bytes = COMPONENT.len() as u64;
    let component = ArtifactRef { hash: ContentHash::of(COMPONENT), bytes };
    json!({"manifest": manifest, "artifacts": {"a.wasm": component}})
}

pub(crate) fn service(name: &str) -> String {
    format!("name = \"{name}\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n")
}

pub(crate) fn job(name: &str, parts: u32) -> String {
    let job = format!("[job]\nparts = {parts}\n");
    format!("name = \"{name}\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n{job}")
}
