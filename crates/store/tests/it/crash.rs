//! A process that posts is killed with SIGKILL, again and again; what it was told is done is there,
//! and the ledger is exact.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use kinesis_protocol::NanoUsd;
use kinesis_store::{AppKind, AttemptEnd, Store, Then};

use crate::fixture::*;

/// Names the database for the child; where it is unset the child's test does nothing.
const URL: &str = "KINESIS_STORE_CRASH_URL";
/// The child ends itself after so many rounds, should nobody kill it.
const ROUNDS_MAX: u64 = 5_000;

/// Says on standard output what is done. Where nobody listens any more, the process ends.
fn say(what: &str, value: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "DONE {what} {value}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// What the killed process does: not a test of its own.
#[tokio::test]
async fn child_that_posts() {
    let Ok(url) = std::env::var(URL) else { return };
    let store = Store::open(&url).await.unwrap();
    let customer = store.accounts().await.unwrap()[0].account;
    let app = store.app_named(customer, "web").await.unwrap().unwrap();
    let running = store.unfinished_leases(SERIES).await.unwrap();
    let one = running.into_iter().find(|lease| lease.kind == AppKind::Service).unwrap();
    let mut wall = one.counters.wall_ms;
    for round in 0..ROUNDS_MAX {
        wall += 3;
        let posted = tick(&store, &[(one.id(), worked(wall))]).await;
        say("earned", posted.suppliers[0].1.0);
        let unique = format!("{}-{round}", std::process::id());
        let after = store.deposit(customer, NanoUsd(1_000), &key(&unique), 1).await.unwrap();
        say("balance", after.balance_nanousd.0);
        say("epoch", store.next_epoch(app.id, kinesis_protocol::Replica(3)).await.unwrap());
        let job = deploy(&store, customer, "job", 1).await;
        let attempt = lease(&store, &job.app, 0, 2).await;
        let part = attempt.spec.key.replica;
        store.start_part(job.version.id, part, attempt.id()).await.unwrap();
        let end = AttemptEnd {
            lease: attempt.id(),
            counters: worked(7),
            ending: completed(),
            then: Then::Nothing,
            joule_price: cent(),
        };
        store.end_attempt(&end, 2).await.unwrap();
        say("spent", store.spent(job.app.id).await.unwrap().0);
    }
}

/// Starts the child, kills it after `lines` acknowledgements, and returns the last of each kind.
fn run_and_kill(url: &str, lines: usize) -> BTreeMap<String, i64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child_that_posts", "--nocapture"])
        .env(URL, url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut said = BTreeMap::new();
    let done = out.lines().map_while(Result::ok).filter_map(|line| {
        // The test harness writes its own words on the same line.
        let (_, rest) = line.split_once("DONE ")?;
        let (what, value) = rest.split_once(' ')?;
        Some((what.to_owned(), value.parse().ok()?))
    });
    for (what, value) in done.take(lines) {
        said.insert(what, value);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    said
}

async fn survives(url: &str) {
    let store = Store::open(url).await.unwrap();
    let customer = account(&store).await;
    let app = deploy(&store, customer, "web", 0).await.app;
    lease(&store, &app, 0, 1).await;
    store.close().await;
    for lines in [3, 18, 7, 31, 12] {
        let url_of_child = url.to_owned();
        let said =
            tokio::task::spawn_blocking(move || run_and_kill(&url_of_child, lines)).await.unwrap();
        assert!(!said.is_empty(), "the child did nothing");
        let store = Store::open(url).await.unwrap();
        assert_exact(&store).await;
        let said = |what: &str| said.get(what).copied().unwrap_or(0);
        assert!(store.earned(SERIES, supplier(1)).await.unwrap().0 >= said("earned"));
        let epoch = store.next_epoch(app.id, kinesis_protocol::Replica(3)).await.unwrap();
        assert!(i64::try_from(epoch.0).unwrap() > said("epoch"));
        if let Some(job) = store.app_named(customer, "job").await.unwrap() {
            // Whole attempts only, each once.
            assert_eq!(job.spent_nanousd.0 % (7 * 1_160), 0);
            assert!(job.spent_nanousd.0 >= said("spent"));
        }
        // What was counted and posted agrees, so that the next process goes on from there.
        let mut one = store.unfinished_leases(SERIES).await.unwrap().into_iter();
        let one = one.rfind(|lease| lease.kind == AppKind::Service).unwrap();
        assert_eq!(
            one.posted.supplier_nanousd.0,
            i64::try_from(one.counters.wall_ms).unwrap() * 1_000
        );
        store.close().await;
    }
}

#[tokio::test]
async fn sqlite_survives_kill_9() {
    let database = crate::Database::file();
    survives(&database.url).await;
}

#[tokio::test]
async fn postgres_survives_kill_9_of_its_client() {
    let server = crate::postgres::Server::start().await;
    let database = server.database("crash").await;
    survives(&database.url).await;
}
