//! The owner's line to a running agent: a Unix socket in its data directory, one JSON line each way.
//!
//! The socket's mode keeps others out; whoever may open it owns the node.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

use crate::{AgentError, Status, error::chain_of, node::Node};

/// How long either side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_BYTES_MAX: u64 = 4 << 10;
const RESPONSE_BYTES_MAX: u64 = 16 << 20;
const CLIENTS_MAX: usize = 16;
/// The longest reason for a pause.
const WORDS_CHARS_MAX: usize = 200;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    Status,
    Pause { reason: String },
    Resume,
    Forgive,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "one of each is alive at a time")]
enum Response {
    Status { status: Status },
    Failed { reason: String },
}

/// Where the socket of a data directory is.
#[must_use]
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("agent.sock")
}

/// A path that fits a socket's address however long `path` is: through the open directory.
struct Short {
    path: PathBuf,
    _dir: Option<fs::File>,
}

fn short(path: &Path) -> io::Result<Short> {
    use std::os::fd::AsRawFd as _;
    if path.as_os_str().len() < 100 {
        return Ok(Short { path: path.to_owned(), _dir: None });
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidFilename));
    };
    let dir = fs::File::open(parent)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name);
    Ok(Short { path, _dir: Some(dir) })
}

/// Binds the socket. The caller holds the data directory's lock, so a socket that is there is dead.
pub(crate) fn bind(data_dir: &Path) -> Result<UnixListener, AgentError> {
    let path = socket_path(data_dir);
    let bound = || {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&short(&path)?.path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bound().map_err(AgentError::file("listen on", &path))
}

/// Answers the owner. Runs until it is dropped.
pub(crate) async fn serve(node: Arc<Node>, listener: UnixListener) {
    let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = clients.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let node = node.clone();
                tokio::spawn(async move {
                    if let Ok(Err(error)) =
                        tokio::time::timeout(TIMEOUT, answer(&node, socket)).await
                    {
                        tracing::debug!(%error, "a local command was cut");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket fails");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(node: &Arc<Node>, mut socket: UnixStream) -> io::Result<()> {
    let (read, mut write) = socket.split();
    let mut line = String::new();
    BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let response = match serde_json::from_str(&line) {
        Err(error) => Response::Failed { reason: format!("no such command: {error}") },
        Ok(request) => match act(node, request) {
            Ok(()) => Response::Status { status: node.status() },
            Err(error) => Response::Failed { reason: chain_of(&error) },
        },
    };
    let mut line = serde_json::to_vec(&response)?;
    line.push(b'\n');
    write.write_all(&line).await
}

fn act(node: &Node, request: Request) -> Result<(), AgentError> {
    match request {
        Request::Status => Ok(()),
        Request::Pause { reason } => {
            node.pause(Some(reason.chars().take(WORDS_CHARS_MAX).collect()))
        }
        Request::Resume => node.pause(None),
        Request::Forgive => node.book.meter(&[], &node.wallet.forgive()),
    }
}

/// Talks to the agent that runs in a data directory.
#[derive(Debug, Clone)]
pub struct Client {
    data_dir: PathBuf,
}

impl Client {
    /// A client; connects with each command.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into() }
    }

    /// The agent at a glance.
    ///
    /// # Errors
    /// [`AgentError::NotRunning`] where nobody answers.
    pub async fn status(&self) -> Result<Status, AgentError> {
        self.ask(&Request::Status).await
    }

    /// Takes no new leases until [`Self::resume`], also after a restart. What runs goes on.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn pause(&self, reason: &str) -> Result<Status, AgentError> {
        self.ask(&Request::Pause { reason: reason.to_owned() }).await
    }

    /// Takes leases again.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn resume(&self) -> Result<Status, AgentError> {
        self.ask(&Request::Resume).await
    }

    /// Writes off what is unpaid, so that leases are granted again in spite of it.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub async fn forgive(&self) -> Result<Status, AgentError> {
        self.ask(&Request::Forgive).await
    }

    async fn ask(&self, request: &Request) -> Result<Status, AgentError> {
        let gone = |source| AgentError::NotRunning { path: self.data_dir.clone(), source };
        let line = tokio::time::timeout(TIMEOUT, self.exchange(request))
            .await
            .map_err(|_| gone(io::ErrorKind::TimedOut.into()))?
            .map_err(gone)?;
        match serde_json::from_str(&line) {
            Ok(Response::Status { status }) => Ok(status),
            Ok(Response::Failed { reason }) => Err(AgentError::Local(reason)),
            Err(error) => Err(AgentError::Local(format!("something unreadable: {error}"))),
        }
    }

    async fn exchange(&self, request: &Request) -> io::Result<String> {
        let mut socket = UnixStream::connect(&short(&socket_path(&self.data_dir))?.path).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        socket.write_all(&line).await?;
        let mut line = String::new();
        BufReader::new(socket.take(RESPONSE_BYTES_MAX)).read_line(&mut line).await?;
        Ok(line)
    }
}
