//! Streams the utility opens: requests to a lease, and its log.
//!
//! The agent reads no HTTP. It checks lease and epoch, answers, and passes bytes. A stream that is
//! reset closes the sandbox's socket, which is how a cancelled request reaches the guest; a lease
//! that ends resets its streams.

use std::{io::SeekFrom, sync::Arc, time::Duration};

use kinesis_protocol::{Epoch, LeaseState, message::StreamAnswer};
use kinesis_wire::{Stream, splice};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::lease::Lease;

/// How often a log is looked at for more.
const LOG_POLL: Duration = Duration::from_millis(200);
const LOG_CHUNK_BYTES: usize = 64 << 10;

/// Refuses a stream.
pub(crate) async fn refuse(mut stream: Stream, reason: impl Into<String>) {
    // Where even this fails the other end is gone.
    let _ = stream.answer(StreamAnswer::Refused { reason: reason.into() }).await;
}

/// Serves requests on one stream until either end closes it or the lease ends.
pub(crate) async fn http(lease: Option<Arc<Lease>>, epoch: Epoch, mut stream: Stream) {
    let Some(lease) = lease else { return refuse(stream, "this node holds no such lease").await };
    let guest = match lease.admit(epoch).await {
        Ok(guest) => guest,
        Err(reason) => return refuse(stream, reason).await,
    };
    let socket = match guest.connect().await {
        Ok(socket) => socket,
        Err(reason) => return refuse(stream, reason).await,
    };
    if stream.answer(StreamAnswer::Ready { bytes: None }).await.is_err() {
        return;
    }
    let mut states = lease.states();
    tokio::select! {
        spliced = splice(stream, socket) => {
            if let Err(error) = spliced {
                tracing::trace!(%error, "a stream was cut");
            }
        }
        _ = states.wait_for(|state| *state == LeaseState::Ended) => {}
    }
}

/// Sends a lease's log from `offset` on, and follows it while the lease lives.
pub(crate) async fn logs(lease: Option<Arc<Lease>>, offset: u64, stream: Stream) {
    let Some(lease) = lease else { return refuse(stream, "this node holds no such lease").await };
    if let Err(error) = follow(&lease, offset, stream).await {
        tracing::debug!(%error, "a log stream was cut");
    }
}

async fn follow(
    lease: &Lease,
    offset: u64,
    mut stream: Stream,
) -> Result<(), kinesis_wire::WireError> {
    let mut states = lease.states();
    let began = states.wait_for(|state| *state != LeaseState::Starting || lease.guest().is_some());
    let _ = began.await;
    let Some(guest) = lease.guest() else {
        let reason = "there is no log: the lease never ran, or its node restarted".to_owned();
        stream.answer(StreamAnswer::Refused { reason }).await?;
        return Ok(());
    };
    let path = guest.log_path();
    stream.answer(StreamAnswer::Ready { bytes: None }).await?;
    let mut at = offset;
    let mut chunk = vec![0; LOG_CHUNK_BYTES];
    loop {
        // Before the file is read: what an ending lease wrote last is there to be read after it.
        let over = *states.borrow_and_update() == LeaseState::Ended;
        if let Ok(mut file) = tokio::fs::File::open(&path).await {
            let len = file.metadata().await?.len();
            if len < at {
                // Its older half was cut off.
                at = 0;
            }
            file.seek(SeekFrom::Start(at)).await?;
            loop {
                let n = file.read(&mut chunk).await?;
                if n == 0 {
                    break;
                }
                stream.write_all(&chunk[..n]).await?;
                at += n as u64;
            }
        }
        if over {
            stream.shutdown().await?;
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(LOG_POLL) => {}
            _ = states.changed() => {}
        }
    }
}
