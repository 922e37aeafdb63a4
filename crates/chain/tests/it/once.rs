//! A call under an idempotency key happens once: asked twice, by two at once, or after `kill -9` at
//! any point between the first question to the chain and the last answer.

use std::{
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alloy::primitives::{Address, U256};
use axum::{Router, body::Bytes, extract::State, routing::post};
use kinesis_chain::{
    ChainError, FileJournal, Finality, Journal as _, Key, SendPolicy, Settlement, Until,
    contracts::Joule, dev,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command, sync::Notify};

use crate::support::{Grid, anvil_with, embedded, joule, result, spawn, wait_for_line};

const PLACE: &str = "KINESIS_TEST_ONCE_DIR";
const KEY: &str = "pay:7";
const RECEIVER: Address = Address::repeat_byte(0x77);

/// What a victim is told: where the chain answers, and what to call.
#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    url: String,
    chain_id: u64,
    escrow: Address,
    joule: Address,
}

fn sender(order: &Order, dir: &Path) -> Settlement {
    let key = Key::load_or_create(&dir.join("key")).unwrap();
    let journal = FileJournal::open(&dir.join("journal")).unwrap();
    let made = Settlement::new(&order.url, order.chain_id, order.escrow, key).unwrap();
    let policy = SendPolicy {
        resend_after: Duration::from_millis(200),
        wait_max: Duration::from_secs(20),
        ..SendPolicy::for_chain(order.chain_id)
    };
    made.with_journal(Arc::new(journal)).with_policy(policy)
}

fn pay(wei: U256) -> Joule::transferCall {
    Joule::transferCall { to: RECEIVER, value: wei }
}

/// Not a test of its own: the process that the others kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(dir) = std::env::var_os(PLACE) else { return };
    let dir = Path::new(&dir);
    let order: Order = serde_json::from_slice(&std::fs::read(dir.join("order")).unwrap()).unwrap();
    println!("\nWORKING");
    let sender = sender(&order, dir);
    sender.submit(KEY, order.joule, &pay(joule(3)), Until::Final).await.unwrap();
    std::future::pending::<()>().await;
}

/// When a proxy lets a question wait for ever: which method, the how-manieth of it, and whether the
/// chain hears it all the same.
#[derive(Debug, Clone, Copy)]
struct Hold {
    method: &'static str,
    nth: usize,
    heard: bool,
}

struct Proxy {
    chain: String,
    hold: Hold,
    seen: AtomicUsize,
    held: Notify,
    http: reqwest::Client,
}

async fn forward(State(proxy): State<Arc<Proxy>>, body: Bytes) -> Vec<u8> {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let is_it = asked["method"] == proxy.hold.method
        && proxy.seen.fetch_add(1, Ordering::SeqCst) + 1 == proxy.hold.nth;
    let ask = || async {
        let request = proxy.http.post(&proxy.chain).header("content-type", "application/json");
        request.body(body.clone()).send().await.unwrap().bytes().await.unwrap().to_vec()
    };
    if is_it {
        if proxy.hold.heard {
            ask().await;
        }
        proxy.held.notify_one();
        std::future::pending::<()>().await;
    }
    ask().await
}

async fn proxy(chain: &str, hold: Hold) -> (String, Arc<Proxy>) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let seen = AtomicUsize::new(0);
    let proxy = Arc::new(Proxy { chain: chain.to_owned(), hold, seen, held: Notify::new(), http });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(forward)).with_state(Arc::clone(&proxy));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, proxy)
}

async fn nonce(url: &str, of: Address) -> u64 {
    let count = result(url, "eth_getTransactionCount", json!([of, "latest"])).await;
    u64::from_str_radix(count.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// An account with JOULE and gas whose key and journal lie in `dir`.
async fn account(grid: &Grid, dir: &Path, url: &str) -> (Order, Settlement) {
    let order = Order {
        url: url.to_owned(),
        chain_id: grid.contracts.chain_id,
        escrow: grid.contracts.escrow,
        joule: grid.contracts.joule,
    };
    std::fs::write(dir.join("order"), serde_json::to_vec(&order).unwrap()).unwrap();
    let direct = Order { url: grid.url.clone(), ..order };
    let sender = sender(&direct, dir);
    dev::fund(&grid.url, sender.address(), joule(1)).await.unwrap();
    grid.utility.transfer(sender.address(), joule(10)).await.unwrap();
    (direct, sender)
}

async fn killed_at_every_point(url: &str) {
    let grid = Grid::new(url).await;
    let mut paid = U256::ZERO;
    let send = "eth_sendRawTransaction";
    let receipt = "eth_getTransactionReceipt";
    for hold in [
        // Before anything was recorded.
        Hold { method: "eth_estimateGas", nth: 1, heard: true },
        // Recorded, never sent.
        Hold { method: send, nth: 1, heard: false },
        // Sent, and nobody knows.
        Hold { method: send, nth: 1, heard: true },
        // Mined, and nobody knows.
        Hold { method: receipt, nth: 1, heard: true },
        // Seen mined, not recorded as final.
        Hold { method: "eth_getBlockByNumber", nth: 1, heard: true },
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (proxied, held) = proxy(url, hold).await;
        let (order, sender) = account(&grid, dir.path(), &proxied).await;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "once::victim", "--nocapture"])
            .env(PLACE, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = spawn(command);
        wait_for_line(&mut child, "WORKING").await;
        tokio::time::timeout(Duration::from_secs(30), held.held.notified())
            .await
            .unwrap_or_else(|_| panic!("{hold:?} was never reached"));
        child.kill().await.unwrap();

        // What comes after looks the intent up: nothing is paid twice, nothing is lost.
        let again = sender.submit(KEY, order.joule, &pay(joule(3)), Until::Final).await.unwrap();
        paid += joule(3);
        assert_eq!(sender.joule_balance(RECEIVER).await.unwrap(), paid, "{hold:?}");
        assert_eq!(nonce(url, sender.address()).await, 1, "{hold:?}");
        let third = sender.submit(KEY, order.joule, &pay(joule(3)), Until::Final).await.unwrap();
        assert_eq!(third.transaction_hash, again.transaction_hash, "{hold:?}");
        assert_eq!(sender.joule_balance(RECEIVER).await.unwrap(), paid, "{hold:?}");
        assert_eq!(sender.settle().await.unwrap(), 0, "{hold:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_every_point_pays_once_on_the_embedded_chain() {
    let chain = embedded().await;
    killed_at_every_point(&chain.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_every_point_pays_once_on_anvil() {
    if let Some(chain) = anvil_with(&[]).await {
        killed_at_every_point(&chain.url).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_send_one_transaction() {
    let chain = embedded().await;
    let grid = Grid::new(&chain.url).await;
    let dir = tempfile::tempdir().unwrap();
    let (order, one) = account(&grid, dir.path(), &chain.url).await;
    let (call, other_call) = (pay(joule(2)), pay(joule(1)));
    // Each of them has the journal open for itself, as two processes would.
    let two = sender(&order, dir.path());
    let (first, second, different) = tokio::join!(
        one.submit(KEY, order.joule, &call, Until::Final),
        two.submit(KEY, order.joule, &call, Until::Final),
        two.submit("pay:8", order.joule, &other_call, Until::Final),
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.transaction_hash, second.transaction_hash);
    assert_ne!(first.transaction_hash, different.unwrap().transaction_hash);
    assert_eq!(one.joule_balance(RECEIVER).await.unwrap(), joule(3));
    assert_eq!(nonce(&chain.url, one.address()).await, 2);
    let reused = one.submit(KEY, order.joule, &other_call, Until::Final).await.unwrap_err();
    assert!(matches!(reused, ChainError::KeyReused(_)), "{reused:?}");
    // A refusal leaves nothing behind.
    let refused = one.submit("pay:9", order.joule, &pay(joule(99)), Until::Final).await;
    assert!(matches!(refused, Err(ChainError::Reverted(_))), "{refused:?}");
    one.submit("pay:9", order.joule, &other_call, Until::Final).await.unwrap();
    assert_eq!(one.settle().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_stuck_is_replaced_at_its_nonce() {
    // No block comes unless it is asked for.
    let Some(chain) = anvil_with(&[]).await else { return };
    let grid = Grid::new(&chain.url).await;
    let dir = tempfile::tempdir().unwrap();
    let (order, sender) = account(&grid, dir.path(), &chain.url).await;
    result(&chain.url, "evm_setAutomine", json!([false])).await;
    let policy = SendPolicy {
        finality: Finality::Confirmations(1),
        resend_after: Duration::from_secs(30),
        replace_after: Duration::from_millis(300),
        wait_max: Duration::from_secs(30),
        ..SendPolicy::default()
    };
    let sender = sender.with_policy(policy.clone());
    let call = pay(joule(4));
    let submitted = sender.submit(KEY, order.joule, &call, Until::Final);
    let mined = async {
        let journal = FileJournal::open(&dir.path().join("journal")).unwrap();
        loop {
            let open = journal.open(order.chain_id, sender.address()).await.unwrap();
            if open.first().is_some_and(|intent| intent.attempts.len() >= 3) {
                result(&chain.url, "evm_mine", json!([])).await;
                return open[0].clone();
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (receipt, seen) = tokio::join!(submitted, mined);
    let receipt = receipt.unwrap();
    assert_eq!(nonce(&chain.url, sender.address()).await, 1);
    assert_eq!(sender.joule_balance(RECEIVER).await.unwrap(), joule(4));
    let fees: Vec<_> = seen.attempts.iter().map(|attempt| attempt.max_fee_per_gas).collect();
    assert!(fees.windows(2).all(|two| two[1] > two[0] + two[0] / 10), "{fees:?}");
    assert_ne!(receipt.transaction_hash, seen.attempts[0].hash);

    // Past the most that is allowed nothing is offered.
    let capped = SendPolicy { fee_per_gas_max: 1_000, wait_max: Duration::from_secs(1), ..policy };
    let error = sender.with_policy(capped).submit("low", order.joule, &call, Until::Final).await;
    assert!(error.is_err(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_that_somebody_else_took_is_given_up_once_that_is_final() {
    let Some(chain) = anvil_with(&[]).await else { return };
    let grid = Grid::new(&chain.url).await;
    let dir = tempfile::tempdir().unwrap();
    let (order, ours) = account(&grid, dir.path(), &chain.url).await;
    // The intent is recorded and the endpoint gone before it is sent.
    let hold = Hold { method: "eth_sendRawTransaction", nth: 1, heard: false };
    let (proxied, held) = proxy(&chain.url, hold).await;
    let lost = sender(&Order { url: proxied, ..order }, dir.path());
    let call = pay(joule(5));
    tokio::select! {
        _ = lost.submit(KEY, grid.contracts.joule, &call, Until::Final) => panic!("it was held"),
        () = held.held.notified() => {}
    }
    // Another process without this journal sends from the same account.
    let key = Key::load(&dir.path().join("key")).unwrap();
    let other =
        Settlement::new(&chain.url, grid.contracts.chain_id, grid.contracts.escrow, key).unwrap();
    other.transfer(Address::repeat_byte(0x11), joule(1)).await.unwrap();
    ours.submit(KEY, grid.contracts.joule, &call, Until::Final).await.unwrap();
    assert_eq!(ours.joule_balance(RECEIVER).await.unwrap(), joule(5));
    assert_eq!(nonce(&chain.url, ours.address()).await, 2);
}
