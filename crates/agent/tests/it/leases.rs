//! Grants, refusals, streams, standbys and fencing.

use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use kinesis_agent::engine::StartError;
use kinesis_protocol::{
    ContentHash, Ending, Epoch, LeaseId, LeaseState, Resources,
    lease::{GuestFile, OUTPUT_BYTES_MAX},
    message::{StreamOpen, ToAgent, ToUtility},
};
use kinesis_runtime::{Exit, Output};
use kinesis_wire::WireError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::utility::{Utility, echo, grid, grid_with, soon};

fn active(report: &kinesis_protocol::LeaseReport) -> bool {
    report.state == LeaseState::Active
}

fn ended(report: &kinesis_protocol::LeaseReport) -> bool {
    report.state == LeaseState::Ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_granted_serves_is_released_and_forgotten() {
    let grid = grid().await;
    let spec = grid.house.service(0, 1);
    grid.session.grant(&spec).await;
    grid.session.report(spec.lease, "it is active", active).await;
    grid.session.echo(&spec).await;
    let beat = grid.session.next_beat().await;
    assert_eq!(beat.free.cpu_millis, 3_500);
    // Told to end, it finishes what is in flight.
    let mut stream = grid.session.http(&spec).await.unwrap();
    grid.session.send(ToAgent::Release { lease: spec.lease, notice_ms: 60_000 });
    grid.session
        .report(spec.lease, "it drains", |report| report.state == LeaseState::Draining)
        .await;
    echo(&mut stream).await;
    let refused = grid.session.http(&spec).await.unwrap_err();
    assert!(matches!(refused, WireError::Refused { .. }), "{refused}");
    let guest = grid.sandboxes.guest(spec.lease);
    assert!(guest.drained.load(SeqCst) && !guest.killed.load(SeqCst));
    guest.exit(Exit::Stopped);
    let report = grid.session.report(spec.lease, "it has ended", ended).await;
    assert_eq!(report.ending, Some(Ending::Released));
    // Repeated until recorded.
    for _ in 0..2 {
        let beat = grid.session.next_beat().await;
        assert_eq!(beat.leases.len(), 1);
        assert_eq!(beat.free.cpu_millis, 4_000);
    }
    grid.session.send(ToAgent::Recorded { lease: spec.lease });
    grid.session.beat("it is forgotten", |beat| beat.leases.is_empty()).await;
    assert_eq!(*grid.sandboxes.forgotten.lock(), [spec.lease]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_are_idempotent_and_refusals_say_why() {
    let grid = grid().await;
    let spec = grid.house.service(0, 5);
    grid.session.grant(&spec).await;
    grid.session.grant(&spec).await;
    grid.session.report(spec.lease, "it is active", active).await;
    grid.session.grant(&spec).await;
    assert_eq!(grid.sandboxes.guests.lock().len(), 1, "started once");
    let older = grid.house.service(0, 4);
    assert!(grid.session.refused(&older).await.contains("not newer"));
    let same = grid.house.service(0, 5);
    assert!(grid.session.refused(&same).await.contains("not newer"));
    let mut large = grid.house.service(1, 1);
    large.granted = Resources { cpu_millis: 3_501, mem_mib: 1, ..Resources::default() };
    assert!(grid.session.refused(&large).await.contains("CPU"));
    let mut cheap = grid.house.service(1, 1);
    cheap.prices = kinesis_protocol::Prices::default();
    assert!(grid.session.refused(&cheap).await.contains("prices"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_need_the_right_lease_and_epoch() {
    let grid = grid().await;
    let spec = grid.house.service(0, 5);
    grid.session.grant(&spec).await;
    grid.session.report(spec.lease, "it is active", active).await;
    for (lease, epoch) in [(spec.lease, 4), (spec.lease, 6), (LeaseId::random(), 5)] {
        let open = StreamOpen::Http { lease, epoch: Epoch(epoch) };
        let refused = grid.session.link.open_answered(&open).await.unwrap_err();
        assert!(matches!(refused, WireError::Refused { .. }), "{refused}");
    }
    grid.session.echo(&spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_request_reaches_the_guest_and_large_bodies_pass() {
    let grid = grid().await;
    let spec = grid.house.service(0, 1);
    grid.session.grant(&spec).await;
    grid.session.report(spec.lease, "it is active", active).await;
    let guest = grid.sandboxes.guest(spec.lease);
    let mut stream = grid.session.http(&spec).await.unwrap();
    echo(&mut stream).await;
    stream.reset();
    let mut closed = guest.closed.subscribe();
    soon("the guest hears of it", closed.wait_for(|closed| *closed == 1)).await.unwrap();
    // Both directions at once, more than any buffer, and an orderly end.
    let stream = grid.session.http(&spec).await.unwrap();
    let (mut send, mut recv) = stream.into_parts();
    let body = vec![7; 3 << 20];
    let sent = body.clone();
    let sending = tokio::spawn(async move {
        send.write_all(&sent).await.unwrap();
        send.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    soon("the body comes back", recv.read_to_end(&mut back)).await.unwrap();
    sending.await.unwrap();
    assert!(back == body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_waits_frozen_and_serves_the_moment_it_is_activated() {
    let grid = grid().await;
    let serving = grid.house.service(0, 1);
    let standby = grid.house.standby(0, 2);
    grid.session.grant(&serving).await;
    grid.session.report(serving.lease, "it is active", active).await;
    grid.session.grant(&standby).await;
    grid.session
        .report(standby.lease, "it is warm", |report| report.state == LeaseState::Warm)
        .await;
    assert!(*grid.sandboxes.guest(standby.lease).frozen.borrow());
    // A warm newer epoch fences nobody.
    grid.session.echo(&serving).await;
    let mut stream = {
        let open = grid.session.http(&standby);
        tokio::pin!(open);
        let early = tokio::time::timeout(std::time::Duration::from_millis(100), &mut open).await;
        assert!(early.is_err(), "it waits until it is activated");
        grid.session.send(ToAgent::Activate { lease: standby.lease });
        soon("the stream is let in", open).await.unwrap()
    };
    echo(&mut stream).await;
    grid.session.report(standby.lease, "it is active", active).await;
    assert!(!*grid.sandboxes.guest(standby.lease).frozen.borrow());
    // The older epoch takes nothing new; what it has in flight it may finish.
    grid.session
        .report(serving.lease, "it drains", |report| report.state == LeaseState::Draining)
        .await;
    assert!(grid.session.http(&serving).await.is_err());
    grid.sandboxes.guest(serving.lease).exit(Exit::Stopped);
    let report = grid.session.report(serving.lease, "it has ended", ended).await;
    assert_eq!(report.ending, Some(Ending::Fenced));
    // A second word changes nothing.
    grid.session.send(ToAgent::Activate { lease: standby.lease });
    grid.session.echo(&standby).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_activated_while_it_starts_never_freezes_for_long() {
    let grid = grid().await;
    grid.sandboxes.slow.send_replace(true);
    let standby = grid.house.standby(0, 1);
    grid.session.grant(&standby).await;
    grid.session.send(ToAgent::Activate { lease: standby.lease });
    let beat = grid.session.next_beat().await;
    assert_eq!(beat.leases[0].state, LeaseState::Starting);
    grid.sandboxes.slow.send_replace(false);
    grid.session.report(standby.lease, "it is active", active).await;
    grid.session.echo(&standby).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_not_begun_is_released_at_once() {
    let grid = grid().await;
    let standby = grid.house.standby(0, 1);
    grid.session.grant(&standby).await;
    grid.session
        .report(standby.lease, "it is warm", |report| report.state == LeaseState::Warm)
        .await;
    grid.sandboxes.slow.send_replace(true);
    let starting = grid.house.service(1, 1);
    grid.session.grant(&starting).await;
    for lease in [standby.lease, starting.lease] {
        grid.session.send(ToAgent::Release { lease, notice_ms: 600_000 });
        let report = grid.session.report(lease, "it has ended", ended).await;
        assert_eq!(report.ending, Some(Ending::Released));
    }
    assert!(grid.sandboxes.guest(standby.lease).killed.load(SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_outputs_are_stored_before_it_is_reported_complete() {
    let grid = grid().await;
    let spec = grid.house.job();
    grid.session.grant(&spec).await;
    grid.session.report(spec.lease, "it runs", active).await;
    assert!(grid.session.http(&spec).await.is_err(), "a job takes no requests");
    let content = Bytes::from(vec![5; 300_000]);
    let file = grid.house.dir.path().join("frame");
    std::fs::write(&file, &content).unwrap();
    let bytes = content.len() as u64;
    let output = Output { path: "frames/0.rgb".into(), file, bytes };
    let exit = Exit::Completed { outputs: vec![output], fuel: Some(42) };
    grid.sandboxes.guest(spec.lease).exit(exit);
    let report = grid.session.report(spec.lease, "it has ended", ended).await;
    let hash = ContentHash::of(&content);
    let outputs = vec![GuestFile { path: "frames/0.rgb".into(), hash, bytes }];
    assert_eq!(report.ending, Some(Ending::Completed { outputs, fuel: Some(42), signed: None }));
    assert_eq!(*grid.utility.stored.outputs.lock(), [(spec.lease, hash, content)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_end_has_its_reason() {
    let grid = grid().await;
    let failing = grid.house.service(0, 1);
    grid.session.grant(&failing).await;
    grid.session.report(failing.lease, "it is active", active).await;
    grid.sandboxes.guest(failing.lease).exit(Exit::Failed { reason: "out of memory".into() });
    let report = grid.session.report(failing.lease, "it has ended", ended).await;
    assert_eq!(report.ending, Some(Ending::Failed { reason: "out of memory".into() }));

    // A sandbox that fails is the machine's fault.
    let unlucky = grid.house.service(4, 1);
    grid.session.grant(&unlucky).await;
    grid.session.report(unlucky.lease, "it is active", active).await;
    grid.sandboxes.guest(unlucky.lease).exit(Exit::Broken { reason: "it died".into() });
    let report = grid.session.report(unlucky.lease, "it has ended", ended).await;
    assert_eq!(report.ending, Some(Ending::NodeFailed { reason: "it died".into() }));

    // Outputs beyond the limit are the guest's.
    let mut greedy = grid.house.job();
    greedy.key.epoch = Epoch(2);
    grid.session.grant(&greedy).await;
    grid.session.report(greedy.lease, "it runs", active).await;
    let file = grid.house.dir.path().join("never read");
    let output = Output { path: "frame".into(), file, bytes: OUTPUT_BYTES_MAX + 1 };
    let exit = Exit::Completed { outputs: vec![output], fuel: None };
    grid.sandboxes.guest(greedy.lease).exit(exit);
    let report = grid.session.report(greedy.lease, "it has ended", ended).await;
    assert!(matches!(report.ending, Some(Ending::Failed { reason }) if reason.contains("outputs")));

    *grid.sandboxes.refuses.lock() = Some(StartError::Guest("no component".into()));
    let broken = grid.house.service(1, 1);
    grid.session.grant(&broken).await;
    let report = grid.session.report(broken.lease, "it has ended", ended).await;
    assert_eq!(report.ending, Some(Ending::Failed { reason: "no component".into() }));
    *grid.sandboxes.refuses.lock() = None;

    let mut absent = grid.house.service(2, 1);
    let kinesis_protocol::Workload::Service(service) = &mut absent.workload else { panic!() };
    service.program.component = ContentHash::of(b"never uploaded");
    grid.session.grant(&absent).await;
    let report = grid.session.report(absent.lease, "it has ended", ended).await;
    assert!(
        matches!(report.ending, Some(Ending::NodeFailed { reason }) if reason.contains("no such artifact"))
    );

    let forged = ContentHash::of(b"what was asked for");
    grid.utility.stored.artifacts.lock().insert(forged, Bytes::from_static(b"what was not asked"));
    let mut other = grid.house.service(3, 1);
    let kinesis_protocol::Workload::Service(service) = &mut other.workload else { panic!() };
    (service.program.component, service.program.component_bytes) = (forged, 18);
    grid.session.grant(&other).await;
    let report = grid.session.report(other.lease, "it has ended", ended).await;
    assert!(
        matches!(report.ending, Some(Ending::NodeFailed { reason }) if reason.contains("something else"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_utility_grants_binds_no_other() {
    let other = Utility::start().await;
    let addr = other.addr();
    let grid = grid_with(|config| config.utilities.push(addr)).await;
    let hostile = other.welcome().await;
    hostile.grant(&grid.house.service(0, u64::MAX)).await;
    let spec = grid.house.service(0, 1);
    grid.session.grant(&spec).await;
    grid.session.report(spec.lease, "it is active", active).await;
    let older = grid.house.service(0, u64::MAX - 1);
    assert!(hostile.refused(&older).await.contains("not newer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_followed_to_their_end() {
    let grid = grid().await;
    let spec = grid.house.service(0, 1);
    grid.session.grant(&spec).await;
    grid.session.report(spec.lease, "it is active", active).await;
    let open = StreamOpen::Logs { lease: spec.lease, offset: 6 };
    let (mut stream, _) = grid.session.link.open_answered(&open).await.unwrap();
    let mut first = [0; 15];
    soon("the log comes", stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"from the guest\n");
    let guest = grid.sandboxes.guest(spec.lease);
    std::fs::write(&guest.log, b"hello from the guest\nand goodbye\n").unwrap();
    guest.exit(Exit::Failed { reason: "done".into() });
    let mut rest = String::new();
    soon("the log ends", stream.read_to_string(&mut rest)).await.unwrap();
    assert_eq!(rest, "and goodbye\n");
    // It stays readable until the ending is recorded.
    let (mut stream, _) = grid.session.link.open_answered(&open).await.unwrap();
    let mut whole = String::new();
    soon("the log again", stream.read_to_string(&mut whole)).await.unwrap();
    assert_eq!(whole, "from the guest\nand goodbye\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_is_answered_with_work_that_verifies() {
    let grid = grid().await;
    let nonce = [3; 32];
    grid.session.send(ToAgent::Challenge { nonce, work_ms: 20 });
    let ToUtility::Benchmark { nonce: answered, result } = grid.session.next().await else {
        panic!("no benchmark")
    };
    assert_eq!(answered, nonce);
    assert!(result.verify_stretch(&nonce, result.checkpoints.len() - 1));
    assert!(grid.session.info.attributes.contains_key("isolation.sandbox"));
}
