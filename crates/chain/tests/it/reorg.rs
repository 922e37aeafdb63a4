//! A chain that takes blocks back: what was mined in them is mined again, once.

use std::{sync::Arc, time::Duration};

use alloy::primitives::U256;
use kinesis_chain::{
    EventReader, Finality, Journal as _, MemoryJournal, SendPolicy, Settlement, Until,
    contracts::PaymentEscrow,
};
use serde_json::json;

use crate::support::{Grid, anvil, joule, result};

/// Waits for five blocks on top.
fn careful(settlement: &Settlement, journal: &Arc<MemoryJournal>) -> Settlement {
    settlement.clone().with_journal(Arc::clone(journal) as _).with_policy(SendPolicy {
        finality: Finality::Confirmations(5),
        resend_after: Duration::from_millis(100),
        replace_after: Duration::from_secs(60),
        wait_max: Duration::from_secs(30),
        ..SendPolicy::default()
    })
}

async fn mine(url: &str, blocks: u64) {
    result(url, "anvil_mine", json!([format!("0x{blocks:x}")])).await;
}

/// Takes back the newest blocks and puts as many empty ones in their place.
async fn reorganise(url: &str, depth: u64) {
    result(url, "anvil_reorg", json!([depth, []])).await;
}

/// Looks after what is open, with blocks coming, until nothing is.
async fn settled(client: &Settlement, url: &str) {
    for _ in 0..200 {
        if client.settle().await.unwrap() == 0 {
            return;
        }
        mine(url, 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is never final");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reorganisation_removes_is_mined_again_once() {
    let Some(chain) = anvil().await else { return };
    let url = chain.url.as_str();
    let grid = Grid::new(url).await;
    let journal = Arc::new(MemoryJournal::default());
    let utility = careful(&grid.utility, &journal);
    let own = utility.address();
    let reader = EventReader::new(url, grid.contracts.chain_id).unwrap();
    let count = |name: &'static str| {
        let (reader, escrow) = (reader.clone(), grid.contracts.escrow);
        async move {
            let head = reader.head().await.unwrap().number;
            let events = reader.events(&[escrow], 0, head).await.unwrap();
            events.into_iter().filter(|event| event.name.as_deref() == Some(name)).count()
        }
    };

    // A deposit.
    utility.deposit(own, 1, joule(50)).await.unwrap().unwrap();
    assert_eq!(utility.escrow(own, 1).await.unwrap().deposited_wei, joule(50));
    reorganise(url, 1).await;
    assert_eq!(utility.escrow(own, 1).await.unwrap().deposited_wei, U256::ZERO);
    assert_eq!(count("Deposited").await, 0);
    // It notices, and does not begin another beside it.
    assert!(!journal.open(grid.contracts.chain_id, own).await.unwrap().is_empty());
    settled(&utility, url).await;
    assert_eq!(utility.escrow(own, 1).await.unwrap().deposited_wei, joule(50));
    assert_eq!(count("Deposited").await, 1);

    // A redemption, seen in a block, and asked for again after that block is gone.
    let supplier = grid.client().await;
    let to = own;
    let payment = grid.tick(1, &[(supplier.address(), joule(20))]).remove(0);
    let deadline = 9_999_999_999;
    let consent = supplier.sign_redeem_to(&payment, to, deadline).unwrap();
    let redeemed = utility.redeem_to(&payment, to, deadline, &consent).await.unwrap();
    assert_eq!(redeemed.paid_wei, joule(20));
    reorganise(url, 1).await;
    assert_eq!(utility.redeemed(own, 1, supplier.address()).await.unwrap(), U256::ZERO);
    let (again, ()) = tokio::join!(utility.redeem_to(&payment, to, deadline, &consent), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        mine(url, 1).await;
    });
    assert_eq!(again.unwrap().transaction, redeemed.transaction);
    settled(&utility, url).await;
    assert_eq!(utility.redeemed(own, 1, supplier.address()).await.unwrap(), joule(20));
    assert_eq!(count("Redeemed").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn final_means_deep_enough() {
    let Some(chain) = anvil().await else { return };
    let grid = Grid::new(&chain.url).await;
    let journal = Arc::new(MemoryJournal::default());
    let utility = careful(&grid.utility, &journal);
    let call = PaymentEscrow::requestWithdrawalCall { series: 1, amount: U256::ZERO };
    let escrow = grid.contracts.escrow;
    utility.submit("zero", escrow, &call, Until::Mined).await.unwrap();
    mine(&chain.url, 3).await;
    assert_eq!(utility.settle().await.unwrap(), 1, "four blocks are not five");
    mine(&chain.url, 1).await;
    assert_eq!(utility.settle().await.unwrap(), 0);
    utility.submit("zero", escrow, &call, Until::Final).await.unwrap();
    // Where the chain has a finalized block, that decides: anvil's is 64 behind.
    let tagged = utility.clone().with_policy(SendPolicy {
        finality: Finality::Finalized { otherwise: 1 },
        ..SendPolicy::default()
    });
    tagged.submit("one", escrow, &call, Until::Mined).await.unwrap();
    assert_eq!(tagged.settle().await.unwrap(), 1);
    mine(&chain.url, 70).await;
    assert_eq!(tagged.settle().await.unwrap(), 0);
}
