//! A chain whose answers get lost: a proxy before it that keeps one question for itself.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};

/// Which question a proxy leaves without an answer, and whether the chain hears it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    pub(super) method: &'static str,
    pub(super) heard: bool,
}

pub(super) struct Proxy {
    chain: String,
    hold: Hold,
    seen: AtomicUsize,
    pub(super) held: Notify,
    http: reqwest::Client,
}

async fn forward(State(proxy): State<Arc<Proxy>>, body: Bytes) -> Vec<u8> {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let is_it =
        asked["method"] == proxy.hold.method && proxy.seen.fetch_add(1, Ordering::SeqCst) == 0;
    if !is_it || proxy.hold.heard {
        let request = proxy.http.post(&proxy.chain).header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap().bytes().await.unwrap();
        if !is_it {
            return answer.to_vec();
        }
    }
    proxy.held.notify_one();
    std::future::pending().await
}

pub(super) async fn proxy(chain: &str, hold: Hold) -> (String, Arc<Proxy>) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let seen = AtomicUsize::new(0);
    let proxy = Arc::new(Proxy { chain: chain.to_owned(), hold, seen, held: Notify::new(), http });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(forward)).with_state(Arc::clone(&proxy));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, proxy)
}
