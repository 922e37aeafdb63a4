//! A request that nobody waits for any more is cancelled as far as the guest's socket.

use http_body_util::BodyExt;
use kinesis_protocol::message::StreamAnswer;
use kinesis_wire::splice;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::mpsc,
};

use crate::{
    http::{client, get},
    peers::{Pair, pair, soon, until},
};

/// An agent that splices every stream to a "guest", and hands out the guest's end.
fn guests(pair: &Pair) -> mpsc::Receiver<DuplexStream> {
    let (sender, guests) = mpsc::channel(8);
    let agent = pair.agent.clone();
    tokio::spawn(async move {
        while let Ok((_, mut stream)) = agent.accept().await {
            stream.answer(StreamAnswer::Ready { bytes: None }).await.unwrap();
            let (near, far) = tokio::io::duplex(16 << 10);
            sender.send(far).await.unwrap();
            tokio::spawn(splice(stream, near));
        }
    });
    guests
}

/// Reads until the request's head is over.
async fn read_head(guest: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(guest.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn hangs_up(guest: &mut DuplexStream) {
    let mut rest = Vec::new();
    let _ = soon(guest.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
}

#[tokio::test]
async fn a_request_dropped_before_its_response_hangs_up_on_the_guest() {
    let pair = pair().await;
    let mut guests = guests(&pair);
    let client = client(&pair);
    let sending = tokio::spawn({
        let client = client.clone();
        async move { client.send(get("/slow")).await.map(drop) }
    });
    let mut guest = soon(guests.recv()).await.unwrap();
    assert!(soon(read_head(&mut guest)).await.starts_with("GET /slow HTTP/1.1\r\n"));
    sending.abort();
    hangs_up(&mut guest).await;
    until("it counts no longer", || {
        client.traffic().in_flight.load(std::sync::atomic::Ordering::SeqCst) == 0
    })
    .await;
    assert_eq!(client.idle_streams(), 0);
}

#[tokio::test]
async fn a_response_dropped_within_its_body_hangs_up_on_the_guest() {
    let pair = pair().await;
    let mut guests = guests(&pair);
    let client = client(&pair);
    let guest = tokio::spawn(async move {
        let mut guest = guests.recv().await.unwrap();
        read_head(&mut guest).await;
        guest.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome").await.unwrap();
        guest
    });
    let mut body = soon(client.send(get("/x"))).await.unwrap().into_body();
    assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "some");
    drop(body);
    hangs_up(&mut soon(guest).await.unwrap()).await;
    assert_eq!(client.idle_streams(), 0);
}

#[tokio::test]
async fn a_guest_that_dies_within_a_body_is_an_error_and_not_an_end() {
    let pair = pair().await;
    let mut guests = guests(&pair);
    let client = client(&pair);
    tokio::spawn(async move {
        let mut guest = guests.recv().await.unwrap();
        read_head(&mut guest).await;
        guest.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome").await.unwrap();
    });
    let body = soon(client.send(get("/x"))).await.unwrap().into_body();
    assert!(soon(body.collect()).await.is_err());
    assert_eq!(client.idle_streams(), 0);
}
