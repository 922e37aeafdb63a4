//! `kill -9` at any moment: what was acknowledged is there afterwards.

use std::{path::Path, process::Stdio, time::Duration};

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::Encodable2718 as _,
    primitives::{Address, B256, Bytes, TxKind, U256},
};
use kinesis_chain::{ChainConfig, ChainError, EmbeddedChain, deploy, dev};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::support::{result, serve, spawn, wait_for_line};

const DIR: &str = "KINESIS_TEST_CHAIN_DIR";
const RECEIVER: Address = Address::repeat_byte(0x42);

/// Not a test of its own: the process that the others kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let chain = EmbeddedChain::open(ChainConfig::new(dir)).unwrap();
    let address = serve(&chain).await;
    // The parent reads where we listen.
    println!("\nSERVING http://{address}/rpc");
    std::future::pending::<()>().await;
}

async fn start(dir: &Path) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "durability::victim", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = spawn(command);
    let url = wait_for_line(&mut child, "SERVING ").await;
    (child, url)
}

fn transfer(sender: usize, nonce: u64) -> (Bytes, B256) {
    let transaction = TxEip1559 {
        chain_id: dev::CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 2_000_000_000,
        to: TxKind::Call(RECEIVER),
        value: U256::ONE,
        ..TxEip1559::default()
    };
    let signature = dev::key(sender).sign_hash(&transaction.signature_hash());
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    (envelope.encoded_2718().into(), *envelope.tx_hash())
}

/// Sends transfers from one account until the chain is gone; those that were acknowledged.
async fn send_until_killed(url: String, sender: usize, mut nonce: u64) -> Vec<B256> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut acknowledged = Vec::new();
    loop {
        let (raw, hash) = transfer(sender, nonce);
        let body =
            json!({"jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw]});
        let Ok(response) = client.post(&url).json(&body).send().await else { break };
        let Ok(text) = response.text().await else { break };
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["result"], json!(hash), "{answer}");
        acknowledged.push(hash);
        nonce += 1;
    }
    acknowledged
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_that_was_acknowledged() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let (mut child, url) = start(dir.path()).await;
        let mut senders = tokio::task::JoinSet::new();
        for sender in 3..6 {
            let count = json!([dev::key(sender).address(), "latest"]);
            let nonce = number(&result(&url, "eth_getTransactionCount", count).await);
            senders.spawn(send_until_killed(url.clone(), sender, nonce));
        }
        tokio::time::sleep(Duration::from_millis(150 + round * 90)).await;
        child.kill().await.unwrap();
        acknowledged.extend(senders.join_all().await.concat());
    }
    assert!(!acknowledged.is_empty());

    let (_child, url) = start(dir.path()).await;
    for hash in &acknowledged {
        let receipt = result(&url, "eth_getTransactionReceipt", json!([hash])).await;
        assert_eq!(receipt["status"], "0x1", "{hash}");
    }
    // Every block holds one transfer of one wei, and each hangs on the one before.
    let head = number(&result(&url, "eth_blockNumber", json!([])).await);
    let received = result(&url, "eth_getBalance", json!([RECEIVER, "latest"])).await;
    assert_eq!(number(&received), head);
    let mut nonces = 0;
    for sender in 3..6 {
        let count = json!([dev::key(sender).address(), "latest"]);
        nonces += number(&result(&url, "eth_getTransactionCount", count).await);
    }
    assert_eq!(nonces, head);
    let mut parent = Value::Null;
    for block in 0..=head {
        let block =
            result(&url, "eth_getBlockByNumber", json!([format!("{block:#x}"), false])).await;
        assert!(parent.is_null() || block["parentHash"] == parent);
        parent = block["hash"].clone();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_reopened_as_it_was_and_by_one_process_only() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, url) = start(dir.path()).await;
    let contracts = deploy(&url, &dev::key(0)).await.unwrap();
    let head = result(&url, "eth_blockNumber", json!([])).await;
    let second = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap_err();
    assert!(matches!(second, ChainError::File { .. }), "{second:?}");
    child.kill().await.unwrap();

    let config = ChainConfig { chain_id: 5, ..ChainConfig::new(dir.path()) };
    let other = EmbeddedChain::open(config).unwrap_err();
    assert!(matches!(other, ChainError::WrongChain { expected: 5, got: 31337 }), "{other:?}");
    let (_child, url) = start(dir.path()).await;
    assert_eq!(result(&url, "eth_blockNumber", json!([])).await, head);
    assert_eq!(deploy(&url, &dev::key(0)).await.unwrap(), contracts);
    // Nothing was deployed anew.
    assert_eq!(result(&url, "eth_blockNumber", json!([])).await, head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_chain_can_be_opened_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        let chain = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap();
        let router = chain.router();
        assert_eq!(chain.block_number().unwrap(), 0);
        drop((chain, router));
    }
}
