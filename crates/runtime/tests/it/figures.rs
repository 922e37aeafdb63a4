//! Figures, not promises: run with `--run-ignored only -- figures` on a quiet machine.

use std::time::{Duration, Instant};

use kinesis_protocol::lease::Instance;
use kinesis_runtime::StartSpec;

use crate::support::{Client, Grid, as_service, ask, service, within};

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints how long things take"]
async fn starts_and_requests() {
    let grid = Grid::open().await;
    drop(grid.service("hello", Instance::Fresh).await);
    let (mut started, mut ready, mut cold, mut warm) = (vec![], vec![], vec![], vec![]);
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let begun = Instant::now();
        let sandbox = grid.start(service("hello", Instance::Fresh)).await;
        started.push(begun.elapsed());
        within(sandbox.ready()).await.unwrap();
        ready.push(begun.elapsed());
        assert_eq!(ask(&sandbox, "/").await.0, 200);
        cold.push(begun.elapsed());
    }
    for _ in 0..15 {
        let spec = StartSpec { standby: true, ..service("hello", Instance::Fresh) };
        let sandbox = grid.start(spec).await;
        within(sandbox.ready()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let begun = Instant::now();
        sandbox.thaw().unwrap();
        assert_eq!(ask(&sandbox, "/").await.0, 200);
        warm.push(begun.elapsed());
    }
    eprintln!(
        "started {:?}, ready {:?}, cold {:?}, warm {:?}",
        median(started),
        median(ready),
        median(cold),
        median(warm)
    );

    let mut spec = service("hello", Instance::Fresh);
    spec.granted.cpu_millis = 2000;
    as_service(&mut spec).concurrency = 256;
    let sandbox = grid.start(spec).await;
    within(sandbox.ready()).await.unwrap();
    for connections in [1, 16] {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..connections)
            .map(|_| {
                let sandbox = sandbox.clone();
                tokio::spawn(async move {
                    let mut client = Client::connect(&sandbox).await;
                    let mut count = 0u32;
                    while begun.elapsed() < Duration::from_secs(2) {
                        assert_eq!(client.get("/").await.0, 200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut sum = 0;
        for task in tasks {
            sum += task.await.unwrap();
        }
        eprintln!("{connections} connections: {} requests/s", sum / 2);
    }
    eprintln!("{:?}", sandbox.counters());
}
