//! JSON-RPC over WebSocket: the calls of HTTP, and subscriptions.
//!
//! Open: a connection takes one message at a time and answers it; what it subscribed to is sent as
//! it happens. Closed: by the client, by silence, by a client that does not read, or with the chain;
//! an open connection does not keep the chain open.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use alloy::{
    primitives::U128,
    rpc::types::{Filter, Transaction},
};
use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast},
    time::{Instant, timeout},
};

use super::{
    EmbeddedChain, Event, Inner, methods::Params, query, record::Record, rpc, rpc::RpcError,
};

/// The most subscriptions of a connection.
const SUBSCRIPTIONS_MAX: usize = 64;
/// How often a connection is asked whether it is still there.
const PING: Duration = Duration::from_secs(20);
/// How long a connection may be silent, pings and all.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the client may take to read a message.
const WRITE_MAX: Duration = Duration::from_secs(20);

/// What a connection wants to hear of.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    open: HashMap<U128, Kind>,
}

#[derive(Debug)]
enum Kind {
    Heads,
    Logs(Box<Filter>),
    /// Hashes, or whole transactions.
    Transactions(bool),
}

impl Subscriptions {
    /// `eth_subscribe`.
    pub(super) fn open(&mut self, params: Vec<Value>) -> Result<Value, RpcError> {
        if self.open.len() >= SUBSCRIPTIONS_MAX {
            return Err(RpcError::limit(format!(
                "a connection has at most {SUBSCRIPTIONS_MAX} subscriptions"
            )));
        }
        let mut params = Params(params);
        let kind = match params.required::<String>(0)?.as_str() {
            "newHeads" => Kind::Heads,
            "newPendingTransactions" => Kind::Transactions(params.optional(1)?.unwrap_or(false)),
            "logs" => {
                let filter: Filter = params.optional(1)?.unwrap_or_default();
                query::check(&filter)?;
                Kind::Logs(Box::new(filter))
            }
            other => {
                let other: String = other.chars().take(64).collect();
                return Err(RpcError::params(format!("no \"{other}\" subscription")));
            }
        };
        let id = U128::from(rand::random::<u128>());
        self.open.insert(id, kind);
        Ok(json!(id))
    }

    /// `eth_unsubscribe`.
    pub(super) fn close(&mut self, params: Vec<Value>) -> Result<Value, RpcError> {
        let id = Params(params).required(0)?;
        match self.open.remove(&id) {
            Some(_) => Ok(json!(true)),
            None => Err(RpcError::rejected("subscription not found")),
        }
    }

    /// What an event means to this connection.
    fn notices(&self, event: &Event) -> Vec<String> {
        let mut notices = Vec::new();
        for (id, kind) in &self.open {
            let mut tell = |result: Value| {
                let params = json!({"subscription": id, "result": result});
                let notice =
                    json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params});
                notices.push(notice.to_string());
            };
            match (kind, event) {
                (Kind::Heads, Event::Block(record)) => tell(json!(record.block(false).header)),
                (Kind::Logs(filter), Event::Block(record)) => {
                    let all: Vec<_> = Record::logs(record);
                    for log in all.iter().filter(|log| filter.matches(&log.inner)) {
                        tell(json!(log));
                    }
                }
                (Kind::Transactions(false), Event::Transaction(transaction)) => {
                    tell(json!(transaction.inner().tx_hash()));
                }
                (Kind::Transactions(true), Event::Transaction(transaction)) => {
                    tell(json!(Transaction {
                        inner: (**transaction).clone(),
                        block_hash: None,
                        block_number: None,
                        transaction_index: None,
                        effective_gas_price: None,
                        block_timestamp: None,
                    }));
                }
                _ => {}
            }
        }
        notices
    }
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    chain: EmbeddedChain,
    mut socket: WebSocket,
    _permit: OwnedSemaphorePermit,
) {
    let mut events = chain.inner.shared.events.subscribe();
    let weak = Arc::downgrade(&chain.inner);
    drop(chain);
    let mut subscriptions = Subscriptions::default();
    let mut ping = tokio::time::interval(PING);
    let mut heard = Instant::now();
    let why = loop {
        let sent = tokio::select! {
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                heard = Instant::now();
                match answer(&weak, &message, &mut subscriptions).await {
                    Ok(Some(text)) => send(&mut socket, Message::text(text)).await,
                    Ok(None) => true,
                    Err(why) => break why,
                }
            }
            event = events.recv() => match event {
                Ok(event) => {
                    let mut sent = true;
                    for notice in subscriptions.notices(&event) {
                        sent = sent && send(&mut socket, Message::text(notice)).await;
                    }
                    sent
                }
                // It would miss blocks without knowing.
                Err(broadcast::error::RecvError::Lagged(_)) if subscriptions.open.is_empty() => true,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    break (close_code::AGAIN, "too slow for what it subscribed to");
                }
                Err(broadcast::error::RecvError::Closed) => break (close_code::AWAY, "the chain stops"),
            },
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    return;
                }
                send(&mut socket, Message::Ping(axum::body::Bytes::new())).await
            }
        };
        if !sent {
            return;
        }
    };
    let (code, reason) = why;
    send(&mut socket, Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
}

/// Whether the client took it in time.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(WRITE_MAX, socket.send(message)).await, Ok(Ok(())))
}

/// The answer to a message, or why the connection ends.
async fn answer(
    chain: &Weak<Inner>,
    message: &Message,
    subscriptions: &mut Subscriptions,
) -> Result<Option<String>, (u16, &'static str)> {
    let body = match message {
        Message::Text(text) => text.as_bytes(),
        Message::Binary(bytes) => bytes.as_ref(),
        Message::Ping(_) | Message::Pong(_) => return Ok(None),
        // The library answers it; the next read ends the connection.
        Message::Close(_) => return Ok(None),
    };
    let Some(inner) = chain.upgrade() else {
        return Err((close_code::AWAY, "the chain stops"));
    };
    Ok(rpc::respond(&EmbeddedChain { inner }, body, Some(subscriptions)).await)
}
