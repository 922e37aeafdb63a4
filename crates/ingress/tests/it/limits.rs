//! What a client may not do, and how an ingress ends.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use kinesis_ingress::{Ingress, IngressConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::grid::{
    Answer, Client, Node, TestBackend, fed, full, get, ingress, ingress_with, request, soon, until,
};

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_by_its_length_and_by_its_bytes() {
    let backend = TestBackend::new();
    let node = Node::named("a").await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress_with(&backend, |config| config.limits.body_bytes = 10).await;
    let mut client = Client::connect(&ingress).await;
    assert_eq!(client.text(request("PUT", "/", "just right")).await.0, 200);
    for method in ["PUT", "POST"] {
        let mut client = Client::connect(&ingress).await;
        let (status, text) = client.text(request(method, "/", "one too many")).await;
        assert_eq!(status, 413, "{text}");
        let mut client = Client::connect(&ingress).await;
        let (sender, body) = fed();
        let sending = tokio::spawn(async move {
            for _ in 0..3 {
                sender.send(Bytes::from("piece")).await.unwrap();
            }
            // It would send more, and waits to be told not to.
            sender.closed().await;
        });
        let response = client.send(request(method, "/", "").map(|_| body)).await;
        assert_eq!(response.status(), 413);
        drop((response, client));
        soon(sending).await.unwrap();
    }
    assert!(backend.suspected.lock().is_empty(), "a client's fault is not the replica's");
}

#[tokio::test]
async fn a_body_that_pauses_is_given_up() {
    let backend = TestBackend::new();
    let node = Node::named("a").await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress_with(&backend, |config| {
        config.limits.body_pause = Duration::from_millis(100);
    })
    .await;
    let mut client = Client::connect(&ingress).await;
    let (sender, body) = fed();
    sender.send(Bytes::from("some")).await.unwrap();
    let response = client.send(request("POST", "/", "").map(|_| body)).await;
    assert_eq!(response.status(), 408);
    drop(sender);
}

#[tokio::test]
async fn a_head_that_is_too_long_or_too_slow_is_refused() {
    let backend = TestBackend::new();
    backend.route(vec![]);
    let ingress = ingress_with(&backend, |config| {
        config.limits.head_timeout = Duration::from_millis(200);
    })
    .await;
    let mut client = Client::connect(&ingress).await;
    let mut long = get("/");
    let value = "x".repeat(100 << 10).parse().unwrap();
    long.headers_mut().insert("x-long", value);
    assert_eq!(client.text(long).await.0, 431);
    let starts: [&[u8]; 3] = [b"GET / HTTP/1.1\r\nhost: hello", b"PRI * HTTP/2", b""];
    for start in starts {
        let mut slow = TcpStream::connect(ingress.addr()).await.unwrap();
        slow.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        // It is hung up on, with or without a word.
        let _ = soon(slow.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn one_client_has_so_many_connections_and_no_more() {
    let backend = TestBackend::new();
    let node = Node::named("a").await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress_with(&backend, |config| config.limits.connections_per_client = 2).await;
    let mut first = Client::connect(&ingress).await;
    let mut second = Client::connect(&ingress).await;
    assert_eq!(first.text(get("/")).await.0, 200);
    assert_eq!(second.text(get("/")).await.0, 200);
    let mut third = TcpStream::connect(ingress.addr()).await.unwrap();
    let mut answer = String::new();
    let _ = soon(third.read_to_string(&mut answer)).await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    drop(first);
    let deadline = tokio::time::Instant::now() + crate::grid::LONG;
    loop {
        let mut again = TcpStream::connect(ingress.addr()).await.unwrap();
        again
            .write_all(b"GET / HTTP/1.1\r\nhost: hello.localhost\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        let _ = soon(again.read_to_string(&mut answer)).await;
        if answer.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_app_that_never_answers_is_given_up() {
    let backend = TestBackend::new();
    let node = Node::start(|_| {
        Box::pin(async {
            std::future::pending::<()>().await;
            Answer::HangUp
        })
    })
    .await;
    backend.route_with_limit(vec![node.route.clone()], 50);
    let ingress = ingress_with(&backend, |config| {
        config.limits.response_slack = Duration::from_millis(50);
    })
    .await;
    let mut client = Client::connect(&ingress).await;
    assert_eq!(client.text(get("/")).await.0, 504);
    until("the request is over", || {
        node.route.traffic.in_flight.load(std::sync::atomic::Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn an_orderly_end_lets_requests_finish() {
    let backend = TestBackend::new();
    let (sender, body) = fed();
    let once = parking_lot::Mutex::new(Some(body));
    let node = Node::start(move |_| {
        let body = once.lock().take().unwrap();
        Box::pin(async move { Answer::Response(full("").map(|_| body)) })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let response = client.send(get("/")).await;
    let addr = ingress.addr();
    let ending = tokio::spawn(async move { ingress.shutdown(crate::grid::LONG).await });
    sender.send(Bytes::from("done")).await.unwrap();
    drop(sender);
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, "done");
    soon(ending).await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err(), "it still listens");
}

#[tokio::test]
async fn a_busy_port_and_bad_tls_files_are_named() {
    let backend = TestBackend::new();
    let first = ingress(&backend).await;
    let error =
        Ingress::start(IngressConfig::local(first.addr()), backend.clone()).await.unwrap_err();
    assert!(error.to_string().contains(&first.addr().port().to_string()), "{error}");
    let mut config = IngressConfig::local("127.0.0.1:0".parse().unwrap());
    config.tls =
        Some(kinesis_ingress::TlsFiles { cert: "/nowhere/c.pem".into(), key: "/k.pem".into() });
    let error = Ingress::start(config, backend).await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/c.pem"), "{error}");
}

#[tokio::test]
async fn connect_is_for_proxies() {
    let backend = TestBackend::new();
    backend.route(vec![]);
    let ingress = ingress(&backend).await;
    let mut raw = TcpStream::connect(ingress.addr()).await.unwrap();
    raw.write_all(b"CONNECT hello.localhost:80 HTTP/1.1\r\nhost: hello.localhost:80\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    soon(raw.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 405");
}
