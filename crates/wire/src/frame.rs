//! Frames: a `u32` big-endian length and that many bytes of JSON, never more than the reader allows.

use std::{marker::PhantomData, time::Duration};

use bytes::{Buf, BytesMut};
use kinesis_protocol::message::{self, FRAME_BYTES_MAX};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::{RecvHalf, SendHalf, WireError};

/// The longest first frame of a stream, and the longest answer to one.
pub const PREAMBLE_BYTES_MAX: usize = 4_096;
/// How long a frame may take to be written before the reader counts as stuck.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);

const LENGTH_BYTES: usize = 4;

/// Writes one frame in one piece.
///
/// # Errors
/// Where the message is too long to be read by the other end, or the stream fails.
pub async fn write_frame<W, T>(to: &mut W, message: &T) -> Result<(), WireError>
where
    W: AsyncWrite + Unpin,
    T: Serialize,
{
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - LENGTH_BYTES;
    match u32::try_from(length) {
        Ok(prefix) if length <= FRAME_BYTES_MAX => {
            bytes[..LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
        }
        _ => return Err(WireError::FrameTooLong { bytes: length, max: FRAME_BYTES_MAX }),
    }
    to.write_all(&bytes).await?;
    Ok(())
}

/// Reads exactly one frame of at most `max` bytes and not one byte more.
///
/// # Errors
/// Where the frame is longer, is no such message, or the stream ends or fails.
pub async fn read_frame<R, T>(from: &mut R, max: usize) -> Result<T, WireError>
where
    R: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let mut prefix = [0; LENGTH_BYTES];
    read_exact(from, &mut prefix).await?;
    let length = length(&prefix, max)?;
    let mut bytes = vec![0; length];
    read_exact(from, &mut bytes).await?;
    Ok(message::decode(&bytes)?)
}

async fn read_exact<R: AsyncRead + Unpin>(from: &mut R, to: &mut [u8]) -> Result<(), WireError> {
    match from.read_exact(to).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(WireError::Ended),
        Err(error) => Err(error.into()),
    }
}

fn length(prefix: &[u8], max: usize) -> Result<usize, WireError> {
    let length =
        prefix.iter().take(LENGTH_BYTES).fold(0_usize, |n, byte| n << 8 | usize::from(*byte));
    if length > max { Err(WireError::FrameTooLong { bytes: length, max }) } else { Ok(length) }
}

/// The sending half of a control stream.
#[derive(Debug)]
pub struct FrameSender<T> {
    stream: SendHalf,
    messages: PhantomData<fn(T)>,
}

impl<T: Serialize> FrameSender<T> {
    pub(crate) fn new(stream: SendHalf) -> Self {
        // Heartbeats and activations must not queue behind an upload.
        stream.set_priority(1);
        Self { stream, messages: PhantomData }
    }

    /// Sends one message. Not cancel-safe: a send that was dropped half-way leaves half a frame, so
    /// give up the link after it.
    ///
    /// # Errors
    /// Where the message is too long, the link is over, or the other end has read nothing for
    /// [`SEND_TIMEOUT`].
    pub async fn send(&mut self, message: &T) -> Result<(), WireError> {
        match tokio::time::timeout(SEND_TIMEOUT, write_frame(&mut self.stream, message)).await {
            Ok(result) => result,
            Err(_) => Err(WireError::Timeout { doing: "sending a message", ms: 10_000 }),
        }
    }

    /// Ends the stream after what was sent.
    ///
    /// # Errors
    /// Where the stream is over already.
    pub async fn finish(&mut self) -> Result<(), WireError> {
        Ok(self.stream.shutdown().await?)
    }
}

/// The receiving half of a control stream.
#[derive(Debug)]
pub struct FrameReceiver<T> {
    stream: RecvHalf,
    buffer: BytesMut,
    messages: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> FrameReceiver<T> {
    pub(crate) fn new(stream: RecvHalf) -> Self {
        Self { stream, buffer: BytesMut::new(), messages: PhantomData }
    }

    /// The next message; `None` when the other end has finished. Cancel-safe: what was read of a
    /// frame is kept for the next call.
    ///
    /// # Errors
    /// Where a frame is too long or no message, or the stream ends within one or fails. After an
    /// error of [`WireError::Decode`] the next frame can still be read.
    pub async fn recv(&mut self) -> Result<Option<T>, WireError> {
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(WireError::Ended) };
            }
        }
    }

    fn buffered(&mut self) -> Result<Option<T>, WireError> {
        if self.buffer.len() < LENGTH_BYTES {
            return Ok(None);
        }
        let length = length(&self.buffer, FRAME_BYTES_MAX)?;
        if self.buffer.len() < LENGTH_BYTES + length {
            self.buffer.reserve(LENGTH_BYTES + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let frame = self.buffer.split_to(length);
        let message = message::decode(&frame);
        drop(frame);
        if self.buffer.is_empty() && self.buffer.capacity() > PREAMBLE_BYTES_MAX * 4 {
            // One long frame must not hold its memory for the life of the link.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_protocol::message::ToAgent;
    use proptest::prelude::*;

    #[tokio::test]
    async fn a_frame_survives_a_round_trip_and_leaves_what_follows() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &ToAgent::Alive { seq: 7 }).await.unwrap();
        bytes.extend_from_slice(b"rest");
        let mut from = bytes.as_slice();
        let read: ToAgent = read_frame(&mut from, PREAMBLE_BYTES_MAX).await.unwrap();
        assert_eq!(read, ToAgent::Alive { seq: 7 });
        assert_eq!(from, b"rest");
    }

    #[tokio::test]
    async fn too_long_is_refused_before_it_is_read() {
        let mut from = &[0, 0, 16, 1][..];
        let error = read_frame::<_, ToAgent>(&mut from, 4_096).await.unwrap_err();
        assert!(matches!(error, WireError::FrameTooLong { bytes: 4097, max: 4096 }), "{error}");
        let long = "x".repeat(FRAME_BYTES_MAX);
        let error = write_frame(&mut Vec::new(), &long).await.unwrap_err();
        assert!(matches!(error, WireError::FrameTooLong { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn nonsense_is_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let _ = read_frame::<_, ToAgent>(&mut bytes.as_slice(), PREAMBLE_BYTES_MAX).await;
            });
        }
    }
}
