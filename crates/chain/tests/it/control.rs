//! What test suites do with a chain: move its clock, and go back.

use alloy::primitives::Address;
use serde_json::{Value, json};

use crate::{
    rpc::{send, transfer},
    support::{call, embedded, result},
};

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

async fn latest(url: &str) -> Value {
    result(url, "eth_getBlockByNumber", json!(["latest", true])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_goes_back_to_a_snapshot() {
    let chain = embedded().await;
    let url = &chain.url;
    let (first, second) = (transfer(0), transfer(1));
    send(url, &first.0).await;
    let before = latest(url).await;
    let snapshot = result(url, "evm_snapshot", json!([])).await;
    let blocks = result(url, "eth_newBlockFilter", json!([])).await;
    result(url, "evm_increaseTime", json!([1_000_000])).await;
    send(url, &second.0).await;
    let later = result(url, "evm_snapshot", json!([])).await;
    assert_eq!(latest(url).await["number"], "0x2");

    assert_eq!(result(url, "evm_revert", json!([snapshot])).await, true);
    assert_eq!(latest(url).await, before);
    let gone = json!([second.1]);
    assert_eq!(result(url, "eth_getTransactionReceipt", gone).await, Value::Null);
    let received = json!([Address::repeat_byte(0x77), "latest"]);
    assert_eq!(result(url, "eth_getBalance", received).await, "0x1");
    assert_eq!(
        result(url, "eth_getBalance", json!([Address::repeat_byte(0x77), "0x0"])).await,
        "0x0"
    );
    // A snapshot serves once, and takes those after it with it.
    assert_eq!(result(url, "evm_revert", json!([snapshot])).await, false);
    assert_eq!(result(url, "evm_revert", json!([later])).await, false);

    // The same transaction again, in a block of its own time.
    assert_eq!(send(url, &second.0).await["result"], json!(second.1));
    let again = latest(url).await;
    assert_eq!(again["parentHash"], before["hash"]);
    assert!(number(&again["timestamp"]) < number(&before["timestamp"]) + 1_000);
    let told = result(url, "eth_getFilterChanges", json!([blocks])).await;
    assert_eq!(told, json!([again["hash"]]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_are_few() {
    let chain = embedded().await;
    let url = &chain.url;
    let first = result(url, "evm_snapshot", json!([])).await;
    let second = result(url, "evm_snapshot", json!([])).await;
    for _ in 0..63 {
        result(url, "evm_snapshot", json!([])).await;
    }
    assert_eq!(result(url, "evm_revert", json!([first])).await, false);
    assert_eq!(result(url, "evm_revert", json!([second])).await, true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_is_moved_and_blocks_are_mined() {
    let chain = embedded().await;
    let url = &chain.url;
    let now = number(&latest(url).await["timestamp"]);
    let at = now + 5_000;
    result(url, "evm_setNextBlockTimestamp", json!([at])).await;
    result(url, "evm_mine", json!([])).await;
    assert_eq!(number(&latest(url).await["timestamp"]), at);
    // And goes on from there.
    result(url, "evm_mine", json!([format!("{:#x}", at + 100)])).await;
    assert_eq!(number(&latest(url).await["timestamp"]), at + 100);
    send(url, &transfer(0).0).await;
    assert!((at + 100..at + 1_000).contains(&number(&latest(url).await["timestamp"])));
    result(url, "evm_mine", json!([{"blocks": 10}])).await;
    assert_eq!(latest(url).await["number"], "0xd");
    for (method, params) in [
        ("evm_setNextBlockTimestamp", json!([now])),
        ("evm_setNextBlockTimestamp", json!([u64::MAX])),
        ("evm_mine", json!([{"blocks": 1_001}])),
        ("evm_mine", json!([u64::MAX])),
        ("evm_revert", json!(["zz"])),
    ] {
        let answer = call(url, method, params.clone()).await;
        assert!(answer.get("error").is_some(), "{method} {params}: {answer}");
    }
    assert_eq!(latest(url).await["number"], "0xd");
}
