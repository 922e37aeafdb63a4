//! Jobs: arguments, files, outputs, endings, and the mode in which two runs are the same run.

use std::fs;

use kinesis_runtime::{Exit, StartSpec};

use crate::support::{Grid, as_job, failure, job, log, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_files_and_outputs() {
    let grid = Grid::open().await;
    let source = grid.dir.path().join("artifact");
    fs::write(&source, "the input\n").unwrap();
    let args = [
        "say=begin",
        "env=GREETING",
        "cat=/data/in/words.txt",
        "copy=/data/in/words.txt:/out/copy.txt",
        "write=/out/big:70000",
    ];
    let spec = StartSpec { files: vec![("in/words.txt".into(), source)], ..job("errand", &args) };
    let sandbox = grid.start(spec).await;
    let exit = within(sandbox.ended()).await;
    let Exit::Completed { outputs, fuel } = &exit else { panic!("{exit:?}\n{}", log(&sandbox)) };
    assert_eq!(*fuel, None);
    assert_eq!(log(&sandbox), "begin\nhello grid\nthe input\n");
    let found: Vec<_> = outputs.iter().map(|o| (o.path.as_str(), o.bytes)).collect();
    assert_eq!(found, [("big", 70_000), ("copy.txt", 10)]);
    assert_eq!(fs::read_to_string(&outputs[1].file).unwrap(), "the input\n");
    // Nothing is left once it is forgotten.
    let path = sandbox.log_path().to_owned();
    grid.runtime.forget(sandbox.lease());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_has_a_reason() {
    let grid = Grid::open().await;
    for (step, reason) in [
        ("exit=7", "code 1"),
        ("panic", "trapped"),
        ("cat=/data/none", "code 1"),
        ("cat=/etc/passwd", "code 1"),
        ("write=/data/x:1", "code 1"),
        ("connect=127.0.0.1:1", "code 1"),
    ] {
        let (exit, sandbox) = grid.job("errand", &[step]).await;
        assert!(failure(&exit).contains(reason), "{step}: {exit:?}\n{}", log(&sandbox));
    }
    assert_eq!(
        grid.job("errand", &["exit=0"]).await.0,
        Exit::Completed { outputs: vec![], fuel: None }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_runs_too_long_is_ended() {
    let grid = Grid::open().await;
    for step in ["spin=20000", "sleep=20000"] {
        let mut spec = job("errand", &[step]);
        as_job(&mut spec).wall_ms_max = 200;
        let sandbox = grid.start(spec).await;
        let exit = within(sandbox.ended()).await;
        assert!(failure(&exit).contains("longer than 200 ms"), "{exit:?}");
    }
}

/// What a run left: fuel, log, and each file it wrote.
type Left = (u64, String, Vec<(String, Vec<u8>)>);

async fn seeded(grid: &Grid, seed: u64) -> Left {
    let args = [
        "clock",
        "random",
        "nan",
        "alloc=1",
        "dice=/out/deep:1000",
        "write=/out/x:1000",
        "clock",
        "env=GREETING",
    ];
    let mut spec = job("errand", &args);
    as_job(&mut spec).seed = Some(seed);
    let sandbox = grid.start(spec).await;
    let exit = within(sandbox.ended()).await;
    let Exit::Completed { fuel: Some(fuel), outputs } = exit else {
        panic!("{exit:?}\n{}", log(&sandbox));
    };
    assert!(fuel > 1_000);
    let files = outputs.iter().map(|o| (o.path.clone(), fs::read(&o.file).unwrap())).collect();
    (fuel, log(&sandbox), files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_makes_two_runs_the_same() {
    // Two runtimes, as on two nodes: nothing of one is there for the other.
    let (here, there) = (Grid::open().await, Grid::open().await);
    let first = seeded(&here, 1).await;
    assert_eq!(seeded(&there, 1).await, first);
    assert_eq!(seeded(&here, 1).await, first);
    let names: Vec<_> = first.2.iter().map(|(path, bytes)| (path.as_str(), bytes.len())).collect();
    assert_eq!(names, [("deep", 1_000), ("x", 1_000)]);
    // However it is made, on whatever processor: a NaN has these bits.
    let nan = "7ff8000000000000";
    let line = format!("[{nan}, {nan}, {nan}, {nan}]");
    assert!(first.1.lines().any(|said| said == line), "{}", first.1);
    let other = seeded(&there, 2).await;
    assert_ne!(first.1, other.1, "another seed has other randomness");
    assert_ne!(first.2[0], other.2[0], "another seed has other randomness");
    assert_eq!(first.2[1], other.2[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_job_begins_when_it_is_thawed() {
    let grid = Grid::open().await;
    let sandbox = grid.start(StartSpec { standby: true, ..job("errand", &["say=now"]) }).await;
    within(sandbox.ready()).await.unwrap();
    assert!(sandbox.is_frozen());
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(sandbox.exit(), None);
    assert_eq!(log(&sandbox), "");
    sandbox.thaw().unwrap();
    assert!(matches!(within(sandbox.ended()).await, Exit::Completed { .. }));
    assert_eq!(log(&sandbox), "now\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_component_says_so() {
    let grid = Grid::open().await;
    for (bytes, expected) in [
        (&b"\0asm\x01\0\0\0"[..], "core WebAssembly module"),
        (b"nonsense", "does not compile"),
        (b"", "does not compile"),
        (b"(component)", "cannot run as a job"),
    ] {
        let path = grid.dir.path().join("component");
        fs::write(&path, bytes).unwrap();
        let spec = crate::support::job_of(path, &[]);
        let error = match grid.runtime.start(spec).await {
            Ok(sandbox) => within(sandbox.ready()).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(error.to_string().contains(expected), "{error}");
    }
}
