//! The wires: QUIC between an agent and its utility, dialled by public key.
//!
//! Only the agent dials. One connection carries everything: the first bidirectional stream is the
//! control stream, and either side opens further streams, each starting with one
//! [`StreamOpen`](kinesis_protocol::message::StreamOpen) frame.
//!
//! | module | does |
//! | --- | --- |
//! | [`secret`] | the key a node answers under, kept in a file |
//! | [`addr`] | where a utility is, as one token |
//! | [`endpoint`] | binds, dials and accepts; the tuning of QUIC |
//! | [`link`] | one connection and its streams |
//! | [`stream`] | one stream; dropping it unfinished cancels |
//! | [`frame`] | length-prefixed JSON, bounded |
//! | [`dial`] | dials again and again with jittered backoff |
//! | [`http`] | requests over kept streams to one lease |
//! | [`listen`] | TCP for customers' HTTP: limits by client, refusals in words, an orderly end |
//! | [`relay`] | our own relay, for nodes that no packet reaches directly |
//!
//! Nothing here contacts a public network: the only relay and the only addresses are those that
//! were given.

pub mod addr;
pub mod dial;
pub mod endpoint;
mod error;
pub mod frame;
pub mod http;
pub mod link;
pub mod listen;
pub mod relay;
pub mod secret;
pub mod stream;

pub use addr::UtilityAddr;
pub use dial::Reconnect;
pub use endpoint::{Endpoint, EndpointConfig};
pub use error::WireError;
pub use frame::{FrameReceiver, FrameSender};
pub use link::Link;
pub use relay::Relay;
pub use secret::{NodeSecret, signed_by};
pub use stream::{RecvHalf, SendHalf, Stream, splice};

/// The protocol's name in the handshake.
pub const ALPN: &[u8] = b"kinesis/1";
