//! The bodies of requests and responses, counted as they pass.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

use super::{InFlight, LeaseClient, LeaseTraffic, exchange::Kept};

/// What a request's body may fail with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body.
pub struct RequestBody {
    kind: Kind,
    traffic: Option<Arc<LeaseTraffic>>,
}

enum Kind {
    Empty,
    Full(Bytes),
    Stream(UnsyncBoxBody<Bytes, BoxError>),
}

impl RequestBody {
    /// No body. Costs nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self { kind: Kind::Empty, traffic: None }
    }

    /// These bytes.
    #[must_use]
    pub const fn full(bytes: Bytes) -> Self {
        Self { kind: Kind::Full(bytes), traffic: None }
    }

    /// What another body yields, while it yields it: nothing is read ahead.
    pub fn stream<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self { kind: Kind::Stream(body.map_err(Into::into).boxed_unsync()), traffic: None }
    }

    pub(super) fn count_into(&mut self, traffic: &Arc<LeaseTraffic>) {
        if !matches!(self.kind, Kind::Empty) {
            self.traffic = Some(traffic.clone());
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match &mut this.kind {
            Kind::Empty => return Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                if bytes.is_empty() {
                    return Poll::Ready(None);
                }
                Frame::data(bytes)
            }
            Kind::Stream(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            },
        };
        if let (Some(traffic), Some(data)) = (&this.traffic, frame.data_ref()) {
            traffic.rx_bytes.fetch_add(data.remaining() as u64, Relaxed);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Stream(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Empty => "empty",
            Kind::Full(_) => "full",
            Kind::Stream(_) => "stream",
        };
        write!(f, "RequestBody({kind})")
    }
}

/// A response's body. Drives its stream while it is read, and gives the stream back at its end;
/// dropped before, it resets it.
pub struct ResponseBody {
    incoming: Incoming,
    /// The stream, until the end; `None` also where a task of its own drives it.
    kept: Option<Kept>,
    client: LeaseClient,
    in_flight: Option<InFlight>,
}

impl ResponseBody {
    pub(super) fn new(
        incoming: Incoming,
        kept: Kept,
        client: LeaseClient,
        in_flight: InFlight,
    ) -> Self {
        Self { incoming, kept: Some(kept), client, in_flight: Some(in_flight) }
    }

    /// A body whose connection is driven by another task.
    pub(super) fn driven(incoming: Incoming, client: LeaseClient, in_flight: InFlight) -> Self {
        Self { incoming, kept: None, client, in_flight: Some(in_flight) }
    }

    pub(super) fn take_in_flight(&mut self) -> Option<InFlight> {
        self.in_flight.take()
    }

    /// Gives the stream back at once where the response has no body.
    pub(super) fn release_if_over(&mut self) {
        if self.incoming.is_end_stream() {
            self.release(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn release(&mut self, cx: &mut Context<'_>) {
        if let Some(mut kept) = self.kept.take()
            && kept.is_reusable(cx)
        {
            self.client.keep(kept);
        }
        self.in_flight = None;
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.incoming).poll_frame(cx);
        if polled.is_pending()
            && let Some(kept) = &mut this.kept
            && !kept.is_over()
        {
            // Nothing is buffered: read more. The body has just asked for it.
            kept.drive(cx);
            polled = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        match ready!(polled) {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.client.traffic().tx_bytes.fetch_add(data.len() as u64, Relaxed);
                }
                if this.incoming.is_end_stream() {
                    this.release(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.kept = None;
                this.in_flight = None;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                this.release(cx);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("client", &self.client).finish_non_exhaustive()
    }
}
