//! JSON-RPC over WebSocket.

use std::time::Duration;

use alloy::primitives::Address;
use futures_util::{SinkExt as _, StreamExt as _};
use kinesis_chain::{ChainConfig, EmbeddedChain};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _, http::HeaderValue},
};

use crate::{
    rpc::{send, transfer},
    support::{Grid, embedded, joule, result, serve},
};

/// How long to wait for what must come.
const SOON: Duration = Duration::from_secs(20);

struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    async fn open(url: &str) -> Self {
        Self(connect_async(url.replace("http", "ws")).await.unwrap().0)
    }

    async fn next(&mut self) -> Value {
        loop {
            let message = timeout(SOON, self.0.next()).await.expect("a message");
            match message.expect("open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn send(&mut self, text: String) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// A call whose answer is the next message.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        let call = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        self.send(call.to_string()).await;
        self.next().await
    }

    async fn subscribe(&mut self, params: Value) -> Value {
        let answer = self.call("eth_subscribe", params).await;
        assert!(answer["result"].is_string(), "{answer}");
        answer["result"].clone()
    }
}

/// The notice of `subscription` with its result.
fn notice(subscription: &Value, result: &Value) -> Value {
    let params = json!({"subscription": subscription, "result": result});
    json!({"jsonrpc": "2.0", "method": "eth_subscription", "params": params})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_hear_of_transactions_blocks_and_logs_in_order() {
    let chain = embedded().await;
    let url = &chain.url;
    let grid = Grid::new(url).await;
    let mut socket = Socket::open(url).await;
    assert_eq!(socket.call("eth_chainId", json!([])).await["result"], "0x7a69");
    let pending = socket.subscribe(json!(["newPendingTransactions"])).await;
    let heads = socket.subscribe(json!(["newHeads"])).await;
    let mut logs = Socket::open(url).await;
    let of_joule = logs.subscribe(json!(["logs", {"address": grid.contracts.joule}])).await;
    logs.subscribe(json!(["logs", {"address": Address::repeat_byte(1)}])).await;
    let mut whole = Socket::open(url).await;
    whole.subscribe(json!(["newPendingTransactions", true])).await;

    grid.utility.transfer(Address::repeat_byte(7), joule(1)).await.unwrap();
    let block = result(url, "eth_getBlockByNumber", json!(["latest", true])).await;
    let hash = &block["transactions"][0]["hash"];
    assert_eq!(socket.next().await, notice(&pending, hash));
    let head = socket.next().await;
    assert_eq!(head["params"]["subscription"], heads);
    for field in ["hash", "number", "parentHash", "timestamp", "logsBloom", "baseFeePerGas"] {
        assert_eq!(head["params"]["result"][field], block[field], "{field}");
    }
    assert!(head["params"]["result"].get("transactions").is_none());
    let receipt = result(url, "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(logs.next().await, notice(&of_joule, &receipt["logs"][0]));
    let shown = whole.next().await["params"]["result"].clone();
    assert_eq!((&shown["hash"], &shown["blockHash"]), (hash, &Value::Null));

    // What was ended is not heard of any more; what remains goes on.
    assert_eq!(socket.call("eth_unsubscribe", json!([pending])).await["result"], true);
    assert!(socket.call("eth_unsubscribe", json!([pending])).await.get("error").is_some());
    send(url, &transfer(0).0).await;
    assert_eq!(socket.next().await["params"]["subscription"], heads);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_no_way_around_what_http_refuses() {
    let chain = embedded().await;
    let url = chain.url.replace("http", "ws");
    for (name, value) in [("origin", "https://evil.example"), ("host", "evil.example:8545")] {
        let mut request = url.clone().into_client_request().unwrap();
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        match connect_async(request).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 403, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let mut socket = Socket::open(&chain.url).await;
    for (text, code) in [
        ("nonsense".to_owned(), -32700),
        ("[]".to_owned(), -32600),
        (r#"{"id":1,"method":"eth_subscribe","params":["nonsense"]}"#.to_owned(), -32602),
        (r#"{"id":1,"method":"eth_subscribe"}"#.to_owned(), -32602),
        (r#"{"id":1,"method":"eth_hashrate"}"#.to_owned(), -32601),
        ("[".repeat(100_000), -32700),
    ] {
        socket.send(text).await;
        assert_eq!(socket.next().await["error"]["code"], code);
    }
    for _ in 0..64 {
        socket.subscribe(json!(["newHeads"])).await;
    }
    let answer = socket.call("eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(answer["error"]["code"], -32005);
    // Over HTTP there is nobody to tell.
    let answer = crate::support::call(&chain.url, "eth_subscribe", json!(["newHeads"])).await;
    assert_eq!(answer["error"]["code"], -32601);
    // More than a message may hold ends the connection, and nothing else.
    let mut large = Socket::open(&chain.url).await;
    drop(large.0.send(Message::text(" ".repeat(3 << 20))).await);
    let ended = timeout(SOON, async {
        while let Some(Ok(message)) = large.0.next().await {
            if message.is_close() {
                break;
            }
        }
    });
    ended.await.expect("the connection ends");
    assert_eq!(result(&chain.url, "eth_blockNumber", json!([])).await, "0x0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_socket_does_not_keep_the_chain_open() {
    let dir = tempfile::tempdir().unwrap();
    let chain = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap();
    let router = chain.router();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut socket = Socket::open(&format!("http://{address}/rpc")).await;
    socket.subscribe(json!(["newHeads"])).await;
    server.abort();
    drop(chain);
    // The connection is told to go, and the directory is free.
    let closed = timeout(SOON, async {
        while let Some(Ok(message)) = socket.0.next().await {
            if message.is_close() {
                return;
            }
        }
    });
    closed.await.expect("the socket is closed");
    let chain = timeout(SOON, async {
        loop {
            if let Ok(chain) = EmbeddedChain::open(ChainConfig::new(dir.path())) {
                return chain;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let chain = chain.await.expect("the chain can be opened again");
    let address = serve(&chain).await;
    assert_eq!(result(&format!("http://{address}/rpc"), "eth_blockNumber", json!([])).await, "0x0");
}
