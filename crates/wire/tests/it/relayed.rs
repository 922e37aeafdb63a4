//! Two endpoints without a UDP socket: everything passes through our own relay.

use kinesis_protocol::message::{ToAgent, ToUtility};
use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret, Relay};

use crate::peers::{LONG, join, soon};

#[tokio::test]
async fn messages_pass_through_the_relay_alone() {
    let relay = Relay::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let behind = async |listen| {
        Endpoint::bind(EndpointConfig {
            secret: NodeSecret::generate(),
            bind: None,
            relay: Some(relay.url()),
            listen,
        })
        .await
        .unwrap()
    };
    let utility = behind(true).await;
    assert!(utility.online(LONG).await, "the relay does not know the utility");
    assert!(utility.addr().addrs.is_empty());
    let pair = join(utility, behind(false).await).await;
    let (mut sender, _receiver) = pair.agent.open_control::<ToUtility, ToAgent>().await.unwrap();
    sender.send(&ToUtility::Leaving { notice_ms: 9 }).await.unwrap();
    let (_sender, mut receiver) =
        soon(pair.utility.accept_control::<ToAgent, ToUtility>()).await.unwrap();
    assert_eq!(soon(receiver.recv()).await.unwrap(), Some(ToUtility::Leaving { notice_ms: 9 }));
    assert!(pair.agent.is_relayed());
    drop(pair);
    soon(relay.shutdown()).await;
}

#[tokio::test]
async fn a_busy_port_is_named() {
    let relay = Relay::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = Relay::start(relay.addr()).await.unwrap_err();
    assert!(error.to_string().contains(&relay.addr().to_string()), "{error}");
}
