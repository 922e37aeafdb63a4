//! What contracts told, as the API tells it.

use kinesis_protocol::{Address, B256};
use kinesis_store::{IndexedBlock, StoredChainEvent};

use crate::fixture::*;

fn event(block: u64, address: Address, name: &str, party: Address) -> StoredChainEvent {
    StoredChainEvent {
        block,
        log_index: block % 3,
        block_hash: B256::repeat_byte(1),
        transaction: B256::repeat_byte(2),
        address,
        name: Some(name.to_owned()),
        topics: vec![B256::repeat_byte(3), party.into_word()],
        body: "{\"amount\":\"5\"}".to_owned(),
    }
}

#[tokio::test]
async fn what_contracts_told_is_asked_for_by_contract_name_and_account() {
    let utility = Utility::start().await;
    let (one, two) = (Address::repeat_byte(1), Address::repeat_byte(2));
    let sources = [("escrow", ESCROW, "Redeemed"), ("protocol", REGISTRY, "Slashed")];
    for (kind, contract, name) in sources {
        let events: Vec<_> = (1..=6)
            .map(|block| event(block, contract, name, if block % 2 == 0 { one } else { two }))
            .collect();
        let to = IndexedBlock { number: 9, hash: B256::ZERO };
        let source = format!("{kind}:{ESCROW:#x}");
        assert!(utility.store.index(31_337, &source, None, to, &events).await.unwrap());
    }
    let anyone = utility.anyone();
    let ask = async |query: &str| anyone.get(&format!("/v1/chain/events{query}")).await;
    let all = ask("").await.with(200);
    assert_eq!(all["events"].as_array().unwrap().len(), 12);
    assert_eq!(all["events"][0]["block"], 6);
    assert!(all["next"].is_null());
    let slashed = format!("?contract=registry&name=Slashed&address={one:#x}");
    let slashed = ask(&slashed).await.with(200);
    assert_eq!(slashed["events"].as_array().unwrap().len(), 3, "{slashed}");
    assert_eq!(slashed["events"][0]["contract"], "registry");
    assert_eq!(slashed["events"][0]["values"]["amount"], "5");
    let by_address = ask(&format!("?contract={REGISTRY:#x}")).await.with(200);
    assert_eq!(by_address["events"].as_array().unwrap().len(), 6);

    // In pages, to the end.
    let (mut seen, mut before) = (0, String::new());
    loop {
        let page = ask(&format!("?contract=escrow&limit=4{before}")).await.with(200);
        seen += page["events"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(seen, 6);

    for wrong in ["?limit=0", "?limit=201", "?before=x", "?name=%3Cb%3E", "?address=0x7", "?nmae=A"]
    {
        ask(wrong).await.with(400);
    }
    ask("?contract=bank").await.with(404);
}
