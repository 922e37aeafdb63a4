//! Requests to one lease, over streams that are kept.
//!
//! HTTP/1.1 runs on each stream, one request at a time; a stream whose exchange has ended cleanly
//! is kept for the next. The connection is driven by whoever waits for the response, in its own
//! task: a request costs no hop to another one.
//!
//! ```text
//!           open, answered             request                head            body read to its end
//! (nothing) ---------------> idle ---------------> waiting ---------> body -----------------> idle
//!                 ^                                   |                |
//!                 \-- refused: the request is         \-- dropped or failed: the stream is reset
//!                     handed back untouched
//! ```
//!
//! What failed is told apart by what may be done about it: a request that was not sent is handed
//! back and may go elsewhere whatever its method; one that was lost without a byte of the response
//! may be repeated where it is idempotent.

mod body;
mod exchange;
mod traffic;

use std::{fmt, sync::Arc, time::Duration};

use ::http::{Request, Response, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kinesis_protocol::{Epoch, LeaseId, message::StreamOpen};
use parking_lot::Mutex;
use tokio::time::Instant;

pub use body::{BoxError, RequestBody, ResponseBody};
pub use traffic::{InFlight, LeaseTraffic};

use crate::{Link, Stream, WireError};
use exchange::{Failed, Kept};

/// The most streams kept idle for one lease.
const IDLE_MAX: usize = 1_024;
/// A stream that was idle for longer is given up: the guest's end may be about to close it, and a
/// request that crosses with that is lost.
const IDLE_FOR_MAX: Duration = Duration::from_secs(15);

/// Sends requests to one lease. Clones share the kept streams, which are given up with the last.
#[derive(Clone)]
pub struct LeaseClient(Arc<Inner>);

struct Inner {
    link: Link,
    lease: LeaseId,
    epoch: Epoch,
    traffic: Arc<LeaseTraffic>,
    idle: Mutex<Vec<Kept>>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Not a byte of the request was sent: it is handed back, and may go elsewhere.
    #[error("the lease took no request")]
    NotSent {
        /// Why not.
        source: WireError,
        /// The request as it was given.
        request: Box<Request<RequestBody>>,
    },
    /// The stream failed after the request, or some of it, was sent, and before any of the
    /// response came: whether it was processed is not known.
    #[error("the stream failed before a response came")]
    Lost {
        /// How it failed.
        source: hyper::Error,
    },
    /// The request's own body failed: its sender went away, or broke a limit.
    #[error("the request's body failed")]
    Body {
        /// How it failed.
        source: hyper::Error,
    },
}

impl LeaseClient {
    /// Nothing is opened before the first request.
    #[must_use]
    pub fn new(link: Link, lease: LeaseId, epoch: Epoch, traffic: Arc<LeaseTraffic>) -> Self {
        Self(Arc::new(Inner { link, lease, epoch, traffic, idle: Mutex::default() }))
    }

    /// The link its streams are on.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.0.link
    }

    /// Which lease.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.0.lease
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// What it has counted.
    #[must_use]
    pub fn traffic(&self) -> &Arc<LeaseTraffic> {
        &self.0.traffic
    }

    /// How many streams are kept idle.
    #[must_use]
    pub fn idle_streams(&self) -> usize {
        self.0.idle.lock().len()
    }

    /// Gives up every idle stream: the guest's node need not hold a socket for them.
    pub fn forget_idle(&self) {
        // Dropping a stream takes the connection's lock, so not under ours.
        let idle = std::mem::take(&mut *self.0.idle.lock());
        drop(idle);
    }

    /// Sends a request, in origin form and with its `Host`, and waits for the response's head.
    ///
    /// Dropping the future, or the response's body before its end, cancels: the stream is reset.
    /// A request with an `Upgrade` header may be answered with 101; `hyper::upgrade::on` works.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, SendError> {
        let in_flight = self.0.traffic.begin();
        request.body_mut().count_into(&self.0.traffic);
        if request.headers().contains_key(header::UPGRADE) {
            return self.send_upgrade(request, in_flight).await;
        }
        loop {
            let (mut kept, fresh) = match self.idle() {
                Some(kept) => (kept, false),
                None => match self.open().await {
                    Ok(stream) => (Kept::new(stream).await, true),
                    Err(source) => return Err(self.not_sent(source, request)),
                },
            };
            match kept.exchange(request).await {
                Ok(response) => {
                    let (head, incoming) = response.into_parts();
                    let mut body = ResponseBody::new(incoming, kept, self.clone(), in_flight);
                    body.release_if_over();
                    return Ok(Response::from_parts(head, body));
                }
                Err(Failed::NotSent(back, error)) => {
                    request = back;
                    if fresh {
                        let source = WireError::Stream(std::io::Error::other(error));
                        return Err(self.not_sent(source, request));
                    }
                    // A kept stream that had ended meanwhile: the next one, or a new one.
                }
                Err(Failed::Sent(source)) if source.is_user() => {
                    return Err(SendError::Body { source });
                }
                Err(Failed::Sent(source)) => return Err(SendError::Lost { source }),
            }
        }
    }

    /// An upgrade takes its stream away for good, so it gets a new one and a task that drives it.
    async fn send_upgrade(
        &self,
        request: Request<RequestBody>,
        in_flight: InFlight,
    ) -> Result<Response<ResponseBody>, SendError> {
        let stream = match self.open().await {
            Ok(stream) => stream,
            Err(source) => return Err(self.not_sent(source, request)),
        };
        let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
            Ok(both) => both,
            Err(error) => {
                let source = WireError::Stream(std::io::Error::other(error));
                return Err(self.not_sent(source, request));
            }
        };
        // Ends when the exchange does, when the response is dropped, or with the link.
        tokio::spawn(connection.with_upgrades());
        match sender.send_request(request).await {
            Ok(response) => {
                let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                let mut response =
                    response.map(|body| ResponseBody::driven(body, self.clone(), in_flight));
                if switching {
                    // The exchange goes on for as long as the upgraded stream does.
                    let body = response.body_mut();
                    if let Some(in_flight) = body.take_in_flight() {
                        response.extensions_mut().insert(Arc::new(in_flight));
                    }
                }
                Ok(response)
            }
            Err(source) if source.is_user() => Err(SendError::Body { source }),
            Err(source) => Err(SendError::Lost { source }),
        }
    }

    fn not_sent(&self, source: WireError, request: Request<RequestBody>) -> SendError {
        self.0.traffic.was_not_sent();
        SendError::NotSent { source, request: Box::new(request) }
    }

    async fn open(&self) -> Result<Stream, WireError> {
        let open = StreamOpen::Http { lease: self.0.lease, epoch: self.0.epoch };
        Ok(self.0.link.open_answered(&open).await?.0)
    }

    /// The stream that was used last, unless even that was long ago.
    fn idle(&self) -> Option<Kept> {
        let kept = self.0.idle.lock().pop()?;
        if kept.idle_since.elapsed() <= IDLE_FOR_MAX {
            return Some(kept);
        }
        self.forget_idle();
        None
    }

    /// Takes back a stream whose exchange has ended cleanly.
    fn keep(&self, mut kept: Kept) {
        let now = Instant::now();
        kept.idle_since = now;
        let mut given_up = None;
        {
            let mut idle = self.0.idle.lock();
            // The oldest is first: the newest is taken first.
            if idle.first().is_some_and(|first| now - first.idle_since > IDLE_FOR_MAX) {
                let fresh = idle.partition_point(|kept| now - kept.idle_since > IDLE_FOR_MAX);
                let rest = idle.split_off(fresh);
                given_up = Some(std::mem::replace(&mut *idle, rest));
            }
            if idle.len() < IDLE_MAX {
                idle.push(kept);
            }
        }
        drop(given_up);
    }
}

impl fmt::Debug for LeaseClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseClient")
            .field("lease", &self.0.lease)
            .field("epoch", &self.0.epoch)
            .finish_non_exhaustive()
    }
}

impl SendError {
    /// The request, where it was not sent.
    #[must_use]
    pub fn into_request(self) -> Option<Request<RequestBody>> {
        match self {
            Self::NotSent { request, .. } => Some(*request),
            _ => None,
        }
    }
}

type Connection = http1::Connection<TokioIo<Stream>, RequestBody>;
