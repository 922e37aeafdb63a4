//! What is listed in pages, and what is refused by a contract's own bounds.

use alloy::primitives::{Address, U256};
use kinesis_chain::{
    ChainError, Joules, Key, Protocol, Settlement, deploy, dev, protocol::governance::Action,
};
use kinesis_protocol::{PaymentRoot, PaymentTree, SignedRoot, root::PaymentProof};
use serde_json::json;

use crate::support::{Chain, Grid, embedded, joule, result};

async fn dao() -> (Chain, Protocol) {
    let chain = embedded().await;
    let contracts = deploy(&chain.url, &dev::key(0)).await.unwrap();
    result(&chain.url, "evm_increaseTime", json!([2])).await;
    result(&chain.url, "evm_mine", json!([])).await;
    let dao = Protocol::new(&chain.url, contracts, dev::key(0)).unwrap();
    (chain, dao)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_are_listed_in_pages_the_newest_first() {
    let (chain, dao) = dao().await;
    let mut made = Vec::new();
    for fee in 101..=105 {
        made.push(dao.propose(&Action::SetFee(fee), None).await.unwrap());
        // Blocks in which nothing was proposed.
        result(&chain.url, "evm_mine", json!([])).await;
    }
    made.reverse();
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = dao.proposals(before, 2).await.unwrap();
        assert!(page.proposals.len() <= 2);
        seen.extend(page.proposals.iter().map(|one| one.id));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
    assert_eq!(dao.proposals(None, 100).await.unwrap().next, None);
    let number = made[2].to_string();
    let found = dao.proposals_named(&number).await.unwrap();
    assert_eq!((found.len(), found[0].id), (1, made[2]));
    assert_eq!(dao.proposals_named("x").await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bound_in_a_contracts_code_is_named_before_anything_is_sent() {
    let (_chain, dao) = dao().await;
    for (action, cap) in [
        (Action::SetFee(99_999), "1000 bp"),
        (Action::SetFee(1_001), "1000 bp"),
        (Action::SetEmission(70_000), "1000 bp"),
        (Action::SetExchangeFee(101), "100 bp"),
        (Action::SetThaw(91 * 86_400), "90 d"),
        (Action::SetWithdrawalDelay(59), "1 min to 90 d"),
        (Action::SetThaw(u64::MAX), "90 d"),
    ] {
        let said = dao.propose(&action, None).await.unwrap_err();
        assert!(matches!(said, ChainError::Senseless(_)), "{said:?}");
        assert!(said.to_string().contains(cap), "{action:?}: {said}");
    }
    dao.propose(&Action::SetFee(1_000), None).await.unwrap();
    assert_eq!(dao.proposals(None, 10).await.unwrap().proposals.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_proofs_of_one_root_are_paid_in_one_transaction() {
    let chain = embedded().await;
    let grid = Grid::new(&chain.url).await;
    grid.utility.top_up(1, joule(900)).await.unwrap();
    let anybody =
        Settlement::new(&chain.url, grid.contracts.chain_id, grid.contracts.escrow, dev::key(8))
            .unwrap();
    // Eleven leaves: the last three are at the ragged end of the tree.
    let payees: Vec<_> = (0..11).map(|n| (Key::random().address(), joule(n + 1))).collect();
    let proofs = grid.tick(1, &payees);
    let paid = anybody.redeem_many(&proofs).await.unwrap();
    assert_eq!(paid.len(), payees.len());
    for (payee, wei) in &payees {
        let one = paid.iter().find(|one| one.supplier == *payee).unwrap();
        assert_eq!((one.paid_wei, one.redeemed_wei), (*wei, *wei));
        assert_eq!(anybody.joule_balance(*payee).await.unwrap(), *wei);
    }
    let mut transactions: Vec<_> = paid.iter().filter_map(|one| one.transaction).collect();
    transactions.sort_unstable();
    transactions.dedup();
    // Eight leaves are four levels deep, two are three and the last is two: those of one depth go
    // together.
    assert_eq!(transactions.len(), 3);
    // Again: everything was paid before. Older proofs, or a proof twice, change nothing.
    let again = anybody.redeem_many(&[proofs.clone(), proofs.clone()].concat()).await.unwrap();
    assert!(again.iter().all(|one| one.paid_wei.is_zero() && one.transaction.is_none()));
    let more: Vec<_> = payees.iter().map(|(payee, wei)| (*payee, *wei + joule(1))).collect();
    let newer = grid.tick(3, &more);
    let both = [proofs.clone(), newer].concat();
    let paid = anybody.redeem_many(&both).await.unwrap();
    assert!(paid.iter().all(|one| one.paid_wei == joule(1)), "{paid:?}");
    // A proof that does not hold stops it before anything is sent.
    let mut forged = proofs;
    forged[3].cumulative_wei += U256::ONE;
    assert!(matches!(anybody.redeem_many(&forged).await, Err(ChainError::BadProof)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_suppliers_fit_into_a_transaction() {
    let chain = embedded().await;
    let grid = Grid::new(&chain.url).await;
    grid.utility.top_up(7, joule(900)).await.unwrap();
    let payees: Vec<(Address, U256)> =
        (0..128).map(|_| (Key::random().address(), joule(1))).collect();
    let tree = PaymentTree::new(payees.clone()).unwrap();
    let utility = grid.utility.address();
    let root =
        PaymentRoot { utility, series: 7, tick: 1, root: tree.root(), total: tree.total_wei() };
    let hash = root.signing_hash(grid.contracts.chain_id, grid.contracts.escrow);
    let signed = SignedRoot { signature: grid.key.sign_hash(&hash), root };
    let prove = |(supplier, _): &(Address, U256)| {
        let (cumulative_wei, proof) = tree.prove(*supplier).unwrap();
        PaymentProof { signed: signed.clone(), supplier: *supplier, cumulative_wei, proof }
    };
    let proofs: Vec<_> = payees.iter().map(prove).collect();
    let paid = grid.utility.redeem_many(&proofs).await.unwrap();
    let all = paid.iter().fold(U256::ZERO, |sum, one| sum + one.paid_wei);
    assert_eq!(Joules(all), Joules(joule(128)));
    let mut transactions: Vec<_> = paid.iter().filter_map(|one| one.transaction).collect();
    transactions.sort_unstable();
    transactions.dedup();
    assert_eq!(transactions.len(), 2, "100 and 28");
}
