//! One stream of a link.
//!
//! A stream that is shut down ends where its writer meant it to; a stream that is dropped before is
//! reset, and the other end's next read fails. That is how a cancelled request reaches the guest:
//! the ingress drops the stream, the agent's [`splice`] fails and closes the sandbox's socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use iroh::endpoint::{RecvStream, SendStream, VarInt};
use kinesis_protocol::message::StreamAnswer;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::{
    WireError,
    error::cut,
    frame::{self, PREAMBLE_BYTES_MAX},
};

/// The code of a stream that its owner gave up.
const CANCELLED: VarInt = VarInt::from_u32(1);
/// How long a reason may be.
const REASON_CHARS_MAX: usize = 500;

/// A bidirectional stream.
#[derive(Debug)]
pub struct Stream {
    send: SendHalf,
    recv: RecvHalf,
}

/// The writing half of a stream. Dropped before it is shut down, it resets the stream.
#[derive(Debug)]
pub struct SendHalf {
    inner: SendStream,
    ended: bool,
}

/// The reading half of a stream. Dropped before its end, it tells the writer to stop.
#[derive(Debug)]
pub struct RecvHalf(RecvStream);

impl Stream {
    pub(crate) fn new(send: SendStream, recv: RecvStream) -> Self {
        Self { send: SendHalf { inner: send, ended: false }, recv: RecvHalf(recv) }
    }

    /// Answers the stream's first frame. A refusal also ends the stream.
    ///
    /// # Errors
    /// Where the stream is over.
    pub async fn answer(&mut self, mut answer: StreamAnswer) -> Result<(), WireError> {
        let refused = if let StreamAnswer::Refused { reason } = &mut answer {
            *reason = cut(reason, REASON_CHARS_MAX);
            true
        } else {
            false
        };
        frame::write_frame(&mut self.send, &answer).await?;
        if refused {
            self.send.shutdown().await?;
        }
        Ok(())
    }

    /// Reads the answer to the stream's first frame: how many bytes follow, where that is known.
    ///
    /// # Errors
    /// [`WireError::Refused`] with the other end's reason, or where the stream fails.
    pub async fn read_answer(&mut self) -> Result<Option<u64>, WireError> {
        match frame::read_frame(&mut self.recv, PREAMBLE_BYTES_MAX).await? {
            StreamAnswer::Ready { bytes } => Ok(bytes),
            StreamAnswer::Refused { reason } => {
                Err(WireError::Refused { reason: cut(&reason, REASON_CHARS_MAX) })
            }
        }
    }

    /// The two halves, for two tasks.
    #[must_use]
    pub fn into_parts(self) -> (SendHalf, RecvHalf) {
        (self.send, self.recv)
    }

    /// Gives the stream up in both directions. Dropping it does the same.
    pub fn reset(self) {
        drop(self);
    }
}

impl SendHalf {
    pub(crate) fn set_priority(&self, priority: i32) {
        // It fails only where the stream is over, which the next write says.
        let _ = self.inner.set_priority(priority);
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.inner.reset(CANCELLED);
        }
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.inner), cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            self.ended = true;
            // It fails only where the stream is over: nothing is left to end.
            let _ = self.inner.finish();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for RecvHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.0), cx, buf)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}

/// Passes bytes between a stream and a local socket until both directions have ended, or one has
/// failed; then both are dropped. Where a direction ends in an orderly way the other goes on.
///
/// # Errors
/// The first failure of either.
pub async fn splice<T>(mut stream: Stream, mut local: T) -> io::Result<(u64, u64)>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut local, 16 << 10, 32 << 10).await
}
