//! Streams that agents open: artifacts they fetch, outputs they leave; and logs we fetch of them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use kinesis_protocol::{
    ContentHash, LeaseId, NodeId, Workload,
    lease::{OUTPUT_BYTES_MAX, OUTPUT_FILES_MAX},
    message::{StreamAnswer, StreamOpen},
};
use kinesis_wire::{Link, Stream, WireError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use tracing::debug;

use super::Control;
use crate::grid::Phase;

/// Streams of one agent that are served at once.
const STREAMS_MAX: usize = 16;
/// What of a part's outputs may be sent altogether: all of it once again where links were lost.
const OUTPUT_UPLOADS_MAX: usize = OUTPUT_FILES_MAX * 2;
const OUTPUT_SUM_MAX: u64 = OUTPUT_BYTES_MAX * 2;
/// How long one stream may take.
const STREAM_TIMEOUT: Duration = Duration::from_secs(600);

impl Control {
    /// Serves what an agent opens, until its link is over.
    pub(super) async fn serve_streams(self: Arc<Self>, link: Link, node: NodeId) -> String {
        let room = Arc::new(tokio::sync::Semaphore::new(STREAMS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
                return "the utility stops".into();
            };
            let (open, stream) = match link.accept().await {
                Ok(opened) => opened,
                Err(error) => return error.to_string(),
            };
            let this = Arc::clone(&self);
            self.spawn(async move {
                let served = tokio::time::timeout(STREAM_TIMEOUT, this.serve(node, open, stream));
                match served.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!(node = node.short(), %error, "a stream failed"),
                    Err(_) => debug!(node = node.short(), "a stream took too long"),
                }
                drop(permit);
            });
        }
    }

    async fn serve(
        &self,
        node: NodeId,
        open: StreamOpen,
        mut stream: Stream,
    ) -> Result<(), WireError> {
        match open {
            StreamOpen::Artifact { hash } => self.send_artifact(node, hash, stream).await,
            StreamOpen::Output { lease, hash, bytes } => {
                let answer = match self.take_output(node, lease, hash, bytes, &mut stream).await {
                    Ok(()) => StreamAnswer::Ready { bytes: None },
                    Err(reason) => StreamAnswer::Refused { reason },
                };
                stream.answer(answer).await?;
                stream.shutdown().await?;
                Ok(())
            }
            StreamOpen::Http { .. } | StreamOpen::Logs { .. } | StreamOpen::Unknown => {
                let reason = "a utility serves artifacts and takes outputs".to_owned();
                stream.answer(StreamAnswer::Refused { reason }).await
            }
        }
    }

    async fn send_artifact(
        &self,
        node: NodeId,
        hash: ContentHash,
        mut stream: Stream,
    ) -> Result<(), WireError> {
        let refuse = |reason: &str| StreamAnswer::Refused { reason: reason.to_owned() };
        if !self.needs(node, hash) {
            return stream.answer(refuse("no lease of yours names this artifact")).await;
        }
        let (bytes, mut content) = match self.artifacts.get(hash).await {
            Ok(Some(found)) => found,
            Ok(None) => return stream.answer(refuse("the artifact is not here")).await,
            Err(error) => {
                debug!(%hash, %error, "an artifact could not be read");
                return stream.answer(refuse("the artifact cannot be read now")).await;
            }
        };
        stream.answer(StreamAnswer::Ready { bytes: Some(bytes) }).await?;
        while let Some(chunk) = content.next().await {
            stream.write_all(&chunk?).await?;
        }
        stream.shutdown().await?;
        Ok(())
    }

    /// Whether a lease of this node names the artifact: nobody fetches what it was not given to run.
    fn needs(&self, node: NodeId, hash: ContentHash) -> bool {
        let grid = self.grid.lock();
        grid.leases().values().any(|lease| {
            let program = lease.spec.workload.program();
            lease.node == node
                && (program.component == hash || program.files.iter().any(|file| file.hash == hash))
        })
    }

    async fn take_output(
        &self,
        node: NodeId,
        lease: LeaseId,
        hash: ContentHash,
        bytes: u64,
        stream: &mut Stream,
    ) -> Result<(), String> {
        let account = {
            let grid = self.grid.lock();
            grid.leases()
                .get(&lease)
                .filter(|held| held.node == node && held.phase != Phase::Ended)
                .filter(|held| matches!(held.spec.workload, Workload::Job(_)))
                .and_then(|held| grid.apps().get(&held.spec.key.app))
                .map(|app| app.spec.account)
        };
        let account = account.ok_or("no job of yours runs under this lease")?;
        {
            // Before they come, so that many at once cannot pass together.
            let mut outputs = self.outputs.lock();
            let (files, sum) = outputs.entry(lease).or_default();
            let after = sum.saturating_add(bytes);
            if *files >= OUTPUT_UPLOADS_MAX || bytes > OUTPUT_BYTES_MAX || after > OUTPUT_SUM_MAX {
                return Err(format!(
                    "a part may leave at most {OUTPUT_FILES_MAX} files and {OUTPUT_BYTES_MAX} bytes"
                ));
            }
            (*files, *sum) = (*files + 1, after);
        }
        let content = ReaderStream::new(stream.take(bytes));
        let stored = match self.artifacts.put(hash, content, bytes).await {
            Ok(stored) => stored,
            Err(error) => {
                // Nothing of it is stored; its node sends it again.
                if let Some((files, sum)) = self.outputs.lock().get_mut(&lease) {
                    (*files, *sum) = (files.saturating_sub(1), sum.saturating_sub(bytes));
                }
                return Err(error.to_string());
            }
        };
        if stored != bytes {
            return Err(format!("{bytes} bytes were announced, {stored} came"));
        }
        let now = self.clock.now_ms();
        self.store
            .grant_artifact(account, hash, bytes, now)
            .await
            .map_err(|_| "the output cannot be recorded now".to_owned())
    }

    /// A lease's log: from its node while it lives, from what was kept of it afterwards.
    pub(super) async fn open_log(
        &self,
        lease: LeaseId,
        node: NodeId,
        follow: bool,
    ) -> Option<BoxStream<'static, std::io::Result<Bytes>>> {
        let kept = match self.log_path(lease) {
            Some(path) => tokio::fs::read(path).await.ok(),
            None => None,
        };
        if let Some(kept) = kept {
            return Some(futures_util::stream::once(async { Ok(Bytes::from(kept)) }).boxed());
        }
        let link = self.sessions.lock().get(&node).map(|session| session.link.clone())?;
        let open = StreamOpen::Logs { lease, offset: 0 };
        let (stream, bytes) = link.open_answered(&open).await.ok()?;
        // The agent follows the log of a lease that lives. Whoever does not want to follow gets
        // what there is when it pauses for a moment.
        let (guard, reader) = stream.into_parts();
        let content = ReaderStream::new(reader);
        let until = (!follow).then_some(bytes).flatten();
        let state = (content, guard, until);
        let log =
            futures_util::stream::unfold(state, move |(mut content, guard, left)| async move {
                if left == Some(0) {
                    return None;
                }
                let next = if follow || left.is_some() {
                    content.next().await?
                } else {
                    tokio::time::timeout(Duration::from_millis(300), content.next())
                        .await
                        .ok()??
                };
                let left = match (&next, left) {
                    (Ok(chunk), Some(left)) => {
                        Some(left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX)))
                    }
                    (_, left) => left,
                };
                Some((next, (content, guard, left)))
            });
        Some(log.boxed())
    }
}
