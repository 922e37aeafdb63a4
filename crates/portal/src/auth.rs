//! Who asks: a customer by its API key, the operator by its token.

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use kinesis_protocol::AccountId;

use crate::{api::Outlet, problem::Problem};

const HOW: &str = "send Authorization: Bearer with your API key; `kinesis account open` makes one";

/// A customer, proven by its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Customer(pub(crate) AccountId);

/// The operator, proven by its token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operator;

fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl FromRequestParts<Outlet> for Customer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, outlet: &Outlet) -> Result<Self, Problem> {
        let key = bearer(parts)
            .ok_or_else(|| Problem::unauthorised("This needs an API key.").hint(HOW))?;
        Ok(Self(outlet.control.authenticate(key).await?))
    }
}

impl FromRequestParts<Outlet> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, outlet: &Outlet) -> Result<Self, Problem> {
        let given = bearer(parts).filter(|token| outlet.config.operator.matches(token));
        given.map(|_| Self).ok_or_else(|| {
            Problem::unauthorised("This is for the utility's operator.")
                .hint("send Authorization: Bearer with the content of the file operator.token")
        })
    }
}

/// Whoever sends a key has to send a right one; whoever sends none is anyone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Anyone(pub(crate) Option<AccountId>);

impl FromRequestParts<Outlet> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, outlet: &Outlet) -> Result<Self, Problem> {
        match bearer(parts) {
            None => Ok(Self(None)),
            Some(token) if outlet.config.operator.matches(token) => Ok(Self(None)),
            Some(_) => Customer::from_request_parts(parts, outlet).await.map(|c| Self(Some(c.0))),
        }
    }
}
