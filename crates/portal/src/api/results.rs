//! What a supplier signed of a job, and all that it takes to audit that.

use axum::{Json as Answer, extract::State};
use kinesis_protocol::result::Dossier;

use super::{Outlet, body::Path};
use crate::{auth::Customer, problem::Problem};

/// The dossier of a part of a deterministic job: what was run, what came out, and its supplier's
/// signature. `kinesis audit claim` takes it; the contents it names are at `/v1/artifacts/{hash}`.
#[utoipa::path(
    get, path = "/v1/apps/{name}/parts/{part}/result", tag = "apps", security(("customer" = [])),
    params(
        ("name" = String, Path, description = "The job's name"),
        ("part" = u32, Path, description = "Which part, from 0"),
    ),
    responses(
        (status = 200, description = "The dossier", body = serde_json::Value),
        (status = 401, description = "The key is not known", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "The caller has no such app, or it no such part", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Nobody signed a result of it", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    Customer(account): Customer,
    State(outlet): State<Outlet>,
    Path((name, part)): Path<(String, u32)>,
) -> Result<Answer<Dossier>, Problem> {
    Ok(Answer(outlet.control.dossier(account, &name, part).await?))
}
