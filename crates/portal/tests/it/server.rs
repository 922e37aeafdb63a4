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
