//! Outgoing HTTP of a guest.
//!
//! The sandbox has no network. Where the manifest names `host:port`, the worker asks the runtime
//! for a connection, which checks the name again, refuses private addresses, connects, and hands
//! over the open socket. TLS and HTTP happen here, so that the runtime never parses what a server
//! says.

use std::{
    collections::HashMap,
    net::TcpStream,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::uri::Scheme;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    time::timeout,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::{channel, talk::FromChild};

/// How long a step of an outgoing request may take where the guest does not say.
const STEP_MAX: Duration = Duration::from_secs(60);

type Waiting = HashMap<u64, oneshot::Sender<Result<OwnedFd, String>>>;
type Done = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(http::Response<WasiBody>, Done), Error>;

/// Asks the runtime for connections.
#[derive(Debug)]
pub(super) struct Dialer {
    socket: Arc<OwnedFd>,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
}

impl Dialer {
    pub(super) fn new(socket: Arc<OwnedFd>) -> Arc<Self> {
        Arc::new(Self { socket, next: AtomicU64::new(0), waiting: Mutex::default() })
    }

    /// The runtime's answer.
    pub(super) fn answer(&self, id: u64, answer: Result<OwnedFd, String>) {
        if let Some(waiting) = self.waiting.lock().remove(&id) {
            let _ = waiting.send(answer);
        }
    }

    async fn dial(&self, target: String) -> Result<tokio::net::TcpStream, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(id, sender);
        channel::send(self.socket.as_fd(), &FromChild::Dial { id, target }, &[])
            .map_err(Error::Connect)?;
        let stream = receiver
            .await
            .map_err(|_| Error::ConnectionTerminated)?
            .map_err(|reason| Error::Connect(std::io::Error::other(reason)))?;
        let stream = TcpStream::from(stream);
        stream.set_nonblocking(true).map_err(Error::Connect)?;
        tokio::net::TcpStream::from_std(stream).map_err(Error::Connect)
    }
}

/// What a guest's outgoing requests pass through.
#[derive(Debug, Clone)]
pub(super) struct Hooks {
    allowed: Arc<[String]>,
    dialer: Arc<Dialer>,
    tls: Arc<Tls>,
}

/// Whom TLS trusts: made when it is first needed, and kept, so that sessions are taken up again.
#[derive(Debug)]
struct Tls {
    trusted: Vec<CertificateDer<'static>>,
    config: OnceLock<Arc<rustls::ClientConfig>>,
}

impl Hooks {
    /// `trusted` is believed beside the roots that browsers believe.
    pub(super) fn new(
        allowed: &[String],
        dialer: Arc<Dialer>,
        trusted: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self {
            allowed: allowed.iter().map(|host| host.to_ascii_lowercase()).collect(),
            dialer,
            tls: Arc::new(Tls { trusted, config: OnceLock::new() }),
        }
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Done,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let hooks = self.clone();
        Box::new(async move { hooks.send(request, options).await })
    }
}

impl Hooks {
    async fn send(
        &self,
        mut request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Sent {
        let tls = match request.uri().scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(Error::HttpProtocolError),
        };
        let authority = request.uri().authority().ok_or(Error::HttpRequestUriInvalid)?;
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let target = format!("{host}:{port}");
        if !self.allowed.contains(&target) {
            return Err(Error::HttpRequestDenied);
        }
        let connect = options.as_ref().and_then(|o| o.connect_timeout).unwrap_or(STEP_MAX);
        let first_byte = options.as_ref().and_then(|o| o.first_byte_timeout).unwrap_or(STEP_MAX);

        let stream = timeout(connect, self.dialer.dial(target))
            .await
            .map_err(|_| Error::ConnectionTimeout)??;
        let stream: Pin<Box<dyn Stream>> = if tls {
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(Error::InvalidDnsNameError)?;
            let connector = tokio_rustls::TlsConnector::from(self.tls.config());
            let stream = timeout(connect, connector.connect(name, stream))
                .await
                .map_err(|_| Error::ConnectionTimeout)?
                .map_err(Error::Tls)?;
            Box::pin(stream)
        } else {
            Box::pin(stream)
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map(http::Uri::from).unwrap_or_default();
        let connection = tokio::spawn(connection);
        let response = timeout(first_byte, sender.send_request(request))
            .await
            .map_err(|_| Error::HttpResponseTimeout)??;
        let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
        Ok((
            response,
            Box::new(async move {
                connection.await.map_err(|_| Error::ConnectionTerminated)?.map_err(Error::from)
            }),
        ))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

impl Tls {
    fn config(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(self.config.get_or_init(|| {
            let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
            roots.add_parsable_certificates(self.trusted.iter().cloned());
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            Arc::new(
                rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .expect("the provider carries the default versions")
                    .with_root_certificates(roots)
                    .with_no_client_auth(),
            )
        }))
    }
}
