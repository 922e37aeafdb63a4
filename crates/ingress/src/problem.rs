//! What a customer reads when it did not work: `application/problem+json` with a request id.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use kinesis_control::NotReady;

use crate::{body::OutBody, head::X_REQUEST_ID};

/// An answer of the ingress' own.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
    retry_after: Option<Duration>,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), retry_after: None }
    }

    fn retry(mut self, seconds: u64) -> Self {
        self.retry_after = Some(Duration::from_secs(seconds));
        self
    }

    pub(crate) fn no_host() -> Self {
        let detail = "The request names no host, or more than one. Ask for APP.localhost, or set \
                      the Host header.";
        Self::new(StatusCode::BAD_REQUEST, "No host", detail)
    }

    pub(crate) fn no_app(host: &str) -> Self {
        let host: String = host.chars().filter(|c| !c.is_control()).take(100).collect();
        let detail = format!(
            "No app answers to \"{host}\". \"kinesis ps\" lists your apps and their URLs; \
             \"kinesis deploy\" adds one."
        );
        Self::new(StatusCode::NOT_FOUND, "No such app", detail)
    }

    pub(crate) fn method() -> Self {
        let detail = "CONNECT is for proxies; this is an app's own address.";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", detail)
    }

    pub(crate) fn too_large(most: u64) -> Self {
        let detail = format!("The request's body is longer than {most} bytes.");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Body too large", detail)
    }

    pub(crate) fn body_paused(pause: Duration) -> Self {
        let detail = format!("The request's body paused for {} s.", pause.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "Body too slow", detail)
    }

    pub(crate) fn body_broken() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Body broken off", "The request's body broke off.")
    }

    /// The stream was lost and the request may not be repeated.
    pub(crate) fn lost() -> Self {
        let detail = "The replica was lost after the request was sent and before it answered, and \
                      such a request may not be repeated unasked. Send an Idempotency-Key with \
                      requests that may be.";
        Self::new(StatusCode::BAD_GATEWAY, "Replica lost", detail)
    }

    /// The stream was lost again and again.
    pub(crate) fn lost_again(times: u32) -> Self {
        let detail = format!("The request was lost with {times} replicas, one after the other.");
        Self::new(StatusCode::BAD_GATEWAY, "Replicas lost", detail)
    }

    pub(crate) fn too_slow(after: Duration) -> Self {
        let detail = format!("The app did not answer within {} ms.", after.as_millis());
        Self::new(StatusCode::GATEWAY_TIMEOUT, "App too slow", detail)
    }

    pub(crate) fn not_ready(why: &NotReady) -> Self {
        match why {
            NotReady::Unknown => Self::new(StatusCode::NOT_FOUND, "No such app", sentence(why)),
            NotReady::Stopped => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "App stopped", sentence(why))
            }
            NotReady::OverBudget => {
                let detail = format!("{} Its owner can raise it and deploy again.", sentence(why));
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Budget used up", detail)
            }
            NotReady::TimedOut(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "No replica ready", sentence(why))
                    .retry(2)
            }
        }
    }

    pub(crate) fn into_response(self, request_id: &HeaderValue) -> Response<OutBody> {
        let json = serde_json::json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id.to_str().unwrap_or_default(),
        });
        let mut response = Response::new(OutBody::Full(Bytes::from(json.to_string())));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(X_REQUEST_ID, request_id.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        response
    }
}

/// An error's words as a sentence.
fn sentence(error: &NotReady) -> String {
    let words = error.to_string();
    let mut chars = words.chars();
    chars
        .next()
        .map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
