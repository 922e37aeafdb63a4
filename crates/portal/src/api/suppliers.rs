//! Suppliers: what they earned, and payment in USD.

use axum::{Json as Answer, extract::State, http::StatusCode};
use kinesis_control::api::{SupplierView, WithdrawRequest, WithdrawalView};
use kinesis_protocol::Address;

use super::{
    Outlet,
    body::{Json, Path},
};
use crate::problem::Problem;

/// What a supplier ever earned, and its newest payment proof, which the escrow contract redeems
/// without the utility's help.
#[utoipa::path(
    get, path = "/v1/suppliers/{address}", tag = "suppliers",
    params(("address" = String, Path, description = "The supplier's address, `0x…`")),
    responses((status = 200, description = "What it earned; nothing for an address nobody knows", body = SupplierView))
)]
pub(super) async fn show(
    State(outlet): State<Outlet>,
    Path(address): Path<Address>,
) -> Result<Answer<SupplierView>, Problem> {
    Ok(Answer(outlet.control.supplier(address).await?))
}

/// Pays a supplier in USD: it signs its redemption over to the utility's desk. The cumulative amount
/// of its proof is the idempotency key: repeated, it is paid once.
#[utoipa::path(
    post, path = "/v1/suppliers/{address}/withdrawals", tag = "suppliers",
    params(("address" = String, Path, description = "The supplier's address, `0x…`")),
    request_body = WithdrawRequest,
    responses(
        (status = 200, description = "Redeemed and paid", body = WithdrawalView),
        (status = 422, description = "The proof, the signature or the deadline does not hold", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The chain did not do as asked; repeat it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn withdraw(
    State(outlet): State<Outlet>,
    Path(address): Path<Address>,
    Json(asked): Json<WithdrawRequest>,
) -> Result<Answer<WithdrawalView>, Problem> {
    if asked.payment.supplier != address {
        let detail = "The payment proof is another supplier's.";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    Ok(Answer(outlet.control.withdraw(address, &asked).await?))
}
