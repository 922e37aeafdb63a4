//! Services: bodies both ways, instances fresh and kept, and clients that go away.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use kinesis_protocol::lease::Instance;
use kinesis_runtime::Sandbox;

use crate::support::{Client, Grid, as_service, ask, get, log, service, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_and_counts() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    assert_eq!(ask(&sandbox, "/").await, (200, "ok".into()));
    assert_eq!(ask(&sandbox, "/env?name=GREETING").await, (200, "hello grid".into()));
    let before = sandbox.counters();

    let mut client = Client::connect(&sandbox).await;
    let body = Bytes::from(vec![7; 300_000]);
    let request = Request::post("/echo").header("host", "x").body(Full::new(body.clone())).unwrap();
    let response = client.send(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(within(response.into_body().collect()).await.unwrap().to_bytes(), body);
    until("the request is counted", || sandbox.counters().requests == before.requests + 1).await;
    let counters = sandbox.counters();
    assert_eq!(counters.rx_bytes - before.rx_bytes, 300_000);
    assert_eq!(counters.tx_bytes - before.tx_bytes, 300_000);
    assert_eq!(sandbox.in_flight(), 0);

    let (status, text) = ask(&sandbox, "/bytes?n=3000000").await;
    assert_eq!((status, text.len()), (200, 3_000_000));
}

/// What `/echo` answers to a body with this trailer.
async fn echoed_trailer(sandbox: &Sandbox, announced: bool) -> (Bytes, Option<String>) {
    let stream = sandbox.connect().await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::post("/echo").header("host", "x").header("te", "trailers");
    if announced {
        request = request.header("trailer", "x-sum");
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let frames = [Frame::data(Bytes::from("body")), Frame::trailers(trailers)];
    let frames = frames.map(Ok::<_, std::convert::Infallible>);
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let response = within(sender.send_request(request.body(body).unwrap())).await.unwrap();
    assert_eq!(response.status(), 200);
    let collected = within(response.into_body().collect()).await.unwrap();
    let trailer = collected.trailers().and_then(|all| all.get("x-sum"));
    let trailer = trailer.map(|value| value.to_str().unwrap().to_owned());
    (collected.to_bytes(), trailer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_a_guest_both_ways_where_they_are_announced() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    let body = Bytes::from("body");
    assert_eq!(echoed_trailer(&sandbox, true).await, (body.clone(), Some("7".to_owned())));
    // Not announced, they are lost, and nothing else is.
    assert_eq!(echoed_trailer(&sandbox, false).await, (body, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_forgets_and_kept_remembers() {
    let grid = Grid::open().await;
    let fresh = grid.service("probe", Instance::Fresh).await;
    for _ in 0..3 {
        assert_eq!(ask(&fresh, "/visits").await.1, "1");
    }
    let kept = grid.service("probe", Instance::Kept).await;
    for visit in 1..=3 {
        assert_eq!(ask(&kept, "/visits").await.1, visit.to_string());
    }
    // Many at once still take their turns at the one instance.
    let asked = (0..20).map(|_| ask(&kept, "/visits"));
    let mut seen: Vec<u32> = futures_util::future::join_all(asked)
        .await
        .into_iter()
        .map(|(_, text)| text.parse().unwrap())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (4..24).collect::<Vec<_>>());
    // A trap costs the state, not the service.
    assert_eq!(ask(&kept, "/trap").await.0, 500);
    assert_eq!(ask(&kept, "/visits").await, (200, "1".into()));
    assert_eq!(ask(&kept, "/silent").await.0, 500);
    assert_eq!(ask(&kept, "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_is_a_500_with_a_reason() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    let (status, text) = ask(&sandbox, "/trap").await;
    assert_eq!(status, 500);
    assert!(text.contains("the app failed"), "{text}");
    assert!(text.len() < 500, "{text}");
    assert!(log(&sandbox).contains("asked to"), "the panic belongs in the log");
    assert_eq!(ask(&sandbox, "/silent").await.0, 500);
    assert_eq!(ask(&sandbox, "/exit").await.0, 500);
    assert_eq!(ask(&sandbox, "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_is_refused_with_an_explanation() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    let mut client = Client::connect(&sandbox).await;
    let request = Request::get("/")
        .header("host", "x")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(Full::default())
        .unwrap();
    let response = client.send(request).await;
    assert_eq!(response.status(), 501);
    let text = within(response.into_body().collect()).await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("WASI 0.2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_arrive_one_by_one() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    let mut client = Client::connect(&sandbox).await;
    let response = client.send(get("/events?n=4&every_ms=60")).await;
    let mut body = response.into_body();
    let mut frames = 0;
    while let Some(frame) = within(body.frame()).await {
        frames += usize::from(frame.unwrap().is_data());
    }
    assert!(frames >= 4, "{frames} frames: the answer was held back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_stops_its_guest() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    // In its answer, while it computes, and while it waits.
    for path in ["/bytes?n=2000000000", "/spin?ms=15000", "/sleep?ms=15000"] {
        let mut client = Client::connect(&sandbox).await;
        let asked = tokio::spawn(async move { (client.send(get(path)).await, client) });
        until("it is in flight", || sandbox.in_flight() == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(sandbox.in_flight(), 1, "{path}");
        asked.abort();
        drop(asked);
        let begun = std::time::Instant::now();
        until("it was cancelled", || sandbox.in_flight() == 0).await;
        assert!(begun.elapsed() < Duration::from_secs(10), "{path} went on to its own end");
    }
    assert_eq!(ask(&sandbox, "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_takes_too_long_is_ended() {
    let grid = Grid::open().await;
    for instance in [Instance::Fresh, Instance::Kept] {
        let mut spec = service("probe", instance);
        as_service(&mut spec).request_ms_max = 300;
        let sandbox = grid.start(spec).await;
        within(sandbox.ready()).await.unwrap();
        let (status, text) = ask(&sandbox, "/spin?ms=20000").await;
        assert_eq!(status, 504, "{text}");
        assert!(text.contains("300 ms"), "{text}");
        assert_eq!(ask(&sandbox, "/sleep?ms=20000").await.0, 504);
        assert_eq!(ask(&sandbox, "/").await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_service_finishes_what_is_in_flight() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    let mut client = Client::connect(&sandbox).await;
    let asked = tokio::spawn(async move { client.get("/sleep?ms=700").await });
    until("it is in flight", || sandbox.in_flight() == 1).await;
    sandbox.drain();
    assert_eq!(within(asked).await.unwrap(), (200, "slept".into()));
    assert_eq!(within(sandbox.ended()).await, kinesis_runtime::Exit::Stopped);
    assert_eq!(sandbox.counters().requests, 1);
    assert!(sandbox.connect().await.is_err());
}
