//! One kept stream and one exchange on it, driven by the task that waits for it.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Context,
};

use ::http::{Request, Response};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use super::{Connection, RequestBody};
use crate::Stream;

/// A stream with HTTP/1.1 on it.
pub(super) struct Kept {
    sender: http1::SendRequest<RequestBody>,
    connection: Connection,
    /// Whether the connection has ended: it is not polled again.
    over: bool,
    pub(super) idle_since: Instant,
}

/// Why an exchange failed.
#[expect(clippy::large_enum_variant, reason = "the request itself comes back, unmoved")]
pub(super) enum Failed {
    /// Nothing of the request was written.
    NotSent(Request<RequestBody>, hyper::Error),
    /// Something may have been written.
    Sent(hyper::Error),
}

impl Kept {
    pub(super) async fn new(stream: Stream) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .expect("a client's HTTP/1.1 handshake exchanges nothing");
        Self { sender, connection, over: false, idle_since: Instant::now() }
    }

    /// Sends the request and drives the connection until the response's head is there.
    pub(super) async fn exchange(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failed> {
        let mut response = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let over = &mut self.over;
        let result = poll_fn(|cx| {
            if !*over && Pin::new(&mut *connection).poll(cx).is_ready() {
                // What it ended with, the response says too.
                *over = true;
            }
            response.as_mut().poll(cx)
        })
        .await;
        result.map_err(|mut error| match error.take_message() {
            Some(request) => Failed::NotSent(request, error.into_error()),
            None => Failed::Sent(error.into_error()),
        })
    }

    /// Lets the connection read and write what it can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.over && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.over = true;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the exchange has ended cleanly and another may follow. Drives the connection once
    /// more, since it notices the end of an exchange only then.
    pub(super) fn is_reusable(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        !self.over && self.sender.is_ready()
    }
}
