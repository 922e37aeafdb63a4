//! One request's walk from a client to a replica and back.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body, Incoming};
use kinesis_control::{AppRoute, NotReady, ReplicaRoute, api::AppState};
use kinesis_wire::{
    WireError,
    http::{RequestBody, ResponseBody, SendError},
};
use tracing::{debug, info};

use crate::{
    Backend, Limits,
    body::{BodyFault, Inbound, OutBody, Replay},
    choose,
    head::{self, Client},
    problem::Problem,
    tunnel,
};

/// How long a request first waits before it tries again a replica that refused it.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared<B> {
    pub(crate) backend: Arc<B>,
    pub(crate) suffix: String,
    pub(crate) limits: Limits,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<B> {
    pub(crate) shared: Arc<Shared<B>>,
    pub(crate) client: Client,
    /// Whether a request has come over it.
    pub(crate) asked: AtomicBool,
}

/// Answers a request.
pub(crate) async fn answer<B: Backend>(
    connection: Arc<Connection<B>>,
    request: Request<Incoming>,
) -> Result<Response<OutBody>, Infallible> {
    connection.asked.store(true, Ordering::Relaxed);
    let id = head::request_id(request.headers());
    Ok(match forward(&connection, request, &id).await {
        Ok(response) => response,
        Err(problem) => {
            debug!(?id, ?problem, "answered with a problem");
            problem.into_response(&id)
        }
    })
}

async fn forward<B: Backend>(
    connection: &Connection<B>,
    mut request: Request<Incoming>,
    id: &HeaderValue,
) -> Result<Response<OutBody>, Problem> {
    let Shared { backend, suffix, limits } = &*connection.shared;
    if request.method() == Method::CONNECT {
        return Err(Problem::method());
    }
    let (name, host) = head::host(&request).ok_or_else(Problem::no_host)?;
    let routes = backend.routes();
    let route = routes.find(&name, suffix).cloned();
    drop(routes);
    let Some(route) = route else {
        return Err(match backend.why_nothing_at(&name, suffix).await {
            NotReady::Unknown => Problem::no_app(&name),
            why => Problem::not_ready(&why),
        });
    };
    match route.state {
        AppState::Stopped => return Err(Problem::not_ready(&NotReady::Stopped)),
        AppState::OverBudget => return Err(Problem::not_ready(&NotReady::OverBudget)),
        _ => {}
    }
    if request.body().size_hint().lower() > limits.body_bytes {
        return Err(Problem::too_large(limits.body_bytes));
    }
    let upgrade = head::upgrade(&request);
    let upgrading = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let repeatable = upgrade.is_none() && head::is_idempotent(&request);
    head::to_replica(&mut request, &connection.client, host, id, upgrade);
    let (request, again) = prepare(request, repeatable, limits);

    let walk = Walk { shared: &connection.shared, avoided: Vec::new(), waiting: None, route };
    let response = walk.send(request, again).await?;
    let (mut parts, body) = response.into_parts();
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    head::to_client(&mut parts.headers, id, switching);
    if !switching {
        return Ok(Response::from_parts(parts, OutBody::Upstream(body)));
    }
    let Some(client) = upgrading else {
        debug!(?id, "a replica switched protocols unasked");
        return Err(Problem::lost());
    };
    let mut upgraded = Response::from_parts(parts, body);
    tunnel::start(client, &mut upgraded);
    Ok(upgraded.map(|_| OutBody::Empty))
}

/// What is needed to send a request again.
struct Again {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    /// `None`: it has none.
    body: Option<Replay>,
}

impl Again {
    fn request(&self) -> Option<Request<RequestBody>> {
        let body = match &self.body {
            None => RequestBody::empty(),
            Some(replay) => RequestBody::stream(replay.again()?),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        Some(request)
    }
}

/// Gives a request the body that a replica gets, and where it may be sent again, what for.
fn prepare(
    request: Request<Incoming>,
    repeatable: bool,
    limits: &Limits,
) -> (Request<RequestBody>, Option<Again>) {
    let (parts, incoming) = request.into_parts();
    let inbound = (!incoming.is_end_stream()).then(|| Inbound::new(incoming, limits));
    if !repeatable {
        let body = inbound.map_or_else(RequestBody::empty, RequestBody::stream);
        return (Request::from_parts(parts, body), None);
    }
    let replay = inbound.map(|inbound| Replay::new(inbound, limits.replay_bytes));
    let body = match replay.as_ref().and_then(Replay::again) {
        Some(body) => RequestBody::stream(body),
        None => RequestBody::empty(),
    };
    let again = Again {
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        headers: parts.headers.clone(),
        body: replay,
    };
    (Request::from_parts(parts, body), Some(again))
}

/// From replica to replica, until one answers.
struct Walk<'a, B> {
    shared: &'a Shared<B>,
    route: Arc<AppRoute>,
    /// Those that failed this request.
    avoided: Vec<Arc<ReplicaRoute>>,
    /// Until when it waits for one that can be used, and how long it pauses next.
    waiting: Option<(Instant, Duration)>,
}

impl<B: Backend> Walk<'_, B> {
    async fn send(
        mut self,
        mut request: Request<RequestBody>,
        again: Option<Again>,
    ) -> Result<Response<ResponseBody>, Problem> {
        let limits = &self.shared.limits;
        let mut lost = 0;
        loop {
            let replica = match choose::replica(&self.route, &self.avoided) {
                Some(replica) => Arc::clone(replica),
                None => self.wait().await?,
            };
            let limit = Duration::from_millis(self.route.request_ms_max) + limits.response_slack;
            let error = match tokio::time::timeout(limit, replica.client.send(request)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => error,
                Err(_) => return Err(Problem::too_slow(limit)),
            };
            let lease = replica.lease;
            // Of all requests that a lost node fails, one need say so.
            let usable = replica.usable.load(Ordering::Acquire);
            self.avoided.push(replica);
            match error {
                SendError::NotSent { source, request: back } => {
                    debug!(%lease, error = %source, "a replica took no request");
                    if usable && !matches!(source, WireError::Refused { .. }) {
                        self.shared.backend.suspect(lease);
                    }
                    request = *back;
                }
                SendError::Body { source } => return Err(self.body_problem(&source)),
                SendError::Lost { source } => {
                    if BodyFault::of(&source).is_some() {
                        return Err(self.body_problem(&source));
                    }
                    info!(%lease, error = %source, "a stream was lost before its response");
                    if usable {
                        self.shared.backend.suspect(lease);
                    }
                    lost += 1;
                    if lost > limits.resends {
                        return Err(Problem::lost_again(lost));
                    }
                    request = again.as_ref().and_then(Again::request).ok_or_else(Problem::lost)?;
                    self.waiting = None;
                }
            }
            // What the failure changed is there already where a standby was warm.
            if let Some(route) = self.shared.backend.routes().apps.get(&self.route.app) {
                self.route = Arc::clone(route);
            }
        }
    }

    /// Waits for a replica that this request can be sent to. Woken by every change of the routes;
    /// a replica that failed it is tried again after a pause.
    async fn wait(&mut self) -> Result<Arc<ReplicaRoute>, Problem> {
        let backend = &self.shared.backend;
        let (deadline, mut pause) =
            self.waiting.unwrap_or_else(|| (Instant::now() + self.shared.limits.wait, PAUSE_MIN));
        loop {
            // Before the routes are read, so that no change is missed.
            let mut changed = backend.routes_changed();
            changed.mark_unchanged();
            if let Some(route) = backend.routes().apps.get(&self.route.app) {
                self.route = Arc::clone(route);
            }
            if let Some(replica) = choose::replica(&self.route, &self.avoided) {
                self.waiting = Some((deadline, pause));
                return Ok(Arc::clone(replica));
            }
            let now = Instant::now();
            if now >= deadline {
                let why = "every replica failed this request".to_owned();
                return Err(Problem::not_ready(&NotReady::TimedOut(why)));
            }
            if choose::replica(&self.route, &[]).is_none() {
                // Wakes a service that sleeps. May come back with one that is avoided.
                self.route = backend
                    .wait_ready(self.route.app, deadline)
                    .await
                    .map_err(|why| Problem::not_ready(&why))?;
                if let Some(replica) = choose::replica(&self.route, &self.avoided) {
                    self.waiting = Some((deadline, pause));
                    return Ok(Arc::clone(replica));
                }
            }
            let length = pause.min(deadline.saturating_duration_since(now));
            if tokio::time::timeout(length, changed.changed()).await.is_err() {
                self.avoided.clear();
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }

    fn body_problem(&self, error: &hyper::Error) -> Problem {
        match BodyFault::of(error) {
            Some(BodyFault::TooLarge { most }) => Problem::too_large(*most),
            Some(BodyFault::Paused { pause }) => Problem::body_paused(*pause),
            _ => Problem::body_broken(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_a_body_can_always_be_made_again() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, HeaderValue::from_static("a"));
        let again = Again { method: Method::GET, uri: Uri::from_static("/x"), headers, body: None };
        for _ in 0..2 {
            let request = again.request().unwrap();
            assert_eq!((request.uri().path(), request.headers().len()), ("/x", 1));
            assert!(request.body().is_end_stream());
        }
    }
}
