//! One connection between an agent and its utility, and its streams.
//!
//! The first bidirectional stream that the agent opens is the control stream. Every later stream,
//! of either end, begins with a [`StreamOpen`] frame; [`Link::accept`] reads it. The frames of
//! several new streams are read at once, so that a peer that is slow with one delays no other.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use iroh::endpoint::{Connection, ConnectionError, VarInt};
use kinesis_protocol::{
    NodeId,
    message::{StreamAnswer, StreamOpen},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::{
    FrameReceiver, FrameSender, Stream, WireError,
    error::cut,
    frame::{self, PREAMBLE_BYTES_MAX},
};

/// How long a new stream's first frame may take.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other end may take to answer a stream's first frame. An agent holds a stream to a
/// standby for up to 5 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many new streams may be waiting for their first frame.
const PREAMBLES_MAX: usize = 256;
/// How many accepted streams may wait to be taken.
const ACCEPTED_MAX: usize = 64;

type Accepted = (StreamOpen, Stream);

/// One connection. Clones are the same connection; it closes when the last one is dropped.
#[derive(Clone)]
pub struct Link(Arc<Inner>);

struct Inner {
    connection: Connection,
    peer: NodeId,
    acceptor: OnceLock<Acceptor>,
    /// Asked for every request, and the connection's own answer takes its lock.
    closed: Arc<AtomicBool>,
}

struct Acceptor {
    accepted: Mutex<mpsc::Receiver<Accepted>>,
    _task: AbortOnDropHandle<()>,
}

impl Link {
    pub(crate) fn new(connection: Connection) -> Self {
        let peer = NodeId(*connection.remote_id().as_bytes());
        let closed = Arc::new(AtomicBool::new(false));
        let (flag, closing) = (closed.clone(), connection.weak_handle().closed());
        tokio::spawn(async move {
            closing.await;
            flag.store(true, Ordering::Release);
        });
        Self(Arc::new(Inner { connection, peer, acceptor: OnceLock::new(), closed }))
    }

    /// Who is at the other end: proven by its key.
    #[must_use]
    pub fn peer(&self) -> NodeId {
        self.0.peer
    }

    /// Opens the control stream. The other end sees it with the first message. Called once, by the
    /// agent, before any other stream.
    ///
    /// # Errors
    /// Where the link is over.
    pub async fn open_control<T, U>(&self) -> Result<(FrameSender<T>, FrameReceiver<U>), WireError>
    where
        T: Serialize,
        U: DeserializeOwned,
    {
        let (send, recv) = self.open_raw().await?.into_parts();
        Ok((FrameSender::new(send), FrameReceiver::new(recv)))
    }

    /// Waits for the control stream. Called once, by the utility, before any other stream.
    ///
    /// # Errors
    /// Where the link is over, or no stream comes within 10 s.
    pub async fn accept_control<T, U>(
        &self,
    ) -> Result<(FrameSender<T>, FrameReceiver<U>), WireError>
    where
        T: Serialize,
        U: DeserializeOwned,
    {
        let accepting = tokio::time::timeout(PREAMBLE_TIMEOUT, self.0.connection.accept_bi());
        let (send, recv) = accepting
            .await
            .map_err(|_| WireError::Timeout {
                doing: "waiting for the control stream",
                ms: 10_000,
            })?
            .map_err(|error| closed(&error))?;
        let (send, recv) = Stream::new(send, recv).into_parts();
        Ok((FrameSender::new(send), FrameReceiver::new(recv)))
    }

    /// Opens a stream and says what it is for. Waits while the other end allows no more streams.
    ///
    /// # Errors
    /// Where the link is over.
    pub async fn open(&self, open: &StreamOpen) -> Result<Stream, WireError> {
        let mut stream = self.open_raw().await?;
        frame::write_frame(&mut stream, open).await.map_err(|error| self.explain(error))?;
        Ok(stream)
    }

    /// Opens a stream and waits for the other end's answer: how many bytes follow, where that is
    /// known.
    ///
    /// # Errors
    /// [`WireError::Refused`] with its reason, or where the link is over or no answer comes.
    pub async fn open_answered(
        &self,
        open: &StreamOpen,
    ) -> Result<(Stream, Option<u64>), WireError> {
        let answered = async {
            let mut stream = self.open(open).await?;
            let bytes = stream.read_answer().await.map_err(|error| self.explain(error))?;
            Ok((stream, bytes))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, answered)
            .await
            .map_err(|_| WireError::Timeout { doing: "opening a stream", ms: 10_000 })?
    }

    /// The next stream the other end opens. A stream whose first frame is nonsense or late is reset
    /// and passed over; one of a kind that this version does not know is refused. Cancel-safe.
    ///
    /// # Errors
    /// Where the link is over.
    pub async fn accept(&self) -> Result<(StreamOpen, Stream), WireError> {
        let acceptor = self.0.acceptor.get_or_init(|| {
            let (sender, accepted) = mpsc::channel(ACCEPTED_MAX);
            let task = tokio::spawn(accept_streams(self.0.connection.clone(), sender));
            Acceptor { accepted: Mutex::new(accepted), _task: AbortOnDropHandle::new(task) }
        });
        match acceptor.accepted.lock().await.recv().await {
            Some(accepted) => Ok(accepted),
            None => Err(closed(&self.0.connection.closed().await)),
        }
    }

    /// Closes the link at once: whatever waits on it fails within this call's time.
    pub fn close(&self, reason: &str) {
        self.0.connection.close(VarInt::from_u32(0), cut(reason, 200).as_bytes());
        self.0.closed.store(true, Ordering::Release);
    }

    /// Waits until the link is closed, and says why.
    pub async fn closed(&self) -> String {
        describe(&self.0.connection.closed().await)
    }

    /// Whether the link is closed. Costs one atomic load.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// The round trip over the path in use, where one is known.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.0.connection.paths().iter().find(|path| path.is_selected()).map(|path| path.rtt())
    }

    /// Whether packets go through a relay.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        self.0.connection.paths().iter().any(|path| path.is_selected() && path.is_relay())
    }

    /// Opens a stream without saying what for: only for tests of what the other end does then.
    ///
    /// # Errors
    /// Where the link is over.
    #[doc(hidden)]
    pub async fn open_unannounced(&self) -> Result<Stream, WireError> {
        self.open_raw().await
    }

    async fn open_raw(&self) -> Result<Stream, WireError> {
        let (send, recv) = self.0.connection.open_bi().await.map_err(|error| closed(&error))?;
        Ok(Stream::new(send, recv))
    }

    /// A stream's failure is the link's where the link is over.
    fn explain(&self, error: WireError) -> WireError {
        match self.0.connection.close_reason() {
            Some(reason) if matches!(error, WireError::Stream(_) | WireError::Ended) => {
                closed(&reason)
            }
            _ => error,
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("peer", &self.0.peer.short()).finish_non_exhaustive()
    }
}

async fn accept_streams(connection: Connection, accepted: mpsc::Sender<Accepted>) {
    let preambles = Arc::new(Semaphore::new(PREAMBLES_MAX));
    loop {
        let Ok(permit) = preambles.clone().acquire_owned().await else { return };
        let Ok((send, recv)) = connection.accept_bi().await else { return };
        let accepted = accepted.clone();
        // Ends within the preamble's time, or once the link is dropped and the receiver with it.
        tokio::spawn(async move {
            let mut stream = Stream::new(send, recv);
            let reading = frame::read_frame(&mut stream, PREAMBLE_BYTES_MAX);
            match tokio::time::timeout(PREAMBLE_TIMEOUT, reading).await {
                Ok(Ok(StreamOpen::Unknown)) => {
                    let reason = "this version does not know such a stream".to_owned();
                    let _ = stream.answer(StreamAnswer::Refused { reason }).await;
                }
                Ok(Ok(open)) => {
                    let _ = accepted.send((open, stream)).await;
                }
                Ok(Err(error)) => debug!(%error, "a stream was reset: its first frame is wrong"),
                Err(_) => debug!("a stream was reset: its first frame did not come"),
            }
            drop(permit);
        });
    }
}

pub(crate) fn closed(error: &ConnectionError) -> WireError {
    WireError::Closed { reason: describe(error) }
}

fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) if !close.reason.is_empty() => {
            cut(&String::from_utf8_lossy(&close.reason), 200)
        }
        other => other.to_string(),
    }
}
