//! Payments against a real chain: cover is read, proofs are redeemed from the files alone.

use kinesis_agent::wallet::stored;
use kinesis_chain::{ChainConfig, EmbeddedChain, Settlement, deploy, dev};
use kinesis_protocol::{NanoJoule, U256};
use tokio::net::TcpListener;

use crate::{
    sandboxes::Sandboxes,
    utility::{House, SOON, Utility, soon},
};

fn joule(n: u64) -> U256 {
    U256::from(n) * U256::from(10_u64).pow(U256::from(18))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cover_is_checked_and_proofs_are_redeemed_without_agent_or_utility() {
    let dir = tempfile::tempdir().unwrap();
    let chain = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc = format!("http://{}/rpc", listener.local_addr().unwrap());
    let router = chain.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let owner = dev::key(0);
    let contracts = deploy(&rpc, &owner).await.unwrap();
    let client = |key| Settlement::new(&rpc, contracts.chain_id, contracts.escrow, key).unwrap();
    let mut utility = Utility::start().await;
    (utility.key, utility.escrow) = (dev::key(2), contracts.escrow);
    let till = client(utility.key.clone());
    client(owner).transfer(till.address(), joule(100)).await.unwrap();
    till.top_up(1, joule(10)).await.unwrap();

    let mut house = House::new(&utility);
    house.config.rpc_url = Some(rpc.clone());
    let data = house.config.data_dir.clone();
    let agent = house.start(&std::sync::Arc::new(Sandboxes::default())).await;
    let session = utility.welcome().await;
    let covered = async |wanted: bool| {
        let is = async {
            while agent.status().accounts.first().and_then(|account| account.covered)
                != Some(wanted)
            {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        soon("the escrow is read", is).await;
    };
    let supplier = agent.supplier();
    session.send(utility.pays(supplier, 1, 5_000_000_000));
    covered(true).await;
    session.send(utility.pays(supplier, 2, 20_000_000_000));
    covered(false).await;
    let uncovered = |reason: &String| reason.contains("does not cover");
    session
        .beat("it stops taking leases", |beat| beat.paused.as_ref().is_some_and(uncovered))
        .await;
    till.top_up(1, joule(25)).await.unwrap();
    session.send(utility.pays(supplier, 3, 20_000_000_001));
    covered(true).await;
    session.beat("it takes leases again", |beat| beat.paused.is_none()).await;

    agent.abort().await;
    drop((session, utility));
    let before = &stored::earnings(&data, Some(&rpc)).await.unwrap()[0];
    assert_eq!(before.cumulative_nanojoule, NanoJoule(20_000_000_001));
    assert_eq!(before.redeemed_nanojoule, Some(NanoJoule(0)));
    assert_eq!(before.redeemable_nanojoule, Some(NanoJoule(20_000_000_001)));
    let key = stored::supplier_key(&data).unwrap();
    let redeeming = stored::redeem(&data, &rpc, &key);
    let redeemed = tokio::time::timeout(SOON, redeeming).await.unwrap().unwrap();
    assert_eq!(redeemed[0].paid_nanojoule, NanoJoule(20_000_000_001));
    assert!(redeemed[0].redeemed.transaction.is_some());
    let paid = till.joule_balance(supplier).await.unwrap();
    assert_eq!(paid, NanoJoule(20_000_000_001).to_wei());
    let again = stored::redeem(&data, &rpc, &key).await.unwrap();
    assert_eq!(again[0].paid_nanojoule, NanoJoule(0));
    assert_eq!(till.joule_balance(supplier).await.unwrap(), paid);
}
