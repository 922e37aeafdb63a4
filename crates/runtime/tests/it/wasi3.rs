//! Components of WASI 0.3: the same limits, on the engine they need.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use kinesis_protocol::lease::Instance;
use kinesis_runtime::{Exit, Sandbox};

use crate::support::{
    Client, Grid, as_job, as_service, ask, failure, get, job_of, log, service_of, until, within,
};

const JOB: &str = include_str!("../wasi3/job.wat");
const STREAM: &str = include_str!("../wasi3/stream.wat");
const SERVICE: &str = include_str!("../wasi3/service.wat");

impl Grid {
    /// A component from its text, with `body` where it says so.
    fn component(&self, text: &str, body: &str) -> PathBuf {
        let text = text.replace("(;BODY;)", body);
        let bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"));
        let path = self.dir.path().join("component.wasm");
        fs::write(&path, bytes).unwrap();
        path
    }

    async fn job_of_wasi3(&self, body: &str) -> (Exit, Sandbox) {
        let mut spec = job_of(self.component(JOB, body), &[]);
        as_job(&mut spec).wall_ms_max = 2_000;
        let sandbox = self.start(spec).await;
        (within(sandbox.ended()).await, sandbox)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_writes_to_a_stream_and_ends() {
    let grid = Grid::open().await;
    let sandbox = grid.start(job_of(grid.component(STREAM, ""), &[])).await;
    let exit = within(sandbox.ended()).await;
    assert_eq!(exit, Exit::Completed { outputs: vec![], fuel: None }, "{}", log(&sandbox));
    assert_eq!(log(&sandbox), "from a stream\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_keeps_every_limit() {
    let grid = Grid::open().await;
    for (body, reason) in [
        ("(i32.const 1)", "code 1"),
        ("(call $exit (i32.const 7)) (unreachable)", "code 7"),
        ("(unreachable)", "trapped"),
        // More than two seconds.
        ("(loop (br 0)) (unreachable)", "longer than 2000 ms"),
        // 96 MiB of 64.
        ("(i32.eq (memory.grow (i32.const 1536)) (i32.const -1))", "code 1"),
    ] {
        let (exit, sandbox) = grid.job_of_wasi3(body).await;
        assert!(failure(&exit).contains(reason), "{body}: {exit:?}\n{}", log(&sandbox));
    }
    for body in [
        "(i32.const 0)",
        "(call $exit (i32.const 0)) (unreachable)",
        "(i32.eq (memory.grow (i32.const 256)) (i32.const -1))",
        // A socket is refused as one that is not allowed: result 1, error 0.
        "(call $socket (i32.const 0) (i32.const 8))
         (i32.eqz (i32.and (i32.eq (i32.load8_u (i32.const 8)) (i32.const 1))
                           (i32.eqz (i32.load8_u (i32.const 12)))))",
    ] {
        let (exit, sandbox) = grid.job_of_wasi3(body).await;
        assert!(matches!(exit, Exit::Completed { .. }), "{body}: {exit:?}\n{}", log(&sandbox));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_makes_two_runs_the_same() {
    let grid = Grid::open().await;
    // As many turns as both random numbers say.
    let component = grid.component(
        JOB,
        "(local.set $n (i64.and (i64.xor (call $random) (call $older)) (i64.const 65535)))
         (loop (local.set $n (i64.sub (local.get $n) (i64.const 1)))
               (br_if 0 (i64.gt_s (local.get $n) (i64.const 0))))
         (i32.const 0)",
    );
    let mut fuels = Vec::new();
    for seed in [1, 1, 2] {
        let mut spec = job_of(component.clone(), &[]);
        as_job(&mut spec).seed = Some(seed);
        let sandbox = grid.start(spec).await;
        let exit = within(sandbox.ended()).await;
        let Exit::Completed { fuel: Some(fuel), .. } = exit else { panic!("{exit:?}") };
        fuels.push(fuel);
    }
    assert_eq!(fuels[0], fuels[1]);
    assert_ne!(fuels[0], fuels[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_answers_fresh_and_kept() {
    let grid = Grid::open().await;
    let component = grid.component(SERVICE, "");
    for (instance, visits) in
        [(Instance::Fresh, ["1", "1", "1"]), (Instance::Kept, ["1", "2", "3"])]
    {
        let sandbox = grid.start(service_of(component.clone(), instance)).await;
        within(sandbox.ready()).await.unwrap();
        for visit in visits {
            assert_eq!(ask(&sandbox, "/").await, (200, visit.to_owned()), "{}", log(&sandbox));
        }
        until("all are over", || sandbox.in_flight() == 0).await;
        let counters = sandbox.counters();
        assert_eq!((counters.requests, counters.tx_bytes), (3, 3), "{counters:?}");
        sandbox.drain();
        assert_eq!(within(sandbox.ended()).await, Exit::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_flow_both_ways() {
    let grid = Grid::open().await;
    let component = grid.component(SERVICE, "(return (call $echo (local.get $request)))");
    for instance in [Instance::Fresh, Instance::Kept] {
        let sandbox = grid.start(service_of(component.clone(), instance)).await;
        within(sandbox.ready()).await.unwrap();
        for _ in 0..2 {
            let mut client = Client::connect(&sandbox).await;
            let body = Bytes::from(vec![7; 300_000]);
            let request = Request::post("/").header("host", "x").body(Full::new(body.clone()));
            let response = client.send(request.unwrap()).await;
            assert_eq!(response.status(), 200, "{}", log(&sandbox));
            let echo = within(response.into_body().collect()).await.unwrap().to_bytes();
            assert!(echo == body, "{} bytes\n{}", echo.len(), log(&sandbox));
        }
        until("all are over", || sandbox.in_flight() == 0).await;
        let counters = sandbox.counters();
        assert_eq!((counters.rx_bytes, counters.tx_bytes), (600_000, 600_000), "{counters:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_keeps_every_limit() {
    let grid = Grid::open().await;
    for instance in [Instance::Fresh, Instance::Kept] {
        for (body, status, text) in [
            ("(unreachable)", 500, "trapped"),
            ("(loop (br 0))", 504, "300 ms"),
            (
                "(if (i32.eq (memory.grow (i32.const 1536)) (i32.const -1)) (then (unreachable)))",
                500,
                "trapped",
            ),
        ] {
            let mut spec = service_of(grid.component(SERVICE, body), instance);
            as_service(&mut spec).request_ms_max = 300;
            let sandbox = grid.start(spec).await;
            within(sandbox.ready()).await.unwrap();
            for _ in 0..2 {
                let (got, said) = ask(&sandbox, "/").await;
                assert!(got == status && said.contains(text), "{body}: {got} {said}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_stops_its_guest() {
    let grid = Grid::open().await;
    let component = grid.component(SERVICE, "(loop (br 0))");
    let sandbox = grid.start(service_of(component, Instance::Fresh)).await;
    within(sandbox.ready()).await.unwrap();
    let mut client = Client::connect(&sandbox).await;
    let asked = tokio::spawn(async move { client.send(get("/")).await });
    until("it is in flight", || sandbox.in_flight() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sandbox.in_flight(), 1);
    let begun = Instant::now();
    asked.abort();
    until("it was cancelled", || sandbox.in_flight() == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "it went on to its own end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_served_is_said() {
    let grid = Grid::open().await;
    let other = JOB.replace("wasi:random/random@0.3.0", "wasi:random/random@0.3.0-rc-2026-01-06");
    let component = grid.component(&other, "(i32.const 0)");
    let sandbox = grid.start(job_of(component, &[])).await;
    let error = within(sandbox.ready()).await.unwrap_err().to_string();
    assert!(error.contains("0.3.0-rc-2026-01-06"), "{error}");
    let component = grid.component(JOB, "(i32.const 0)");
    let sandbox = grid.start(service_of(component, Instance::Fresh)).await;
    let error = within(sandbox.ready()).await.unwrap_err().to_string();
    assert!(error.contains("wasi:http/handler@0.3.0"), "{error}");
}
