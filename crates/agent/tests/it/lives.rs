//! Lost links, restarts, terms, and leaving in order.

use std::{sync::Arc, time::Duration};

use kinesis_agent::local;
use kinesis_protocol::{
    Counters, Ending, LeaseState,
    message::{ToAgent, ToUtility},
};
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use crate::{
    sandboxes::Sandboxes,
    utility::{echo, grid, grid_with, soon},
};

fn used(wall_ms: u64) -> Counters {
    Counters { wall_ms, cpu_ms: wall_ms / 2, ..Counters::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_link_costs_no_lease() {
    let grid = grid().await;
    let spec = grid.house.service(0, 1);
    grid.session.grant(&spec).await;
    grid.session
        .report(spec.lease, "it is active", |report| report.state == LeaseState::Active)
        .await;
    grid.session.link.close("a cable was cut");
    let session = grid.utility.welcome().await;
    assert_eq!(session.hello.len(), 1);
    assert_eq!(session.hello[0].state, LeaseState::Active);
    session.echo(&spec).await;
    assert_eq!(grid.sandboxes.guests.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_reported_survives_a_crash_and_is_reported_until_recorded() {
    let grid = grid().await;
    let spec = grid.house.service(0, 7);
    grid.session.grant(&spec).await;
    grid.session
        .report(spec.lease, "it is active", |report| report.state == LeaseState::Active)
        .await;
    *grid.sandboxes.guest(spec.lease).counters.lock() = used(1_000);
    grid.session.report(spec.lease, "its counters", |report| report.counters == used(1_000)).await;
    let crowd = grid.agent.node();
    grid.agent.abort().await;
    drop(grid.session);
    // The meter page went on a little after the last report.
    let sandboxes = Arc::new(Sandboxes::default());
    sandboxes.leftovers.lock().push((spec.lease, used(1_010)));
    let agent = grid.house.start(&sandboxes).await;
    assert_eq!(agent.node(), crowd, "the key is kept");
    let session = grid.utility.welcome().await;
    let report = &session.hello[0];
    assert_eq!((report.lease, report.counters), (spec.lease, used(1_010)));
    assert!(
        matches!(&report.ending, Some(Ending::NodeFailed { reason }) if reason.contains("restart"))
    );
    // And again after another crash, now from the book alone.
    agent.abort().await;
    drop(session);
    let sandboxes = Arc::new(Sandboxes::default());
    let agent = grid.house.start(&sandboxes).await;
    let session = grid.utility.welcome().await;
    assert_eq!(session.hello[0].counters, used(1_010));
    // Epochs are remembered too.
    let older = grid.house.service(0, 7);
    assert!(session.refused(&older).await.contains("not newer"));
    session.send(ToAgent::Recorded { lease: spec.lease });
    session.beat("it is forgotten", |beat| beat.seq > 0 && beat.leases.is_empty()).await;
    let forgotten = async {
        while sandboxes.forgotten.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("its files go", forgotten).await;
    // The book's writer may need a moment; a shutdown in order waits for nothing here.
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    soon("it stops", agent.run(shutdown)).await;
    drop(session);
    let agent = grid.house.start(&Arc::new(Sandboxes::default())).await;
    let session = grid.utility.welcome().await;
    assert_eq!(session.hello, []);
    drop(agent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_ends_when_its_utility_is_gone_for_its_term() {
    let grid = grid().await;
    let mut short = grid.house.service(0, 1);
    short.term_ms = 2_000;
    let long = grid.house.service(1, 1);
    grid.session.grant(&short).await;
    grid.session.grant(&long).await;
    grid.session
        .report(long.lease, "it is active", |report| report.state == LeaseState::Active)
        .await;
    // Within its term it goes on.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    grid.session.echo(&short).await;
    grid.session.silent.send_replace(true);
    let expired = async {
        loop {
            let status = grid.agent.status();
            let state = |lease| {
                status.leases.iter().find(|held| held.lease == lease).map(|held| held.state)
            };
            assert_eq!(state(long.lease), Some(LeaseState::Active));
            if state(short.lease) == Some(LeaseState::Ended) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("it expires", expired).await;
    grid.session.silent.send_replace(false);
    grid.session.link.close("back again");
    let session = grid.utility.welcome().await;
    session
        .report(short.lease, "it says how", |report| report.ending == Some(Ending::Expired))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_says_so_and_serves_until_it_is_released() {
    let grid = grid_with(|config| config.drain_notice = Duration::from_secs(600)).await;
    let spec = grid.house.service(0, 1);
    grid.session.grant(&spec).await;
    grid.session
        .report(spec.lease, "it is active", |report| report.state == LeaseState::Active)
        .await;
    let mut stream = grid.session.http(&spec).await.unwrap();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(grid.agent.run(shutdown.clone()));
    shutdown.cancel();
    let ToUtility::Leaving { notice_ms } = grid.session.next().await else { panic!("no notice") };
    assert!(notice_ms > 500_000, "{notice_ms}");
    let beat = grid.session.beat("it takes nothing new", |beat| beat.paused.is_some()).await;
    assert!(beat.paused.unwrap().contains("leaving"));
    let other = grid.house.service(1, 1);
    assert!(grid.session.refused(&other).await.contains("leaving"));
    echo(&mut stream).await;
    drop(stream);
    grid.session.send(ToAgent::Release { lease: spec.lease, notice_ms: 0 });
    grid.session
        .report(spec.lease, "it has ended", |report| report.ending == Some(Ending::Released))
        .await;
    grid.session.send(ToAgent::Recorded { lease: spec.lease });
    soon("the agent stops", running).await.unwrap();
    soon("its link closes", grid.session.link.closed()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notice_runs_out() {
    let grid = grid_with(|config| config.drain_notice = Duration::from_millis(300)).await;
    let spec = grid.house.service(0, 1);
    grid.session.grant(&spec).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(grid.agent.run(shutdown.clone()));
    shutdown.cancel();
    let report = grid
        .session
        .report(spec.lease, "it has ended", |report| report.state == LeaseState::Ended)
        .await;
    assert!(
        matches!(report.ending, Some(Ending::NodeFailed { reason }) if reason.contains("owner"))
    );
    grid.session.send(ToAgent::Recorded { lease: spec.lease });
    soon("the agent stops", running).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lifeline_is_cut_with_the_process() {
    let grid = grid().await;
    let mut lifeline = grid.utility.lifeline().await;
    let mut nothing = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(50), lifeline.read(&mut nothing)).await;
    assert!(early.is_err(), "it says nothing and stays");
    grid.agent.abort().await;
    let read = soon("it is cut", lifeline.read(&mut nothing)).await;
    assert!(matches!(read, Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_pauses_and_resumes_through_the_socket() {
    let grid = grid().await;
    let data = grid.house.config.data_dir.clone();
    let owner = local::Client::new(&data);
    let status = owner.pause("gaming night").await.unwrap();
    assert_eq!(status.paused.as_deref(), Some("gaming night"));
    let beat = grid.session.beat("it is said", |beat| beat.paused.is_some()).await;
    assert!(beat.paused.unwrap().contains("gaming night"));
    let spec = grid.house.service(0, 1);
    assert!(grid.session.refused(&spec).await.contains("gaming night"));
    // It outlives the process.
    grid.agent.abort().await;
    drop(grid.session);
    let gone = owner.status().await.unwrap_err();
    assert!(gone.to_string().contains("no agent is running"), "{gone}");
    let _agent = grid.house.start(&grid.sandboxes).await;
    let session = grid.utility.welcome().await;
    session.beat("still paused", |beat| beat.paused.is_some()).await;
    let status = owner.resume().await.unwrap();
    assert_eq!((status.paused, status.name.as_str()), (None, "den"));
    session.beat("it takes leases", |beat| beat.seq > 0 && beat.paused.is_none()).await;
    session.grant(&spec).await;
    let card = data.join("agent.json");
    let written = async {
        while !card.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon("its card is written", written).await;
    let card: serde_json::Value = serde_json::from_slice(&std::fs::read(card).unwrap()).unwrap();
    assert_eq!(card["name"], "den");
    assert_eq!(card["pid"], std::process::id());
}
