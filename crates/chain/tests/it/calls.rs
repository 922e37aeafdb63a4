//! Calls that pretend, calls on older blocks, and what they say when a contract refuses.

use alloy::{
    primitives::{Address, U256, address},
    sol,
    sol_types::{SolCall as _, SolError as _},
};
use kinesis_chain::dev;
use serde_json::{Value, json};

use crate::{
    rpc::{send, transfer},
    support::{Grid, call, embedded, joule, result},
};

sol! {
    function balanceOf(address account) external view returns (uint256);
    function transfer(address to, uint256 value) external returns (bool);
    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
}

const NOBODY: Address = address!("00000000000000000000000000000000000000aa");

/// Returns `value` from the machine's stack: `value`, PUSH0, MSTORE, PUSH1 32, PUSH0, RETURN.
fn returns(opcodes: &str) -> String {
    format!("0x{opcodes}5f5260205ff3")
}

async fn word(url: &str, params: Value) -> U256 {
    serde_json::from_value(result(url, "eth_call", params).await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_may_pretend_accounts_and_blocks() {
    let chain = embedded().await;
    let url = &chain.url;
    // SELFBALANCE, NUMBER, TIMESTAMP, COINBASE, PREVRANDAO, BASEFEE, GASLIMIT.
    let at = |opcodes: &str| json!({NOBODY.to_string(): {"code": returns(opcodes)}});
    let ask = json!({"to": NOBODY});
    let rich = json!({NOBODY.to_string(): {"code": returns("47"), "balance": "0x1234"}});
    assert_eq!(word(url, json!([ask, "latest", rich])).await, U256::from(0x1234));
    for (opcode, block, expected) in [
        ("43", json!({"number": "0x4d"}), 0x4d_u64),
        ("42", json!({"time": "0x63"}), 0x63),
        ("41", json!({"coinbase": NOBODY}), 0xaa),
        ("44", json!({"random": format!("{:#066x}", 0x77)}), 0x77),
        ("48", json!({"baseFeePerGas": "0x5"}), 5),
        ("45", json!({"gasLimit": "0xf4240"}), 1_000_000),
        // BLOCKHASH of block 3.
        ("600340", json!({"number": "0x5", "blockHash": {"3": format!("{:#066x}", 0x99)}}), 0x99),
    ] {
        let got = word(url, json!([ask, "latest", at(opcode), block])).await;
        assert_eq!(got, U256::from(expected), "{opcode}");
    }
    // SLOAD of slot 1: all of the storage, or single slots.
    let slots = |kind: &str| {
        let slots = json!({format!("{:#066x}", 1): format!("{:#066x}", 0x42)});
        json!({NOBODY.to_string(): {"code": returns("600154"), kind: slots}})
    };
    for kind in ["state", "stateDiff"] {
        assert_eq!(word(url, json!([ask, "latest", slots(kind)])).await, U256::from(0x42));
    }
    // Nothing of it stays.
    assert_eq!(result(url, "eth_getCode", json!([NOBODY, "latest"])).await, "0x");
    let both = json!({NOBODY.to_string(): {"state": {}, "stateDiff": {}}});
    for (overrides, block) in [
        (both, json!(null)),
        (json!({NOBODY.to_string(): {"movePrecompileToAddress": NOBODY}}), json!(null)),
        (json!({NOBODY.to_string(): {"nonsense": 1}}), json!(null)),
        (json!({NOBODY.to_string(): {"code": "0xef0100"}}), json!(null)),
        (json!({}), json!({"blobBaseFee": "0x1"})),
        (json!({}), json!({"baseFeePerGas": "0x10000000000000000"})),
    ] {
        let answer = call(url, "eth_call", json!([ask, "latest", overrides, block])).await;
        assert_eq!(answer["error"]["code"], -32602, "{overrides} {block}: {answer}");
    }
    // An estimate sees them, too: who holds nothing cannot send anything.
    let sends = json!({"from": NOBODY, "to": Address::repeat_byte(1), "value": "0x1"});
    assert!(call(url, "eth_estimateGas", json!([sends])).await.get("error").is_some());
    let rich = json!({NOBODY.to_string(): {"balance": "0x1"}});
    let gas = result(url, "eth_estimateGas", json!([sends, "latest", rich])).await;
    assert_eq!(gas, "0x5208");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revert_carries_its_data() {
    let chain = embedded().await;
    let grid = Grid::new(&chain.url).await;
    let data = transferCall { to: NOBODY, value: U256::from(5) }.abi_encode();
    let poor = json!({
        "from": Address::repeat_byte(9),
        "to": grid.contracts.joule,
        "data": format!("0x{}", alloy::hex::encode(data)),
    });
    for method in ["eth_call", "eth_estimateGas"] {
        let answer = call(&chain.url, method, json!([poor, "latest"])).await;
        assert_eq!(answer["error"]["code"], 3, "{answer}");
        let data: alloy::primitives::Bytes =
            serde_json::from_value(answer["error"]["data"].clone()).unwrap();
        let error = ERC20InsufficientBalance::abi_decode(&data).unwrap();
        assert_eq!((error.balance, error.needed), (U256::ZERO, U256::from(5)));
    }
    let list = result(&chain.url, "eth_createAccessList", json!([poor])).await;
    assert_eq!(list["error"], "execution reverted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_list_names_what_a_call_touches() {
    let chain = embedded().await;
    let grid = Grid::new(&chain.url).await;
    let data = balanceOfCall { account: grid.utility.address() }.abi_encode();
    let data = format!("0x{}", alloy::hex::encode(data));
    let ask = json!({"to": grid.contracts.joule, "data": data});
    let list = result(&chain.url, "eth_createAccessList", json!([ask])).await;
    let items = list["accessList"].as_array().unwrap();
    // The proxy with its implementation's slot and the balance, and the implementation.
    assert_eq!(items.len(), 2, "{list}");
    let proxy = items.iter().find(|item| item["address"] == json!(grid.contracts.joule)).unwrap();
    assert_eq!(proxy["storageKeys"].as_array().unwrap().len(), 2, "{list}");
    let number = |value: &Value| -> U256 { serde_json::from_value(value.clone()).unwrap() };
    let mut with = ask.clone();
    with["accessList"] = list["accessList"].clone();
    let again = result(&chain.url, "eth_createAccessList", json!([with])).await;
    assert_eq!(again, list);
    assert!(number(&list["gasUsed"]) > U256::from(21_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_of_recent_blocks_can_be_read() {
    let chain = embedded().await;
    let url = &chain.url;
    let receiver = Address::repeat_byte(0x77);
    for nonce in 0..5 {
        send(url, &transfer(nonce).0).await;
    }
    let grid = Grid::new(url).await;
    let before = result(url, "eth_blockNumber", json!([])).await;
    let held = |at: Value| {
        let data = balanceOfCall { account: NOBODY }.abi_encode();
        let data = format!("0x{}", alloy::hex::encode(data));
        json!([{"to": grid.contracts.joule, "data": data}, at])
    };
    grid.utility.transfer(NOBODY, joule(3)).await.unwrap();
    assert_eq!(word(url, held(json!("latest"))).await, joule(3));
    assert_eq!(word(url, held(before.clone())).await, U256::ZERO);
    let block = result(url, "eth_getBlockByNumber", json!([before, false])).await;
    let by_hash = json!({"blockHash": block["hash"]});
    assert_eq!(word(url, held(by_hash)).await, U256::ZERO);
    for at in 0..=5_u64 {
        let tag = format!("{at:#x}");
        let wei = result(url, "eth_getBalance", json!([receiver, tag])).await;
        assert_eq!(wei, tag, "one wei a block");
        let nonce = json!([dev::key(3).address(), tag]);
        assert_eq!(result(url, "eth_getTransactionCount", nonce).await, tag);
        assert_eq!(result(url, "eth_getCode", json!([grid.contracts.joule, tag])).await, "0x");
    }
    assert_eq!(result(url, "eth_getBalance", json!([receiver, "earliest"])).await, "0x0");
}
