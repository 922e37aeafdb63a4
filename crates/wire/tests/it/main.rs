//! Two endpoints in one process, over real sockets on this machine.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod cancel;
mod http;
mod links;
mod peers;
mod relayed;
