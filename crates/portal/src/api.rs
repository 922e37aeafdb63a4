//! The REST API: what each path does.
//!
//! Money is in billionths (`_nanousd`, `_nanojoule`), times in milliseconds since the Unix epoch
//! (`_at_ms`). Ids and hashes are text.

mod accounts;
mod apps;
mod artifacts;
mod body;
mod chain;
mod events;
mod grid;
mod results;
mod suppliers;

use std::sync::Arc;

use axum::{Router, response::IntoResponse};
use kinesis_control::Control;
use kinesis_store::{Artifacts, Store};
use kinesis_wire::listen::Clients;
use tokio::sync::Semaphore;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, PathItem, Ref, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{PortalConfig, live::Live, problem::Problem};
pub(crate) use events::KEEP_ALIVE;

/// What every handler has at hand.
#[derive(Clone)]
pub(crate) struct Outlet {
    pub(crate) control: Arc<Control>,
    pub(crate) store: Store,
    pub(crate) artifacts: Artifacts,
    pub(crate) config: Arc<PortalConfig>,
    pub(crate) live: Arc<Live>,
    /// Event streams that may still be opened.
    pub(crate) watchers: Arc<Semaphore>,
    /// How many each client has opened.
    pub(crate) watching: Arc<Clients>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Kinesis utility",
        description = "Compute like power on tap: deploy a workload, watch it run, pay for the \
                       milliseconds it worked. Amounts are integers in billionths of a dollar \
                       (`_nanousd`) or of a JOULE (`_nanojoule`)."
    ),
    tags(
        (name = "accounts", description = "Customers and their money"),
        (name = "apps", description = "What customers run, and what it costs"),
        (name = "artifacts", description = "Components, files and outputs, by the BLAKE3 hash of their content"),
        (name = "grid", description = "What everyone may see"),
        (name = "suppliers", description = "What suppliers earned, and how they are paid"),
    ),
    modifiers(&Keys)
)]
struct Document;

struct Keys;

impl Modify for Keys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        for (name, what) in [
            ("customer", "A customer's API key, `kin_…`."),
            ("operator", "The operator's token, `kop_…`, from the utility's data directory."),
        ] {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what));
            components.add_security_scheme(name, SecurityScheme::Http(scheme.build()));
        }
    }
}

/// What any path may answer besides what is listed with it: without this, a client made from the
/// document would not know what it reads.
const OTHER_FAILURES: &str = "Any other failure: 400 the request cannot be read, or lacks its \
     Idempotency-Key; 408 it took too long; 413 its body is too long; 415 its body is of another \
     type; 429 a limit is reached; 503 it cannot be done now. After 429 and 503 `Retry-After` says \
     when to come back";

/// Gives every operation the failures that all of them have.
fn with_other_failures(openapi: &mut utoipa::openapi::OpenApi) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let other = ResponseBuilder::new()
        .description(OTHER_FAILURES)
        .content("application/problem+json", problem)
        .build();
    for path in openapi.paths.paths.values_mut() {
        let PathItem { get, put, post, delete, head, .. } = path;
        for operation in [get, put, post, delete, head].into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), other.clone().into());
        }
    }
}

fn described() -> OpenApiRouter<Outlet> {
    let mut router = paths();
    with_other_failures(router.get_openapi_mut());
    router
}

fn paths() -> OpenApiRouter<Outlet> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(accounts::open))
        .routes(routes!(accounts::deposit))
        .routes(routes!(accounts::show))
        .routes(routes!(artifacts::head, artifacts::get, artifacts::put))
        .routes(routes!(apps::quote))
        .routes(routes!(apps::list, apps::deploy))
        .routes(routes!(apps::show, apps::delete))
        .routes(routes!(apps::stop))
        .routes(routes!(apps::rollback))
        .routes(routes!(apps::logs))
        .routes(routes!(apps::usage))
        .routes(routes!(apps::outputs))
        .routes(routes!(results::show))
        .routes(routes!(grid::nodes))
        .routes(routes!(grid::grid))
        .routes(routes!(grid::desk))
        .routes(routes!(grid::health))
        .routes(routes!(chain::events))
        .routes(routes!(events::events))
        .routes(routes!(suppliers::show))
        .routes(routes!(suppliers::withdraw))
}

/// The OpenAPI document, made from the handlers.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    described().into_openapi()
}

/// The API's paths, and its description at `/v1/openapi.json`.
pub(crate) fn router() -> Router<Outlet> {
    let (router, document) = described().split_for_parts();
    let document = serde_json::to_string(&document).unwrap_or_default();
    let document: Arc<str> = document.into();
    router
        .route(
            "/v1/openapi.json",
            axum::routing::get(move || {
                let document = Arc::clone(&document);
                async move {
                    ([("content-type", "application/json")], document.to_string()).into_response()
                }
            }),
        )
        .method_not_allowed_fallback(async || {
            Problem::new(http::StatusCode::METHOD_NOT_ALLOWED, "This path takes other methods.")
        })
        .fallback(async || {
            Problem::not_found("There is nothing at this path.")
                .hint("GET /v1/openapi.json lists what there is")
        })
}
