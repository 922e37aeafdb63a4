//! kill -9 of agent, utility and chain, each in turn under load; the books are checked afterwards.

use kinesis_tests::{
    demo::replica,
    grid::{Grid, SupplierConfig, eventually, send},
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

/// The app's work is on the bill, the ledger's sums are zero, and what suppliers are owed on the
/// ledger is what the newest root says.
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
        let closed = usd == 0
            && joule == 0
            && of("difference") == 0
            && billed == of("customer_nanousd")
            && billed > 0;
        Ok(closed.then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_comes_back_and_nothing_is_lost() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let mut all: Vec<_> = crate::suppliers::<3>(&grid).await.into();
    let app = deployed(&grid).await;
    let load = load(&grid);
    answered(&load, 100).await;
    let serving = replica(&app, "active").unwrap()["node"].as_str().unwrap().to_owned();
    let at = all.iter().position(|s| s.node == serving).unwrap();
    let mut dead = all.remove(at);
    dead.signal(Signal::SIGKILL).unwrap();
    dead.exited().await.unwrap();
    grid.settled("guestbook", 1, 1).await.unwrap();
    answered(&load, 100).await;
    // The machine comes back with what it had on disk, under the same key.
    let tier = if at % 2 == 0 { "crowd" } else { "datacenter" };
    let config = SupplierConfig::new(&dead.name, tier);
    let back = grid.supplier_in(&config, dead.data.clone()).await.unwrap();
    assert_eq!((back.node.as_str(), &back.address), (serving.as_str(), &dead.address));
    let outcome = load.stop().await.unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.faults);
    books_close(&grid).await;
    grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_utility_that_is_killed_comes_back_to_the_same_leases() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let _suppliers = crate::suppliers::<2>(&grid).await;
    let before = deployed(&grid).await;
    let first = load(&grid);
    answered(&first, 100).await;
    first.stop().await.unwrap();
    let bill = grid.cli(&["usage", "guestbook"]).await.unwrap();
    let pid = grid.endpoints().unwrap().pids.utility;
    send(pid, Signal::SIGKILL).unwrap();
    eventually("a new utility process", async || {
        Ok((grid.endpoints()?.pids.utility != pid && grid.healthy().await).then_some(()))
    })
    .await
    .unwrap();
    let after = grid.settled("guestbook", 1, 1).await.unwrap();
    let lease = |app: &Value| replica(app, "active").unwrap()["lease"].clone();
    assert_eq!(lease(&before), lease(&after), "the lease must outlive the utility");
    let second = load(&grid);
    answered(&second, 100).await;
    let outcome = second.stop().await.unwrap();
    assert_eq!(outcome.failed, 0, "{:?}", outcome.faults);
    let total = |bill: &Value| -> i64 {
        let lines = bill["lines"].as_array().unwrap();
        lines.iter().map(|line| line["billed_nanousd"].as_i64().unwrap()).sum()
    };
    eventually("a bill that goes on", async || {
        let now = grid.cli(&["usage", "guestbook"]).await?;
        Ok((total(&now) > total(&bill)).then_some(()))
    })
    .await
    .unwrap();
    books_close(&grid).await;
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
