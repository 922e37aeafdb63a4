//! Bodies: limited while they come in, and remembered where they may have to be sent again.
//!
//! Nothing is read ahead of the replica. A remembered body passes at once like any other; only when
//! it has to be sent again are its first bytes taken from memory, and the rest from where the client
//! stands.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use kinesis_wire::http::{BoxError, ResponseBody};
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use crate::Limits;

/// What is wrong with a client's body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyFault {
    /// It is longer than is allowed.
    #[error("the body is longer than {most} bytes")]
    TooLarge {
        /// The most that is allowed.
        most: u64,
    },
    /// It paused for too long.
    #[error("the body paused for {} s", pause.as_secs())]
    Paused {
        /// How long.
        pause: Duration,
    },
    /// The client's connection failed.
    #[error("the body broke off")]
    Broken(#[source] hyper::Error),
}

impl BodyFault {
    /// The fault that an error was caused by.
    pub(crate) fn of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(fault) = error.downcast_ref() {
                return Some(fault);
            }
            cause = error.source();
        }
        None
    }
}

/// A client's body, within the limits.
pub(crate) struct Inbound {
    incoming: Incoming,
    left: u64,
    most: u64,
    pause: Duration,
    /// Runs only while nothing comes.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Inbound {
    pub(crate) fn new(incoming: Incoming, limits: &Limits) -> Self {
        let most = limits.body_bytes;
        Self { incoming, left: most, most, pause: limits.body_pause, timer: None }
    }

    fn paused(&mut self, cx: &mut Context<'_>) -> Poll<BodyFault> {
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(BodyFault::Paused { pause })
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                let fault = ready!(this.paused(cx));
                return Poll::Ready(Some(Err(fault)));
            }
        };
        if let Some(timer) = &mut this.timer {
            let pause = this.pause;
            timer.as_mut().reset(Instant::now() + pause);
        }
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                match this.left.checked_sub(bytes) {
                    Some(left) => {
                        this.left = left;
                        Some(Ok(frame))
                    }
                    None => Some(Err(BodyFault::TooLarge { most: this.most })),
                }
            }
            Some(Err(error)) => Some(Err(BodyFault::Broken(error))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A body that is remembered while it passes. Clones read the same body, each from its beginning;
/// only one at a time.
pub(crate) struct Replay<B = Inbound>(Arc<Mutex<Shared<B>>>);

struct Shared<B> {
    rest: B,
    /// What has passed, in order.
    passed: Vec<Frame<Bytes>>,
    bytes: usize,
    most: usize,
    /// Whether all that has passed is still known.
    whole: bool,
    ended: bool,
}

impl<B> Replay<B> {
    pub(crate) fn new(body: B, most: usize) -> Self {
        let shared =
            Shared { rest: body, passed: Vec::new(), bytes: 0, most, whole: true, ended: false };
        Self(Arc::new(Mutex::new(shared)))
    }

    /// The body from its beginning; `None` where that is not known any more.
    pub(crate) fn again(&self) -> Option<Replayed<B>> {
        self.0.lock().whole.then(|| Replayed { shared: self.0.clone(), at: 0 })
    }
}

/// One passage of a remembered body.
pub(crate) struct Replayed<B = Inbound> {
    shared: Arc<Mutex<Shared<B>>>,
    at: usize,
}

impl<B> Body for Replayed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut shared = this.shared.lock();
        let shared = &mut *shared;
        if shared.whole
            && let Some(frame) = shared.passed.get(this.at)
        {
            this.at += 1;
            return Poll::Ready(Some(Ok(copy(frame))));
        }
        if shared.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut shared.rest).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                // What failed cannot be read again.
                shared.whole = false;
                return Poll::Ready(Some(Err(error.into())));
            }
            None => {
                shared.ended = true;
                return Poll::Ready(None);
            }
        };
        if shared.whole {
            shared.bytes += frame.data_ref().map_or(0, Bytes::len);
            if shared.bytes <= shared.most {
                shared.passed.push(copy(&frame));
                this.at += 1;
            } else {
                shared.whole = false;
                shared.passed = Vec::new();
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        let read_all = !shared.whole || self.at == shared.passed.len();
        read_all && (shared.ended || shared.rest.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let shared = self.shared.lock();
        let remembered: u64 = if shared.whole {
            shared.passed[self.at..]
                .iter()
                .filter_map(Frame::data_ref)
                .map(|d| d.len() as u64)
                .sum()
        } else {
            0
        };
        let rest = shared.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(remembered));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(remembered));
        }
        hint
    }
}

/// Another frame of the same bytes.
fn copy(frame: &Frame<Bytes>) -> Frame<Bytes> {
    match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => Frame::data(data.clone()),
        (None, Some(trailers)) => Frame::trailers(trailers.clone()),
        (None, None) => Frame::data(Bytes::new()),
    }
}

/// What goes out to a client.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one a request; a box would be an allocation a request"
)]
pub(crate) enum OutBody {
    /// Nothing.
    Empty,
    /// These bytes.
    Full(Bytes),
    /// What a replica sends.
    Upstream(ResponseBody),
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Upstream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Upstream(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use std::convert::Infallible;

    type Pieces = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

    fn pieces(pieces: &[&'static str]) -> Pieces {
        let frames: Vec<_> =
            pieces.iter().map(|piece| Ok(Frame::data(Bytes::from(*piece)))).collect();
        StreamBody::new(stream::iter(frames))
    }

    #[tokio::test]
    async fn what_has_passed_comes_again_and_then_the_rest() {
        let replay = Replay::new(pieces(&["one", "two", "three"]), 100);
        let mut first = replay.again().unwrap();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
        drop(first);
        for _ in 0..2 {
            let again = replay.again().unwrap();
            assert_eq!(again.collect().await.unwrap().to_bytes(), "onetwothree");
        }
    }

    #[tokio::test]
    async fn too_much_passes_once_only() {
        let replay = Replay::new(pieces(&["one", "two", "three"]), 5);
        let first = replay.again().unwrap();
        assert_eq!(first.collect().await.unwrap().to_bytes(), "onetwothree");
        assert!(replay.again().is_none());
    }

    #[test]
    fn a_fault_is_found_below_other_errors() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] BodyFault);
        let wrapped = Outer(BodyFault::TooLarge { most: 3 });
        assert!(matches!(BodyFault::of(&wrapped), Some(BodyFault::TooLarge { most: 3 })));
        assert!(BodyFault::of(&std::fmt::Error).is_none());
    }
}
