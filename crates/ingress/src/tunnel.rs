//! Upgraded connections: bytes in both directions until either end is done.

use http::Response;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kinesis_wire::http::{InFlight, ResponseBody};
use tracing::debug;

/// Joins a client that asked for an upgrade with the replica that answered 101. Both are hung up on
/// when either is done, or when the lease's link closes.
pub(crate) fn start(client: OnUpgrade, response: &mut Response<ResponseBody>) {
    let replica = hyper::upgrade::on(&mut *response);
    // The exchange counts as under way for as long as the tunnel is open.
    let in_flight = response.extensions_mut().remove::<std::sync::Arc<InFlight>>();
    tokio::spawn(async move {
        let (client, replica) = match tokio::try_join!(client, replica) {
            Ok(both) => both,
            Err(error) => {
                debug!(%error, "an upgrade did not come about");
                return;
            }
        };
        let (mut client, mut replica) = (TokioIo::new(client), TokioIo::new(replica));
        let passed = tokio::io::copy_bidirectional(&mut client, &mut replica).await;
        debug!(?passed, "an upgraded connection ended");
        drop(in_flight);
    });
}
