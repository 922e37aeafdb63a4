//! HTTP/2, TLS, upgrades, trailers, server-sent events.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kinesis_ingress::TlsFiles;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::grid::{
    Answer, Body, Client, Node, TestBackend, fed, full, get, ingress, ingress_with, soon, until,
};

async fn h2<T>(stream: T) -> http2::SendRequest<Body>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn h2_get(scheme: &str, path: &str) -> Request<Body> {
    Request::builder()
        .uri(format!("{scheme}://hello.localhost{path}"))
        .body(Full::default().boxed_unsync())
        .unwrap()
}

#[tokio::test]
async fn http2_reaches_the_same_guest_with_trailers() {
    let backend = TestBackend::new();
    let node = Node::start(|request| {
        Box::pin(async move {
            assert_eq!(request.headers()[header::HOST], "hello.localhost");
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            let frames = [Ok(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers))];
            let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
            Answer::Response(
                Response::builder().header(header::TRAILER, "x-sum").body(body).unwrap(),
            )
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut sender = h2(TcpStream::connect(ingress.addr()).await.unwrap()).await;
    let requests: Vec<_> = (0..10).map(|_| sender.send_request(h2_get("http", "/"))).collect();
    for request in requests {
        let response = soon(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let collected = soon(response.into_body().collect()).await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
        assert_eq!(collected.to_bytes(), "body");
    }
    soon(sender.ready()).await.unwrap();
}

#[tokio::test]
async fn tls_from_files_offers_http2() {
    let made = rcgen::generate_simple_self_signed(vec!["hello.localhost".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let backend = TestBackend::new();
    let node = Node::start(|request| {
        Box::pin(async move {
            let proto = request.headers()["x-forwarded-proto"].clone();
            Answer::Response(full(proto.to_str().unwrap().to_owned()))
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress_with(&backend, |config| config.tls = Some(files)).await;
    assert!(ingress.url().starts_with("https://"));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(ingress.addr()).await.unwrap();
    let name = ServerName::try_from("hello.localhost").unwrap();
    let stream = soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = h2(stream).await;
    let response = soon(sender.send_request(h2_get("https", "/"))).await.unwrap();
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    assert_eq!(body, "https");
}

fn upgrade_request() -> Request<Body> {
    let mut request = get("/socket");
    request.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
    request.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
    request
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let backend = TestBackend::new();
    let node = Node::start(|mut request| {
        Box::pin(async move {
            assert_eq!(request.headers()[header::UPGRADE], "websocket");
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgraded.await.unwrap());
                let mut bytes = [0; 4];
                while io.read_exact(&mut bytes).await.is_ok() {
                    io.write_all(&bytes).await.unwrap();
                }
            });
            let mut response = full("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
            response.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
            Answer::Response(response)
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let mut response = client.send(upgrade_request()).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()[header::UPGRADE], "websocket");
    let mut io = TokioIo::new(soon(hyper::upgrade::on(&mut response)).await.unwrap());
    for _ in 0..10 {
        soon(io.write_all(b"ping")).await.unwrap();
        let mut bytes = [0; 4];
        soon(io.read_exact(&mut bytes)).await.unwrap();
        assert_eq!(&bytes, b"ping");
    }
    let in_flight = || node.route.traffic.in_flight.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(in_flight(), 1, "a tunnel is a request in flight");
    drop((io, response, client));
    until("the tunnel is closed", || in_flight() == 0).await;
}

#[tokio::test]
async fn a_guest_that_takes_no_upgrade_says_so_itself() {
    let backend = TestBackend::new();
    let node = Node::start(|_| {
        Box::pin(async {
            let mut response = full("WASI 0.2 guests cannot accept a WebSocket");
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            Answer::Response(response)
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let (status, text) = client.text(upgrade_request()).await;
    assert_eq!(status, 501);
    assert!(text.contains("WASI 0.2"), "{text}");
}

#[tokio::test]
async fn events_arrive_while_the_response_goes_on() {
    let backend = TestBackend::new();
    let (sender, body) = fed();
    let once = parking_lot::Mutex::new(Some(body));
    let node = Node::start(move |_| {
        let body = once.lock().take().unwrap();
        Box::pin(async move {
            let event_stream =
                Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
            Answer::Response(event_stream.body(body).unwrap())
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let mut body = client.send(get("/events")).await.into_body();
    for number in 0..5 {
        let event = format!("data: {number}\n\n");
        sender.send(Bytes::from(event.clone())).await.unwrap();
        let frame = soon(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    drop(body);
    drop(client);
    soon(sender.closed()).await;
}
