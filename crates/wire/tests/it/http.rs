//! Requests over kept streams to a server that stands in for an agent and its guest.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kinesis_protocol::{
    Epoch, LeaseId,
    message::{StreamAnswer, StreamOpen},
};
use kinesis_wire::{
    Link,
    http::{LeaseClient, LeaseTraffic, RequestBody, SendError},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::peers::{Pair, pair, soon, until};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers every Http stream as an agent with one guest does, and counts the streams.
pub(crate) fn serve(agent: Link, refuse: Option<&'static str>) -> Arc<AtomicUsize> {
    let streams = Arc::new(AtomicUsize::new(0));
    let counted = streams.clone();
    tokio::spawn(async move {
        while let Ok((open, mut stream)) = agent.accept().await {
            assert!(matches!(open, StreamOpen::Http { .. }));
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                if let Some(reason) = refuse {
                    stream.answer(StreamAnswer::Refused { reason: reason.into() }).await.unwrap();
                    return;
                }
                stream.answer(StreamAnswer::Ready { bytes: None }).await.unwrap();
                let _ = http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(guest))
                    .with_upgrades()
                    .await;
            });
        }
    });
    streams
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

async fn guest(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let response = match request.uri().path() {
        "/echo" => {
            let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(frame)) = body.frame().await {
                    if sender.send(Ok(frame)).await.is_err() {
                        return;
                    }
                }
            });
            let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
                receiver.recv().await.map(|item| (item, receiver))
            });
            Response::builder()
                .header(header::TRAILER, "x-sum")
                .body(StreamBody::new(stream).boxed_unsync())
        }
        "/trailers" => {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", "7".parse().unwrap());
            let frames = [Ok(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers))];
            Response::builder()
                .header(header::TRAILER, "x-sum")
                .body(StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync())
        }
        "/upgrade" => {
            tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
                let mut io = TokioIo::new(upgraded);
                let mut bytes = [0; 4];
                io.read_exact(&mut bytes).await.unwrap();
                io.write_all(&bytes).await.unwrap();
                io.shutdown().await.unwrap();
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "echo")
                .body(full(""))
        }
        "/empty" => Response::builder().status(204).body(full("")),
        "/close" => Response::builder().header(header::CONNECTION, "close").body(full("bye")),
        path => Response::builder().body(full(format!("{} {path}", request.method()))),
    };
    Ok(response.unwrap())
}

pub(crate) fn client(pair: &Pair) -> LeaseClient {
    let traffic = Arc::new(LeaseTraffic::default());
    LeaseClient::new(pair.utility.clone(), LeaseId::random(), Epoch(1), traffic)
}

pub(crate) fn get(path: &str) -> Request<RequestBody> {
    Request::builder()
        .uri(path)
        .header(header::HOST, "app.localhost")
        .body(RequestBody::empty())
        .unwrap()
}

#[tokio::test]
async fn one_stream_serves_request_after_request() {
    let pair = pair().await;
    let streams = serve(pair.agent.clone(), None);
    let client = client(&pair);
    for i in 0..50 {
        let path = if i % 2 == 0 { "/hello" } else { "/empty" };
        let response = soon(client.send(get(path))).await.unwrap();
        let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
        assert_eq!(body, if i % 2 == 0 { "GET /hello" } else { "" });
        assert_eq!(client.idle_streams(), 1, "request {i} did not give its stream back");
        assert_eq!(client.traffic().in_flight.load(Ordering::SeqCst), 0);
    }
    assert_eq!(streams.load(Ordering::SeqCst), 1);
    let counted = client.traffic().counts();
    assert_eq!((counted.requests, counted.tx_bytes), (50, 25 * 10));
}

#[tokio::test]
async fn requests_at_once_have_a_stream_each() {
    let pair = pair().await;
    let streams = serve(pair.agent.clone(), None);
    let client = client(&pair);
    for _ in 0..2 {
        let sends = (0..30).map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                let response = client.send(get("/x")).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes()
            })
        });
        for send in sends.collect::<Vec<_>>() {
            assert_eq!(soon(send).await.unwrap(), "GET /x");
        }
    }
    let opened = streams.load(Ordering::SeqCst);
    assert!(opened <= 30, "{opened} streams for 30 requests at once");
    assert_eq!(client.idle_streams(), opened);
    client.forget_idle();
    assert_eq!(client.idle_streams(), 0);
}

#[tokio::test]
async fn bodies_stream_in_both_directions_with_trailers() {
    let pair = pair().await;
    serve(pair.agent.clone(), None);
    let client = client(&pair);
    let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let body = StreamBody::new(futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    }));
    let request = Request::builder()
        .method(Method::POST)
        .uri("/echo")
        .header(header::HOST, "app.localhost")
        .header(header::TE, "trailers")
        .header(header::TRAILER, "x-sum")
        .body(RequestBody::stream(body))
        .unwrap();
    sender.send(Ok(Frame::data(Bytes::from("first")))).await.unwrap();
    let response = soon(client.send(request)).await.unwrap();
    let mut body = response.into_body();
    // The echo of the first piece is there before the second is sent.
    let frame = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.data_ref().unwrap(), "first");
    sender.send(Ok(Frame::data(Bytes::from("second")))).await.unwrap();
    let frame = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.data_ref().unwrap(), "second");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "11".parse().unwrap());
    sender.send(Ok(Frame::trailers(trailers.clone()))).await.unwrap();
    drop(sender);
    let frame = soon(body.frame()).await.unwrap().unwrap();
    assert_eq!(frame.trailers_ref(), Some(&trailers));
    assert!(soon(body.frame()).await.is_none());
    assert_eq!(client.idle_streams(), 1);
    let counted = client.traffic().counts();
    assert_eq!((counted.rx_bytes, counted.tx_bytes), (11, 11));

    let mut request = get("/trailers");
    request.headers_mut().insert(header::TE, "trailers".parse().unwrap());
    let body = soon(client.send(request)).await.unwrap().into_body();
    let collected = soon(body.collect()).await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
}

#[tokio::test]
async fn a_large_body_passes_whole() {
    let pair = pair().await;
    serve(pair.agent.clone(), None);
    let client = client(&pair);
    let large = Bytes::from((0..8_u32 << 20).map(|i| i.to_le_bytes()[1]).collect::<Vec<_>>());
    let request = Request::builder()
        .method(Method::PUT)
        .uri("/echo")
        .header(header::HOST, "app.localhost")
        .body(RequestBody::full(large.clone()))
        .unwrap();
    let response = soon(client.send(request)).await.unwrap();
    let back = soon(response.into_body().collect()).await.unwrap().to_bytes();
    assert!(back == large);
    assert_eq!(client.traffic().counts().rx_bytes, large.len() as u64);
}

#[tokio::test]
async fn an_upgrade_passes_and_counts_while_it_lasts() {
    let pair = pair().await;
    serve(pair.agent.clone(), None);
    let client = client(&pair);
    let mut request = get("/upgrade");
    request.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
    request.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
    let mut response = soon(client.send(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = soon(hyper::upgrade::on(&mut response)).await.unwrap();
    assert_eq!(client.traffic().in_flight.load(Ordering::SeqCst), 1);
    let mut io = TokioIo::new(upgraded);
    io.write_all(b"ping").await.unwrap();
    let mut bytes = Vec::new();
    soon(io.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(bytes, b"ping");
    drop((io, response));
    assert_eq!(client.traffic().in_flight.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_refused_request_is_handed_back() {
    let pair = pair().await;
    serve(pair.agent.clone(), Some("an older epoch"));
    let client = client(&pair);
    let mut request = get("/x");
    *request.method_mut() = Method::POST;
    *request.body_mut() = RequestBody::full(Bytes::from("kept"));
    let error = soon(client.send(request)).await.unwrap_err();
    let SendError::NotSent { source, request } = error else { panic!("{error}") };
    assert!(source.to_string().contains("an older epoch"), "{source}");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "kept");
    assert_eq!(client.traffic().counts().requests, 0);
}

#[tokio::test]
async fn a_link_that_closes_fails_what_is_in_flight_at_once() {
    let pair = pair().await;
    // Nobody answers: the agent's side holds the stream.
    let agent = pair.agent.clone();
    let holding = tokio::spawn(async move {
        let (_, mut stream) = agent.accept().await.unwrap();
        stream.answer(StreamAnswer::Ready { bytes: None }).await.unwrap();
        let mut some = [0; 16];
        stream.read_exact(&mut some).await.unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    });
    let client = client(&pair);
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send(get("/slow")).await }
    });
    until("it is in flight", || client.traffic().counts().requests == 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    pair.utility.close("lost");
    let error = soon(sending).await.unwrap().unwrap_err();
    assert!(matches!(error, SendError::Lost { .. }), "{error}");
    let error = soon(client.send(get("/next"))).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent { .. }), "{error}");
    holding.abort();
}

#[tokio::test]
async fn a_kept_stream_that_ended_is_replaced_without_a_failure() {
    let pair = pair().await;
    let streams = serve(pair.agent.clone(), None);
    let client = client(&pair);
    for _ in 0..3 {
        let response = soon(client.send(get("/close"))).await.unwrap();
        assert_eq!(soon(response.into_body().collect()).await.unwrap().to_bytes(), "bye");
    }
    assert_eq!(streams.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_guest_that_answers_nonsense_is_a_lost_request() {
    let pair = pair().await;
    let agent = pair.agent.clone();
    tokio::spawn(async move {
        while let Ok((_, mut stream)) = agent.accept().await {
            stream.answer(StreamAnswer::Ready { bytes: None }).await.unwrap();
            stream.write_all(b"SSH-2.0-nonsense\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
            // Keep it until the other end has read it.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    });
    let client = client(&pair);
    for _ in 0..3 {
        let error = soon(client.send(get("/x"))).await.unwrap_err();
        assert!(!matches!(error, SendError::Body { .. }), "{error}");
    }
    assert_eq!(client.idle_streams(), 0);
}
