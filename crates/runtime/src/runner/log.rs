//! The guest's standard output and error: one file that never grows past its limit.
//!
//! When it is full, its older half is cut off, at a line where there is one.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

/// The log of a lease. Clones write to the same file.
#[derive(Debug, Clone)]
pub(super) struct Log(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    file: File,
    length: u64,
    most: u64,
}

const CUT: &[u8] = b"[older lines are cut off: the log was full]\n";

impl Log {
    pub(super) fn new(file: File, most: u64) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self(Arc::new(Mutex::new(Inner { file, length, most }))))
    }

    /// Appends. A disk that is full loses lines, and nothing else.
    pub(super) fn write(&self, bytes: &[u8]) {
        let mut inner = self.0.lock();
        // What does not fit into half a log is not worth its beginning.
        let half = usize::try_from(inner.most / 2).unwrap_or(usize::MAX);
        let bytes = &bytes[bytes.len().saturating_sub(half)..];
        let added = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if inner.length.saturating_add(added) > inner.most && inner.halve().is_err() {
            return;
        }
        if inner.file.write_all_at(bytes, inner.length).is_ok() {
            inner.length += added;
        }
    }

    /// Appends a line of ours.
    pub(super) fn line(&self, text: &str) {
        self.write(format!("{}\n", text.trim_end()).as_bytes());
    }
}

impl Inner {
    fn halve(&mut self) -> io::Result<()> {
        let keep = (self.most / 2).saturating_sub(u64::try_from(CUT.len()).unwrap_or(0) + 1);
        let keep = keep.min(self.length);
        let mut rest = vec![0; usize::try_from(keep).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut rest, self.length - keep)?;
        let line = rest.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.file.set_len(0)?;
        self.length = 0;
        for part in [CUT, &rest[line..]] {
            self.file.write_all_at(part, self.length)?;
            self.length += u64::try_from(part.len()).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Log {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Log {
    async fn ready(&mut self) {}
}

impl OutputStream for Log {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        Log::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

impl AsyncWrite for Log {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Log::write(&self, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn read(log: &Log) -> Vec<u8> {
        let mut bytes = Vec::new();
        let inner = log.0.lock();
        io::Seek::rewind(&mut &inner.file).unwrap();
        (&inner.file).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_full_log_keeps_its_newest_lines() {
        let log = Log::new(tempfile::tempfile().unwrap(), 1_000).unwrap();
        for n in 0..1_000 {
            log.line(&format!("line {n}"));
        }
        let text = String::from_utf8(read(&log)).unwrap();
        assert!(text.starts_with("[older lines are cut off"), "{text}");
        assert!(text.ends_with("line 999\n"), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("line ")), "{text}");
    }

    proptest! {
        #[test]
        fn never_longer_than_its_limit(sizes in proptest::collection::vec(0usize..900, 0..60)) {
            let log = Log::new(tempfile::tempfile().unwrap(), 600).unwrap();
            for size in sizes {
                log.write(&vec![b'x'; size]);
                let length = read(&log).len();
                prop_assert!(length <= 600);
                prop_assert_eq!(length, usize::try_from(log.0.lock().length).unwrap());
            }
        }
    }
}
