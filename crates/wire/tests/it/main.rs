//! Two endpoints in one process, over real sockets on this machine.

mod cancel;
mod http;
mod links;
mod peers;
mod relayed;
