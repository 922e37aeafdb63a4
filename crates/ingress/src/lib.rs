//! Customers' HTTP to live replicas.
//!
//! A request's walk: the host names the app, the less loaded of two of its replicas is chosen, and
//! its head and body go out on a kept stream of that replica's lease. Bodies are never held back;
//! a body that may have to be sent again is remembered while it passes, up to a limit.
//!
//! What may fail, and what follows:
//!
//! - the replica took nothing of the request: it goes to another one, whatever its method;
//! - the stream was lost before a byte of the response, and the request is idempotent (by its
//!   method, or because it carries an `Idempotency-Key`): it goes to another one;
//! - anything else: 502 with a request id. A response that breaks off is broken off here too.
//!
//! Where no other replica can be used, the request waits for one: a standby that is being promoted,
//! a service that wakes from zero. It is woken by the change of the routes, not by a timer.
//!
//! | module | does |
//! | --- | --- |
//! | [`config`] | what can be set, and the limits |
//! | [`backend`] | what is needed of the utility |
//! | `server` | listens, speaks TLS |
//! | `proxy` | one request's walk |
//! | `choose` | which replica |
//! | `head` | headers that are added and that are not passed on |
//! | `body` | bodies: limited, remembered |
//! | `tunnel` | upgraded connections |
//! | `problem` | what a customer reads when it did not work |

pub mod backend;
mod body;
mod choose;
pub mod config;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod head;
mod problem;
mod proxy;
mod server;
mod tls;
mod tunnel;

pub use backend::Backend;
pub use config::{IngressConfig, Limits, TlsFiles};
pub use error::IngressError;
pub use server::Ingress;
