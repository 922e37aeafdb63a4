//! A hostile supplier: it reports work it did not do, repeats old reports, and speaks for others.

use std::time::Duration;

use kinesis_agent::sim::{SimAgent, SimConfig};
use kinesis_protocol::{
    Counters, LeaseReport, LeaseState, NodeId,
    message::{HEARTBEAT_MS, ToAgent, ToUtility, VERSION},
};
use kinesis_tests::grid::{Grid, eventually};
use tokio_util::task::AbortOnDropHandle;

/// A simulated node on a real link, cheaper than anybody, with an app of ours on it.
async fn with_app(grid: &Grid, name: &str) -> (SimAgent, LeaseReport) {
    let wire = grid.endpoints().unwrap().wire.parse().unwrap();
    let agent = SimAgent::start(SimConfig::new(name, wire)).await.unwrap();
    eventually("the node is up", async || {
        Ok((grid.node_state(&agent.node().to_string()).await.as_deref() == Some("up"))
            .then_some(()))
    })
    .await
    .unwrap();
    grid.account("5.00").await.unwrap();
    let manifest = crate::example("hello").join("kinesis.toml");
    let args = ["deploy".as_ref(), "--no-wait".as_ref(), manifest.as_os_str()];
    grid.cli(&args).await.unwrap();
    let lease = eventually("a lease", async || {
        Ok(agent.leases().into_iter().find(|lease| lease.state == LeaseState::Active))
    })
    .await
    .unwrap();
    (agent, lease)
}

async fn billed(grid: &Grid) -> i64 {
    let bill = grid.cli(&["usage", "hello"]).await.unwrap();
    let lines = bill["lines"].as_array().unwrap();
    lines.iter().map(|line| line["billed_nanousd"].as_i64().unwrap()).sum()
}

/// Lets the utility's clock tick: a tick is a second. Nothing shows one in which nothing was posted.
async fn ticks(more: u64) {
    tokio::time::sleep(Duration::from_millis(1_100 * more)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inflated_report_is_not_paid() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let (agent, lease) = with_app(&grid, "greedy").await;
    // Nobody asked the app for anything: whatever it reports was not work.
    let inflated = Counters {
        wall_ms: 3_600_000,
        cpu_ms: 3_600_000,
        requests: 1_000_000,
        ..Counters::default()
    };
    agent.set_counters(lease.lease, Some(inflated));
    ticks(3).await;
    assert_eq!(billed(&grid).await, 0);
    let supplier = format!("/v1/suppliers/{}", agent.info().supplier);
    let earned = grid.get(&supplier).await.map(|s| s["cumulative_nanojoule"].as_i64().unwrap_or(0));
    assert_eq!(earned.unwrap_or(0), 0);
    assert_eq!(agent.payment(), None);
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_report_is_paid_once_and_an_older_one_takes_nothing_back() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let (agent, lease) = with_app(&grid, "repeats").await;
    for _ in 0..5 {
        let answer = grid.ask("hello", "/").await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    // Its own honest count of that work is what it repeats; it claims a little within bounds.
    let claimed = eventually("a paid report", async || Ok((billed(&grid).await > 0).then_some(())));
    if claimed.await.is_err() {
        panic!("five requests were not billed: {:?}", agent.leases());
    }
    let report = agent.leases().into_iter().find(|l| l.lease == lease.lease).unwrap();
    agent.set_counters(lease.lease, Some(report.counters));
    ticks(2).await;
    let before = billed(&grid).await;
    ticks(3).await;
    assert_eq!(billed(&grid).await, before, "the same report was billed again");
    agent.set_counters(lease.lease, Some(Counters::default()));
    ticks(3).await;
    assert_eq!(billed(&grid).await, before, "an older report changed the bill");
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_for_another_node() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let (honest, lease) = with_app(&grid, "honest").await;
    // It works for three seconds and more, and says that it did little.
    let little = Counters { wall_ms: 1, ..Counters::default() };
    honest.set_counters(lease.lease, Some(little));
    honest.behave(|agent| agent.answers_in = Duration::from_millis(400));
    for _ in 0..8 {
        let answer = grid.ask("hello", "/").await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    ticks(2).await;
    let before = billed(&grid).await;
    // A second node, under its own key, reports what the first one could have.
    let more = Counters {
        wall_ms: 2_000,
        cpu_ms: 200,
        mem_mib_ms: 10_000,
        requests: 8,
        ..Counters::default()
    };
    let wire = grid.endpoints().unwrap().wire.parse().unwrap();
    let forged = LeaseReport { counters: more, ..lease.clone() };
    let forger = Forger::hello(&wire, None, vec![forged]).await;
    assert!(!forger.rejected, "it is a node like any other");
    ticks(3).await;
    assert_eq!(billed(&grid).await, before, "a forged report was billed");
    let app = grid.app("hello").await.unwrap();
    assert_eq!(app["replicas"][0]["lease"], lease.lease.to_string());
    drop(forger);
    // A third claims to be the first.
    let answer = Forger::hello(&wire, Some(honest.node()), vec![]).await;
    assert!(answer.rejected, "a node that claims another's key must be rejected");
    // Said by whom it concerns, the very same report is paid.
    honest.set_counters(lease.lease, Some(more));
    eventually("a paid report", async || Ok((billed(&grid).await > before).then_some(())))
        .await
        .unwrap();
    grid.stop().await.unwrap();
}

/// Somebody who writes frames by hand.
struct Forger {
    rejected: bool,
    _beats: Option<AbortOnDropHandle<()>>,
    _link: kinesis_wire::Link,
    _endpoint: kinesis_wire::Endpoint,
}

impl Forger {
    /// Says hello as `node` (its own where `None`) with reports of leases that it does not hold, and
    /// repeats them in every heartbeat.
    async fn hello(
        wire: &kinesis_wire::UtilityAddr,
        node: Option<NodeId>,
        leases: Vec<LeaseReport>,
    ) -> Self {
        let secret = kinesis_wire::NodeSecret::generate();
        let mut info = SimConfig::new("forger", wire.clone()).info;
        info.node = node.unwrap_or_else(|| secret.node_id());
        let free = info.offered;
        let endpoint = kinesis_wire::Endpoint::bind(kinesis_wire::EndpointConfig {
            secret,
            bind: Some(([127, 0, 0, 1], 0).into()),
            relay: None,
            listen: false,
        })
        .await
        .unwrap();
        let link = endpoint.connect(wire).await.unwrap();
        let (mut send, mut receive) = link.open_control::<ToUtility, ToAgent>().await.unwrap();
        let hello =
            ToUtility::Hello { version: VERSION, version_min: 1, info, leases: leases.clone() };
        send.send(&hello).await.unwrap();
        let deadline = Duration::from_secs(20);
        let rejected = loop {
            match tokio::time::timeout(deadline, receive.recv()).await.unwrap() {
                Ok(Some(ToAgent::Welcome { .. })) => break false,
                Ok(Some(ToAgent::Rejected { .. }) | None) | Err(_) => break true,
                Ok(Some(_)) => {}
            }
        };
        let beats = async move {
            for seq in 1.. {
                let leases = leases.clone();
                let beat = ToUtility::Heartbeat { seq, free, paused: None, leases };
                if send.send(&beat).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)).await;
            }
        };
        let beats = (!rejected).then(|| AbortOnDropHandle::new(tokio::spawn(beats)));
        Self { rejected, _beats: beats, _link: link, _endpoint: endpoint }
    }
}
