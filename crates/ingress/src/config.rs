//! What can be set, and the limits on what customers' clients may do.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// What an ingress is started with.
#[derive(Debug, Clone)]
pub struct IngressConfig {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Certificate and key. `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// What follows an app's name in its host, with the dot in front.
    pub suffix: String,
    /// The limits.
    pub limits: Limits,
}

/// PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What is allowed.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest head of a request.
    pub head_bytes: usize,
    /// The longest body of a request.
    pub body_bytes: u64,
    /// How much of a body is remembered, so that it can be sent again.
    pub replay_bytes: usize,
    /// How long a head may take to come, and how long a connection may be idle.
    pub head_timeout: Duration,
    /// How long a request's body may pause.
    pub body_pause: Duration,
    /// How long a request waits for a replica it can be sent to.
    pub wait: Duration,
    /// How much longer than the app's own limit a response's head may take.
    pub response_slack: Duration,
    /// How often an idempotent request is sent again after its stream was lost.
    pub resends: u32,
    /// How long a client may leave unread what is sent to it.
    pub write_pause: Duration,
    /// Connections of one client: an IPv4 address, or an IPv6 network of 64 bits.
    pub connections_per_client: u32,
    /// Connections altogether.
    pub connections: usize,
}

impl IngressConfig {
    /// Plain HTTP for `APP.localhost`, with the usual limits.
    #[must_use]
    pub fn local(bind: SocketAddr) -> Self {
        Self { bind, tls: None, suffix: ".localhost".to_owned(), limits: Limits::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 64 << 10,
            body_bytes: 5 << 30,
            replay_bytes: 1 << 20,
            head_timeout: Duration::from_secs(30),
            body_pause: Duration::from_secs(60),
            wait: Duration::from_secs(15),
            response_slack: Duration::from_secs(5),
            resends: 3,
            write_pause: Duration::from_secs(60),
            connections_per_client: 1_024,
            connections: 16_384,
        }
    }
}
