//! Listens, speaks TLS, and hands requests on.

use std::{
    fmt,
    net::SocketAddr,
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
use kinesis_wire::listen::{Accepted, Ending, ListenConfig, Listener};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use crate::{
    Backend, IngressConfig, IngressError, Limits,
    head::Client,
    proxy::{self, Connection, Shared},
    tls,
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HTTP2_PING: Duration = Duration::from_secs(20);
const HTTP2_STREAMS_MAX: u32 = 256;

/// A running ingress. Dropping it stops it at once; [`Self::shutdown`] lets requests finish.
pub struct Ingress {
    listener: Listener,
    tls: bool,
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
        let IngressConfig { bind, tls, suffix, limits } = config;
        let acceptor = tls.as_ref().map(tls::acceptor).transpose()?;
        let tls = acceptor.is_some();
        let listen = ListenConfig {
            bind,
            connections: limits.connections,
            connections_per_client: limits.connections_per_client,
            write_pause: limits.write_pause,
            tls,
        };
        let http = http(&limits);
        let shared = Arc::new(Shared { backend, suffix, limits });
        let serve = move |accepted: Accepted| {
            let connection = Arc::new(Connection {
                shared: Arc::clone(&shared),
                client: Client::new(accepted.peer.ip(), tls),
                asked: AtomicBool::new(false),
            });
            let serve = Serve { http: http.clone(), connection, ending: accepted.ending };
            serve.secured(accepted.stream, acceptor.clone())
        };
        let listener = Listener::start(listen, serve)
            .await
            .map_err(|source| IngressError::Bind { addr: bind, source })?;
        Ok(Self { listener, tls })
    }

    /// Where it listens, with the port it was really given.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// `http://ip:port`, or `https://`.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.addr())
    }

    /// Takes no more connections, lets requests finish for at most `grace`, and ends the rest.
    pub async fn shutdown(&self, grace: Duration) {
        self.listener.shutdown(grace).await;
    }
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingress").field("url", &self.url()).finish_non_exhaustive()
    }
}

fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
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

/// One connection, while it is served.
struct Serve<B> {
    http: auto::Builder<TokioExecutor>,
    connection: Arc<Connection<B>>,
    ending: Ending,
}

impl<B: Backend> Serve<B> {
    async fn secured<T>(self, stream: T, tls: Option<TlsAcceptor>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = tls else { return self.run(stream).await };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.run(stream).await,
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake took too long"),
        }
    }

    async fn run<T>(self, stream: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = &self.connection;
        let service = service_fn(|request| proxy::answer(Arc::clone(connection), request));
        let serving = self.http.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let silent = async {
            // Which HTTP it speaks is waited for without a limit of its own.
            tokio::time::sleep(connection.shared.limits.head_timeout).await;
            if connection.asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.ending.serve(serving) => {}
            () = silent => {}
        }
    }
}
