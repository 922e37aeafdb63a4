//! What is kept of a chain: intents, and the events that were read.

use kinesis_protocol::B256;
use kinesis_store::{
    EventFilter, IndexedBlock, IntentWrite, NewestEvents, StoreError, StoredChainEvent,
    StoredIntent,
};

use crate::{Database, fixture::*};

const CHAIN: u64 = 31_337;

fn intent(key: &str, nonce: u64) -> StoredIntent {
    StoredIntent {
        chain_id: CHAIN,
        sender: supplier(1),
        key: key.to_owned(),
        nonce,
        open: true,
        revision: 0,
        body: format!("{{\"of\":\"{key}\"}}"),
    }
}

pub(crate) async fn an_intent_has_one_key_and_one_nonce(db: Database) {
    let store = db.open().await;
    let (one, two) = (intent("one", 5), intent("two", 6));
    assert_eq!(store.insert_intent(&one).await.unwrap(), IntentWrite::Done);
    assert_eq!(
        store.insert_intent(&intent("one", 9)).await.unwrap(),
        IntentWrite::KeyTaken(one.clone())
    );
    assert_eq!(store.insert_intent(&intent("two", 5)).await.unwrap(), IntentWrite::NonceTaken);
    assert_eq!(store.insert_intent(&two).await.unwrap(), IntentWrite::Done);
    // Another sender and another chain count for themselves.
    let other = StoredIntent { sender: supplier(2), ..intent("one", 5) };
    assert_eq!(store.insert_intent(&other).await.unwrap(), IntentWrite::Done);
    let other = StoredIntent { chain_id: 1, ..intent("one", 5) };
    assert_eq!(store.insert_intent(&other).await.unwrap(), IntentWrite::Done);
    let open = store.open_intents(CHAIN, supplier(1)).await.unwrap();
    assert_eq!(open, [one.clone(), two.clone()]);

    // A change of what was changed meanwhile is not taken.
    let raised = StoredIntent { body: "{\"fee\":2}".into(), ..one.clone() };
    assert_eq!(store.update_intent(&raised).await.unwrap(), IntentWrite::Done);
    assert_eq!(store.update_intent(&raised).await.unwrap(), IntentWrite::Stale);
    let known = store.intent(CHAIN, supplier(1), "one").await.unwrap().unwrap();
    assert_eq!((known.revision, known.body.as_str()), (1, "{\"fee\":2}"));
    let moved = StoredIntent { nonce: 6, ..known.clone() };
    assert_eq!(store.update_intent(&moved).await.unwrap(), IntentWrite::NonceTaken);
    // What is final keeps its nonce to itself no longer.
    let done = StoredIntent { open: false, ..known };
    assert_eq!(store.update_intent(&done).await.unwrap(), IntentWrite::Done);
    assert_eq!(store.open_intents(CHAIN, supplier(1)).await.unwrap(), std::slice::from_ref(&two));
    assert_eq!(store.insert_intent(&intent("three", 5)).await.unwrap(), IntentWrite::Done);
    store.remove_intent(CHAIN, supplier(1), "two").await.unwrap();
    store.remove_intent(CHAIN, supplier(1), "two").await.unwrap();
    assert_eq!(store.update_intent(&two).await.unwrap(), IntentWrite::Stale);
    if db.shared() {
        drop(store);
        let open = db.open().await.open_intents(CHAIN, supplier(1)).await.unwrap();
        assert_eq!(open, [intent("three", 5)]);
    }
}

fn at(number: u64, fork: u8) -> IndexedBlock {
    IndexedBlock { number, hash: B256::repeat_byte(fork ^ u8::try_from(number).unwrap()) }
}

fn event(block: u64, log_index: u64, topic: u8) -> StoredChainEvent {
    StoredChainEvent {
        block,
        log_index,
        block_hash: at(block, 0).hash,
        transaction: B256::repeat_byte(9),
        address: supplier(7),
        name: (topic != 0).then(|| "Redeemed".to_owned()),
        topics: vec![B256::repeat_byte(1), B256::repeat_byte(topic)],
        body: "{}".into(),
    }
}

pub(crate) async fn events_are_read_once_and_taken_back_with_their_blocks(db: Database) {
    let store = db.open().await;
    let source = "escrow";
    let all = EventFilter { limit: 100, ..EventFilter::default() };
    assert_eq!(store.indexed(CHAIN, source).await.unwrap(), None);
    let first = [event(3, 0, 1), event(3, 1, 2), event(5, 0, 0)];
    assert!(store.index(CHAIN, source, None, at(5, 0), &first).await.unwrap());
    // Whoever read from the same place at the same time adds nothing.
    assert!(!store.index(CHAIN, source, None, at(5, 0), &first).await.unwrap());
    let outside = store.index(CHAIN, source, Some(at(5, 0)), at(8, 0), &[event(5, 9, 1)]).await;
    assert!(matches!(outside, Err(StoreError::Invalid(_))));
    let second = [event(8, 0, 1)];
    assert!(store.index(CHAIN, source, Some(at(5, 0)), at(8, 0), &second).await.unwrap());
    assert!(!store.index(CHAIN, source, Some(at(8, 1)), at(9, 0), &[]).await.unwrap());
    assert_eq!(store.indexed(CHAIN, source).await.unwrap(), Some(at(8, 0)));
    assert_eq!(store.indexed_before(CHAIN, source, 8).await.unwrap(), Some(at(5, 0)));
    assert_eq!(store.indexed_before(CHAIN, source, 5).await.unwrap(), None);

    let found = store.chain_events(CHAIN, source, &all).await.unwrap();
    assert_eq!(found, [&first[..], &second[..]].concat());
    let named = EventFilter { name: Some("Redeemed".into()), ..all.clone() };
    assert_eq!(store.chain_events(CHAIN, source, &named).await.unwrap().len(), 3);
    let mut indexed = named.clone();
    indexed.indexed[0] = Some(B256::repeat_byte(1));
    let found = store.chain_events(CHAIN, source, &indexed).await.unwrap();
    assert_eq!(found, [first[0].clone(), second[0].clone()]);
    let page = EventFilter { after: Some((3, 0)), limit: 1, ..all.clone() };
    assert_eq!(store.chain_events(CHAIN, source, &page).await.unwrap(), [first[1].clone()]);
    let elsewhere = EventFilter { address: Some(supplier(1)), ..all.clone() };
    assert!(store.chain_events(CHAIN, source, &elsewhere).await.unwrap().is_empty());
    assert!(store.chain_events(CHAIN, "other", &all).await.unwrap().is_empty());

    // The chain took back everything after block 5.
    store.unindex(CHAIN, source, Some(5)).await.unwrap();
    assert_eq!(store.indexed(CHAIN, source).await.unwrap(), Some(at(5, 0)));
    assert_eq!(store.chain_events(CHAIN, source, &all).await.unwrap(), first);
    assert!(store.index(CHAIN, source, Some(at(5, 0)), at(8, 1), &second).await.unwrap());
    store.unindex(CHAIN, source, None).await.unwrap();
    assert_eq!(store.indexed(CHAIN, source).await.unwrap(), None);
    assert!(store.chain_events(CHAIN, source, &all).await.unwrap().is_empty());
}

/// Two sources, newest first, each event once, in pages, by whatever it is looked for.
pub(crate) async fn the_newest_events_are_found_by_whatever_they_are_about(db: Database) {
    let store = db.open().await;
    let word = B256::repeat_byte;
    let told = |block, log_index, contract, name: &str, about: &[u8]| StoredChainEvent {
        address: supplier(contract),
        name: Some(name.to_owned()),
        topics: [0].iter().chain(about).map(|byte| word(*byte)).collect(),
        ..event(block, log_index, 1)
    };
    let ours = [
        told(1, 0, 1, "Paid", &[5]),
        told(2, 1, 1, "Redeemed", &[5, 6]),
        told(4, 0, 1, "Paid", &[6, 5, 5]),
    ];
    let others = [
        told(2, 0, 2, "Paid", &[7, 7, 7]),
        told(3, 0, 3, "Bonded", &[]),
        told(4, 1, 2, "Bonded", &[6, 7, 5]),
    ];
    let of = [(CHAIN, "ours", &ours), (CHAIN, "others", &others), (1, "ours", &ours)];
    for (chain, source, events) in of {
        assert!(store.index(chain, source, None, at(4, 0), events).await.unwrap());
    }
    let newest = [&others[2], &ours[2], &others[1], &ours[1], &others[0], &ours[0]];
    let any = NewestEvents { limit: 100, ..NewestEvents::default() };
    let paid = NewestEvents { name: Some("Paid".into()), ..any.clone() };
    let two = NewestEvents { address: Some(supplier(2)), ..any.clone() };
    let five = NewestEvents { party: Some(word(5)), ..any.clone() };
    let seven = NewestEvents { party: Some(word(7)), ..any.clone() };
    let cases: [(NewestEvents, &[&StoredChainEvent]); 9] = [
        (any.clone(), &newest[..]),
        (paid.clone(), &[&ours[2], &others[0], &ours[0]]),
        (two.clone(), &[&others[2], &others[0]]),
        (NewestEvents { name: Some("Paid".into()), ..two.clone() }, &[&others[0]]),
        (five.clone(), &[&others[2], &ours[2], &ours[1], &ours[0]]),
        (seven.clone(), &[&others[2], &others[0]]),
        (NewestEvents { name: Some("Paid".into()), ..five.clone() }, &[&ours[2], &ours[0]]),
        (NewestEvents { address: Some(supplier(2)), ..five.clone() }, &[&others[2]]),
        (NewestEvents { address: Some(supplier(3)), ..seven.clone() }, &[]),
    ];
    for (asked, expected) in cases {
        let sources = ["ours", "others"];
        let found = store.newest_chain_events(CHAIN, sources, &asked).await.unwrap();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "{asked:?}");
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = NewestEvents { before, limit: 1, ..asked.clone() };
            let page = store.newest_chain_events(CHAIN, sources, &page).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some((last.block, last.log_index));
            paged.extend(page);
        }
        assert_eq!(paged, found, "{asked:?}");
    }
}
