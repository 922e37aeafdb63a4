//! What a failure looks like: `application/problem+json` (RFC 9457).
//!
//! What the caller can mend is said in full; what it cannot is logged with its causes, and the
//! caller gets the request id to ask about.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kinesis_control::ControlError;
use kinesis_store::{ArtifactsError, StoreError};
use serde::Serialize;
use tracing::{error, warn};
use utoipa::ToSchema;

/// A failure, as the caller reads it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of failure, for programs: `urn:kinesis:problem:…`.
    #[serde(rename = "type")]
    kind: String,
    /// What kind of failure, for people.
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "status_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// What was wrong.
    detail: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The line of a manifest, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    /// The key of a manifest, dotted.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The request, for whoever looks into it. Also in the header `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

fn status_number<S: serde::Serializer>(status: &StatusCode, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u16(status.as_u16())
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let (kind, title) = match status {
            StatusCode::BAD_REQUEST => ("bad-request", "The request cannot be read"),
            StatusCode::UNAUTHORIZED => ("unauthorised", "Who asks is not known"),
            StatusCode::PAYMENT_REQUIRED => ("payment-required", "There is no money for it"),
            StatusCode::FORBIDDEN => ("forbidden", "This caller may not do that"),
            StatusCode::NOT_FOUND => ("not-found", "There is no such thing"),
            StatusCode::METHOD_NOT_ALLOWED => ("method", "That is not done here"),
            StatusCode::CONFLICT => ("conflict", "It contradicts what is there"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "The body is too long"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => ("media-type", "The body is of another type"),
            StatusCode::UNPROCESSABLE_ENTITY => ("invalid", "The request is not valid"),
            StatusCode::TOO_MANY_REQUESTS => ("limit", "A limit is reached"),
            StatusCode::BAD_GATEWAY => ("chain", "The chain did not do as asked"),
            StatusCode::SERVICE_UNAVAILABLE => ("unavailable", "It cannot be done now"),
            StatusCode::REQUEST_TIMEOUT => ("too-slow", "The request took too long"),
            _ => ("internal", "Something failed here"),
        };
        Self {
            kind: format!("urn:kinesis:problem:{kind}"),
            title,
            status,
            detail: detail.into(),
            hint: None,
            line: None,
            key: None,
            request_id: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(crate) fn unauthorised(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// A failure of our own: its causes go to the log and not to the caller.
    pub(crate) fn internal(cause: &dyn std::error::Error) -> Self {
        error!(error = %chain(cause), "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "This is a failure of the utility, not of the request. It may be repeated.",
        )
    }

    /// Its answer for a given request.
    pub(crate) fn with_request_id(mut self, id: &str) -> Response {
        self.request_id = Some(id.to_owned());
        self.render()
    }

    fn render(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers: &mut HeaderMap = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // The outer layer puts the request's id into the body.
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.render()
    }
}

/// A cause with its own causes, on one line.
fn chain(mut cause: &dyn std::error::Error) -> String {
    let mut text = cause.to_string();
    while let Some(next) = cause.source() {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next;
    }
    text
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let said = error.to_string();
        match error {
            ControlError::Unauthorised => Self::unauthorised(said),
            ControlError::NotFound { .. } => Self::not_found(said),
            ControlError::Manifest(manifest) => {
                let mut problem = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    format!("kinesis.toml: {manifest}"),
                );
                problem.line = Some(manifest.line);
                problem.key = Some(manifest.key).filter(|key| !key.is_empty());
                problem
            }
            ControlError::Invalid(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, said),
            ControlError::Conflict(_) => Self::new(StatusCode::CONFLICT, said),
            ControlError::Payment(_) => Self::new(StatusCode::PAYMENT_REQUIRED, said),
            ControlError::Limit(_) => Self::new(StatusCode::TOO_MANY_REQUESTS, said),
            ControlError::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, said),
            ControlError::Store(store) => store.into(),
            ControlError::Settle(settle) => {
                warn!(error = %chain(&settle), "a payment could not be settled");
                Self::new(StatusCode::BAD_GATEWAY, said)
                    .hint("nothing is lost: the same request may be repeated")
            }
            ControlError::Listen { .. } | ControlError::Agreements(_) => Self::internal(&error),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::NotFound { .. } => StatusCode::NOT_FOUND,
            StoreError::NameTaken(_)
            | StoreError::KindChanged(_)
            | StoreError::NoEarlierVersion(_) => StatusCode::CONFLICT,
            StoreError::KeyReused | StoreError::Invalid(_) | StoreError::Overflow => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            StoreError::KeyMalformed => StatusCode::BAD_REQUEST,
            _ => return Self::internal(&error),
        };
        Self::new(status, error.to_string())
    }
}

impl From<ArtifactsError> for Problem {
    fn from(error: ArtifactsError) -> Self {
        match &error {
            ArtifactsError::Hash { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            ArtifactsError::TooLong { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
            }
            ArtifactsError::Source(_) => Self::bad_request(error.to_string()),
            _ => Self::internal(&error),
        }
    }
}
