//! `route`: a no-op component through ingress, QUIC, agent and sandbox, beside the same component in
//! `wasmtime serve` behind nginx. First the rate with 32 connections; then, at half of our rate for
//! both, how much each adds to the 99th percentile of nginx answering by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, process::Command, task::JoinSet};

use super::{Setup, median, peer};
use crate::grid::{Grid, GridConfig, SupplierConfig};

const CONNECTIONS: u32 = 32;
const SECONDS: u32 = 4;

/// Runs it; the last line printed is the result.
///
/// # Errors
/// Where a side does not start or answers without success.
pub async fn run(setup: &Setup) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let grid =
        Grid::start(GridConfig::new(setup.kinesis.clone(), folder.path().join("grid"))).await?;
    let _supplier = grid.supplier(&SupplierConfig::new("node", "datacenter")).await?;
    grid.account("1000.00").await?;
    let manifest = setup.examples.join("hello/kinesis.toml");
    grid.cli(&["deploy".as_ref(), manifest.as_os_str()]).await?;
    let ours = grid.endpoints()?.ingress;

    let port = peer::free_port()?;
    let mut command = Command::new(setup.peers.join("bin/wasmtime"));
    command.args(["serve", "-Scli", "--addr", &format!("127.0.0.1:{port}")]);
    command.arg(setup.examples.join("hello/hello.wasm"));
    let _wasmtime = peer::serve(command, port).await?;
    let (_nginx, port) = peer::nginx(folder.path(), Some(port)).await?;
    let theirs = format!("http://127.0.0.1:{port}");
    let (_bare, port) = peer::nginx(folder.path(), None).await?;
    let bare = format!("http://127.0.0.1:{port}");

    let host = "hello.localhost";
    let (mut our_rates, mut their_rates, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..=setup.repetitions {
        let theirs = peer::wrk(&theirs, host, CONNECTIONS, SECONDS).await?;
        let ours = peer::wrk(&ours, host, CONNECTIONS, SECONDS).await?;
        eprintln!("rate: ours {ours:.0}/s, theirs {theirs:.0}/s, ratio {:.3}", ours / theirs);
        our_rates.push(ours);
        their_rates.push(theirs);
        ratios.push(ours / theirs);
    }
    // The first repetition warmed both up.
    let rate = median(&our_rates[1..]) / 2.0;
    let (mut bases, mut our_p99s, mut their_p99s) = (vec![], vec![], vec![]);
    for _ in 0..setup.repetitions * 2 {
        let base = p99_us(&bare, host, rate).await?;
        let theirs = p99_us(&theirs, host, rate).await?;
        let ours = p99_us(&ours, host, rate).await?;
        eprintln!(
            "p99 at {rate:.0}/s: ours {ours:.0} us, theirs {theirs:.0} us, nginx by itself {base:.0} us"
        );
        bases.push(base);
        our_p99s.push(ours);
        their_p99s.push(theirs);
    }
    // The middle of each side: one stall of the machine in a pair would decide a ratio of two.
    let base = median(&bases);
    let (ours, theirs) = (median(&our_p99s) - base, median(&their_p99s) - base);
    let result = json!({
        "bench": "route",
        "ratio_rate": median(&ratios[1..]),
        "ratio_added_p99": ours / theirs.max(1.0),
        "added_p99_us": ours,
        "peer_added_p99_us": theirs,
        "rate": median(&our_rates[1..]),
        "peer_rate": median(&their_rates[1..]),
    });
    println!("{result}");
    grid.stop().await
}

/// The 99th percentile at a fixed rate, measured from when each request was due. One kept connection
/// a worker and nothing above it: what asks takes CPU from what answers, on both sides.
async fn p99_us(url: &str, host: &str, rate: f64) -> Result<f64> {
    let address = url.strip_prefix("http://").context("not plain HTTP")?.trim_end_matches('/');
    let gap = Duration::from_secs_f64(f64::from(CONNECTIONS) / rate);
    let end = Instant::now() + Duration::from_secs(SECONDS.into());
    let mut workers = JoinSet::new();
    for worker in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let host = host.to_owned();
        workers.spawn(async move {
            let driver = tokio::spawn(connection);
            let mut histogram = Histogram::<u64>::new(3)?;
            let mut due = Instant::now() + gap.mul_f64(f64::from(worker) / f64::from(CONNECTIONS));
            while due < end {
                tokio::time::sleep_until(due.into()).await;
                let request = Request::get("/").header("host", &host);
                let answer = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
                ensure!(answer.status().is_success(), "answered {}", answer.status());
                answer.into_body().collect().await?;
                sender.ready().await?;
                histogram.record(u64::try_from(due.elapsed().as_micros())?)?;
                due += gap;
            }
            drop(sender);
            driver.await??;
            anyhow::Ok(histogram)
        });
    }
    let mut all = Histogram::<u64>::new(3)?;
    while let Some(one) = workers.join_next().await {
        all.add(one??)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "microseconds of one request")]
    Ok(all.value_at_quantile(0.99) as f64)
}
