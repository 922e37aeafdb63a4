//! The embedded chain's JSON-RPC, beside anvil's where that is at hand.

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope, TxLegacy},
    eips::Encodable2718 as _,
    primitives::{Address, B256, Bytes, TxKind, U256},
};
use kinesis_chain::dev;
use serde_json::{Value, json};

use crate::support::{Grid, anvil, call, embedded, joule, post, result};

/// A signed transfer of one wei from account 3 of the development chain.
pub(crate) fn transfer(nonce: u64) -> (Bytes, B256) {
    let transaction = TxEip1559 {
        chain_id: dev::CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 3_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::ONE,
        ..TxEip1559::default()
    };
    let signature = dev::key(3).sign_hash(&transaction.signature_hash());
    let envelope = TxEnvelope::from(transaction.into_signed(signature));
    (envelope.encoded_2718().into(), *envelope.tx_hash())
}

pub(crate) async fn send(url: &str, raw: &Bytes) -> Value {
    call(url, "eth_sendRawTransaction", json!([raw])).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_a_block_with_all_its_views() {
    let chain = embedded().await;
    let url = &chain.url;
    let (raw, hash) = transfer(0);
    assert_eq!(send(url, &raw).await["result"], json!(hash));
    assert_eq!(result(url, "eth_blockNumber", json!([])).await, "0x1");
    let receipt = result(url, "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["gasUsed"], "0x5208");
    let block = result(url, "eth_getBlockByNumber", json!(["0x1", true])).await;
    assert_eq!(block["hash"], receipt["blockHash"]);
    assert_eq!(block["transactions"][0]["hash"], json!(hash));
    assert_eq!(block["transactions"][0]["from"], json!(dev::key(3).address()));
    let by_hash = result(url, "eth_getBlockByHash", json!([block["hash"], false])).await;
    assert_eq!(by_hash["transactions"], json!([hash]));
    let genesis = result(url, "eth_getBlockByNumber", json!(["earliest", false])).await;
    assert_eq!(block["parentHash"], genesis["hash"]);
    let transaction = result(url, "eth_getTransactionByHash", json!([hash])).await;
    assert_eq!(transaction["blockNumber"], "0x1");
    assert_eq!(result(url, "eth_getBlockReceipts", json!(["latest"])).await[0], receipt);
    let nonce = json!([dev::key(3).address(), "pending"]);
    assert_eq!(result(url, "eth_getTransactionCount", nonce).await, "0x1");
    for method in
        ["eth_getTransactionByBlockNumberAndIndex", "eth_getTransactionByBlockHashAndIndex"]
    {
        let block = if method.contains("Hash") { &block["hash"] } else { &block["number"] };
        assert_eq!(result(url, method, json!([block, "0x0"])).await, transaction);
        assert_eq!(result(url, method, json!([block, "0x1"])).await, Value::Null);
    }
    assert_eq!(result(url, "eth_getRawTransactionByHash", json!([hash])).await, json!(raw));
    assert_eq!(result(url, "eth_getUncleCountByBlockNumber", json!(["latest"])).await, "0x0");
    for tag in ["latest", "safe", "finalized", "pending"] {
        let shown = result(url, "eth_getBlockByNumber", json!([tag, true])).await;
        assert_eq!(shown, block, "{tag}");
    }
    assert_eq!(result(url, "eth_getTransactionReceipt", json!([B256::ZERO])).await, Value::Null);
    assert_eq!(result(url, "eth_getBlockByNumber", json!(["0x99", false])).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_ahead_waits_for_the_gap_to_close() {
    let chain = embedded().await;
    let url = &chain.url;
    let (zero, one, two) = (transfer(0), transfer(1), transfer(2));
    for (raw, hash) in [&two, &one] {
        assert_eq!(send(url, raw).await["result"], json!(hash));
        assert_eq!(result(url, "eth_getTransactionReceipt", json!([hash])).await, Value::Null);
    }
    assert_eq!(send(url, &zero.0).await["result"], json!(zero.1));
    assert_eq!(result(url, "eth_blockNumber", json!([])).await, "0x3");
    for (_, hash) in [zero, one, two] {
        assert_eq!(result(url, "eth_getTransactionReceipt", json!([hash])).await["status"], "0x1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_speak_the_words_that_clients_look_for() {
    let chain = embedded().await;
    let url = &chain.url;
    let (raw, _) = transfer(0);
    send(url, &raw).await;
    let says = |answer: Value, word: &str| {
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(word), "{answer}");
    };
    says(send(url, &raw).await, "already known");
    let sign = |transaction: TxLegacy, key: kinesis_chain::Key| -> Bytes {
        let signature = key.sign_hash(&transaction.signature_hash());
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
    };
    let base = TxLegacy {
        chain_id: Some(dev::CHAIN_ID),
        nonce: 1,
        gas_price: 1_000_000_000,
        gas_limit: 21_000,
        to: TxKind::Call(Address::ZERO),
        ..TxLegacy::default()
    };
    let low = TxLegacy { nonce: 0, value: U256::from(5), ..base.clone() };
    says(send(url, &sign(low, dev::key(3))).await, "nonce too low");
    let other = TxLegacy { chain_id: Some(1), ..base.clone() };
    says(send(url, &sign(other, dev::key(3))).await, "chain id");
    let cheap = TxLegacy { gas_price: 1, ..base.clone() };
    says(send(url, &sign(cheap, dev::key(3))).await, "base fee");
    let poor = TxLegacy { nonce: 0, ..base.clone() };
    says(send(url, &sign(poor, kinesis_chain::Key::random())).await, "insufficient funds");
    let huge = TxLegacy { gas_limit: u64::MAX, ..base };
    says(send(url, &sign(huge, dev::key(3))).await, "gas limit");
    says(call(url, "eth_getBalance", json!([Address::ZERO, "0x99"])).await, "header not found");
    says(call(url, "eth_getBalance", json!([])).await, "missing value");
    says(call(url, "eth_hashrate", json!([])).await, "does not exist");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_found_by_address_topic_and_block() {
    let chain = embedded().await;
    let grid = Grid::new(&chain.url).await;
    grid.utility.top_up(1, joule(10)).await.unwrap();
    let supplier = grid.client().await;
    let proof = grid.tick(1, &[(supplier.address(), joule(1))]).remove(0);
    let paid = supplier.redeem(&proof).await.unwrap();
    let url = &chain.url;
    let everything = json!([{"fromBlock": "earliest", "address": grid.contracts.escrow}]);
    let all = result(url, "eth_getLogs", everything).await;
    let redeemed = all.as_array().unwrap().last().unwrap();
    assert_eq!(redeemed["transactionHash"], json!(paid.transaction));
    let topic = [json!(null), json!(null), json!(null), json!(supplier.address().into_word())];
    let filter = json!([{"fromBlock": "0x0", "topics": topic}]);
    assert_eq!(result(url, "eth_getLogs", filter).await, json!([redeemed]));
    let filter = json!([{"blockHash": redeemed["blockHash"], "address": [grid.contracts.escrow]}]);
    assert_eq!(result(url, "eth_getLogs", filter).await, json!([redeemed]));
    let none = json!([{"fromBlock": "0x0", "address": Address::repeat_byte(1)}]);
    assert_eq!(result(url, "eth_getLogs", none).await, json!([]));
    let backwards = json!([{"fromBlock": "0x5", "toBlock": "0x1"}]);
    let answer = call(url, "eth_getLogs", backwards).await;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    let unknown = call(url, "eth_getLogs", json!([{"blockHash": B256::repeat_byte(9)}])).await;
    assert_eq!(unknown["error"]["message"], "unknown block");
    let many: Vec<_> =
        (0..=1_000_u64).map(|i| Address::left_padding_from(&i.to_be_bytes())).collect();
    let wide = json!([{"fromBlock": "0x0", "address": many}]);
    assert_eq!(call(url, "eth_getLogs", wide).await["error"]["code"], -32005);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_and_notifications() {
    let chain = embedded().await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": 7, "method": "nonsense", "params": []},
    ]);
    let (_, answer) = post(&chain.url, batch.to_string()).await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer[0], json!({"jsonrpc": "2.0", "id": "a", "result": "0x7a69"}));
    assert_eq!(answer[1]["error"]["code"], -32601);
    assert_eq!(answer[1]["id"], 7);
    assert_eq!(answer.as_array().unwrap().len(), 2);
    let (status, body) = post(&chain.url, r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#).await;
    assert_eq!((status, body.as_str()), (204, ""));
}

/// Whatever anvil shows of a block, a transaction and a receipt, the embedded chain shows too, and
/// what does not depend on the clock is the same to the last character.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_anvil_shows_is_shown() {
    let Some(anvil) = anvil().await else { return };
    let chain = embedded().await;
    let (raw, hash) = transfer(0);
    for url in [&anvil.url, &chain.url] {
        send(url, &raw).await;
        result(url, "evm_mine", json!([])).await;
    }
    let request = json!([{"from": dev::key(3).address(), "to": Address::ZERO, "value": "0x1"}]);
    for (method, params, equal) in [
        (
            "eth_getBlockByNumber",
            json!(["0x1", true]),
            &["gasUsed", "number", "transactionsRoot", "receiptsRoot", "logsBloom", "sha3Uncles"][..],
        ),
        (
            "eth_getTransactionByHash",
            json!([hash]),
            &["hash", "from", "to", "value", "nonce", "gas", "type", "v", "r", "s", "chainId"],
        ),
        (
            "eth_getTransactionReceipt",
            json!([hash]),
            &[
                "status",
                "gasUsed",
                "cumulativeGasUsed",
                "effectiveGasPrice",
                "logs",
                "from",
                "to",
                "type",
            ],
        ),
        ("eth_feeHistory", json!(["0x1", "latest", [50.0]]), &[]),
    ] {
        let theirs = result(&anvil.url, method, params.clone()).await;
        let ours = result(&chain.url, method, params).await;
        let missing: Vec<_> = theirs
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| ours.get(key.as_str()).is_none())
            // Of blobs there are none here, and the other is a habit of anvil's in receipts.
            .filter(|key| !matches!(key.as_str(), "blobGasPrice" | "blockTimestamp"))
            .collect();
        assert!(missing.is_empty(), "{method} lacks {missing:?}\n{theirs}\n{ours}");
        for key in equal {
            assert_eq!(ours[key], theirs[key], "{method} {key}");
        }
    }
    for (method, params) in [
        ("eth_estimateGas", request.clone()),
        ("eth_call", request),
        ("eth_chainId", json!([])),
        ("net_version", json!([])),
        ("eth_syncing", json!([])),
        ("eth_getTransactionCount", json!([dev::key(3).address(), "latest"])),
        ("eth_getCode", json!(["0x4e59b44847b379578588920ca78fbf26c0b4956c", "latest"])),
        ("eth_getStorageAt", json!([Address::ZERO, "0x0", "latest"])),
        ("eth_getBalance", json!([Address::repeat_byte(0x77), "0x0"])),
        ("eth_getTransactionCount", json!([dev::key(3).address(), "0x0"])),
        ("eth_getUncleCountByBlockNumber", json!(["latest"])),
        ("eth_getLogs", json!([{"fromBlock": "0x0", "toBlock": "latest"}])),
        ("web3_sha3", json!(["0x68656c6c6f"])),
        ("net_listening", json!([])),
        // The caller's balance and the block's number, time and fee recipient, as pretended.
        (
            "eth_call",
            json!([
                {"to": Address::repeat_byte(0xaa)},
                "latest",
                {Address::repeat_byte(0xaa).to_string(): {
                    "code": "0x475f5243602052426040524160605260805ff3",
                    "balance": "0x1234",
                }},
                {"number": "0x4d", "time": "0x63", "coinbase": Address::repeat_byte(0xbb)},
            ]),
        ),
    ] {
        let theirs = result(&anvil.url, method, params.clone()).await;
        assert_eq!(result(&chain.url, method, params).await, theirs, "{method}");
    }
}
