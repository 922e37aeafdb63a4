//! The page, and what makes it live.

use axum::{body::Body, http::Request};
use futures_util::StreamExt;
use kinesis_control::api::Role;
use kinesis_protocol::Tier;
use tower::ServiceExt;

use crate::fixture::*;

/// Reads a stream of events until one fits.
async fn until(utility: &Utility, path: &str, fits: impl Fn(&str) -> bool) -> impl Sized {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = utility.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body().into_data_stream();
    let found = async {
        let mut read = String::new();
        while let Some(chunk) = body.next().await {
            read.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
            while let Some(end) = read.find("\n\n") {
                let event: String = read.drain(..end + 2).collect();
                if fits(&event) {
                    return;
                }
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(LONG, found).await.expect("such an event");
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_take_over_is_seen_as_it_happens() {
    let utility = Utility::start().await;
    let acme = utility.customer("acme").await;
    let mut agents = Vec::new();
    for name in ["den", "tower"] {
        agents.push(utility.supplier(name, Tier::Crowd).await);
    }
    acme.deploy("d1", &service("web")).await.with(201);
    let app = acme
        .until("web", |app| {
            let warm = |r: &kinesis_control::api::ReplicaView| r.state == "warm";
            app.replicas.len() == 2
                && app.replicas.iter().any(warm)
                && app.replicas.iter().any(|r| r.state == "active")
        })
        .await;
    let html = utility.anyone().get("/").await;
    assert_eq!(html.header("content-type"), "text/html; charset=utf-8");
    let html = html.text();
    for shown in ["data-app=\"web\"", "data-role=\"active\"", ">den<", ">tower<", "noscript"] {
        assert!(html.contains(shown), "{shown} in {html}");
    }

    let active = app.replicas.iter().find(|replica| replica.role == Role::Active).unwrap();
    let heir = app.replicas.iter().find(|replica| replica.role == Role::Standby).unwrap();
    let told = until(&utility, "/v1/events", |event| event.contains("event: take_over"));
    let seen = until(&utility, "/live", |event| {
        let took_over = format!("<b>{}</b> took over replica 0", heir.node_name);
        event.starts_with("event: page") && event.contains(&took_over)
    });
    let kill = async {
        // Both are listening by now, or will be told by the first picture.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let agent = agents.iter().find(|agent| agent.node() == active.node).unwrap();
        agent.kill();
    };
    tokio::join!(told, seen, kill);
    assert!(utility.anyone().get("/").await.text().contains("data-event=\"take_over\""));
}

#[tokio::test]
async fn watchers_are_limited_and_leave_their_place() {
    let utility = Utility::start().await;
    let mut watching = Vec::new();
    for _ in 0..utility.config.limits.watchers {
        watching.push(until(&utility, "/live", |event| event.starts_with("event: page")).await);
    }
    for path in ["/live", "/v1/events"] {
        utility.anyone().get(path).await.with(503);
    }
    watching.pop();
    until(&utility, "/live", |event| event.starts_with("event: page")).await;
}
