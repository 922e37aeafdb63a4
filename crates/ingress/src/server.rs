//! Listens, limits connections, and hands requests on.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    Backend, IngressConfig, IngressError,
    head::Client,
    proxy::{self, Connection, Shared},
    tls,
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HTTP2_PING: Duration = Duration::from_secs(20);
const HTTP2_STREAMS_MAX: u32 = 256;
/// After an accept failed for want of files, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running ingress. Dropping it stops it at once; [`Self::shutdown`] lets requests finish.
pub struct Ingress {
    addr: SocketAddr,
    tls: bool,
    stop: CancellationToken,
    kill: CancellationToken,
    connections: TaskTracker,
}

impl Ingress {
    /// Starts listening.
    ///
    /// # Errors
    /// Where the address cannot be bound or the TLS files cannot be used.
    pub async fn start<B: Backend>(
        config: IngressConfig,
        backend: Arc<B>,
    ) -> Result<Self, IngressError> {
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let failed = |source| IngressError::Bind { addr: config.bind, source };
        let listener = TcpListener::bind(config.bind).await.map_err(failed)?;
        let ingress = Self {
            addr: listener.local_addr().map_err(failed)?,
            tls: tls.is_some(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            connections: TaskTracker::new(),
        };
        let server = Server {
            permits: Arc::new(Semaphore::new(config.limits.connections)),
            clients: Arc::default(),
            shared: Arc::new(Shared { backend, suffix: config.suffix, limits: config.limits }),
            tls,
            stop: ingress.stop.clone(),
            kill: ingress.kill.clone(),
            connections: ingress.connections.clone(),
        };
        ingress.connections.spawn(server.run(listener));
        Ok(ingress)
    }

    /// Where it listens, with the port it was really given.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://ip:port`, or `https://`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.addr)
    }

    /// Takes no more connections, lets requests finish for at most `grace`, and ends the rest.
    pub async fn shutdown(&self, grace: Duration) {
        self.stop.cancel();
        self.connections.close();
        if tokio::time::timeout(grace, self.connections.wait()).await.is_err() {
            self.kill.cancel();
            self.connections.wait().await;
        }
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.stop.cancel();
        self.kill.cancel();
    }
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress").field("url", &self.url()).finish_non_exhaustive()
    }
}

struct Server<B> {
    shared: Arc<Shared<B>>,
    tls: Option<TlsAcceptor>,
    permits: Arc<Semaphore>,
    clients: Arc<Clients>,
    stop: CancellationToken,
    kill: CancellationToken,
    connections: TaskTracker,
}

impl<B: Backend> Server<B> {
    async fn run(self, listener: TcpListener) {
        let http = self.http();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let ip = peer.ip().to_canonical();
            let permit = self.permits.clone().try_acquire_owned();
            let held = self.clients.enter(ip, self.shared.limits.connections_per_client);
            let (Ok(permit), Some(held)) = (permit, held) else {
                self.connections.spawn(refuse(stream, self.tls.is_some()));
                continue;
            };
            // Small responses must not wait for acknowledgements of earlier ones.
            let _ = stream.set_nodelay(true);
            let connection = Arc::new(Connection {
                shared: self.shared.clone(),
                client: Client::new(ip, self.tls.is_some()),
                asked: AtomicBool::new(false),
            });
            let serve = Serve {
                http: http.clone(),
                connection,
                stop: self.stop.clone(),
                kill: self.kill.clone(),
                _held: (held, permit),
            };
            let tls = self.tls.clone();
            self.connections.spawn(async move {
                let Some(tls) = tls else { return serve.run(stream).await };
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => serve.run(stream).await,
                    Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
                    Err(_) => debug!("a TLS handshake took too long"),
                }
            });
        }
    }

    fn http(&self) -> auto::Builder<TokioExecutor> {
        let limits = &self.shared.limits;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.head_bytes.max(8 << 10));
        http.http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING)
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
        http
    }
}

/// One connection, while it is served.
struct Serve<B> {
    http: auto::Builder<TokioExecutor>,
    connection: Arc<Connection<B>>,
    stop: CancellationToken,
    kill: CancellationToken,
    _held: (Held, OwnedSemaphorePermit),
}

impl<B: Backend> Serve<B> {
    async fn run<T>(self, stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = &self.connection;
        let service = service_fn(|request| proxy::answer(Arc::clone(connection), request));
        let serving = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        let silent = async {
            // Which HTTP it speaks is waited for without a limit of its own.
            tokio::time::sleep(connection.shared.limits.head_timeout).await;
            if connection.asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        let result = tokio::select! {
            result = serving.as_mut() => result,
            () = silent => return,
            () = self.stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    result = serving => result,
                    () = self.kill.cancelled() => return,
                }
            }
        };
        if let Err(error) = result {
            debug!(%error, "a connection ended");
        }
    }
}

/// Tells a client with too many connections so, where it can read it.
async fn refuse(mut stream: TcpStream, tls: bool) {
    const ANSWER: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: text/plain\r\n\
        retry-after: 1\r\nconnection: close\r\ncontent-length: 22\r\n\r\ntoo many connections.\n";
    if !tls {
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(ANSWER)).await;
    }
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Clients(Mutex<HashMap<IpAddr, u32>>);

/// One of an address' connections, until it is dropped.
#[derive(Debug)]
struct Held {
    clients: Arc<Clients>,
    ip: IpAddr,
}

impl Clients {
    /// Counts a connection; `None` where the address has `most` already.
    fn enter(self: &Arc<Self>, ip: IpAddr, most: u32) -> Option<Held> {
        let mut clients = self.0.lock();
        let count = clients.entry(ip).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Held { clients: self.clone(), ip })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut clients = self.clients.0.lock();
        if let Some(count) = clients.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let clients = Arc::new(Clients::default());
        let ip = "203.0.113.7".parse().unwrap();
        let first = clients.enter(ip, 2).unwrap();
        let _second = clients.enter(ip, 2).unwrap();
        assert!(clients.enter(ip, 2).is_none());
        assert!(clients.enter("203.0.113.8".parse().unwrap(), 2).is_some());
        drop(first);
        assert!(clients.enter(ip, 2).is_some());
        assert_eq!(clients.0.lock().len(), 1);
    }
}
