//! The portal on a socket.

use std::{sync::Arc, time::Duration};

use kinesis_portal::Portal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::fixture::*;

async fn get(portal: &Portal, path: &str) -> String {
    let mut stream = TcpStream::connect(portal.addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: portal\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn it_listens_limits_and_stops() {
    let utility = Utility::start().await;
    let mut config = utility.config.clone();
    config.limits.head_timeout = Duration::from_millis(200);
    config.limits.connections = 2;
    let portal = Portal::start(
        config.clone(),
        Arc::clone(&utility.control),
        utility.store.clone(),
        utility.artifacts.clone(),
    )
    .await
    .unwrap();
    assert!(portal.url().starts_with("http://127.0.0.1:"));
    assert!(get(&portal, "/v1/health").await.starts_with("HTTP/1.1 200"));
    assert!(get(&portal, "/style.css").await.contains("text/css"));

    // Two who say nothing take both places, for as long as a head may take.
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(portal.addr()).await.unwrap());
    }
    for stream in &mut silent {
        let mut rest = Vec::new();
        tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.unwrap().ok();
    }
    assert!(get(&portal, "/v1/health").await.starts_with("HTTP/1.1 200"));

    // The port is taken.
    config.bind = portal.addr();
    let (control, store) = (Arc::clone(&utility.control), utility.store.clone());
    let taken = Portal::start(config, control, store, utility.artifacts.clone()).await;
    assert!(taken.unwrap_err().to_string().contains("could not listen on"));

    // A page that is watched does not hold it up for longer than it is given.
    let mut watching = TcpStream::connect(portal.addr()).await.unwrap();
    watching.write_all(b"GET /live HTTP/1.1\r\nhost: portal\r\n\r\n").await.unwrap();
    let mut first = [0; 64];
    tokio::time::timeout(LONG, watching.read(&mut first)).await.unwrap().unwrap();
    tokio::time::timeout(LONG, portal.shutdown(Duration::from_millis(200))).await.unwrap();
    assert!(TcpStream::connect(portal.addr()).await.is_err());
}

/// A portal on a socket of its own.
async fn listening(utility: &Utility, limit: impl FnOnce(&mut kinesis_portal::Limits)) -> Portal {
    let mut config = utility.config.clone();
    limit(&mut config.limits);
    let (control, store) = (Arc::clone(&utility.control), utility.store.clone());
    Portal::start(config, control, store, utility.artifacts.clone()).await.unwrap()
}

/// Asks until the answer has this in it: a place may come back a moment after it was left.
async fn until(portal: &Portal, path: &str, wanted: &str) {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let answer = get(portal, path).await;
        if answer.contains(wanted) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{path}: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A connection that watches the page.
async fn watching(portal: &Portal) -> TcpStream {
    let mut stream = TcpStream::connect(portal.addr()).await.unwrap();
    stream.write_all(b"GET /live HTTP/1.1\r\nhost: portal\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    tokio::time::timeout(LONG, stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    stream
}

#[tokio::test]
async fn one_client_leaves_places_for_others() {
    let utility = Utility::start().await;
    let portal = listening(&utility, |limits| {
        limits.connections_per_client = 3;
        limits.watchers = 9;
        limits.watchers_per_client = 2;
    })
    .await;
    let watchers = [watching(&portal).await, watching(&portal).await];
    for path in ["/live", "/v1/events"] {
        until(&portal, path, "This client watches 2 times already.").await;
    }
    until(&portal, "/v1/health", "HTTP/1.1 200").await;
    let third = TcpStream::connect(portal.addr()).await.unwrap();
    until(&portal, "/v1/health", "HTTP/1.1 429").await;
    drop((watchers, third));
    until(&portal, "/v1/health", "HTTP/1.1 200").await;
    drop(watching(&portal).await);
}

#[tokio::test]
async fn who_does_not_read_gives_up_the_place() {
    let utility = Utility::start().await;
    let portal = listening(&utility, |limits| {
        limits.connections = 1;
        limits.write_pause = Duration::from_millis(300);
    })
    .await;
    let mut deaf = TcpStream::connect(portal.addr()).await.unwrap();
    let asking = tokio::spawn(async move {
        // It asks for more than any buffer on the way holds, and reads none of it.
        let request = b"GET /v1/openapi.json HTTP/1.1\r\nhost: portal\r\n\r\n";
        while deaf.write_all(request).await.is_ok() {}
        deaf
    });
    let ended = tokio::time::timeout(LONG, asking).await.expect("it is hung up on");
    drop(ended);
    until(&portal, "/v1/health", "HTTP/1.1 200").await;
}
