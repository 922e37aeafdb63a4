//! Control frames, streams, and what happens when a peer talks nonsense.

use kinesis_protocol::{
    ContentHash, LeaseId,
    message::{FRAME_BYTES_MAX, StreamAnswer, StreamOpen, ToAgent, ToUtility},
};
use kinesis_wire::{Reconnect, UtilityAddr, WireError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peers::{endpoint, pair, soon, until};

fn artifact() -> StreamOpen {
    StreamOpen::Artifact { hash: ContentHash([1; 32]) }
}

#[tokio::test]
async fn control_messages_pass_in_both_directions() {
    let pair = pair().await;
    assert_eq!(pair.agent.peer(), pair.utility_endpoint.node_id());
    assert_eq!(pair.utility.peer(), pair.agent_endpoint.node_id());
    let (mut to_utility, mut from_utility) =
        pair.agent.open_control::<ToUtility, ToAgent>().await.unwrap();
    to_utility.send(&ToUtility::Leaving { notice_ms: 1 }).await.unwrap();
    let (mut to_agent, mut from_agent) =
        soon(pair.utility.accept_control::<ToAgent, ToUtility>()).await.unwrap();
    assert_eq!(soon(from_agent.recv()).await.unwrap(), Some(ToUtility::Leaving { notice_ms: 1 }));
    for seq in 0..100 {
        to_agent.send(&ToAgent::Alive { seq }).await.unwrap();
    }
    for seq in 0..100 {
        assert_eq!(soon(from_utility.recv()).await.unwrap(), Some(ToAgent::Alive { seq }));
    }
    // A receive that is dropped while it waits loses nothing.
    assert!(
        tokio::time::timeout(std::time::Duration::from_millis(10), from_utility.recv())
            .await
            .is_err()
    );
    to_agent.send(&ToAgent::Alive { seq: 100 }).await.unwrap();
    to_agent.finish().await.unwrap();
    assert_eq!(soon(from_utility.recv()).await.unwrap(), Some(ToAgent::Alive { seq: 100 }));
    assert_eq!(soon(from_utility.recv()).await.unwrap(), None);
}

#[tokio::test]
async fn streams_carry_their_purpose_an_answer_and_bytes() {
    let pair = pair().await;
    let serving = tokio::spawn({
        let utility = pair.utility.clone();
        async move {
            let (open, mut stream) = utility.accept().await.unwrap();
            assert_eq!(open, artifact());
            stream.answer(StreamAnswer::Ready { bytes: Some(5) }).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let (_, mut stream) = utility.accept().await.unwrap();
            stream.answer(StreamAnswer::Refused { reason: "no such".into() }).await.unwrap();
            stream
        }
    });
    let (mut stream, bytes) = soon(pair.agent.open_answered(&artifact())).await.unwrap();
    assert_eq!(bytes, Some(5));
    let mut text = String::new();
    soon(stream.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "hello");
    let error = soon(pair.agent.open_answered(&artifact())).await.unwrap_err();
    assert!(matches!(&error, WireError::Refused { reason } if reason == "no such"), "{error}");
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn nonsense_on_a_stream_harms_no_other() {
    let pair = pair().await;
    let nonsense: [&[u8]; 4] = [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x05hello",
        b"\x00\x00\x00\x10{\"type\":",
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    let (mut raw, _receiver) = pair.agent.open_control::<Vec<u8>, ToAgent>().await.unwrap();
    raw.send(&vec![1, 2, 3]).await.unwrap();
    let (_to_agent, mut from_agent) =
        soon(pair.utility.accept_control::<ToAgent, ToUtility>()).await.unwrap();
    let error = soon(from_agent.recv()).await.unwrap_err();
    assert!(matches!(error, WireError::Decode(_)), "{error}");

    let serving = tokio::spawn({
        let utility = pair.utility.clone();
        async move { utility.accept().await }
    });
    for bytes in nonsense {
        // `open` writes one frame of its own, so the nonsense is written by hand.
        let mut stream = pair.agent.open_unannounced().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        let read = soon(stream.read_to_end(&mut rest)).await;
        assert!(read.is_err() || rest.is_empty(), "{rest:?}");
    }
    let error = soon(pair.agent.open_answered(&StreamOpen::Unknown)).await.unwrap_err();
    assert!(matches!(error, WireError::Refused { .. }), "{error}");
    let _stream = pair.agent.open(&artifact()).await.unwrap();
    assert_eq!(soon(serving).await.unwrap().unwrap().0, artifact());
}

#[tokio::test]
async fn an_oversized_frame_is_refused_by_both_ends() {
    let pair = pair().await;
    let (mut sender, _receiver) = pair.agent.open_control::<String, ToAgent>().await.unwrap();
    let error = sender.send(&"x".repeat(FRAME_BYTES_MAX)).await.unwrap_err();
    assert!(matches!(error, WireError::FrameTooLong { .. }), "{error}");
    let mut stream = pair.agent.open_unannounced().await.unwrap();
    stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    // Streams are accepted in the order of their numbers, and the control stream has the first.
    sender.send(&"small".to_owned()).await.unwrap();
    let (_sender, mut control) =
        soon(pair.utility.accept_control::<ToAgent, String>()).await.unwrap();
    assert_eq!(soon(control.recv()).await.unwrap().as_deref(), Some("small"));
    let (_sender, mut raw) = soon(pair.utility.accept_control::<ToAgent, String>()).await.unwrap();
    let error = soon(raw.recv()).await.unwrap_err();
    assert!(matches!(error, WireError::FrameTooLong { .. }), "{error}");
}

#[tokio::test]
async fn a_writer_waits_for_its_reader_and_holds_up_nobody_else() {
    let pair = pair().await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        stuck.push(pair.agent.open(&artifact()).await.unwrap());
    }
    let chunk = vec![0; 64 << 10];
    let mut written = 0_u64;
    for stream in &mut stuck {
        let mut own = 0_u64;
        loop {
            let write = stream.write_all(&chunk);
            match tokio::time::timeout(std::time::Duration::from_millis(200), write).await {
                Ok(result) => result.unwrap(),
                Err(_) => break,
            }
            own += chunk.len() as u64;
            assert!(own <= 8 << 20, "nothing holds the writer back");
        }
        written += own;
    }
    assert!(written > 0);
    // Twenty streams that nobody reads, and another one passes all the same.
    let id = LeaseId::random();
    let open = StreamOpen::Logs { lease: id, offset: 3 };
    let (sent, (accepted, _stream)) = soon(async {
        tokio::join!(pair.utility.open_answered(&open), async {
            let (open, mut stream) = pair.agent.accept().await.unwrap();
            stream.answer(StreamAnswer::Ready { bytes: None }).await.unwrap();
            (open, stream)
        })
    })
    .await;
    assert_eq!(accepted, open);
    sent.unwrap();
}

#[tokio::test]
async fn a_closed_link_fails_what_waits_on_it() {
    let pair = pair().await;
    let waiting = tokio::spawn({
        let agent = pair.agent.clone();
        async move { agent.open_answered(&artifact()).await }
    });
    let (_, _stream) = soon(pair.utility.accept()).await.unwrap();
    pair.utility.close("maintenance");
    assert!(pair.utility.is_closed());
    let error = soon(waiting).await.unwrap().unwrap_err();
    assert!(matches!(&error, WireError::Closed { reason } if reason == "maintenance"), "{error}");
    assert_eq!(soon(pair.agent.closed()).await, "maintenance");
    assert!(matches!(soon(pair.agent.accept()).await, Err(WireError::Closed { .. })));
    until("the agent sees it", || pair.agent.is_closed()).await;
}

#[tokio::test]
async fn another_key_at_the_address_is_not_believed() {
    let utility = endpoint(true).await;
    let agent = endpoint(false).await;
    let imposter = UtilityAddr { node: endpoint(true).await.node_id(), ..utility.addr() };
    let limit = std::time::Duration::from_secs(3);
    let error = agent.connect_within(&imposter, limit).await.unwrap_err();
    assert!(matches!(error, WireError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn an_agent_comes_back_once_its_utility_does() {
    use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret};
    let secret = NodeSecret::generate();
    let config = EndpointConfig {
        secret,
        bind: Some("127.0.0.1:0".parse().unwrap()),
        relay: None,
        listen: true,
    };
    let utility = Endpoint::bind(config.clone()).await.unwrap();
    let addr = utility.addr();
    let mut reconnect = Reconnect::new(endpoint(false).await, addr.clone());
    let link = soon(reconnect.next()).await;
    assert_eq!(link.peer(), addr.node);
    utility.close().await;
    drop(utility);
    soon(link.closed()).await;
    let (link, _utility) = soon(async {
        tokio::join!(reconnect.next(), async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            let config = EndpointConfig { bind: Some(addr.addrs[0]), ..config };
            let utility = Endpoint::bind(config).await.unwrap();
            let accepted = utility.accept().await;
            (utility, accepted)
        })
    })
    .await;
    assert_eq!(link.peer(), addr.node);
}
