//! A stream whose writer does not wait for ever.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// Fails a write with [`io::ErrorKind::TimedOut`] where the other end has read nothing for `pause`.
#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    pause: Duration,
    /// Whether the last write could not be taken; the timer runs since then.
    stuck: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// Limits the writes of `inner`.
    pub fn new(inner: S, pause: Duration) -> Self {
        Self { inner, pause, stuck: false, timer: None }
    }

    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = false;
            return written;
        }
        let pause = self.pause;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        if !self.stuck {
            self.stuck = true;
            timer.as_mut().reset(Instant::now() + pause);
        }
        ready!(timer.as_mut().poll(cx));
        let said = "the other end reads nothing";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, said)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.judge(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_reader_that_stops_is_given_up() {
        let (near, _far) = tokio::io::duplex(16);
        let mut paced = Paced::new(near, Duration::from_millis(50));
        paced.write_all(&[1; 16]).await.unwrap();
        let failed = tokio::time::timeout(LONG, paced.write_all(&[1; 16])).await.unwrap();
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_reader_is_waited_for() {
        let (near, mut far) = tokio::io::duplex(16);
        let reading = tokio::spawn(async move {
            let mut chunk = [0; 16];
            let mut read = 0;
            while read < 160 {
                // All pauses together are longer than one may be.
                tokio::time::sleep(Duration::from_millis(200)).await;
                read += far.read(&mut chunk).await.unwrap();
            }
            read
        });
        let mut paced = Paced::new(near, Duration::from_millis(1_500));
        paced.write_all(&[1; 160]).await.unwrap();
        assert_eq!(reading.await.unwrap(), 160);
    }
}
