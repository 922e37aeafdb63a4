//! A utility's outlet on the web: the REST API, and a live page of the grid.
//!
//! A handler here reads a request, asks [`Control`](kinesis_control::Control), and writes an answer;
//! it decides nothing. Failures are `application/problem+json` and carry a request id; everything
//! that creates or pays takes an `Idempotency-Key`. The OpenAPI document at `/v1/openapi.json` is
//! made from the handlers.
//!
//! The page is rendered here, on the server, and reads without scripts. With the one small script
//! that is served beside it, its sections are replaced as they change: every half second, and at
//! once when something happens.
//!
//! | module | does |
//! | --- | --- |
//! | `api` | the handlers, by what they are about |
//! | `auth` | who asks: a customer by its key, the operator by its token |
//! | `idempotency` | the `Idempotency-Key` header |
//! | `problem` | what a failure looks like |
//! | `live` | the newest picture of the grid, for all who watch |
//! | `page` | the page, from that picture |
//! | `server` | listens, limits, headers that go with every answer |
//! | `watcher` | who watches, and how many |

mod api;
mod auth;
mod config;
mod error;
mod idempotency;
mod live;
mod page;
mod problem;
mod server;
mod token;
mod watcher;

pub use api::openapi;
pub use config::{Limits, PortalConfig};
pub use error::PortalError;
pub use server::Portal;
pub use token::OperatorToken;
