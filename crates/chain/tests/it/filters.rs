//! Filters that are polled.

use alloy::primitives::Address;
use serde_json::{Value, json};

use crate::{
    rpc::{send, transfer},
    support::{Grid, call, embedded, joule, result},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_tell_once_what_came_after_them() {
    let chain = embedded().await;
    let url = &chain.url;
    let grid = Grid::new(url).await;
    let blocks = result(url, "eth_newBlockFilter", json!([])).await;
    let pending = result(url, "eth_newPendingTransactionFilter", json!([])).await;
    let mine = json!([{"address": grid.contracts.joule, "fromBlock": "earliest"}]);
    let logs = result(url, "eth_newFilter", mine.clone()).await;
    let other = json!([{"address": Address::repeat_byte(1)}]);
    let nothing = result(url, "eth_newFilter", other).await;
    let changes = |id: &Value| {
        let id = json!([id]);
        async move { result(url, "eth_getFilterChanges", id).await }
    };
    for id in [&blocks, &pending, &logs, &nothing] {
        assert_eq!(changes(id).await, json!([]));
    }
    grid.utility.transfer(Address::repeat_byte(7), joule(1)).await.unwrap();
    let head = result(url, "eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(changes(&blocks).await, json!([head["hash"]]));
    assert_eq!(changes(&pending).await, head["transactions"]);
    let told = changes(&logs).await;
    assert_eq!(told.as_array().unwrap().len(), 1);
    assert_eq!(told[0]["blockHash"], head["hash"]);
    for id in [&blocks, &pending, &logs, &nothing] {
        assert_eq!(changes(id).await, json!([]), "told twice");
    }
    // All of the range, however old.
    let all = result(url, "eth_getFilterLogs", json!([logs])).await;
    assert_eq!(all, result(url, "eth_getLogs", mine).await);
    assert!(all.as_array().unwrap().len() > 1);
    assert_eq!(result(url, "eth_uninstallFilter", json!([logs])).await, true);
    assert_eq!(result(url, "eth_uninstallFilter", json!([logs])).await, false);
    let gone = call(url, "eth_getFilterChanges", json!([logs])).await;
    assert_eq!(gone["error"]["message"], "filter not found");
    assert!(call(url, "eth_getFilterLogs", json!([blocks])).await.get("error").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_begin_and_end_where_they_say_and_are_few() {
    let chain = embedded().await;
    let url = &chain.url;
    let grid = Grid::new(url).await;
    let head = result(url, "eth_blockNumber", json!([])).await;
    let head = u64::from_str_radix(head.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    // Of the next three blocks, the second only.
    let at = format!("{:#x}", head + 2);
    let filter = json!([{"address": grid.contracts.joule, "fromBlock": at, "toBlock": at}]);
    let id = result(url, "eth_newFilter", filter).await;
    let mut told = Vec::new();
    for _ in 0..3 {
        grid.utility.transfer(Address::repeat_byte(7), joule(1)).await.unwrap();
        let changes = result(url, "eth_getFilterChanges", json!([id])).await;
        told.extend(changes.as_array().unwrap().iter().map(|log| log["blockNumber"].clone()));
    }
    assert_eq!(told, [json!(at)]);
    let hash = json!([{"blockHash": format!("{:#066x}", 1)}]);
    assert_eq!(call(url, "eth_newFilter", hash).await["error"]["code"], -32602);
    let mut refused = None;
    for _ in 0..12 {
        let batch: Vec<_> = (0..100)
            .map(|id| json!({"jsonrpc": "2.0", "id": id, "method": "eth_newBlockFilter"}))
            .collect();
        let (_, answers) = crate::support::post(url, json!(batch).to_string()).await;
        let answers: Vec<Value> = serde_json::from_str(&answers).unwrap();
        refused = answers.into_iter().find(|answer| answer.get("error").is_some());
    }
    assert_eq!(refused.expect("1,200 are too many")["error"]["code"], -32005);
    // The one that was there still works, and so does the chain.
    send(url, &transfer(0).0).await;
    assert_eq!(result(url, "eth_getFilterChanges", json!([id])).await, json!([]));
}
