//! How the portal is run.

use std::{net::SocketAddr, time::Duration};

use crate::OperatorToken;

/// How the portal is run.
#[derive(Debug, Clone)]
pub struct PortalConfig {
    /// Where it listens; port 0: any free one.
    pub bind: SocketAddr,
    /// What the operator proves itself with.
    pub operator: OperatorToken,
    /// What suppliers dial, shown in `GET /v1/grid`; `None`: not shown.
    pub wire: Option<String>,
    /// The chain's RPC URL for suppliers, shown in `GET /v1/grid`; `None`: not shown.
    pub rpc: Option<String>,
    /// What is refused.
    pub limits: Limits,
}

/// What is refused.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one client: an IPv4 address, or an IPv6 network of 64 bits.
    pub connections_per_client: u32,
    /// Pages and event streams at once.
    pub watchers: usize,
    /// Pages and event streams at once of one client.
    pub watchers_per_client: u32,
    /// How long a request's head may take.
    pub head_timeout: Duration,
    /// The longest JSON body, in bytes.
    pub json_bytes: usize,
    /// The longest artifact, in bytes.
    pub artifact_bytes: u64,
    /// All artifacts of one account together, in bytes.
    pub account_bytes: u64,
    /// How long an upload may pause.
    pub upload_pause: Duration,
    /// How long a client may leave unread what is sent to it.
    pub write_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 2_048,
            connections_per_client: 256,
            watchers: 512,
            watchers_per_client: 64,
            head_timeout: Duration::from_secs(10),
            json_bytes: 1 << 20,
            artifact_bytes: kinesis_store::artifacts::ARTIFACT_BYTES_MAX,
            account_bytes: 64 << 30,
            upload_pause: Duration::from_secs(30),
            write_pause: Duration::from_secs(30),
        }
    }
}

impl PortalConfig {
    /// Listens at `bind`, for this operator, with the usual limits.
    #[must_use]
    pub fn new(bind: SocketAddr, operator: OperatorToken) -> Self {
        Self { bind, operator, wire: None, rpc: None, limits: Limits::default() }
    }
}
