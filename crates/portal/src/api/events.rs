//! What happens, as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Frame, KeepAlive},
    },
};
use futures_util::{Stream, StreamExt};
use kinesis_control::api::Event;
use kinesis_protocol::AccountId;
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

use super::Outlet;
use crate::{auth::Anyone, problem::Problem, watcher::Watcher};

/// How often a stream that has nothing to say says so.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What happens from now on. Anyone sees nodes, leases, take-overs and ticks; a customer's key adds
/// the budgets of its own apps. A reader that is too slow gets `event: missed` with a count.
#[utoipa::path(
    get, path = "/v1/events", tag = "grid",
    responses((status = 200, description = "Each `data` is one event", body = String, content_type = "text/event-stream"))
)]
pub(super) async fn events(
    Anyone(account): Anyone,
    watcher: Watcher,
    State(outlet): State<Outlet>,
) -> Result<Response, Problem> {
    let events = frames(outlet, account).map(move |frame| {
        let _held = &watcher;
        frame
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn frames(
    outlet: Outlet,
    account: Option<AccountId>,
) -> impl Stream<Item = Result<Frame, Infallible>> {
    BroadcastStream::new(outlet.control.subscribe()).filter_map(move |event| {
        let outlet = outlet.clone();
        async move {
            let frame = match event {
                Ok(event) if may_see(&outlet, account, &event).await => {
                    let name = name(&event);
                    Frame::default().event(name).json_data(&*event).ok()?
                }
                Ok(_) => return None,
                Err(BroadcastStreamRecvError::Lagged(missed)) => {
                    Frame::default().event("missed").data(missed.to_string())
                }
            };
            Some(Ok(frame))
        }
    })
}

/// Spending is between a customer and its utility; the rest is everyone's to see.
async fn may_see(outlet: &Outlet, account: Option<AccountId>, event: &Event) -> bool {
    match event {
        Event::Budget { app, .. } => match account {
            Some(account) => {
                let app = outlet.store.app(*app).await;
                app.is_ok_and(|app| app.account == account)
            }
            None => false,
        },
        _ => is_public(event),
    }
}

/// Whether everyone may see it.
pub(crate) fn is_public(event: &Event) -> bool {
    !matches!(event, Event::Budget { .. } | Event::ReportRefused { .. })
}

/// The event's kind, in one word.
pub(crate) fn name(event: &Event) -> &'static str {
    match event {
        Event::NodeJoined { .. } => "node_joined",
        Event::NodeLost { .. } => "node_lost",
        Event::Lease { .. } => "lease",
        Event::TakeOver { .. } => "take_over",
        Event::App { .. } => "app",
        Event::Budget { .. } => "budget",
        Event::ReportRefused { .. } => "report_refused",
        Event::Tick { .. } => "tick",
    }
}
