//! A small utility, nodes that answer over real links, and clients.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kinesis_control::{AppRoute, NotReady, ReplicaRoute, Routes, api::AppState};
use kinesis_ingress::{Backend, Ingress, IngressConfig};
use kinesis_protocol::{
    AppId, Epoch, LeaseId, Replica,
    message::{StreamAnswer, StreamOpen},
};
use kinesis_wire::{
    Endpoint, EndpointConfig, Link, NodeSecret, Stream,
    http::{LeaseClient, LeaseTraffic},
};
use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};

/// Long enough for a loaded machine: only a failing test ever waits for it.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("it takes too long")
}

pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

type OnSuspect = Box<dyn Fn(&TestBackend, LeaseId) + Send + Sync>;

/// Routes where a test says.
pub(crate) struct TestBackend {
    routes: ArcSwap<Routes>,
    version: watch::Sender<u64>,
    on_suspect: Mutex<Option<OnSuspect>>,
    pub(crate) suspected: Mutex<Vec<LeaseId>>,
    pub(crate) woken: AtomicUsize,
    /// What is said of hosts that have no route.
    pub(crate) gone: Mutex<Option<NotReady>>,
}

pub(crate) const APP: &str = "hello";

impl TestBackend {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            routes: ArcSwap::default(),
            version: watch::channel(0).0,
            on_suspect: Mutex::new(None),
            suspected: Mutex::default(),
            woken: AtomicUsize::new(0),
            gone: Mutex::new(None),
        })
    }

    pub(crate) fn on_suspect(&self, hook: impl Fn(&Self, LeaseId) + Send + Sync + 'static) {
        *self.on_suspect.lock() = Some(Box::new(hook));
    }

    pub(crate) fn route(&self, replicas: Vec<Arc<ReplicaRoute>>) {
        self.route_as(AppState::Running, replicas);
    }

    pub(crate) fn route_as(&self, state: AppState, replicas: Vec<Arc<ReplicaRoute>>) {
        self.set(state, replicas, 20_000);
    }

    pub(crate) fn route_with_limit(&self, replicas: Vec<Arc<ReplicaRoute>>, limit_ms: u64) {
        self.set(AppState::Running, replicas, limit_ms);
    }

    fn set(&self, state: AppState, replicas: Vec<Arc<ReplicaRoute>>, request_ms_max: u64) {
        let app = AppId::from_bytes([7; 16]);
        let own = "shop.example".to_owned();
        let route = Arc::new(AppRoute {
            app,
            name: APP.to_owned(),
            hosts: vec![own.clone()],
            state,
            replicas,
            request_ms_max,
        });
        let hosts = HashMap::from([(APP.to_owned(), route.clone()), (own, route.clone())]);
        self.routes.store(Arc::new(Routes { hosts, apps: HashMap::from([(app, route)]) }));
        self.version.send_modify(|version| *version += 1);
    }
}

impl Backend for TestBackend {
    fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    fn routes_changed(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    async fn wait_ready(
        self: &Arc<Self>,
        app: AppId,
        deadline: Instant,
    ) -> Result<Arc<AppRoute>, NotReady> {
        self.woken.fetch_add(1, Ordering::SeqCst);
        let mut changed = self.version.subscribe();
        loop {
            let route = self.routes.load().apps.get(&app).cloned().ok_or(NotReady::Unknown)?;
            if route.replicas.iter().any(|replica| replica.is_usable()) {
                return Ok(route);
            }
            if tokio::time::timeout_at(deadline.into(), changed.changed()).await.is_err() {
                return Err(NotReady::TimedOut("nothing is placed".to_owned()));
            }
        }
    }

    async fn why_nothing_at(&self, _host: &str, _suffix: &str) -> NotReady {
        self.gone.lock().clone().unwrap_or(NotReady::Unknown)
    }

    fn suspect(self: &Arc<Self>, lease: LeaseId) {
        self.suspected.lock().push(lease);
        let hook = self.on_suspect.lock();
        if let Some(hook) = &*hook {
            hook(self, lease);
        }
    }
}

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a guest does with a request.
pub(crate) enum Answer {
    Response(Response<Body>),
    /// It hangs up.
    HangUp,
}

pub(crate) fn full(text: impl Into<Bytes>) -> Response<Body> {
    Response::new(Full::new(text.into()).boxed_unsync())
}

async fn endpoint(listen: bool) -> Endpoint {
    Endpoint::bind(EndpointConfig {
        secret: NodeSecret::generate(),
        bind: Some("127.0.0.1:0".parse().unwrap()),
        relay: None,
        listen,
    })
    .await
    .unwrap()
}

/// A node with one lease, whose guest a test writes.
pub(crate) struct Node {
    pub(crate) route: Arc<ReplicaRoute>,
    /// The utility's end of the link.
    pub(crate) link: Link,
    /// How often streams are refused before they are taken.
    pub(crate) refusals: Arc<AtomicUsize>,
    /// Whether streams are answered yet: a standby that waits for its activation.
    active: watch::Sender<bool>,
    _endpoints: [Endpoint; 2],
    _agent: Link,
}

impl Node {
    pub(crate) async fn start<F>(guest: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Answering + Send + Sync + 'static,
    {
        let (utility, agent) = (endpoint(true).await, endpoint(false).await);
        let addr = utility.addr();
        let (agent_link, link) =
            soon(async { tokio::join!(agent.connect(&addr), utility.accept()) }).await;
        let (agent_link, link) = (agent_link.unwrap(), link.unwrap());
        let (active, is_active) = watch::channel(true);
        let refusals = Arc::new(AtomicUsize::new(0));
        tokio::spawn(serve(agent_link.clone(), Arc::new(guest), refusals.clone(), is_active));
        let lease = LeaseId::random();
        let traffic = Arc::new(LeaseTraffic::default());
        let client = LeaseClient::new(link.clone(), lease, Epoch(1), traffic.clone());
        let route = Arc::new(ReplicaRoute {
            lease,
            replica: Replica(0),
            epoch: Epoch(1),
            node: link.peer(),
            link: link.clone(),
            traffic,
            concurrency: 100,
            usable: AtomicBool::new(true),
            client,
            session: 0,
        });
        let endpoints = [utility, agent];
        Self { route, link, refusals, active, _endpoints: endpoints, _agent: agent_link }
    }

    /// A node whose guest says its name and the request's line.
    pub(crate) async fn named(name: &'static str) -> Self {
        Self::start(move |request| {
            Box::pin(async move {
                let line = format!("{name} {} {}", request.method(), request.uri());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Answer::Response(full([line.as_bytes(), b" ", &body].concat()))
            })
        })
        .await
    }

    pub(crate) fn standby(self) -> Self {
        self.active.send_replace(false);
        self
    }

    pub(crate) fn activate(&self) {
        self.active.send_replace(true);
    }
}

async fn serve<F>(
    agent: Link,
    guest: Arc<F>,
    refusals: Arc<AtomicUsize>,
    active: watch::Receiver<bool>,
) where
    F: Fn(Request<Incoming>) -> Answering + Send + Sync + 'static,
{
    while let Ok((open, stream)) = agent.accept().await {
        assert!(matches!(open, StreamOpen::Http { .. }));
        let (guest, refusals, active) = (guest.clone(), refusals.clone(), active.clone());
        tokio::spawn(async move {
            let _ = exchange(stream, guest, &refusals, active).await;
        });
    }
}

async fn exchange<F>(
    mut stream: Stream,
    guest: Arc<F>,
    refusals: &AtomicUsize,
    mut active: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    F: Fn(Request<Incoming>) -> Answering + Send + Sync + 'static,
{
    let take = |left: usize| left.checked_sub(1);
    if refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok() {
        return Ok(stream.answer(StreamAnswer::Refused { reason: "not yet".into() }).await?);
    }
    active.wait_for(|active| *active).await?;
    stream.answer(StreamAnswer::Ready { bytes: None }).await?;
    let service = service_fn(move |request| {
        let answering = guest(request);
        async move {
            match answering.await {
                Answer::Response(response) => Ok(response),
                Answer::HangUp => Err("hung up"),
            }
        }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await?;
    Ok(())
}

pub(crate) async fn ingress(backend: &Arc<TestBackend>) -> Ingress {
    ingress_with(backend, |_| {}).await
}

pub(crate) async fn ingress_with(
    backend: &Arc<TestBackend>,
    set: impl FnOnce(&mut IngressConfig),
) -> Ingress {
    let mut config = IngressConfig::local("127.0.0.1:0".parse().unwrap());
    set(&mut config);
    Ingress::start(config, backend.clone()).await.unwrap()
}

/// A connection of a client.
pub(crate) struct Client(conn::http1::SendRequest<Body>);

impl Client {
    pub(crate) async fn connect(ingress: &Ingress) -> Self {
        let stream = TcpStream::connect(ingress.addr()).await.unwrap();
        let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        soon(async {
            self.0.ready().await.unwrap();
            self.0.send_request(request).await.unwrap()
        })
        .await
    }

    /// The status and the whole text.
    pub(crate) async fn text(&mut self, request: Request<Body>) -> (u16, String) {
        let response = self.send(request).await;
        let status = response.status().as_u16();
        let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

pub(crate) fn request(method: &str, path: &str, body: &'static str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "hello.localhost:8080")
        .body(Full::new(Bytes::from(body)).boxed_unsync())
        .unwrap()
}

pub(crate) fn get(path: &str) -> Request<Body> {
    request("GET", path, "")
}

/// A body that a test feeds.
pub(crate) fn fed() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok(hyper::body::Frame::data(bytes)), receiver))
    });
    (sender, http_body_util::StreamBody::new(frames).boxed_unsync())
}
