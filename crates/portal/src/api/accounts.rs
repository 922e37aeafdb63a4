//! Customers: opened and filled by the operator, shown to themselves.

use axum::{Json as Answer, extract::State, http::StatusCode};
use kinesis_control::api::{AccountView, NewAccount};
use kinesis_protocol::{AccountId, NanoUsd};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Outlet,
    body::{Json, Path},
};
use crate::{
    auth::{Customer, Operator},
    idempotency::Key,
    problem::Problem,
};

/// An account that is to be opened.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Open {
    /// Its name, 1 to 100 printable characters.
    #[schema(example = "research")]
    name: String,
}

/// Money for an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deposit {
    /// How much, in dollars, with at most nine decimals.
    #[schema(example = "25.00")]
    usd: String,
}

/// Opens an account. The key is shown once; repeated with the same `Idempotency-Key`, the same
/// account gets a new key and the old one is void.
#[utoipa::path(
    post, path = "/v1/accounts", tag = "accounts", security(("operator" = [])),
    request_body = Open,
    params(("Idempotency-Key" = String, Header, description = "Repeating it opens no second account")),
    responses(
        (status = 201, description = "Opened", body = NewAccount),
        (status = 401, description = "Not the operator", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not a name, or the key was used for another request", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn open(
    _: Operator,
    State(outlet): State<Outlet>,
    key: Key,
    Json(asked): Json<Open>,
) -> Result<(StatusCode, Answer<NewAccount>), Problem> {
    let idempotency = key.of(&asked)?;
    let opened = outlet.control.create_account(&asked.name, Some(&idempotency)).await?;
    Ok((StatusCode::CREATED, Answer(opened)))
}

/// Puts money on an account, once for each `Idempotency-Key`.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/deposits", tag = "accounts", security(("operator" = [])),
    request_body = Deposit,
    params(
        ("account" = String, Path, description = "The account, `acc_…`"),
        ("Idempotency-Key" = String, Header, description = "Repeating it pays nothing more"),
    ),
    responses(
        (status = 200, description = "Paid", body = AccountView),
        (status = 401, description = "Not the operator", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such account", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Not an amount, or the key was used for another", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn deposit(
    _: Operator,
    State(outlet): State<Outlet>,
    Path(account): Path<AccountId>,
    key: Key,
    Json(asked): Json<Deposit>,
) -> Result<Answer<AccountView>, Problem> {
    let amount: NanoUsd = asked
        .usd
        .parse()
        .map_err(|e| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("usd: {e}")))?;
    let key = key.required()?;
    Ok(Answer(outlet.control.deposit(account, amount, &key).await?))
}

/// The caller's account and what is left on it.
#[utoipa::path(
    get, path = "/v1/account", tag = "accounts", security(("customer" = [])),
    responses(
        (status = 200, description = "The account", body = AccountView),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
) -> Result<Answer<AccountView>, Problem> {
    Ok(Answer(outlet.control.account(account).await?))
}
