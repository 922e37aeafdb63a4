//! HTTP to an RPC endpoint that may mean no good: every answer is bounded in size and time.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use alloy::{
    rpc::json_rpc::{RequestPacket, ResponsePacket},
    transports::{TransportError, TransportErrorKind, TransportFut, TransportResult},
};
use tower::Service;

/// How long one exchange may take, from dialling to the last byte.
const EXCHANGE_MAX: Duration = Duration::from_secs(20);
/// How long dialling may take.
const DIAL_MAX: Duration = Duration::from_secs(10);
/// The longest answer that is read: a full range of logs is a few MiB.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How much of an answer that is no JSON-RPC is repeated in an error.
const SAID_CHARS_MAX: usize = 120;

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the endpoint answered with HTTP status {status}: {said}")]
    Status { status: u16, said: String },
    #[error("the answer is no JSON-RPC: {0}")]
    NotRpc(String),
}

/// A transport that reads at most [`ANSWER_BYTES_MAX`] of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Bounded {
    http: reqwest::Client,
    url: reqwest::Url,
}

impl Bounded {
    pub(crate) fn new(url: reqwest::Url) -> Result<Self, reqwest::Error> {
        // Another part of the process may have chosen a provider already; either serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(EXCHANGE_MAX)
            .connect_timeout(DIAL_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()?;
        Ok(Self { http, url })
    }

    async fn exchange(self, request: RequestPacket) -> TransportResult<ResponsePacket> {
        let sent = self.http.post(self.url).json(&request).headers(request.headers()).send().await;
        // The URL may hold a provider's key.
        let failed = |error: reqwest::Error| TransportErrorKind::custom(error.without_url());
        let mut response = sent.map_err(failed)?;
        let status = response.status();
        if response.content_length().is_some_and(|long| long > ANSWER_BYTES_MAX as u64) {
            return Err(TransportErrorKind::custom(Refused::TooLong));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(TransportErrorKind::custom(Refused::TooLong));
            }
            body.extend_from_slice(&chunk);
        }
        // Some endpoints send a JSON-RPC error under a status of failure.
        match serde_json::from_slice(&body) {
            Ok(packet) => Ok(packet),
            Err(_) if !status.is_success() => {
                let said = printable(&body);
                let status = status.as_u16();
                Err(TransportErrorKind::custom(Refused::Status { status, said }))
            }
            Err(_) => Err(TransportErrorKind::custom(Refused::NotRpc(printable(&body)))),
        }
    }
}

/// The beginning of what was said, fit for a log.
pub(crate) fn printable(said: &[u8]) -> String {
    let said = said.get(..4 * SAID_CHARS_MAX).unwrap_or(said);
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    String::from_utf8_lossy(said).chars().take(SAID_CHARS_MAX).map(shown).collect()
}

impl Service<RequestPacket> for Bounded {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().exchange(request))
    }
}
