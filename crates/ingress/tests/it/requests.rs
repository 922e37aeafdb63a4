//! Requests that go well, and hosts that lead nowhere.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use kinesis_control::{NotReady, api::AppState};
use tokio::sync::mpsc;

use crate::grid::{
    Answer, Client, Node, TestBackend, fed, full, get, ingress, request, soon, until,
};

#[tokio::test]
async fn a_request_reaches_its_app_and_says_where_it_came_from() {
    let backend = TestBackend::new();
    let node = Node::start(|request| {
        Box::pin(async move {
            let seen: Vec<String> = ["host", "x-forwarded-for", "x-forwarded-proto", "forwarded"]
                .iter()
                .map(|name| request.headers()[*name].to_str().unwrap().to_owned())
                .collect();
            let id = request.headers()["x-request-id"].clone();
            let mut response = full(seen.join(" | "));
            response.headers_mut().insert("x-seen-id", id);
            response.headers_mut().insert("keep-alive", "timeout=1".parse().unwrap());
            Answer::Response(response)
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let response = client.send(get("/")).await;
    assert_eq!(response.headers()["x-request-id"], response.headers()["x-seen-id"]);
    assert!(!response.headers().contains_key("keep-alive"));
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    let expected = "hello.localhost:8080 | 127.0.0.1 | http | \
                    for=127.0.0.1;host=\"hello.localhost:8080\";proto=http";
    assert_eq!(body, expected);
    let mut own = get("/");
    own.headers_mut().insert(header::HOST, "Shop.example".parse().unwrap());
    assert_eq!(client.text(own).await.0, 200);
    assert_eq!(node.route.client.idle_streams(), 1, "both went over one stream");
}

#[tokio::test]
async fn an_unknown_host_is_told_what_to_do() {
    let backend = TestBackend::new();
    backend.route(vec![]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let mut nobody = get("/");
    nobody.headers_mut().insert(header::HOST, "nobody.localhost".parse().unwrap());
    let response = client.send(nobody).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], 404);
    assert!(problem["detail"].as_str().unwrap().contains("kinesis ps"), "{problem}");
    assert!(problem["request_id"].as_str().unwrap().starts_with("req_"), "{problem}");
    let mut none = get("/");
    none.headers_mut().insert(header::HOST, "a b".parse().unwrap());
    assert_eq!(client.text(none).await.0, 400);
}

#[tokio::test]
async fn a_stopped_app_answers_at_once() {
    let backend = TestBackend::new();
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    for (state, word) in [(AppState::Stopped, "stopped"), (AppState::OverBudget, "budget")] {
        backend.route_as(state, vec![]);
        let (status, text) = client.text(get("/")).await;
        assert_eq!(status, 503);
        assert!(text.contains(word), "{text}");
    }
    // Long over, it has no route, and the store is asked.
    let at = |host: &str| {
        let mut request = get("/");
        let value = http::HeaderValue::from_str(host).unwrap();
        request.headers_mut().insert(header::HOST, value);
        request
    };
    *backend.gone.lock() = Some(NotReady::Stopped);
    let (status, text) = client.text(at("late.localhost")).await;
    assert!(status == 503 && text.contains("stopped"), "{status} {text}");
    *backend.gone.lock() = None;
    assert_eq!(client.text(at("late.localhost")).await.0, 404);
    assert_eq!(backend.woken.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_sleeping_app_is_woken_by_its_first_request() {
    let backend = TestBackend::new();
    backend.route_as(AppState::Idle, vec![]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let asking = tokio::spawn(async move { client.text(get("/x")).await });
    until("it is woken", || backend.woken.load(Ordering::SeqCst) == 1).await;
    let node = Node::named("a").await;
    backend.route(vec![node.route.clone()]);
    assert_eq!(soon(asking).await.unwrap(), (200, "a GET /x ".to_owned()));
}

#[tokio::test]
async fn both_bodies_stream_at_once_and_are_counted() {
    let backend = TestBackend::new();
    let node = Node::start(|request| {
        Box::pin(async move {
            let (sender, body) = fed();
            tokio::spawn(async move {
                let mut incoming = request.into_body();
                while let Some(Ok(frame)) = incoming.frame().await {
                    if let Ok(data) = frame.into_data() {
                        sender.send(data).await.unwrap();
                    }
                }
            });
            Answer::Response(http::Response::new(body))
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let (sender, body) = fed();
    sender.send(Bytes::from("ping")).await.unwrap();
    let mut post = request("POST", "/", "").map(|_| body);
    post.headers_mut().insert("x-kept", "1".parse().unwrap());
    let mut response = client.send(post).await.into_body();
    for _ in 0..3 {
        let frame = soon(response.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "ping");
        sender.send(Bytes::from("ping")).await.unwrap();
    }
    drop(sender);
    let rest = soon(response.collect()).await.unwrap().to_bytes();
    assert_eq!(rest, "ping");
    let counted = node.route.traffic.counts();
    assert_eq!((counted.requests, counted.rx_bytes, counted.tx_bytes), (1, 16, 16));
    until("it is over", || node.route.traffic.in_flight.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_at_the_guest() {
    let backend = TestBackend::new();
    let (gone, mut cancelled) = mpsc::unbounded_channel::<&'static str>();
    struct Says(mpsc::UnboundedSender<&'static str>);
    impl Drop for Says {
        fn drop(&mut self) {
            let _ = self.0.send("cancelled");
        }
    }
    let node = Node::start(move |_| {
        let says = Says(gone.clone());
        Box::pin(async move {
            let _ = says.0.send("asked");
            std::future::pending::<()>().await;
            Answer::HangUp
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let asking = tokio::spawn(async move { client.text(get("/slow")).await });
    assert_eq!(soon(cancelled.recv()).await, Some("asked"));
    asking.abort();
    assert_eq!(soon(cancelled.recv()).await, Some("cancelled"));
    assert!(backend.suspected.lock().is_empty(), "a client that leaves is nobody's fault");
}

#[tokio::test]
async fn load_is_spread_over_replicas() {
    let backend = TestBackend::new();
    let (first, second) = (Node::named("a").await, Node::named("b").await);
    backend.route(vec![first.route.clone(), second.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    for _ in 0..200 {
        assert_eq!(client.text(get("/")).await.0, 200);
    }
    let counts = [&first, &second].map(|node| node.route.traffic.counts().requests);
    assert_eq!(counts[0] + counts[1], 200);
    assert!(counts.iter().all(|count| *count > 20), "{counts:?}");
}

#[tokio::test]
async fn an_absolute_request_line_is_understood() {
    let backend = TestBackend::new();
    let node = Node::named("a").await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let absolute = Request::builder()
        .uri("http://hello.localhost/p?q=1")
        .header(header::HOST, "other.localhost")
        .body(get("/").into_body())
        .unwrap();
    assert_eq!(client.text(absolute).await, (200, "a GET /p?q=1 ".to_owned()));
}
