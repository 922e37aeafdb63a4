//! Replicas that fail: what moves on, what waits, and what must not be repeated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt;

use crate::grid::{
    Answer, Client, Node, TestBackend, full, get, ingress, ingress_with, request, soon, until,
};

/// A node that reads the whole request and hangs up, and how often it did.
async fn hanging_up() -> (Node, Arc<AtomicUsize>) {
    let times = Arc::new(AtomicUsize::new(0));
    let counted = times.clone();
    let node = Node::start(move |request| {
        let counted = counted.clone();
        Box::pin(async move {
            let _ = request.into_body().collect().await;
            counted.fetch_add(1, Ordering::SeqCst);
            Answer::HangUp
        })
    })
    .await;
    (node, times)
}

#[tokio::test]
async fn idempotent_requests_move_on_with_their_bodies() {
    let backend = TestBackend::new();
    let ((bad, times), good) = (hanging_up().await, Node::named("good").await);
    // The bad one stays routed; only its fault moves requests away from it.
    backend.route(vec![bad.route.clone(), good.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    for _ in 0..40 {
        assert_eq!(client.text(get("/x")).await, (200, "good GET /x ".to_owned()));
        let (status, text) = client.text(request("PUT", "/x", "the body")).await;
        assert_eq!((status, text.as_str()), (200, "good PUT /x the body"));
        let mut keyed = request("POST", "/x", "paid");
        keyed.headers_mut().insert("idempotency-key", "1".parse().unwrap());
        assert_eq!(client.text(keyed).await, (200, "good POST /x paid".to_owned()));
    }
    assert!(times.load(Ordering::SeqCst) > 0, "the bad replica was never tried");
    assert!(backend.suspected.lock().iter().all(|lease| *lease == bad.route.lease));
}

#[tokio::test]
async fn a_request_that_may_not_be_repeated_is_not() {
    let backend = TestBackend::new();
    let (bad, times) = hanging_up().await;
    backend.route(vec![bad.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let response = client.send(request("POST", "/x", "once")).await;
    assert_eq!(response.status(), 502);
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["request_id"], id);
    assert_eq!(times.load(Ordering::SeqCst), 1);
    assert_eq!(*backend.suspected.lock(), [bad.route.lease]);
}

#[tokio::test]
async fn a_request_that_kills_every_replica_ends() {
    let backend = TestBackend::new();
    let (bad, times) = hanging_up().await;
    backend.route(vec![bad.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    assert_eq!(client.text(get("/poison")).await.0, 502);
    assert_eq!(times.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn nothing_fails_when_a_node_is_lost_under_load() {
    let backend = TestBackend::new();
    let (first, second) = (Node::named("a").await, Node::named("b").await);
    backend.route(vec![first.route.clone(), second.route.clone()]);
    let ingress = ingress(&backend).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(&ingress).await;
        let answered = answered.clone();
        clients.push(tokio::spawn(async move {
            for _ in 0..200 {
                let (status, text) = client.text(get("/")).await;
                assert_eq!(status, 200, "{text}");
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    until("load runs", || answered.load(Ordering::SeqCst) > 200).await;
    first.link.close("lost");
    for client in clients {
        soon(client).await.unwrap();
    }
    assert_eq!(answered.load(Ordering::SeqCst), 1_600);
}

#[tokio::test]
async fn a_standby_takes_over_while_requests_wait() {
    let backend = TestBackend::new();
    let active = Node::named("active").await;
    let standby = Arc::new(Node::named("standby").await.standby());
    backend.route(vec![active.route.clone()]);
    let promoted = standby.clone();
    // As the utility does: the standby is routed to at once, its activation is still on its way.
    backend.on_suspect(move |backend, _| backend.route(vec![promoted.route.clone()]));
    let ingress = ingress(&backend).await;
    let answered = Arc::new(AtomicUsize::new(0));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(&ingress).await;
        let answered = answered.clone();
        clients.push(tokio::spawn(async move {
            let mut last = String::new();
            while last != "standby GET / " {
                let (status, text) = client.text(get("/")).await;
                assert_eq!(status, 200, "{text}");
                last = text;
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    until("load runs", || answered.load(Ordering::SeqCst) > 50).await;
    active.link.close("lost");
    until("it is suspected", || !backend.suspected.lock().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    standby.activate();
    for client in clients {
        soon(client).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_replica_without_a_standby_is_waited_for() {
    let backend = TestBackend::new();
    let lost = Node::named("lost").await;
    backend.route(vec![lost.route.clone()]);
    lost.link.close("lost");
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    // A POST that was never sent anywhere may go anywhere.
    let asking = tokio::spawn(async move { client.text(request("POST", "/", "b")).await });
    until("it waits", || backend.woken.load(Ordering::SeqCst) > 0).await;
    let next = Node::named("next").await;
    backend.route(vec![next.route.clone()]);
    assert_eq!(soon(asking).await.unwrap(), (200, "next POST / b".to_owned()));
}

#[tokio::test]
async fn a_refusal_is_tried_again_whatever_the_method() {
    let backend = TestBackend::new();
    let node = Node::named("late").await;
    node.refusals.store(3, Ordering::SeqCst);
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let (status, text) = client.text(request("POST", "/", "kept")).await;
    assert_eq!((status, text.as_str()), (200, "late POST / kept"));
    assert!(backend.suspected.lock().is_empty(), "a refusal is no failure of the link");
    assert_eq!(node.route.traffic.counts().requests, 1);
}

#[tokio::test]
async fn a_request_in_flight_moves_when_its_link_closes() {
    let backend = TestBackend::new();
    let slow = Node::start(|_| {
        Box::pin(async {
            std::future::pending::<()>().await;
            Answer::HangUp
        })
    })
    .await;
    backend.route(vec![slow.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let asking = tokio::spawn(async move { client.text(get("/")).await });
    until("it is in flight", || slow.route.client.traffic().counts().requests == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let next = Node::named("next").await;
    backend.route(vec![next.route.clone()]);
    slow.link.close("silent");
    assert_eq!(soon(asking).await.unwrap(), (200, "next GET / ".to_owned()));
}

#[tokio::test]
async fn nobody_in_time_is_said_with_when_to_come_back() {
    let backend = TestBackend::new();
    let lost = Node::named("lost").await;
    backend.route(vec![lost.route.clone()]);
    lost.link.close("lost");
    let ingress =
        ingress_with(&backend, |config| config.limits.wait = Duration::from_millis(300)).await;
    let mut client = Client::connect(&ingress).await;
    let response = client.send(get("/")).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let refusing = Node::named("never").await;
    refusing.refusals.store(usize::MAX, Ordering::SeqCst);
    backend.route(vec![refusing.route.clone()]);
    assert_eq!(client.text(get("/")).await.0, 503);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_broken_off_here_too() {
    let backend = TestBackend::new();
    let node = Node::start(|_| {
        Box::pin(async {
            let (sender, body) = crate::grid::fed();
            sender.send("some".into()).await.unwrap();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(600)).await;
                drop(sender);
            });
            Answer::Response(full("").map(|_| body))
        })
    })
    .await;
    backend.route(vec![node.route.clone()]);
    let ingress = ingress(&backend).await;
    let mut client = Client::connect(&ingress).await;
    let mut body = client.send(get("/")).await.into_body();
    assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "some");
    node.link.close("lost");
    assert!(soon(body.frame()).await.unwrap().is_err());
}
