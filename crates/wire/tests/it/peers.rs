//! A utility and an agent that are connected, and what tests wait with.

use std::{future::Future, time::Duration};

use kinesis_wire::{Endpoint, EndpointConfig, Link, NodeSecret};

/// Long enough for a loaded machine: only a failing test ever waits for it.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Fails the test where `future` takes too long.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future).await.expect("it takes too long")
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn endpoint(listen: bool) -> Endpoint {
    Endpoint::bind(EndpointConfig {
        secret: NodeSecret::generate(),
        bind: Some("127.0.0.1:0".parse().unwrap()),
        relay: None,
        listen,
    })
    .await
    .unwrap()
}

/// Both ends of one link, and the endpoints that keep it alive.
pub(crate) struct Pair {
    pub(crate) utility_endpoint: Endpoint,
    pub(crate) agent_endpoint: Endpoint,
    pub(crate) utility: Link,
    pub(crate) agent: Link,
}

pub(crate) async fn pair() -> Pair {
    let utility_endpoint = endpoint(true).await;
    let agent_endpoint = endpoint(false).await;
    join(utility_endpoint, agent_endpoint).await
}

pub(crate) async fn join(utility_endpoint: Endpoint, agent_endpoint: Endpoint) -> Pair {
    let addr = utility_endpoint.addr();
    let (agent, utility) =
        soon(async { tokio::join!(agent_endpoint.connect(&addr), utility_endpoint.accept()) })
            .await;
    let (agent, utility) = (agent.unwrap(), utility.unwrap());
    Pair { utility_endpoint, agent_endpoint, utility, agent }
}
