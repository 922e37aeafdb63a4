//! What a supplier signs: the results of deterministic jobs that it ran, and nothing else.

use std::sync::Arc;

use bytes::Bytes;
use kinesis_protocol::{
    Address, Ending, LeaseReport, LeaseSpec, LeaseState, Workload,
    result::{AuditTerms, Completed, ENGINE, SignedResult},
};
use kinesis_runtime::{Exit, Output};

use crate::{
    sandboxes::Sandboxes,
    utility::{Grid, grid, price},
};

const AUDITS: Address = Address::repeat_byte(0xa0);

fn ended(report: &LeaseReport) -> bool {
    report.state == LeaseState::Ended
}

/// A job whose result is asked for.
fn asked(grid: &Grid, seed: Option<u64>) -> LeaseSpec {
    let mut spec = grid.house.job();
    let Workload::Job(job) = &mut spec.workload else { panic!("a job") };
    job.seed = seed;
    spec.audit = Some(AuditTerms {
        engine: ENGINE.to_owned(),
        chain_id: 31_337,
        audits: AUDITS,
        joule_price: price(),
    });
    spec
}

/// Runs it to an end that leaves one file.
async fn complete(grid: &Grid, spec: &LeaseSpec, fuel: Option<u64>) -> LeaseReport {
    grid.session.grant(spec).await;
    grid.session.report(spec.lease, "it runs", |r| r.state == LeaseState::Active).await;
    let content = Bytes::from_static(b"a frame");
    let file = grid.house.dir.path().join("frame");
    std::fs::write(&file, &content).unwrap();
    let output = Output { path: "frame".into(), file, bytes: content.len() as u64 };
    grid.sandboxes.guest(spec.lease).exit(Exit::Completed { outputs: vec![output], fuel });
    grid.session.report(spec.lease, "it has ended", ended).await
}

fn signed(report: &LeaseReport) -> Option<&SignedResult> {
    match &report.ending {
        Some(Ending::Completed { signed, .. }) => signed.as_deref(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_out_is_signed_once_and_a_restart_says_it_again() {
    let grid = grid().await;
    let spec = asked(&grid, Some(7));
    let report = complete(&grid, &spec, Some(42)).await;
    let result = signed(&report).expect("a signature").clone();
    let Some(Ending::Completed { outputs, .. }) = &report.ending else { panic!() };
    // As its utility checks it, which knows what it asked for and what was uploaded.
    let known = Completed {
        spec: &spec,
        supplier: grid.agent.supplier(),
        utility: grid.utility.key.address(),
        outputs,
        fuel: Some(42),
        counters: &report.counters,
        finished_at_s: result.result.finishedAt,
    };
    assert_eq!(result.check(&known, result.result.finishedAt, &report.counters), Ok(()));
    assert_eq!(grid.utility.stored.outputs.lock()[0].1, outputs[0].hash);
    // Nobody recorded it yet.
    grid.agent.abort().await;
    drop(grid.session);
    let _agent = grid.house.start(&Arc::new(Sandboxes::default())).await;
    let session = grid.utility.welcome().await;
    assert_eq!(signed(&session.hello[0]), Some(&result));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_that_others_could_not_run_again() {
    let grid = grid().await;
    // Without a seed.
    let random = asked(&grid, None);
    assert_eq!(signed(&complete(&grid, &random, None).await), None);
    // With a network.
    let mut online = asked(&grid, Some(7));
    online.key.epoch = online.key.epoch.next();
    let Workload::Job(job) = &mut online.workload else { panic!("a job") };
    job.program.network = vec!["example.org:443".into()];
    assert_eq!(signed(&complete(&grid, &online, Some(42)).await), None);
    // Nobody asked for it.
    let mut unasked = asked(&grid, Some(7));
    unasked.key.epoch = online.key.epoch.next();
    unasked.audit = None;
    assert_eq!(signed(&complete(&grid, &unasked, Some(42)).await), None);
    // A guest that failed has no result.
    let mut failing = asked(&grid, Some(7));
    failing.key.epoch = unasked.key.epoch.next();
    grid.session.grant(&failing).await;
    grid.session.report(failing.lease, "it runs", |r| r.state == LeaseState::Active).await;
    grid.sandboxes.guest(failing.lease).exit(Exit::Failed { reason: "it trapped".into() });
    let report = grid.session.report(failing.lease, "it has ended", ended).await;
    assert_eq!(report.ending, Some(Ending::Failed { reason: "it trapped".into() }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_for_another_engine_is_refused() {
    let grid = grid().await;
    let mut spec = asked(&grid, Some(7));
    spec.audit.as_mut().unwrap().engine = "wasmtime 1.0.0, kinesis 9".into();
    let reason = grid.session.refused(&spec).await;
    assert!(reason.contains("wasmtime 1.0.0") && reason.contains(ENGINE), "{reason}");
}
