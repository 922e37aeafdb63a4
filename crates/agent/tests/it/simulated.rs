//! The simulated agent says what a real one says.

use std::time::Duration;

use bytes::Bytes;
use kinesis_agent::sim::{JobScript, SimAgent, SimConfig};
use kinesis_protocol::{Counters, Ending, LeaseState, message::ToAgent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::utility::{House, Utility, soon};

async fn get(session: &crate::utility::Session, spec: &kinesis_protocol::LeaseSpec) -> String {
    let mut stream = soon("a stream opens", session.http(spec)).await.unwrap();
    let request = b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut response = String::new();
    soon("a response", stream.read_to_string(&mut response)).await.unwrap();
    response
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_serves_counts_lies_dies_and_comes_back() {
    let utility = Utility::start().await;
    let house = House::new(&utility);
    let mut sim = SimAgent::start(SimConfig::new("sim-1", utility.addr())).await.unwrap();
    let session = utility.welcome().await;
    soon("it is welcomed", sim.welcomed(1)).await;
    let mut lifeline = utility.lifeline().await;
    let serving = house.service(0, 1);
    let standby = house.standby(0, 2);
    session.grant(&serving).await;
    session
        .report(serving.lease, "it is active", |report| report.state == LeaseState::Active)
        .await;
    let response = get(&session, &serving).await;
    assert!(response.starts_with("HTTP/1.1 200") && response.contains("sim-1"), "{response}");
    session.report(serving.lease, "it is counted", |report| report.counters.requests == 1).await;
    session.grant(&standby).await;
    session.report(standby.lease, "it is warm", |report| report.state == LeaseState::Warm).await;
    session.send(ToAgent::Activate { lease: standby.lease });
    session
        .report(serving.lease, "it is fenced", |report| report.ending == Some(Ending::Fenced))
        .await;
    assert!(get(&session, &standby).await.starts_with("HTTP/1.1 200"));
    let lies = Counters { wall_ms: 1 << 40, ..Counters::default() };
    sim.set_counters(standby.lease, Some(lies));
    session.report(standby.lease, "it lies", |report| report.counters == lies).await;
    sim.set_counters(standby.lease, None);
    sim.kill();
    let mut nothing = [0; 1];
    assert!(matches!(
        soon("the lifeline is cut", lifeline.read(&mut nothing)).await,
        Ok(0) | Err(_)
    ));
    assert!(!session.link.is_closed(), "a dead process closes no link");
    sim.restart().await.unwrap();
    drop(session);
    let session = utility.welcome().await;
    let lost = session.hello.iter().find(|report| report.lease == standby.lease).unwrap();
    assert!(matches!(lost.ending, Some(Ending::NodeFailed { .. })));
    session.send(utility.pays(sim.info().supplier, 1, 10));
    soon("it is paid", sim.paid(|payment| payment.signed.root.tick == 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_jobs_follow_the_script() {
    let utility = Utility::start().await;
    let house = House::new(&utility);
    let mut config = SimConfig::new("sim-2", utility.addr());
    config.behaviour.job = JobScript::Completes {
        after: Duration::from_millis(10),
        outputs: vec![("a".into(), Bytes::from_static(b"out"))],
    };
    let sim = SimAgent::start(config).await.unwrap();
    let session = utility.welcome().await;
    let job = house.job();
    session.grant(&job).await;
    let report = session.report(job.lease, "it ends", |report| report.ending.is_some()).await;
    assert!(matches!(report.ending, Some(Ending::Completed { outputs, .. }) if outputs.len() == 1));
    assert_eq!(utility.stored.outputs.lock().len(), 1);
    assert!(report.counters.wall_ms > 0);
    session.send(ToAgent::Recorded { lease: job.lease });
    session.beat("it is forgotten", |beat| beat.leases.is_empty()).await;
    sim.behave(|behaviour| behaviour.refuses = Some("no thanks".into()));
    let mut again = house.job();
    again.key.epoch = kinesis_protocol::Epoch(2);
    assert_eq!(session.refused(&again).await, "no thanks");
}
