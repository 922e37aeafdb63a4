//! Who watches: so many at once, and so many of one client.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{StatusCode, request::Parts},
};
use kinesis_wire::listen::Held;
use tokio::sync::OwnedSemaphorePermit;

use crate::{api::Outlet, problem::Problem};

/// A place among those who watch, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Watcher {
    _place: OwnedSemaphorePermit,
    /// `None` where nobody said who asks.
    _client: Option<Held>,
}

impl FromRequestParts<Outlet> for Watcher {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, outlet: &Outlet) -> Result<Self, Problem> {
        let client = match parts.extensions.get::<ConnectInfo<SocketAddr>>() {
            None => None,
            Some(ConnectInfo(peer)) => {
                let most = outlet.config.limits.watchers_per_client;
                let held = outlet.watching.enter(peer.ip(), most).ok_or_else(|| {
                    let detail = format!("This client watches {most} times already.");
                    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
                })?;
                Some(held)
            }
        };
        let place = Arc::clone(&outlet.watchers).try_acquire_owned().map_err(|_| {
            let detail = "Too many are watching already.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        })?;
        Ok(Self { _place: place, _client: client })
    }
}
