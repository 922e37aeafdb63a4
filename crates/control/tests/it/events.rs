//! What all contracts of the protocol told is read into the store, found there, and gone from it where
//! the chain takes it back.

use kinesis_chain::{Joules, Protocol, Settlement, deploy, dev};
use kinesis_control::{ChainSettle, Settle as _};
use kinesis_protocol::U256;
use kinesis_store::{NewestEvents, Store, StoredChainEvent};
use serde_json::{Value, json};

use crate::chain::{anvil, caught_up, rpc};

fn joule(whole: u64) -> Joules {
    Joules(U256::from(whole) * U256::from(10).pow(U256::from(18)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_every_contract_told_is_found_and_taken_back() {
    let Some((url, _anvil)) = anvil().await else { return };
    let contracts = deploy(&url, &dev::key(0)).await.unwrap();
    let (chain, escrow) = (contracts.chain_id, contracts.escrow);
    let store = Store::open("sqlite::memory:").await.unwrap();
    let settlement = Settlement::new(&url, chain, escrow, dev::key(2)).unwrap();
    let protocol = Protocol::new(&url, contracts, dev::key(2)).unwrap();
    let settle = ChainSettle::new(settlement, 1, store.clone()).with_protocol(protocol.clone());
    let mut of_escrow = settle.indexer(&url, 0).unwrap();
    let mut of_others = settle.protocol_indexer(&url, 0).unwrap().unwrap();
    let sources = [of_escrow.source().to_owned(), of_others.source().to_owned()];
    let newest = async |asked: NewestEvents| -> Vec<StoredChainEvent> {
        let sources = [sources[0].as_str(), sources[1].as_str()];
        let asked =
            NewestEvents { limit: if asked.limit == 0 { 1_000 } else { asked.limit }, ..asked };
        store.newest_chain_events(chain, sources, &asked).await.unwrap()
    };
    let names = |events: &[StoredChainEvent]| -> Vec<String> {
        events.iter().filter_map(|event| event.name.clone()).collect()
    };
    // Every contract has told something by now: of its owner, or of what it begins with.
    caught_up(&mut of_escrow).await;
    caught_up(&mut of_others).await;
    let all = newest(NewestEvents::default()).await;
    for (name, at) in settle.contracts() {
        assert!(all.iter().any(|event| event.address == at), "{name} told nothing");
    }
    assert!(all.iter().all(|event| event.name.is_some()), "an event has no name");
    let places: Vec<_> = all.iter().map(|event| (event.block, event.log_index)).collect();
    assert!(places.windows(2).all(|pair| pair[0] > pair[1]), "newest first, each once");
    // In pages it is the same.
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let page = newest(NewestEvents { before, limit: 7, ..NewestEvents::default() }).await;
        let Some(last) = page.last() else { break };
        before = Some((last.block, last.log_index));
        paged.extend(page);
    }
    assert_eq!(paged, all);

    // What a supplier does is found by its address, beside what others do.
    let me = protocol.address();
    protocol.bond(me, joule(3)).await.unwrap();
    protocol.bond(dev::key(5).address(), joule(4)).await.unwrap();
    caught_up(&mut of_others).await;
    let party = Some(me.into_word());
    let mine = NewestEvents { party, name: Some("Bonded".into()), ..NewestEvents::default() };
    let bonded = newest(mine.clone()).await;
    assert!(!bonded.is_empty(), "{:?}", names(&newest(NewestEvents::default()).await));
    let values: Value = serde_json::from_str(&bonded[bonded.len() - 1].body).unwrap();
    assert_eq!(values["amount"], json!(joule(3)), "{values}");
    let registry = contracts.protocol().unwrap().registry;
    assert!(bonded.iter().all(|event| event.address == registry));
    let elsewhere = NewestEvents { address: Some(escrow), ..mine.clone() };
    assert_eq!(newest(elsewhere).await, []);

    // Both bonds, each after its approval, are in blocks that the chain takes back.
    rpc(&url, "anvil_reorg", json!([4, []])).await;
    caught_up(&mut of_others).await;
    let gone = newest(mine).await;
    assert!(gone.is_empty(), "{gone:?}");
    let left = newest(NewestEvents::default()).await;
    assert!(left.len() < all.len() + 4, "what was told before stays, once");
}
