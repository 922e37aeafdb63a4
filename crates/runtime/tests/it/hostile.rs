//! Guests that mean harm, and requests that do.

use std::{fs, time::Duration};

use http::Request;
use http_body_util::Full;
use kinesis_protocol::{
    Resources,
    lease::{Instance, LOG_BYTES_MAX},
};
use kinesis_runtime::{Exit, RuntimeError, StartSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Client, GRANTED, Grid, ask, failure, job, log, service, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_bomb_hurts_only_itself() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    assert_eq!(ask(&sandbox, "/alloc?mib=16").await.0, 200);
    assert_eq!(ask(&sandbox, "/alloc?mib=80").await.0, 500);
    // Several that together are more than the lease was granted.
    let asked = (0..6).map(|_| ask(&sandbox, "/alloc?mib=30"));
    for (status, text) in futures_util::future::join_all(asked).await {
        assert!(status == 200 || status == 500, "{status} {text}");
    }
    assert_eq!(ask(&sandbox, "/alloc?mib=16").await.0, 200, "what was taken is given back");
    let (exit, sandbox) = grid.job("errand", &["alloc=500"]).await;
    assert!(matches!(exit, Exit::Failed { .. }), "{exit:?}\n{}", log(&sandbox));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_leaves_others_their_turn() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    let looping: Vec<_> = (0..4)
        .map(|_| {
            let sandbox = sandbox.clone();
            tokio::spawn(async move { ask(&sandbox, "/spin?ms=8000").await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = std::time::Instant::now();
    assert_eq!(ask(&sandbox, "/").await.0, 200);
    assert!(begun.elapsed() < Duration::from_secs(6), "it waited for the loops");
    assert!(looping.iter().all(|task| !task.is_finished()));
    for task in looping {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_fits_into_the_log() {
    let grid = Grid::open().await;
    let (exit, sandbox) = grid.job("errand", &["say=first", "flood=20000000", "say=last"]).await;
    assert!(matches!(exit, Exit::Completed { .. }), "{exit:?}");
    assert!(fs::metadata(sandbox.log_path()).unwrap().len() <= LOG_BYTES_MAX);
    assert!(log(&sandbox).ends_with("last\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_job() {
    let grid = Grid::open().await;
    // Within what any lease may leave, above what this one was granted.
    let (exit, _) = grid.job("errand", &["write=/out/a:40000000", "sleep=3000"]).await;
    assert!(failure(&exit).contains("/out"), "{exit:?}");
    let spec = StartSpec {
        granted: Resources { disk_mib: 0, ..GRANTED },
        ..job("errand", &["write=/out/a:40000000"])
    };
    let sandbox = grid.start(spec).await;
    assert!(matches!(within(sandbox.ended()).await, Exit::Completed { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_the_machine_can_be_seen() {
    let grid = Grid::open().await;
    let file = grid.dir.path().join("artifact");
    fs::write(&file, "mine").unwrap();
    let spec = StartSpec {
        files: vec![("models/a.txt".into(), file)],
        ..service("probe", Instance::Fresh)
    };
    let sandbox = grid.start(spec).await;
    within(sandbox.ready()).await.unwrap();
    assert_eq!(ask(&sandbox, "/file?path=/data/models/a.txt").await, (200, "mine".into()));
    for path in [
        "/etc/passwd",
        "/data/../etc/passwd",
        "/data/../../meter",
        "/data/../spec.json",
        "../spec.json",
        "spec.json",
        "/proc/self/environ",
        "/data/models/../../log",
    ] {
        let (status, text) = ask(&sandbox, &format!("/file?path={path}")).await;
        assert_eq!(status, 403, "{path}: {text}");
    }
    for path in ["/data/x", "/data/models/a.txt", "/tmp/x", "/x", "log"] {
        assert_eq!(ask(&sandbox, &format!("/write?path={path}")).await.0, 403, "{path}");
    }
    for target in ["127.0.0.1:22", "169.254.169.254:80", "1.1.1.1:80", "localhost:80"] {
        assert_eq!(ask(&sandbox, &format!("/connect?to={target}")).await.0, 403, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_may_not_be_named_out_of_their_place() {
    let grid = Grid::open().await;
    let file = grid.dir.path().join("artifact");
    fs::write(&file, "mine").unwrap();
    for name in ["../x", "/x", "a/../../x", "", ".", "a//b"] {
        let spec = StartSpec {
            files: vec![(name.to_owned(), file.clone())],
            ..service("hello", Instance::Fresh)
        };
        let error = grid.runtime.start(spec).await.unwrap_err();
        assert!(matches!(error, RuntimeError::Spec(_)), "{name:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giant_heads_and_nonsense_are_refused() {
    let grid = Grid::open().await;
    let sandbox = grid.service("probe", Instance::Fresh).await;
    let mut client = Client::connect(&sandbox).await;
    let mut request = Request::get("/headers").header("host", "x");
    for n in 0..100 {
        request = request.header(format!("x-{n}"), "y".repeat(4_000));
    }
    let response = client.send(request.body(Full::default()).unwrap()).await;
    assert_eq!(response.status(), 431);

    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n12345",
        b"POST /count HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT internal:80 HTTP/1.1\r\nhost: internal:80\r\n\r\n",
    ] {
        let mut stream = sandbox.connect().await.unwrap();
        stream.write_all(nonsense).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", nonsense.escape_ascii());
    }
    assert_eq!(ask(&sandbox, "/").await.0, 200);
}
