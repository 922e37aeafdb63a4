//! Our own relay: passes encrypted packets between nodes that cannot reach each other directly.
//!
//! Plain HTTP, since what passes is encrypted end to end and addressed by key; put a TLS proxy in
//! front where the network demands one.

use std::{fmt, net::SocketAddr, num::NonZeroU32};

use iroh_relay::server::{ClientRateLimit, RelayConfig, Server, ServerConfig};

use crate::WireError;

/// How many bytes one client may send each second.
const CLIENT_BYTES_PER_SECOND: NonZeroU32 = NonZeroU32::new(256 << 20).expect("not zero");

/// A running relay. Dropping it stops it.
pub struct Relay {
    server: Server,
    addr: SocketAddr,
}

impl Relay {
    /// Starts a relay on this TCP address.
    ///
    /// # Errors
    /// Where the address cannot be bound.
    pub async fn start(bind: SocketAddr) -> Result<Self, WireError> {
        let failed =
            |source| WireError::Bind { what: format!("the relay's socket {bind}"), source };
        let mut relay = RelayConfig::new(bind);
        relay.limits.client_rx = Some(ClientRateLimit::new(CLIENT_BYTES_PER_SECOND));
        let mut config = ServerConfig::default();
        config.relay = Some(relay);
        let server = Server::spawn(config).await.map_err(|error| failed(error.into()))?;
        let addr = server.http_addr().ok_or_else(|| failed("it has no address".into()))?;
        Ok(Self { server, addr })
    }

    /// What nodes are told: `http://ip:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops it and waits until it has stopped.
    pub async fn shutdown(self) {
        // It can only fail in a task that has ended already.
        let _ = self.server.shutdown().await;
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("url", &self.url()).finish_non_exhaustive()
    }
}
