//! A service: HTTP on a Unix socket, a fresh instance for each request or one that is kept.
//!
//! Every request is in flight from its head to the last byte of its answer and the return of its
//! guest, whichever comes later. A client that goes away takes its fresh guest with it. A kept
//! guest finishes what it began, since others depend on its state; one that traps or takes too long
//! is replaced by a new instance.

mod app;
mod kept;
mod reply;

use std::{
    convert::Infallible,
    os::unix::net::UnixListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use kinesis_protocol::lease::{Instance, ServiceWorkload};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::TaskTracker;
use wasmtime_wasi_http::WasiBody;

use self::{
    app::AppPre,
    kept::Kept,
    reply::{Reply, Running},
};
use super::{
    INSTANTIATE_MAX,
    engine::INSTANCES_MAX,
    guest::{self, Setup},
    lease::Lease,
    log::Log,
    meter::Meter,
};
use crate::talk::Outcome;

/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// Header fields of a request.
const HEADERS_MAX: usize = 256;
/// Requests that wait for their turn.
const WAITING_MAX: usize = 4_096;

/// What a guest answers: a response, or the name of an error.
type Answer = Result<Response<WasiBody>, String>;

struct Service {
    pre: AppPre,
    setup: Arc<Setup>,
    meter: Arc<Meter>,
    log: Log,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    request_max: Duration,
    kept: Option<Kept>,
}

pub(super) async fn run(
    lease: Lease,
    spec: &ServiceWorkload,
    listener: UnixListener,
) -> Result<Outcome, String> {
    let boot = lease.meter.boot();
    let linker = lease.setup.linker().map_err(|e| format!("{e:#}"))?;
    let pre = linker
        .instantiate_pre(&lease.component)
        .and_then(|pre| AppPre::new(pre, lease.setup.concurrent()))
        .map_err(|e| format!("the component cannot run as a service: {e:#}"))?;
    // The first instance finds out what is wrong before anybody asks.
    let first = async {
        let mut store = lease.setup.store()?;
        let app = pre.instantiate(&mut store).await?;
        wasmtime::Result::Ok((store, app))
    };
    let first = tokio::time::timeout(INSTANTIATE_MAX, first)
        .await
        .map_err(|_| format!("no instance within {} s", INSTANTIATE_MAX.as_secs()))?
        .map_err(|e| format!("the component cannot be instantiated: {}", guest::reason(&e)))?;
    drop(boot);

    let request_max = Duration::from_millis(spec.request_ms_max);
    let kept = (spec.instance == Instance::Kept).then(|| {
        Kept::start(pre.clone(), Arc::clone(&lease.setup), lease.log.clone(), first, request_max)
    });
    let turns = usize::try_from(spec.concurrency.clamp(1, INSTANCES_MAX - 1)).unwrap_or(1);
    let service = Arc::new(Service {
        pre,
        setup: Arc::clone(&lease.setup),
        meter: Arc::clone(&lease.meter),
        log: lease.log.clone(),
        turns: Arc::new(Semaphore::new(turns)),
        waiting: AtomicUsize::new(0),
        request_max,
        kept,
    });

    listener.set_nonblocking(true).map_err(|e| format!("listen: {e}"))?;
    let listener =
        tokio::net::UnixListener::from_std(listener).map_err(|e| format!("listen: {e}"))?;
    lease.ready()?;
    let mut drain = lease.drain.clone();
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of descriptors, for one: others will be closed.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            () = told(&mut drain) => break,
        };
        connections.spawn(serve(Arc::clone(&service), stream, drain.clone()));
    }
    connections.close();
    connections.wait().await;
    Ok(Outcome::Stopped)
}

/// Waits for the word to take nothing new.
async fn told(drain: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = drain.wait_for(|drain| *drain).await;
}

async fn serve(
    service: Arc<Service>,
    stream: tokio::net::UnixStream,
    mut drain: tokio::sync::watch::Receiver<bool>,
) {
    let handler = hyper::service::service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.handle(request).await) }
    });
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            // The ingress keeps connections open between requests for as long as it likes.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), handler)
    );
    tokio::select! {
        _ = connection.as_mut() => {}
        () = told(&mut drain) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

impl Service {
    async fn handle(self: Arc<Self>, mut request: Request<Incoming>) -> Response<Reply> {
        let busy = self.meter.begin();
        if request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE) {
            return self.plain(
                busy.into(),
                StatusCode::NOT_IMPLEMENTED,
                "this app is a WebAssembly component, and neither WASI 0.2 nor 0.3 can accept a \
                 WebSocket or another upgrade; use server-sent events, or run the app as a \
                 container",
            );
        }
        if request.uri().authority().is_none() && !request.headers().contains_key(header::HOST) {
            request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        }
        let Some(turn) = self.turn().await else {
            return self.plain(
                busy.into(),
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests are waiting for this replica",
            );
        };
        let running = Running::new(busy, turn);
        let bodiless = request.method() == Method::HEAD;
        let meter = Arc::clone(&self.meter);
        let request = request.map(|body| Counted { body, meter });
        match &self.kept {
            Some(kept) => {
                let answer = kept.ask(request, running.clone()).await;
                self.answer(answer, None, running, bodiless)
            }
            None => self.fresh(request, running, bodiless).await,
        }
    }

    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Some(turn);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let turn =
            tokio::time::timeout(self.request_max, Arc::clone(&self.turns).acquire_owned()).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn.ok()?.ok()
    }

    async fn fresh(
        self: &Arc<Self>,
        request: Request<Counted>,
        running: Running,
        bodiless: bool,
    ) -> Response<Reply> {
        let (sender, mut receiver) = oneshot::channel();
        let service = Arc::clone(self);
        // The guest is driven by the connection's own task: no thread is changed for an answer.
        let mut guest: reply::GuestFuture = Box::pin(async move {
            let mut store = service.setup.store()?;
            let app = service.pre.instantiate(&mut store).await?;
            app.ask(&mut store, request, sender).await
        });
        let mut deadline = Box::pin(tokio::time::sleep(self.request_max));
        let mut ended = None;
        let answer = tokio::select! {
            biased;
            ended_first = &mut guest => {
                let answer = receiver.try_recv();
                let reason = match &ended_first {
                    Err(error) => guest::reason(error),
                    Ok(()) => "the guest returned without an answer".to_owned(),
                };
                self.complain(&ended_first);
                ended = Some(());
                answer.map_err(|_| Trouble::Failed(reason))
            }
            answer = &mut receiver => {
                answer.map_err(|_| Trouble::Failed("the guest gave up its answer".into()))
            }
            () = &mut deadline => Err(Trouble::Late),
        };
        let rest = ended.is_none().then_some((guest, deadline));
        self.answer(answer, rest, running, bodiless)
    }

    fn complain(&self, ended: &wasmtime::Result<()>) {
        if let Err(error) = ended {
            self.log.line(&format!("{error:?}"));
        }
    }

    fn answer(
        self: &Arc<Self>,
        answer: Result<Answer, Trouble>,
        rest: Option<reply::Rest>,
        running: Running,
        bodiless: bool,
    ) -> Response<Reply> {
        match answer {
            Ok(Ok(response)) => {
                let bodiless = bodiless
                    || matches!(
                        response.status(),
                        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
                    );
                let length = if bodiless { Some(0) } else { content_length(&response) };
                let log = self.log.clone();
                let meter = Arc::clone(&self.meter);
                response.map(|body| Reply::guest(body, rest, running, meter, log, length))
            }
            Ok(Err(code)) => self.plain(
                running,
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("the app answered with an error: {}", crate::talk::cut(&code, 300)),
            ),
            Err(Trouble::Failed(reason)) => self.plain(
                running,
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("the app failed: {reason}"),
            ),
            Err(Trouble::Late) => self.plain(
                running,
                StatusCode::GATEWAY_TIMEOUT,
                &format!("the app did not answer within {} ms", self.request_max.as_millis()),
            ),
        }
    }

    fn plain(&self, running: Running, status: StatusCode, text: &str) -> Response<Reply> {
        let body = Bytes::from(format!("{text}\n"));
        let mut response = Response::new(Reply::plain(body, running, Arc::clone(&self.meter)));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn content_length<B>(response: &Response<B>) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Why there is no answer.
enum Trouble {
    /// The guest failed.
    Failed(String),
    /// It took too long.
    Late,
}

/// A request body that is counted as the guest reads it.
struct Counted {
    body: Incoming,
    meter: Arc<Meter>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::pin::Pin::new(&mut self.body).poll_frame(cx);
        if let std::task::Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.meter.received(data.len());
        }
        frame.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
