//! Apps: quoted, deployed, shown, stopped, deleted; what they said, left and cost.

use axum::{
    Json as Answer,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use kinesis_control::api::{AppView, Bill, DeployRequest, OutputView, Quote};
use kinesis_protocol::LeaseId;
use serde::Deserialize;

use super::{
    Outlet,
    body::{Json, Path, Query},
};
use crate::{auth::Customer, idempotency::Key, problem::Problem};

/// Says where an app would run, at what price and how soon, or why not. Nothing is placed.
#[utoipa::path(
    post, path = "/v1/quotes", tag = "apps", security(("customer" = [])),
    request_body = DeployRequest,
    responses(
        (status = 200, description = "The quote; `placeable` says whether it would run now", body = Quote),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The manifest is wrong: `line` and `key` say where", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn quote(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Json(asked): Json<DeployRequest>,
) -> Result<Answer<Quote>, Problem> {
    Ok(Answer(outlet.control.quote(account, &asked).await?))
}

/// Which apps.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Whether those that were deleted, too.
    #[serde(default)]
    deleted: bool,
}

/// All apps of the caller.
#[utoipa::path(
    get, path = "/v1/apps", tag = "apps", security(("customer" = [])),
    params(("deleted" = Option<bool>, Query, description = "Whether those that were deleted, too")),
    responses(
        (status = 200, description = "Newest first", body = Vec<AppView>),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Query(query): Query<ListQuery>,
) -> Result<Answer<Vec<AppView>>, Problem> {
    Ok(Answer(outlet.control.apps(account, query.deleted).await?))
}

/// Deploys an app, or a new version of it: a running service is replaced replica by replica, a job
/// runs once. The artifacts have to be uploaded before.
#[utoipa::path(
    post, path = "/v1/apps", tag = "apps", security(("customer" = [])),
    request_body = DeployRequest,
    params(("Idempotency-Key" = String, Header, description = "Repeating it deploys no second version")),
    responses(
        (status = 201, description = "Deployed; it is being placed", body = AppView),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 402, description = "The account is empty", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The name is taken, or the app is of another kind", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The manifest is wrong, or an artifact is missing", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn deploy(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    key: Key,
    Json(asked): Json<DeployRequest>,
) -> Result<(StatusCode, Answer<AppView>), Problem> {
    let idempotency = key.of(&asked)?;
    let app = outlet.control.deploy(account, &asked, Some(&idempotency)).await?;
    Ok((StatusCode::CREATED, Answer(app)))
}

/// One app.
#[utoipa::path(
    get, path = "/v1/apps/{name}", tag = "apps", security(("customer" = [])),
    params(("name" = String, Path, description = "The app's name")),
    responses(
        (status = 200, description = "The app", body = AppView),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no such app", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(name): Path<String>,
) -> Result<Answer<AppView>, Problem> {
    Ok(Answer(outlet.control.app(account, &name).await?))
}

/// Deletes an app that does not run. Its name and its hosts are free for anybody; its bill stays.
#[utoipa::path(
    delete, path = "/v1/apps/{name}", tag = "apps", security(("customer" = [])),
    params(("name" = String, Path, description = "The app's name")),
    responses(
        (status = 200, description = "Deleted, now or before", body = AppView),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller never had such an app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It runs: stop it first", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn delete(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(name): Path<String>,
) -> Result<Answer<AppView>, Problem> {
    Ok(Answer(outlet.control.delete(account, &name).await?))
}

/// Stops an app. It keeps its name, its hosts and its bill; deployed again, it goes on.
#[utoipa::path(
    post, path = "/v1/apps/{name}/stop", tag = "apps", security(("customer" = [])),
    params(("name" = String, Path, description = "The app's name")),
    responses(
        (status = 200, description = "Stopped", body = AppView),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no such app", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn stop(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(name): Path<String>,
) -> Result<Answer<AppView>, Problem> {
    Ok(Answer(outlet.control.stop(account, &name).await?))
}

/// Goes back to the version before.
#[utoipa::path(
    post, path = "/v1/apps/{name}/rollback", tag = "apps", security(("customer" = [])),
    params(
        ("name" = String, Path, description = "The app's name"),
        ("Idempotency-Key" = String, Header, description = "Repeating it goes back no further"),
    ),
    responses(
        (status = 200, description = "The version before is wanted", body = AppView),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no such app", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is no version before", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn rollback(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(name): Path<String>,
    key: Key,
) -> Result<Answer<AppView>, Problem> {
    let idempotency = key.of(&("rollback", &name))?;
    Ok(Answer(outlet.control.rollback(account, &name, Some(&idempotency)).await?))
}

/// Which logs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    /// Which replica, or part.
    #[serde(default)]
    replica: u32,
    /// Whether to go on while it runs.
    #[serde(default)]
    follow: bool,
}

/// What a replica, or a part, wrote to its standard output and error.
#[utoipa::path(
    get, path = "/v1/apps/{name}/logs", tag = "apps", security(("customer" = [])),
    params(
        ("name" = String, Path, description = "The app's name"),
        ("replica" = Option<u32>, Query, description = "Which replica, or part; 0 where it is left out"),
        ("follow" = Option<bool>, Query, description = "Whether to go on while it runs"),
    ),
    responses(
        (status = 200, description = "The log, as it is written", body = String, content_type = "text/plain"),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no such app, or it has no such replica", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Its node cannot be reached", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn logs(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(name): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, Problem> {
    let logs = outlet.control.logs(account, &name, query.replica, query.follow).await?;
    let headers =
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(logs)).into_response())
}

/// Which lines of a bill.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageQuery {
    /// Those before this one.
    before: Option<LeaseId>,
}

/// What an app cost, line by line: one line for each lease it had, the newest 500.
#[utoipa::path(
    get, path = "/v1/apps/{name}/usage", tag = "apps", security(("customer" = [])),
    params(
        ("name" = String, Path, description = "The app's name; of one that was deleted, too"),
        ("before" = Option<String>, Query, description = "Lines older than this lease's: the `next` of the page before"),
    ),
    responses(
        (status = 200, description = "The bill", body = Bill),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no such app", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn usage(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(name): Path<String>,
    Query(query): Query<UsageQuery>,
) -> Result<Answer<Bill>, Problem> {
    Ok(Answer(outlet.control.usage(account, &name, query.before).await?))
}

/// The files a job left; their content is at `/v1/artifacts/{hash}`.
#[utoipa::path(
    get, path = "/v1/apps/{name}/outputs", tag = "apps", security(("customer" = [])),
    params(("name" = String, Path, description = "The app's name")),
    responses(
        (status = 200, description = "By part and path", body = Vec<OutputView>),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no such app", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn outputs(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path(name): Path<String>,
) -> Result<Answer<Vec<OutputView>>, Problem> {
    Ok(Answer(outlet.control.outputs(account, &name).await?))
}
