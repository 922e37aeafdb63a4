//! JSON-RPC 2.0: bodies, batches, errors, and who may ask. What the methods do is in
//! [`methods`](super::methods).

use alloy::{primitives::Bytes, sol_types::decode_revert_reason};
use axum::{
    Router,
    body::Bytes as Body,
    extract::{DefaultBodyLimit, FromRequestParts as _, Request, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

use super::{
    EmbeddedChain,
    socket::{self, Subscriptions},
};
use crate::ChainError;

/// The longest request body: room for the largest contract creation and then some.
const BODY_BYTES_MAX: usize = 2 << 20;
/// The most calls in a batch.
const BATCH_MAX: usize = 1_000;
/// The longest answer to a batch; further calls of it get errors.
const ANSWER_BYTES_MAX: usize = 32 << 20;

/// An error as a JSON-RPC client sees it.
#[derive(Debug)]
pub(super) struct RpcError {
    code: i64,
    message: String,
    data: Option<Value>,
}

impl RpcError {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The transaction or query cannot be served as it is.
    pub(super) fn rejected(message: impl Into<String>) -> Self {
        Self::new(-32000, message)
    }

    /// The parameters are not what the method takes.
    pub(super) fn params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// No such method.
    pub(super) fn no_method(method: &str) -> Self {
        let method: String = method.chars().take(64).collect();
        Self::new(-32601, format!("the method {method} does not exist/is not available"))
    }

    /// More than is answered at once.
    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(-32005, message)
    }

    /// A contract reverted; the data is its error.
    pub(super) fn reverted(output: Bytes) -> Self {
        let message = match decode_revert_reason(&output) {
            Some(reason) if !reason.is_empty() => format!("execution reverted: {reason}"),
            _ => "execution reverted".to_owned(),
        };
        Self { code: 3, message, data: Some(json!(output)) }
    }

    /// What went wrong, in words.
    pub(super) fn into_message(self) -> String {
        self.message
    }

    /// Our own failure; the cause goes to the log.
    pub(super) fn internal(error: &ChainError) -> Self {
        tracing::error!(error = error as &dyn std::error::Error, "a JSON-RPC call failed");
        Self::new(-32603, "internal error")
    }
}

impl From<ChainError> for RpcError {
    fn from(error: ChainError) -> Self {
        Self::internal(&error)
    }
}

pub(super) fn router(chain: EmbeddedChain) -> Router {
    Router::new()
        .route("/rpc", post(serve).get(upgrade))
        .route("/", post(serve).get(upgrade))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(chain)
}

/// Whether the request is for an address, or for `localhost`. A page that points a name of its own at
/// this machine would be of one origin with it otherwise.
fn named_locally(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    address.parse::<std::net::IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
}

async fn serve(State(chain): State<EmbeddedChain>, headers: HeaderMap, body: Body) -> Response {
    // A web page may post other types to any address without asking; this one its browser must ask
    // for first, and is not granted. Otherwise any page could move the clock of a chain at home.
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if !kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json")) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    if !named_locally(&headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    match respond(&chain, &body, None).await {
        Some(answer) => ([(header::CONTENT_TYPE, "application/json")], answer).into_response(),
        // Notifications only.
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

async fn upgrade(State(chain): State<EmbeddedChain>, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    // A browser opens a WebSocket to any address without asking, but says which page wants it. No
    // page of ours does; tools outside of browsers have no origin.
    if parts.headers.contains_key(header::ORIGIN) || !named_locally(&parts.headers) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &chain).await {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal.into_response(),
    };
    let Ok(permit) = chain.sockets().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    upgrade
        .max_message_size(BODY_BYTES_MAX)
        .max_frame_size(BODY_BYTES_MAX)
        .on_upgrade(move |socket| socket::serve(chain, socket, permit))
}

/// Answers a body; `None` where it holds nothing but notifications. Only a connection that stays
/// open has subscriptions.
pub(super) async fn respond(
    chain: &EmbeddedChain,
    body: &[u8],
    subscriptions: Option<&mut Subscriptions>,
) -> Option<String> {
    let answer = match serde_json::from_slice(body) {
        Ok(Value::Array(calls)) if calls.is_empty() => {
            Some(failure(&Value::Null, RpcError::new(-32600, "an empty batch")))
        }
        Ok(Value::Array(calls)) if calls.len() > BATCH_MAX => {
            let error = RpcError::limit(format!("a batch holds at most {BATCH_MAX} calls"));
            Some(failure(&Value::Null, error))
        }
        Ok(Value::Array(calls)) => return batch(chain, calls, subscriptions).await,
        Ok(call) => answer(chain, call, subscriptions).await,
        Err(_) => Some(failure(&Value::Null, RpcError::new(-32700, "the body is no JSON"))),
    };
    answer.map(|answer| answer.to_string())
}

async fn batch(
    chain: &EmbeddedChain,
    calls: Vec<Value>,
    mut subscriptions: Option<&mut Subscriptions>,
) -> Option<String> {
    let mut answers = String::new();
    for call in calls {
        let answer = if answers.len() > ANSWER_BYTES_MAX {
            let error = RpcError::limit("the answer to the batch is too long: ask for less");
            call.get("id").map(|id| failure(id, error))
        } else {
            answer(chain, call, subscriptions.as_deref_mut()).await
        };
        if let Some(answer) = answer {
            answers.push(if answers.is_empty() { '[' } else { ',' });
            answers.push_str(&answer.to_string());
        }
    }
    (!answers.is_empty()).then(|| answers + "]")
}

/// Answers one call; a notification (a call without an id) has no answer.
async fn answer(
    chain: &EmbeddedChain,
    mut call: Value,
    subscriptions: Option<&mut Subscriptions>,
) -> Option<Value> {
    let id = call.get_mut("id").map(Value::take);
    let invalid = |id: Option<Value>, why: &str| {
        Some(failure(&id.unwrap_or_default(), RpcError::new(-32600, why)))
    };
    if matches!(id, Some(Value::Array(_) | Value::Object(_) | Value::Bool(_))) {
        return invalid(None, "an id is a string or a number");
    }
    let params = match call.get_mut("params").map(Value::take) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(params)) => params,
        Some(_) => return invalid(id, "the parameters must be an array"),
    };
    let Some(method) = call.get("method").and_then(Value::as_str) else {
        return invalid(id, "a call needs a method");
    };
    let result = match (method, subscriptions) {
        ("eth_subscribe", Some(subscriptions)) => subscriptions.open(params),
        ("eth_unsubscribe", Some(subscriptions)) => subscriptions.close(params),
        _ => chain.dispatch(method, params).await,
    };
    let id = id?;
    Some(match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => failure(&id, error),
    })
}

fn failure(id: &Value, error: RpcError) -> Value {
    let mut body = json!({"code": error.code, "message": error.message});
    if let Some(data) = error.data {
        body["data"] = data;
    }
    json!({"jsonrpc": "2.0", "id": id, "error": body})
}
