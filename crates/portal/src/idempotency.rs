//! The `Idempotency-Key` header: repeating a request changes nothing.

use axum::{extract::FromRequestParts, http::request::Parts};
use kinesis_protocol::ContentHash;
use kinesis_store::{Idempotency, IdempotencyKey};

use crate::problem::Problem;

const HEADER: &str = "idempotency-key";

/// The key of a request, where it has one.
#[derive(Debug, Clone)]
pub(crate) struct Key(Option<IdempotencyKey>);

impl Key {
    /// The key of a request that has to have one.
    pub(crate) fn required(self) -> Result<IdempotencyKey, Problem> {
        self.0.ok_or_else(|| {
            Problem::bad_request("This request creates or pays: it needs an Idempotency-Key.")
                .hint("send a header Idempotency-Key with something unique, and the same again when you repeat the request")
        })
    }

    /// The key of a request that has to have one, with the fingerprint of what was asked.
    pub(crate) fn of(self, asked: &impl serde::Serialize) -> Result<Idempotency, Problem> {
        let asked = serde_json::to_vec(asked).unwrap_or_default();
        Ok(Idempotency { key: self.required()?, fingerprint: ContentHash::of(&asked) })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(HEADER) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default();
        Ok(Self(Some(IdempotencyKey::new(text)?)))
    }
}
