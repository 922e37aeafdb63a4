//! An answer on its way out: its body, and the guest that may still be writing it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tokio::{sync::OwnedSemaphorePermit, time::Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use crate::runner::{
    log::Log,
    meter::{Busy, Meter},
};

/// A guest at work.
pub(super) type GuestFuture = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;
/// What is left of a guest that has answered, and its deadline.
pub(super) type Rest = (GuestFuture, Pin<Box<Sleep>>);

/// Keeps the meter running and the turn taken, for as long as a clone lives.
#[derive(Debug, Clone)]
pub(super) struct Running(
    #[expect(dead_code, reason = "held")] Arc<(Busy, Option<OwnedSemaphorePermit>)>,
);

impl Running {
    pub(super) fn new(busy: Busy, turn: OwnedSemaphorePermit) -> Self {
        Self(Arc::new((busy, Some(turn))))
    }
}

impl From<Busy> for Running {
    fn from(busy: Busy) -> Self {
        Self(Arc::new((busy, None)))
    }
}

/// The body of an answer.
pub(super) struct Reply {
    body: WasiBody,
    rest: Option<Rest>,
    running: Option<Running>,
    meter: Arc<Meter>,
    log: Option<Log>,
    /// Bytes of the body that are still to come, where the head said how many.
    left: Option<u64>,
    answered: bool,
}

impl Reply {
    /// The answer of a guest, with the length of its body where that is known.
    pub(super) fn guest(
        body: WasiBody,
        rest: Option<Rest>,
        running: Running,
        meter: Arc<Meter>,
        log: Log,
        length: Option<u64>,
    ) -> Self {
        Self {
            body,
            rest,
            running: Some(running),
            meter,
            log: Some(log),
            left: length,
            answered: false,
        }
    }

    pub(super) fn plain(body: Bytes, running: Running, meter: Arc<Meter>) -> Self {
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        Self {
            body,
            rest: None,
            running: Some(running),
            meter,
            log: None,
            left: None,
            answered: false,
        }
    }

    /// Gives the guest its turn. An error ends the answer where it stands.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let Some((guest, deadline)) = &mut self.rest else { return Ok(()) };
        if let Poll::Ready(ended) = guest.as_mut().poll(cx) {
            self.rest = None;
            if let (Err(error), Some(log)) = (ended, &self.log) {
                log.line(&format!("{error:?}"));
            }
        } else if deadline.as_mut().poll(cx).is_ready() {
            self.rest = None;
            return Err(Error::HttpResponseTimeout);
        }
        Ok(())
    }

    /// The last byte is out. A guest that has more to do may go on until its deadline.
    fn finish(&mut self) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        self.meter.answered();
        let running = self.running.take();
        if let Some((guest, deadline)) = self.rest.take() {
            tokio::spawn(async move {
                tokio::select! {
                    _ = guest => {}
                    () = deadline => {}
                }
                drop(running);
            });
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Err(error) = self.drive(cx) {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.meter.sent(data.len());
                    let sent = u64::try_from(data.len()).unwrap_or(u64::MAX);
                    self.left = self.left.map(|left| left.saturating_sub(sent));
                }
                if self.body.is_end_stream() {
                    self.finish();
                }
            }
            Some(Err(_)) => {}
            None => self.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        // When all bytes that the head promised are out, nobody asks for another frame.
        if self.left == Some(0) || self.body.is_end_stream() {
            self.finish();
        }
    }
}
