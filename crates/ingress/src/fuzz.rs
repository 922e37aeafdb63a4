//! What the fuzz targets reach. It is there for them alone.

use http::Request;

use crate::head;

/// A request's head, as a replica gets it from a client at 203.0.113.7, and the host it was for;
/// `None` where it is refused.
pub fn pass(mut request: Request<()>) -> Option<(String, Request<()>)> {
    let (name, host) = head::host(&request)?;
    let name = name.into_owned();
    let id = head::request_id(request.headers());
    let upgrade = head::upgrade(&request);
    let client = head::Client::new(std::net::Ipv4Addr::new(203, 0, 113, 7).into(), false);
    head::to_replica(&mut request, &client, host, &id, upgrade);
    Some((name, request))
}
