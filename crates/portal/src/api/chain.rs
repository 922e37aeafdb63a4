//! What the protocol's contracts told, as the utility has read it from the chain.

use axum::{Json as Answer, extract::State, http::StatusCode};
use kinesis_control::{CHAIN_EVENTS_MAX, ChainEventsQuery, api::ChainEventsView};
use kinesis_protocol::Address;
use serde::Deserialize;

use super::{Outlet, body::Query};
use crate::problem::Problem;

/// How many are told unless somebody says.
const LIMIT: u32 = 50;
/// The longest name that is looked for.
const NAME_BYTES_MAX: usize = 64;

/// Which events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    contract: Option<String>,
    name: Option<String>,
    address: Option<Address>,
    before: Option<String>,
    limit: Option<u32>,
}

/// What the protocol's contracts told: stakes, slashes, loans, payments, votes. Newest first. What the
/// chain takes back is gone from here too.
#[utoipa::path(
    get, path = "/v1/chain/events", tag = "grid",
    params(
        ("contract" = Option<String>, Query, description = "Of this contract: `escrow`, `registry`, `pool`, `disputes`, `audits`, `leases`, `exchange`, `governor`, `timelock`, `treasury`, `grants`, or its address"),
        ("name" = Option<String>, Query, description = "Of this name, such as `Slashed`"),
        ("address" = Option<String>, Query, description = "About this account, `0x…`: one of the event's indexed values"),
        ("before" = Option<String>, Query, description = "Older than this one: the `next` of the page before"),
        ("limit" = Option<u32>, Query, description = "How many, 1 to 200; 50 where it is left out"),
    ),
    responses(
        (status = 200, description = "The events", body = ChainEventsView),
        (status = 404, description = "There is no such contract", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn events(
    State(outlet): State<Outlet>,
    Query(asked): Query<EventsQuery>,
) -> Result<Answer<ChainEventsView>, Problem> {
    let refused = |what: String| Problem::new(StatusCode::BAD_REQUEST, what);
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=CHAIN_EVENTS_MAX).contains(&limit) {
        return Err(refused(format!("limit: expected 1 to {CHAIN_EVENTS_MAX}, got {limit}")));
    }
    for (key, text) in [("contract", &asked.contract), ("name", &asked.name)] {
        let plain = |text: &String| {
            text.len() <= NAME_BYTES_MAX
                && !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if text.as_ref().is_some_and(|text| !plain(text)) {
            return Err(refused(format!("{key}: expected a name of letters and digits")));
        }
    }
    let before = asked.before.map(|text| text.parse()).transpose();
    let query = ChainEventsQuery {
        contract: asked.contract,
        name: asked.name,
        address: asked.address,
        before: before.map_err(|error| refused(format!("before: {error}")))?,
        limit,
    };
    let found = outlet.control.chain_events(&query).await?;
    found.map(Answer).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "The protocol has no contract of this name here.")
    })
}
