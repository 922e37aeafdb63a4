//! What a simulated service answers: one line that names node, lease and epoch.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kinesis_protocol::{Epoch, LeaseId, message::StreamAnswer};
use kinesis_wire::Stream;

use super::{Shared, leases::Exchange};

/// The longest a stream waits for its lease to become active.
const WAIT: Duration = Duration::from_secs(5);

/// Serves one stream.
pub(super) async fn serve(shared: Arc<Shared>, lease: LeaseId, epoch: Epoch, mut stream: Stream) {
    let admitted = tokio::time::timeout(WAIT, admitted(&shared, lease, epoch)).await;
    let refusal = match admitted {
        Ok(Ok(())) => None,
        Ok(Err(reason)) => Some(reason),
        Err(_) => Some("the lease is not active".to_owned()),
    };
    let answer = match refusal {
        None => StreamAnswer::Ready { bytes: None },
        Some(reason) => StreamAnswer::Refused { reason },
    };
    let go_on = matches!(answer, StreamAnswer::Ready { .. });
    if stream.answer(answer).await.is_err() || !go_on {
        return;
    }
    let service = service_fn(|request| respond(shared.clone(), lease, epoch, request));
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let mut changes = shared.leases.changes();
    loop {
        tokio::select! {
            // A stream that is cut ends here as it does in a real agent.
            _ = &mut serving => return,
            _ = changes.changed() => {
                if shared.leases.admits(lease, epoch).is_err() {
                    return;
                }
            }
        }
    }
}

async fn admitted(shared: &Shared, lease: LeaseId, epoch: Epoch) -> Result<(), String> {
    let mut changes = shared.leases.changes();
    while !shared.leases.admits(lease, epoch)? {
        // The sender lives in `shared`.
        let _ = changes.changed().await;
    }
    Ok(())
}

/// Counts a request also when it is cancelled.
struct Counted<'a> {
    shared: &'a Shared,
    lease: LeaseId,
    exchange: Exchange,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.shared.leases.request_ended(self.lease, self.exchange);
    }
}

async fn respond(
    shared: Arc<Shared>,
    lease: LeaseId,
    epoch: Epoch,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    shared.leases.request_began(lease);
    let mut counted = Counted { shared: &shared, lease, exchange: Exchange::default() };
    let (parts, mut body) = request.into_parts();
    while let Some(Ok(frame)) = body.frame().await {
        counted.exchange.rx_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    let wait = shared.behaviour.lock().answers_in;
    tokio::time::sleep(wait).await;
    // The sender lives in `shared`.
    let _ = shared.silent.subscribe().wait_for(|silent| !*silent).await;
    let text = format!("{} {lease} {epoch} {}\n", shared.info.name, parts.uri.path());
    counted.exchange.tx_bytes = text.len() as u64;
    Ok(Response::new(Full::new(Bytes::from(text))))
}
