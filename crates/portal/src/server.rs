//! Listens, limits, and puts on every answer what goes with every answer.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Response, Sse,
        sse::{Event as Frame, KeepAlive},
    },
    routing::get,
};
use futures_util::{StreamExt, stream};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use kinesis_control::Control;
use kinesis_protocol::RequestId;
use kinesis_store::{Artifacts, Store};
use kinesis_wire::listen::{Accepted, ListenConfig, Listener};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::WatchStream;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{debug, warn};

use crate::{
    PortalConfig, PortalError,
    api::{self, Outlet},
    live::Live,
    page,
    problem::Problem,
    watcher::Watcher,
};

/// How long a request may take that neither uploads nor streams.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Nothing but what is served here, and nothing inline.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = include_str!("assets/app.js");
const STYLE: &str = include_str!("assets/style.css");
const ICON: &str = include_str!("assets/favicon.svg");

/// A running portal. Dropping it stops it at once; [`Self::shutdown`] lets requests finish.
pub struct Portal {
    listener: Listener,
}

impl Portal {
    /// Starts listening.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn start(
        config: PortalConfig,
        control: Arc<Control>,
        store: Store,
        artifacts: Artifacts,
    ) -> Result<Self, PortalError> {
        let (bind, limits) = (config.bind, config.limits.clone());
        let listen = ListenConfig {
            bind,
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
            write_pause: limits.write_pause,
            tls: false,
        };
        // HTTP/1.1 alone: telling it from HTTP/2 would wait for the first bytes without a limit.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout);
        let router = TowerToHyperService::new(Self::router(config, control, store, artifacts));
        let serve = move |accepted: Accepted| {
            let Accepted { stream, peer, ending } = accepted;
            let router = router.clone();
            let service = service_fn(move |mut request: http::Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                router.call(request)
            });
            let serving = http.serve_connection(TokioIo::new(stream), service);
            async move { ending.serve(serving).await }
        };
        let listener = Listener::start(listen, serve)
            .await
            .map_err(|source| PortalError::Listen { addr: bind, source })?;
        Ok(Self { listener })
    }

    /// All its paths without a listener: for tests, and for whoever listens themselves. A request
    /// that carries a [`ConnectInfo`] is counted for that client. Must be called within a Tokio
    /// runtime.
    pub fn router(
        config: PortalConfig,
        control: Arc<Control>,
        store: Store,
        artifacts: Artifacts,
    ) -> Router {
        let outlet = Outlet {
            live: Arc::new(Live::start(Arc::clone(&control))),
            watchers: Arc::new(Semaphore::new(config.limits.watchers)),
            watching: Arc::default(),
            control,
            store,
            artifacts,
            config: Arc::new(config),
        };
        let json_bytes = outlet.config.limits.json_bytes;
        api::router()
            .route("/", get(index))
            .route("/live", get(live))
            .route("/app.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
            .route("/style.css", get(|| asset("text/css; charset=utf-8", STYLE)))
            .route("/favicon.svg", get(|| asset("image/svg+xml", ICON)))
            .layer(DefaultBodyLimit::max(json_bytes))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn(every_answer))
            .with_state(outlet)
    }

    /// Where it listens, with the port it was really given.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// `http://ip:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Takes no more connections, lets requests finish for at most `grace`, and ends the rest.
    pub async fn shutdown(&self, grace: Duration) {
        self.listener.shutdown(grace).await;
    }
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portal").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

/// Gives every request an id and a limit of time, and every answer its headers.
async fn every_answer(request: Request, next: Next) -> Response {
    let id = RequestId::random().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let upload = method == Method::PUT;
    let answered = next.run(request);
    let mut response = if upload {
        // Its own pace is bounded where its body is read.
        answered.await
    } else {
        match tokio::time::timeout(ANSWER_TIMEOUT, answered).await {
            Ok(response) => response,
            Err(_) => {
                warn!(%method, path, id, "a request took too long");
                let detail = "The request was given up; it may be repeated.";
                Problem::new(http::StatusCode::REQUEST_TIMEOUT, detail).into_response()
            }
        }
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.with_request_id(&id);
        response.extensions_mut().remove::<Problem>();
    }
    debug!(%method, path, status = response.status().as_u16(), id, "answered");
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(X_REQUEST_ID, id);
    }
    response
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    Problem::internal(&std::io::Error::other(format!("a handler panicked: {said}"))).into_response()
}

async fn asset(content_type: &'static str, content: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-cache")];
    (headers, content).into_response()
}

async fn index(State(outlet): State<Outlet>) -> Result<Html<String>, Problem> {
    let picture = outlet.live.picture(&outlet.control).await?;
    Ok(Html(page::document(&picture).into_string()))
}

/// The page's sections: now, and whenever they change, each time all of them, as a JSON string of
/// HTML.
async fn live(watcher: Watcher, State(outlet): State<Outlet>) -> Result<Response, Problem> {
    // Subscribed first, so that nothing falls between this picture and the next.
    let changes = WatchStream::from_changes(outlet.live.watch());
    let picture = outlet.live.picture(&outlet.control).await?;
    let first: Arc<str> = page::sections(&picture).into_string().into();
    let pictures = stream::iter([Some(first)]).chain(changes).filter_map(move |html| {
        let _held = &watcher;
        let frame = html.and_then(|html| Frame::default().event("page").json_data(&*html).ok());
        std::future::ready(frame.map(Ok::<_, std::convert::Infallible>))
    });
    Ok(Sse::new(pictures).keep_alive(KeepAlive::new().interval(api::KEEP_ALIVE)).into_response())
}
