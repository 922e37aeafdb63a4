//! kill -9 of agent, utility and chain, each in turn under load, and an agent that leaves in order;
//! the books are checked afterwards.

use kinesis_protocol::{NanoJoule, U256};
use kinesis_tests::{
    demo::replica,
    grid::{Grid, Supplier, SupplierConfig, eventually, send},
    guest_ms,
    load::Load,
};
use nix::sys::signal::Signal;
use serde_json::Value;

async fn deployed(grid: &Grid) -> Value {
    grid.account("25.00").await.unwrap();
    let manifest = crate::example("guestbook").join("kinesis.toml");
    grid.cli(&["deploy".as_ref(), manifest.as_os_str()]).await.unwrap();
    grid.settled("guestbook", 1, 1).await.unwrap()
}

fn load(grid: &Grid) -> Load {
    let url = format!("{}/api/entries", grid.endpoints().unwrap().ingress);
    Load::start(&url, "guestbook.localhost", 50).unwrap()
}

/// Waits until the load got this many answers more.
async fn answered(load: &Load, more: u64) {
    let before = load.answered();
    eventually("answers", async || Ok((load.answered() >= before + more).then_some(())))
        .await
        .unwrap();
}

/// The lines of an app's bill.
async fn lines(grid: &Grid, app: &str) -> anyhow::Result<Vec<Value>> {
    let bill = grid.cli(&["usage", app]).await?;
    assert!(bill["next"].is_null(), "these are not all lines: {bill}");
    Ok(bill["lines"].as_array().unwrap().clone())
}

/// What a counter of all lines adds up to.
fn counted(lines: &[Value], counter: &str) -> u64 {
    lines.iter().map(|line| line["counters"][counter].as_u64().unwrap()).sum()
}

/// The app's work is on the bill, the ledger's sums are zero, and what suppliers are owed on the
/// ledger is what the newest root pays.
async fn books_close(grid: &Grid) {
    grid.cli(&["stop", "guestbook"]).await.unwrap();
    eventually("books that close", async || {
        let bill = grid.cli(&["usage", "guestbook"]).await?;
        let grid = grid.get("/v1/grid").await?;
        let totals = &grid["totals"];
        let of = |key: &str| totals[key].as_i64().unwrap_or(i64::MIN);
        let usd = of("customer_nanousd")
            - of("suppliers_nanousd")
            - of("margin_nanousd")
            - of("fee_nanousd");
        let joule = of("desk_nanojoule") - of("suppliers_nanojoule") - of("fee_nanojoule");
        let lines = bill["lines"].as_array().unwrap();
        let billed: i64 = lines.iter().map(|l| l["billed_nanousd"].as_i64().unwrap()).sum();
        let root: U256 = grid["root"]["total_wei"].as_str().unwrap_or("0").parse()?;
        let closed = usd == 0
            && joule == 0
            && of("difference") == 0
            && billed == of("customer_nanousd")
            && billed > 0
            && root == NanoJoule(of("suppliers_nanojoule")).to_wei();
        Ok(closed.then_some(()))
    })
    .await
    .unwrap();
}

/// Takes the supplier whose node serves the app out of all, with its place among them.
fn serving(app: &Value, all: &mut Vec<Supplier>) -> (usize, Supplier) {
    let node = replica(app, "active").unwrap()["node"].as_str().unwrap();
    let at = all.iter().position(|supplier| supplier.node == node).unwrap();
    (at, all.remove(at))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_comes_back_and_nothing_is_lost() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let mut all: Vec<_> = crate::suppliers::<3>(&grid).await.into();
    let app = deployed(&grid).await;
    let load = load(&grid);
    answered(&load, 100).await;
    let (at, mut dead) = serving(&app, &mut all);
    dead.signal(Signal::SIGKILL).unwrap();
    dead.exited().await.unwrap();
    grid.settled("guestbook", 1, 1).await.unwrap();
    answered(&load, 100).await;
    // The machine comes back with what it had on disk, under the same key.
    let tier = if at % 2 == 0 { "crowd" } else { "datacenter" };
    let config = SupplierConfig::new(&dead.name, tier);
    let back = grid.supplier_in(&config, dead.data.clone()).await.unwrap();
    assert_eq!((&back.node, &back.address), (&dead.node, &dead.address));
    let outcome = load.stop().await.unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.faults);
    books_close(&grid).await;
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_told_to_leave_loses_no_request() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let mut all: Vec<_> = crate::suppliers::<3>(&grid).await.into();
    let app = deployed(&grid).await;
    let waiting = replica(&app, "standby").unwrap()["node"].clone();
    let load = load(&grid);
    answered(&load, 100).await;
    let (_, mut leaving) = serving(&app, &mut all);
    leaving.signal(Signal::SIGTERM).unwrap();
    let status = leaving.exited().await.unwrap();
    assert!(status.success(), "{} ended with {status}", leaving.name);
    let app = grid.settled("guestbook", 1, 1).await.unwrap();
    assert_eq!(replica(&app, "active").unwrap()["node"], waiting, "another was warm");
    answered(&load, 100).await;
    let outcome = load.stop().await.unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.faults);
    books_close(&grid).await;
    let billed = counted(&lines(&grid, "guestbook").await.unwrap(), "requests");
    assert!(billed >= outcome.requests, "{billed} billed of {}", outcome.requests);
    grid.stop().await.unwrap();
}

/// How many requests may be in flight at once in these tests.
const IN_FLIGHT: u64 = 4;

/// Kills the utility and waits until another process took its place.
async fn kill_the_utility(grid: &Grid) {
    let pid = grid.endpoints().unwrap().pids.utility;
    send(pid, Signal::SIGKILL).unwrap();
    eventually("a new utility process", async || {
        Ok((grid.endpoints()?.pids.utility != pid && grid.healthy().await).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_utility_that_is_killed_comes_back_to_the_same_leases() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<2>(&grid).await;
    let before = deployed(&grid).await;
    let load = load(&grid);
    answered(&load, 100).await;
    // Customers go on asking all the while. They come in through what is killed, and are told so;
    // but whoever was answered is on the bill, what was answered just before the kill as well.
    kill_the_utility(&grid).await;
    let after = grid.settled("guestbook", 1, 1).await.unwrap();
    let lease = |app: &Value| replica(app, "active").unwrap()["lease"].clone();
    assert_eq!(lease(&before), lease(&after), "the lease must outlive the utility");
    answered(&load, 100).await;
    let outcome = load.stop().await.unwrap();
    let answered = outcome.requests - outcome.failed;
    books_close(&grid).await;
    let lines = lines(&grid, "guestbook").await.unwrap();
    let billed = counted(&lines, "requests");
    // What ends in the moment of the kill was seen by nobody who is left but its machine.
    let seen = answered.saturating_sub(IN_FLIGHT);
    assert!(
        (seen..=outcome.requests).contains(&billed),
        "{answered} answered of {}, {billed} billed: {lines:#?}",
        outcome.requests
    );
    grid.stop().await.unwrap();
}

/// How much longer than its guest saw a job may be billed where the machine is busy: the meter begins
/// just before the guest and ends just after it. It is never billed less.
const BUSY_MS: f64 = 50.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_outlives_the_utility_and_is_billed_once() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<2>(&grid).await;
    grid.account("5.00").await.unwrap();
    let manifest = crate::example("stopwatch").join("kinesis.toml");
    let args = ["run".as_ref(), manifest.as_os_str()];
    let killing = async {
        eventually("both parts at work", async || {
            let app = grid.app("stopwatch").await?;
            let parts = app["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
            let at_work = parts.iter().filter(|part| part["state"] == "active").count();
            Ok((at_work == 2).then_some(()))
        })
        .await
        .unwrap();
        kill_the_utility(&grid).await;
    };
    let (run, ()) = tokio::join!(grid.cli(&args), killing);
    let run = run.unwrap();
    assert_eq!(run["state"], "completed", "{run:#}");
    let parts = run["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2);
    for part in parts {
        assert_eq!(part["attempts"], 1, "it was begun anew: {part:#}");
        let guest = guest_ms(part["log"].as_str().unwrap()).unwrap();
        let billed = part["billed_ms"].as_f64().unwrap();
        // Counted in whole milliseconds, rounded down.
        assert!(
            billed > guest - 1.0 && billed < guest + BUSY_MS,
            "billed {billed} ms, the guest saw {guest} ms"
        );
    }
    let lines = lines(&grid, "stopwatch").await.unwrap();
    let billed = |line: &Value| line["billed_nanousd"].as_i64().unwrap();
    assert_eq!(lines.iter().filter(|line| billed(line) > 0).count(), 2, "{lines:#?}");
    let all: i64 = lines.iter().map(billed).sum();
    eventually("the customer paid that and no more", async || {
        let totals = grid.get("/v1/grid").await?["totals"].clone();
        let paid = totals["customer_nanousd"] == all && totals["difference"] == 0;
        Ok(paid.then_some(()))
    })
    .await
    .unwrap();
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_is_killed_comes_back_with_every_transaction() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let [supplier, _other] = crate::suppliers::<2>(&grid).await;
    deployed(&grid).await;
    let load = load(&grid);
    answered(&load, 100).await;
    let pid = grid.endpoints().unwrap().pids.chain.unwrap();
    send(pid, Signal::SIGKILL).unwrap();
    answered(&load, 100).await;
    eventually("a new chain process", async || {
        Ok((grid.endpoints()?.pids.chain != Some(pid)).then_some(()))
    })
    .await
    .unwrap();
    let outcome = load.stop().await.unwrap();
    assert_eq!(outcome.failed, 0, "a chain's death is no service's: {:?}", outcome.faults);
    // Whoever of the two earned something redeems it on the chain that came back.
    let redeemed = eventually("a redemption", async || {
        let rpc = grid.endpoints()?.rpc;
        for supplier in [&supplier, &_other] {
            let data = supplier.data.to_string_lossy().into_owned();
            let redeemed = grid.cli(&["supply", "redeem", "--data", &data, "--rpc", &rpc]).await;
            if let Ok(redeemed) = redeemed
                && redeemed["redeemed_nanojoule"].as_i64() > Some(0)
            {
                return Ok(Some(redeemed));
            }
        }
        Ok(None)
    })
    .await
    .unwrap();
    assert!(redeemed["tx"].as_str().unwrap().starts_with("0x"));
    books_close(&grid).await;
    grid.stop().await.unwrap();
}
