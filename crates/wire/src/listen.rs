//! Listens for HTTP over TCP, for whoever answers customers: one loop that accepts, limits, refuses
//! in words, and ends in order.
//!
//! ```text
//! accepted --place free--> served --shutdown--> finishing --grace over--> ended
//!     \---no place--> told so, closed
//! ```
//!
//! A client is an IPv4 address, or an IPv6 network of 64 bits: what one household or machine is
//! given. It has so many connections, all clients together so many; a client that does not read what
//! it asked for is hung up on. What is spoken over a connection is the caller's affair.

mod clients;
mod paced;

use std::{fmt, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::server::graceful::GracefulConnection;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

pub use clients::{Clients, Held, client_of};
pub use paced::Paced;

/// After an accept failed for want of files, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How many clients are being told at once that there is no place; more are hung up on.
const REFUSALS_MAX: usize = 64;
/// How long telling one of them may take, and how much of what it had sent is read meanwhile.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSAL_READS_MAX: usize = 64 << 10;
/// A fatal TLS alert, `internal_error`: what a server may say before it has spoken.
const TLS_REFUSAL: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// What a listener is started with.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// Where it listens; port 0: any free one.
    pub bind: SocketAddr,
    /// Connections of all clients together.
    pub connections: usize,
    /// Connections of one client.
    pub connections_per_client: u32,
    /// How long a client may leave unread what is written to it.
    pub write_pause: Duration,
    /// Whether the first thing a client expects is TLS.
    pub tls: bool,
}

/// A socket that listens. Dropping it ends everything at once; [`Self::shutdown`] lets what is under
/// way finish.
pub struct Listener {
    addr: SocketAddr,
    ending: Ending,
    connections: TaskTracker,
}

/// A connection that has its place.
#[derive(Debug)]
pub struct Accepted {
    /// Its bytes.
    pub stream: Paced<TcpStream>,
    /// Who is at the other end.
    pub peer: SocketAddr,
    /// When it has to end.
    pub ending: Ending,
}

/// When connections have to end: in order, and at once.
#[derive(Debug, Clone)]
pub struct Ending {
    stop: CancellationToken,
    kill: CancellationToken,
}

impl Listener {
    /// Starts listening. `serve` is called for each connection; its place is free again when the
    /// future it returns is done.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn start<S, F>(config: ListenConfig, serve: S) -> io::Result<Self>
    where
        S: Fn(Accepted) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(config.bind).await?;
        let started = Self {
            addr: listener.local_addr()?,
            ending: Ending { stop: CancellationToken::new(), kill: CancellationToken::new() },
            connections: TaskTracker::new(),
        };
        let accepting = Accepting {
            places: Arc::new(Semaphore::new(config.connections)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            clients: Arc::default(),
            config,
            ending: started.ending.clone(),
            connections: started.connections.clone(),
        };
        started.connections.spawn(accepting.run(listener, serve));
        Ok(started)
    }

    /// Where it listens, with the port it was really given.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, lets requests finish for at most `grace`, and ends the rest.
    pub async fn shutdown(&self, grace: Duration) {
        self.ending.stop.cancel();
        self.connections.close();
        if tokio::time::timeout(grace, self.connections.wait()).await.is_err() {
            self.ending.kill.cancel();
            self.connections.wait().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ending.stop.cancel();
        self.ending.kill.cancel();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Ending {
    /// Serves a connection until it ends by itself, or has to.
    pub async fn serve<C>(&self, connection: C)
    where
        C: GracefulConnection,
        C::Error: fmt::Display,
    {
        let mut serving = std::pin::pin!(connection);
        let served = tokio::select! {
            served = serving.as_mut() => served,
            () = self.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    served = serving => served,
                    () = self.kill.cancelled() => return,
                }
            }
        };
        if let Err(error) = served {
            debug!(%error, "a connection ended early");
        }
    }
}

struct Accepting {
    config: ListenConfig,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    clients: Arc<Clients>,
    ending: Ending,
    connections: TaskTracker,
}

impl Accepting {
    async fn run<S, F>(self, listener: TcpListener, serve: S)
    where
        S: Fn(Accepted) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.ending.stop.cancelled() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let most = self.config.connections_per_client;
            let Some(held) = self.clients.enter(peer.ip(), most) else {
                self.refuse(stream, peer, 429);
                continue;
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.refuse(stream, peer, 503);
                continue;
            };
            // Small answers must not wait for acknowledgements of earlier ones.
            let _ = stream.set_nodelay(true);
            let stream = Paced::new(stream, self.config.write_pause);
            let serving = serve(Accepted { stream, peer, ending: self.ending.clone() });
            self.connections.spawn(async move {
                serving.await;
                drop((held, place));
            });
        }
    }

    /// Says that there is no place, so that the client knows it from a machine that is down.
    fn refuse(&self, stream: TcpStream, peer: SocketAddr, status: u16) {
        debug!(%peer, status, "a connection was refused: there are too many");
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let answer = if self.config.tls { TLS_REFUSAL.to_vec() } else { refusal(status) };
        let kill = self.ending.kill.clone();
        self.connections.spawn(async move {
            tokio::select! {
                told = tokio::time::timeout(REFUSAL_TIMEOUT, tell(stream, &answer)) => drop(told),
                () = kill.cancelled() => {}
            }
            drop(permit);
        });
    }
}

async fn tell(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    // What the client has sent is read: closed over it, the system would take the answer back.
    let (mut read, mut chunk) = (0, [0; 2_048]);
    while read < REFUSAL_READS_MAX {
        match stream.read(&mut chunk).await? {
            0 => break,
            bytes => read += bytes,
        }
    }
    Ok(())
}

fn refusal(status: u16) -> Vec<u8> {
    let (kind, title, detail) = match status {
        429 => ("limit", "Too Many Requests", "This client has too many connections open."),
        _ => ("unavailable", "Service Unavailable", "There are too many connections now."),
    };
    let body = format!(
        "{{\"type\":\"urn:kinesis:problem:{kind}\",\"title\":\"{title}\",\"status\":{status},\
         \"detail\":\"{detail}\"}}\n"
    );
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n\
         cache-control: no-store\r\nretry-after: 1\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    async fn listener(config: impl FnOnce(&mut ListenConfig)) -> Listener {
        let mut limits = ListenConfig {
            bind: "127.0.0.1:0".parse().unwrap(),
            connections: 2,
            connections_per_client: 9,
            write_pause: LONG,
            tls: false,
        };
        config(&mut limits);
        // Echoes until the client is done, or it has to end.
        let echo = |accepted: Accepted| async move {
            let (mut reader, mut writer) = tokio::io::split(accepted.stream);
            tokio::select! {
                _ = tokio::io::copy(&mut reader, &mut writer) => {}
                () = accepted.ending.stop.cancelled() => {}
            }
        };
        Listener::start(limits, echo).await.unwrap()
    }

    async fn soon<F: Future>(future: F) -> F::Output {
        tokio::time::timeout(LONG, future).await.expect("within its time")
    }

    /// A connection that is served: what it says comes back.
    async fn served(listener: &Listener) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(listener.addr()).await.unwrap();
        stream.write_all(b"hi").await.unwrap();
        let mut back = [0; 2];
        soon(stream.read_exact(&mut back)).await.ok()?;
        (&back == b"hi").then_some(stream)
    }

    async fn said(listener: &Listener) -> Vec<u8> {
        let mut stream = TcpStream::connect(listener.addr()).await.unwrap();
        // As a client does that does not wait for an answer: it must still get it.
        stream.write_all(&[b'x'; 8_000]).await.unwrap();
        let mut said = Vec::new();
        soon(stream.read_to_end(&mut said)).await.unwrap();
        said
    }

    #[tokio::test]
    async fn who_finds_no_place_is_told_and_places_come_back() {
        let full = listener(|_| {}).await;
        let held = [served(&full).await.unwrap(), served(&full).await.unwrap()];
        let told = String::from_utf8(said(&full).await).unwrap();
        assert!(told.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{told}");
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{told}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], 503);
        drop(held);
        soon(async { while served(&full).await.is_none() {} }).await;

        let few = listener(|limits| limits.connections_per_client = 1).await;
        let _held = served(&few).await.unwrap();
        assert!(said(&few).await.starts_with(b"HTTP/1.1 429 "));
        let tls = listener(|limits| {
            limits.tls = true;
            limits.connections = 0;
        })
        .await;
        assert_eq!(said(&tls).await, TLS_REFUSAL);
    }

    #[tokio::test]
    async fn it_ends_in_order() {
        let listener = listener(|_| {}).await;
        let addr = listener.addr();
        let mut open = served(&listener).await.unwrap();
        soon(listener.shutdown(LONG)).await;
        assert_eq!(soon(open.read(&mut [0; 8])).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(addr).await.is_err(), "it still listens");
    }
}
