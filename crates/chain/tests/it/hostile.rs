//! Bodies that mean no good.

use alloy::{
    consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
    eips::Encodable2718 as _,
    hex,
    primitives::TxKind,
};
use kinesis_chain::dev;
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::support::{call, embedded, post, post_as, post_to, result};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_bodies_get_errors_and_the_chain_goes_on() {
    let chain = embedded().await;
    let deep = "[".repeat(100_000);
    let wide = Value::Array(vec![json!({"id": 1, "method": "eth_chainId"}); 1_001]).to_string();
    for (body, code) in [
        ("", -32700),
        ("nonsense", -32700),
        ("\u{0}\u{1}", -32700),
        (deep.as_str(), -32700),
        ("[]", -32600),
        ("{}", -32600),
        ("7", -32600),
        (r#"{"id": {}, "method": "eth_chainId"}"#, -32600),
        (r#"{"id": 1, "method": 7}"#, -32600),
        (r#"{"id": 1, "method": "eth_chainId", "params": {"a": 1}}"#, -32600),
        (wide.as_str(), -32005),
    ] {
        let (status, answer) = post(&chain.url, body.to_owned()).await;
        let short: String = body.chars().take(40).collect();
        if status == 204 {
            // No id: nobody to answer.
            assert!(!body.contains("id"), "{short}");
            continue;
        }
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["code"], code, "{short}: {answer}");
    }
    // What a web page can send without asking is not taken.
    let mine = r#"{"id": 1, "method": "evm_mine"}"#;
    assert_eq!(post_as("text/plain", &chain.url, mine).await.0, 415);
    // A page whose name was pointed at this machine after it was loaded.
    assert_eq!(post_to("evil.example:8545", &chain.url, mine).await, 403);
    let ask = r#"{"id": 1, "method": "eth_chainId"}"#;
    assert_eq!(post_to("localhost:8545", &chain.url, ask).await, 200);
    let (status, _) = post(&chain.url, vec![b' '; 3 << 20]).await;
    assert_eq!(status, 413);
    assert_eq!(result(&chain.url, "eth_blockNumber", json!([])).await, "0x0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_parameters_get_errors() {
    let chain = embedded().await;
    let endless = "0x5b600056"; // jumps to itself until the gas is gone
    for (method, params) in [
        ("eth_sendRawTransaction", json!(["0x"])),
        ("eth_sendRawTransaction", json!(["0x02ff"])),
        ("eth_sendRawTransaction", json!([format!("0x{}", "f8".repeat(50_000))])),
        ("eth_sendRawTransaction", json!([7])),
        ("eth_call", json!([{"data": endless}, "latest"])),
        ("eth_estimateGas", json!([{"data": endless}])),
        ("eth_call", json!([{"to": "0x12"}, "latest"])),
        ("eth_call", json!([{}, "latest", {"0x00": {}}])),
        ("eth_call", json!([{}, "latest", [], []])),
        ("eth_createAccessList", json!([{"data": endless, "gas": "zz"}])),
        ("eth_newFilter", json!([{"topics": ["0x00"]}])),
        ("eth_newFilter", json!([{"topics": [null, null, null, null, null]}])),
        ("eth_getFilterChanges", json!([format!("0x{}", "f".repeat(64))])),
        ("eth_getFilterChanges", json!([-1])),
        ("eth_getLogs", json!([{"fromBlock": "0x0", "toBlock": "latest", "address": "0x"}])),
        ("eth_feeHistory", json!(["0x1", "latest", [50.0, 10.0]])),
        ("eth_feeHistory", json!(["0x1", "latest", [101.0]])),
        ("web3_sha3", json!([format!("0x{}", "f".repeat((1 << 20) + 1))])),
        ("evm_setNextBlockTimestamp", json!([0])),
        ("eth_subscribe", json!(["newHeads"])),
        ("eth_call", json!([{"gas": "0xffffffffffffffff", "data": endless}, "0x7fffffffffffffff"])),
        ("eth_getLogs", json!([{"fromBlock": "latest", "blockHash": "0x00"}])),
        ("eth_getBlockByNumber", json!(["0x10000000000000000", false])),
        ("eth_feeHistory", json!(["0x1", "latest", vec![1.0; 200]])),
        ("eth_getStorageAt", json!(["0x0000000000000000000000000000000000000000", "zz"])),
        ("evm_increaseTime", json!([u64::MAX])),
    ] {
        let answer = call(&chain.url, method, params.clone()).await;
        assert!(answer.get("error").is_some(), "{method} {params}: {answer}");
    }
    // Large numbers are cut, not worked off.
    let history =
        result(&chain.url, "eth_feeHistory", json!(["0xffffffffffff", "latest", []])).await;
    assert_eq!(history["oldestBlock"], "0x0");
    let far = json!([{"fromBlock": "0xfffffffffffffff0", "toBlock": "0xffffffffffffffff"}]);
    assert_eq!(result(&chain.url, "eth_getLogs", far).await, json!([]));
    assert_eq!(result(&chain.url, "eth_blockNumber", json!([])).await, "0x0");
}

/// A batch whose answers would be far too long together gets those that fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_a_batch_is_bounded() {
    let chain = embedded().await;
    // Emits three megabytes, in its constructor: PUSH3 size, PUSH0, LOG0.
    let transaction = TxEip1559 {
        chain_id: dev::CHAIN_ID,
        gas_limit: 59_000_000,
        max_fee_per_gas: 2_000_000_000,
        to: TxKind::Create,
        input: hex!("622dc6c05fa000").into(),
        ..TxEip1559::default()
    };
    let signature = dev::key(3).sign_hash(&transaction.signature_hash());
    let raw = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
    let raw = format!("0x{}", hex::encode(raw));
    let hash = result(&chain.url, "eth_sendRawTransaction", json!([raw])).await;
    let receipt = result(&chain.url, "eth_getTransactionReceipt", json!([hash])).await;
    assert_eq!(receipt["status"], "0x1");
    let batch: Vec<_> = (0..40)
        .map(|id| json!({"id": id, "method": "eth_getLogs", "params": [{"fromBlock": "0x0"}]}))
        .collect();
    let (status, text) = post(&chain.url, json!(batch).to_string()).await;
    assert_eq!(status, 200);
    assert!(text.len() < 48 << 20, "{} bytes", text.len());
    let answers: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(answers.len(), 40);
    assert!(answers[0]["result"][0]["data"].as_str().unwrap().len() > 6_000_000);
    assert_eq!(answers[39]["error"]["code"], -32005);
}

#[test]
fn arbitrary_bodies_get_an_answer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let chain = runtime.block_on(embedded());
    let valid = r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":null},"latest"]}"#;
    // A valid body with some bytes replaced, cut or doubled; and what never was one.
    let broken = (prop::collection::vec((0..valid.len(), any::<u8>()), 0..4), 0..=valid.len())
        .prop_map(move |(changes, end)| {
            let mut body = valid.as_bytes().to_vec();
            for (at, byte) in changes {
                body[at] = byte;
            }
            body.truncate(end);
            body
        });
    let body = prop_oneof![
        broken,
        prop::collection::vec(any::<u8>(), 0..200),
        "[\\[\\]{}\":,0-9a-z ]{0,200}".prop_map(String::into_bytes),
    ];
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&body, |body| {
            let (status, text) = runtime.block_on(post(&chain.url, body));
            prop_assert!(matches!(status, 200 | 204), "{status}");
            prop_assert!(status == 204 || serde_json::from_str::<Value>(&text).is_ok());
            Ok(())
        })
        .unwrap();
    assert_eq!(runtime.block_on(result(&chain.url, "eth_blockNumber", json!([]))), "0x0");
}

#[test]
fn arbitrary_calls_never_break_the_chain() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let chain = runtime.block_on(embedded());
    let method = prop_oneof![
        Just("eth_sendRawTransaction"),
        Just("eth_call"),
        Just("eth_estimateGas"),
        Just("eth_getLogs"),
        Just("eth_getBlockByNumber"),
        Just("eth_getStorageAt"),
        Just("eth_feeHistory"),
        Just("eth_getBalance"),
        Just("eth_createAccessList"),
        Just("eth_newFilter"),
        Just("eth_getFilterChanges"),
        Just("eth_getFilterLogs"),
        Just("eth_getTransactionByBlockNumberAndIndex"),
        Just("eth_subscribe"),
        Just("evm_revert"),
        Just("web3_sha3"),
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|it| json!(it)),
        any::<i64>().prop_map(|it| json!(it)),
        Just(json!("latest")),
        "0x[0-9a-f]{0,70}".prop_map(|it| json!(it)),
        ".{0,20}".prop_map(|it| json!(it)),
    ];
    let key = prop_oneof![
        Just("to"),
        Just("from"),
        Just("data"),
        Just("gas"),
        Just("topics"),
        Just("value"),
        Just("fromBlock"),
        Just("blockHash"),
        Just("accessList"),
        Just("authorizationList"),
        Just("stateDiff"),
        Just("number"),
        Just("0x00000000000000000000000000000000000000aa"),
    ];
    let value = leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    let params = prop::collection::vec(value, 0..4);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&(method, params), |(method, params)| {
            let answer = runtime.block_on(call(&chain.url, method, Value::Array(params)));
            prop_assert!(answer.get("result").is_some() || answer.get("error").is_some());
            Ok(())
        })
        .unwrap();
    assert_eq!(runtime.block_on(result(&chain.url, "eth_blockNumber", json!([]))), "0x0");
}
