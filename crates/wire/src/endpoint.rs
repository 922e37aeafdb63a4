//! A socket that dials and is dialled by public key, and the tuning of QUIC.
//!
//! A silent peer is noticed by heartbeats long before QUIC gives up; the idle timeout here only
//! frees what nobody asked about. Connection-level flow control is as wide as all streams together,
//! so that downloads nobody reads can never hold up the control stream; memory is bounded by
//! streams x window.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use iroh::{
    EndpointAddr, RelayMode,
    endpoint::{
        AckFrequencyConfig, ConnectOptions, IdleTimeout, Incoming, PortmapperConfig,
        QuicTransportConfig, VarInt, presets,
    },
};
use kinesis_protocol::NodeId;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::{ALPN, Link, NodeSecret, UtilityAddr, WireError, addr::relay_url};

/// How long a link may be without a packet before it is given up.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(8);
/// How often a packet is sent where there is nothing else.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How many bytes one stream's writer may be ahead of its reader.
pub const STREAM_WINDOW_BYTES: u32 = 512 << 10;
/// How many streams a dialled utility may have open towards its agent: one for each request in
/// flight.
const STREAMS_FROM_UTILITY_MAX: u32 = 4_096;
/// How many streams an agent may have open towards its utility: artifacts and outputs.
const STREAMS_FROM_AGENT_MAX: u32 = 64;
/// The handshake's first guess of the round trip: a lost first packet is sent again within 3x.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Small requests and responses are packets of their own: an acknowledgement for every other one, as
/// is the default, is a third of all packets. Below the first congestion window, so that a large
/// body does not wait for the delayed one.
const PACKETS_PER_ACK: u32 = 6;
/// How long dialling may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many handshakes may be under way; more are told to come back with a token, or dropped.
const HANDSHAKES_MAX: usize = 256;
const LINKS_WAITING_MAX: usize = 64;

/// What an endpoint is bound with.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// The key it answers under.
    pub secret: NodeSecret,
    /// Its UDP socket. `None`: it has none and everything goes through the relay.
    pub bind: Option<SocketAddr>,
    /// The relay it can be reached through. `None`: none.
    pub relay: Option<String>,
    /// Whether others may dial it: a utility's may be, an agent's not.
    pub listen: bool,
}

/// A bound endpoint. Clones are the same endpoint.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    endpoint: iroh::Endpoint,
    relay: Option<String>,
    links: Mutex<mpsc::Receiver<Link>>,
    _acceptor: AbortOnDropHandle<()>,
}

impl Endpoint {
    /// Binds the socket. Contacts nobody but the relay, where there is one.
    ///
    /// # Errors
    /// Where the socket cannot be bound or the relay's URL is none.
    pub async fn bind(config: EndpointConfig) -> Result<Self, WireError> {
        let mut builder = iroh::Endpoint::builder(presets::Minimal)
            .secret_key(config.secret.key())
            .transport_config(transport(STREAMS_FROM_AGENT_MAX))
            .portmapper_config(PortmapperConfig::Disabled)
            .clear_ip_transports();
        if config.listen {
            builder = builder.alpns(vec![ALPN.to_vec()]);
        }
        if let Some(url) = &config.relay {
            builder = builder.relay_mode(RelayMode::custom([relay_url(url)?]));
        }
        let what = || match config.bind {
            Some(addr) => format!("the wire's UDP socket {addr}"),
            None => "an endpoint behind a relay".to_owned(),
        };
        let failed = |source| WireError::Bind { what: what(), source };
        if let Some(addr) = config.bind {
            builder = builder.bind_addr(addr).map_err(|error| failed(error.into()))?;
        }
        let endpoint = builder.bind().await.map_err(|error| failed(error.into()))?;
        let (sender, links) = mpsc::channel(LINKS_WAITING_MAX);
        let acceptor = tokio::spawn(accept_links(endpoint.clone(), sender));
        Ok(Self(Arc::new(Inner {
            endpoint,
            relay: config.relay,
            links: Mutex::new(links),
            _acceptor: AbortOnDropHandle::new(acceptor),
        })))
    }

    /// The next agent that has dialled, with its handshake done; `None` once the endpoint is
    /// closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Link> {
        self.0.links.lock().await.recv().await
    }

    /// Dials a utility.
    ///
    /// # Errors
    /// Where it is not reached within [`CONNECT_TIMEOUT`], or who answers has another key.
    pub async fn connect(&self, utility: &UtilityAddr) -> Result<Link, WireError> {
        self.connect_within(utility, CONNECT_TIMEOUT).await
    }

    /// Dials a utility for at most `limit`.
    ///
    /// # Errors
    /// Where it is not reached in time, or who answers has another key.
    pub async fn connect_within(
        &self,
        utility: &UtilityAddr,
        limit: Duration,
    ) -> Result<Link, WireError> {
        let addr: EndpointAddr = utility.to_iroh()?;
        let failed = |source| WireError::Connect { node: utility.node, source };
        let dialling = async {
            let options =
                ConnectOptions::new().with_transport_config(transport(STREAMS_FROM_UTILITY_MAX));
            let connecting = self
                .0
                .endpoint
                .connect_with_opts(addr, ALPN, options)
                .await
                .map_err(|error| failed(error.into()))?;
            connecting.await.map_err(|error| failed(error.into()))
        };
        let connection = tokio::time::timeout(limit, dialling)
            .await
            .map_err(|_| failed(format!("no answer within {} ms", limit.as_millis()).into()))??;
        Ok(Link::new(connection))
    }

    /// This endpoint's id.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(*self.0.endpoint.id().as_bytes())
    }

    /// Where this endpoint can be dialled, with the port it was really given. An unspecified bind
    /// address is shown as the addresses of this machine.
    #[must_use]
    pub fn addr(&self) -> UtilityAddr {
        let mut addrs: Vec<SocketAddr> = self.0.endpoint.bound_sockets();
        if addrs.iter().any(|addr| addr.ip().is_unspecified()) {
            let found: Vec<_> = self.0.endpoint.addr().ip_addrs().copied().collect();
            addrs.retain(|addr| !addr.ip().is_unspecified());
            addrs.extend(found);
            addrs.truncate(crate::addr::ADDRS_MAX);
        }
        UtilityAddr { node: self.node_id(), addrs, relay: self.0.relay.clone() }
    }

    /// Waits until the relay knows this endpoint, for at most `limit`; whether it does.
    pub async fn online(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.0.endpoint.online()).await.is_ok()
    }

    /// Closes every link and the socket.
    pub async fn close(&self) {
        self.0.endpoint.close().await;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("addr", &self.addr().to_string()).finish_non_exhaustive()
    }
}

fn transport(streams_max: u32) -> QuicTransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(PACKETS_PER_ACK - 1));
    let all = u64::from(streams_max + 1) * u64::from(STREAM_WINDOW_BYTES);
    let idle = IdleTimeout::try_from(IDLE_TIMEOUT).expect("some seconds are a valid idle timeout");
    QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(streams_max))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u64(all).unwrap_or(VarInt::MAX))
        .send_window(16 << 20)
        .max_idle_timeout(Some(idle))
        .default_path_max_idle_timeout(IDLE_TIMEOUT)
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .initial_rtt(INITIAL_RTT)
        .ack_frequency_config(Some(acks))
        .datagram_receive_buffer_size(None)
        .build()
}

/// Takes what dials in. Each handshake has a task of its own: a slow one delays no other.
async fn accept_links(endpoint: iroh::Endpoint, links: mpsc::Sender<Link>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let Ok(permit) = handshakes.clone().try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        if handshakes.available_permits() < HANDSHAKES_MAX / 2 && !incoming.remote_addr_validated()
        {
            // Under load, who dials must first prove that it has the address it claims.
            let _ = incoming.retry();
            continue;
        }
        let links = links.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake(incoming)).await {
                Ok(Ok(link)) => {
                    let _ = links.send(link).await;
                }
                Ok(Err(error)) => debug!(%error, "a handshake failed"),
                Err(_) => debug!("a handshake took too long"),
            }
            drop(permit);
        });
    }
}

async fn handshake(incoming: Incoming) -> Result<Link, crate::error::Cause> {
    Ok(Link::new(incoming.accept()?.await?))
}
