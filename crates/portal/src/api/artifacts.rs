//! Artifacts: uploaded by content hash, read by whoever uploaded them or whose job left them.

use std::{io, time::Duration};

use axum::{
    Json as Answer,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, StreamExt, stream};
use kinesis_control::api::ArtifactRef;
use kinesis_protocol::ContentHash;

use super::{Outlet, body::Path};
use crate::{auth::Customer, problem::Problem};

fn unknown(hash: ContentHash) -> Problem {
    Problem::not_found(format!("This account has no artifact {hash}."))
        .hint("upload it with PUT, or look at the app's outputs for hashes")
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// Whether the caller has this artifact already.
#[utoipa::path(
    head, path = "/v1/artifacts/{hash}", tag = "artifacts", security(("customer" = [])),
    params(("hash" = String, Path, description = "The BLAKE3 hash of the content, in hex")),
    responses(
        (status = 200, description = "It need not be uploaded again; Content-Length is its length"),
        (status = 401, description = "The key is not known"),
        (status = 404, description = "It has to be uploaded"),
    )
)]
pub(super) async fn head(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(hash): Path<ContentHash>,
) -> Result<Response, Problem> {
    let granted = outlet.store.granted_artifact(account, hash).await?;
    match (granted, outlet.artifacts.head(hash).await?) {
        (Some(_), Some(bytes)) => Ok(([(header::CONTENT_LENGTH, bytes)]).into_response()),
        _ => Err(unknown(hash)),
    }
}

/// The content of an artifact the caller uploaded, or one of its jobs left.
#[utoipa::path(
    get, path = "/v1/artifacts/{hash}", tag = "artifacts", security(("customer" = [])),
    params(("hash" = String, Path, description = "The BLAKE3 hash of the content, in hex")),
    responses(
        (status = 200, description = "The content", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no such artifact", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn get(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(hash): Path<ContentHash>,
) -> Result<Response, Problem> {
    outlet.store.granted_artifact(account, hash).await?.ok_or_else(|| unknown(hash))?;
    let (bytes, content) = outlet.artifacts.get(hash).await?.ok_or_else(|| unknown(hash))?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::ETAG, format!("\"{hash}\"")),
    ];
    Ok((headers, Body::from_stream(content)).into_response())
}

/// Uploads an artifact. It is checked against its hash while it arrives, and is not visible before.
#[utoipa::path(
    put, path = "/v1/artifacts/{hash}", tag = "artifacts", security(("customer" = [])),
    params(("hash" = String, Path, description = "The BLAKE3 hash of the content, in hex")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 201, description = "Stored", body = ArtifactRef),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "It is too long, or the account's artifacts are", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The content has another hash", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn put(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(hash): Path<ContentHash>,
    body: Body,
) -> Result<(StatusCode, Answer<ArtifactRef>), Problem> {
    let limits = &outlet.config.limits;
    let used = outlet.store.artifact_bytes(account).await?;
    let left = limits.account_bytes.saturating_sub(used).min(limits.artifact_bytes);
    if left == 0 {
        let detail =
            format!("This account's artifacts take up {used} bytes, the most there may be.");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let content = steady(body, limits.upload_pause).boxed();
    let bytes = outlet.artifacts.put(hash, content, left).await?;
    outlet.store.grant_artifact(account, hash, bytes, now_ms()).await?;
    Ok((StatusCode::CREATED, Answer(ArtifactRef { hash, bytes })))
}

/// A body that may not pause for longer than this.
fn steady(body: Body, pause: Duration) -> impl Stream<Item = io::Result<bytes::Bytes>> + Send {
    stream::unfold(Some(body.into_data_stream()), move |content| async move {
        let mut content = content?;
        match tokio::time::timeout(pause, content.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(content))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
}
