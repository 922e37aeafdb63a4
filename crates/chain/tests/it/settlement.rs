//! The settlement client and the contracts, on the embedded chain and on anvil alike.

use alloy::{
    primitives::{Address, Bytes, U256},
    sol_types::SolCall as _,
};
use kinesis_chain::{
    ChainError, DeployConfig, EscrowState, Key, Settlement, contracts::PaymentEscrow, deploy,
    deploy_with, dev,
};
use kinesis_protocol::root::PaymentProof;
use serde_json::json;

use crate::support::{Grid, anvil, call, embedded, joule, result};

/// Runs each scenario once on either chain.
macro_rules! on_each_chain {
    ($($name:ident),* $(,)?) => {
        mod on_embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let chain = super::embedded().await;
                super::$name(&chain.url).await;
            })*
        }
        mod on_anvil {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(chain) = super::anvil().await {
                    super::$name(&chain.url).await;
                }
            })*
        }
    };
}

on_each_chain!(
    deployment_is_idempotent,
    proofs_are_paid_once_and_by_the_difference,
    every_size_of_tree_redeems,
    a_supplier_can_be_paid_elsewhere,
    a_short_escrow_pays_what_it_has,
    withdrawals_thaw,
    hashes_agree_with_the_contract,
    mistakes_are_named,
    many_processes_share_the_gas_station,
);

/// Deposits are exactly what is there, what was paid and what was taken.
fn assert_balanced(state: &EscrowState) {
    let parts = state.balance_wei + state.redeemed_wei + state.fees_wei + state.withdrawn_wei;
    assert_eq!(state.deposited_wei, parts);
}

async fn deployment_is_idempotent(url: &str) {
    let first = deploy(url, &dev::key(0)).await.unwrap();
    assert_eq!(deploy(url, &dev::key(0)).await.unwrap(), first);
    let (owner, stranger) = (dev::key(0), dev::key(2));
    let other = DeployConfig { fee_bp: 250, ..DeployConfig::default() };
    let (second, third) = tokio::join!(
        deploy_with(url, &owner, &other),
        // Two at once, from two accounts that create the same implementations.
        deploy(url, &stranger),
    );
    let (second, third) = (second.unwrap(), third.unwrap());
    assert_ne!(second.joule, first.joule);
    assert_ne!(second.escrow, first.escrow);
    assert_ne!(third.joule, first.joule);
    let client = Settlement::new(url, first.chain_id, second.escrow, dev::key(0)).unwrap();
    let checked = client.check().await.unwrap();
    assert_eq!((checked.joule, checked.escrow), (second.joule, second.escrow));
    assert_eq!(client.fee_bp().await.unwrap(), 250);
    // Without an allocation all of it is the treasury's.
    let treasury = second.protocol().unwrap().treasury;
    assert_eq!(client.joule_balance(treasury).await.unwrap(), joule(1_000_000_000));
}

async fn proofs_are_paid_once_and_by_the_difference(url: &str) {
    let grid = Grid::new(url).await;
    let utility = grid.utility.address();
    assert_eq!(grid.utility.top_up(1, joule(500)).await.unwrap(), joule(500));
    assert_eq!(grid.utility.top_up(1, joule(500)).await.unwrap(), U256::ZERO);
    let supplier = grid.client().await;
    let other = Address::repeat_byte(0xb0);

    let first = grid.tick(1, &[(supplier.address(), joule(10)), (other, joule(20))]);
    let paid = supplier.redeem(&first[0]).await.unwrap();
    assert_eq!((paid.paid_wei, paid.redeemed_wei), (joule(10), joule(10)));
    assert_eq!(supplier.joule_balance(supplier.address()).await.unwrap(), joule(10));
    // Again: nothing is left, and no transaction is sent.
    let again = supplier.redeem(&first[0]).await.unwrap();
    assert_eq!(
        (again.paid_wei, again.redeemed_wei, again.transaction),
        (U256::ZERO, joule(10), None)
    );

    let second = grid.tick(2, &[(supplier.address(), joule(25)), (other, joule(20))]);
    assert_eq!(supplier.redeem(&second[0]).await.unwrap().paid_wei, joule(15));
    // A root from before pays no more to the supplier, but still the other, for whom anybody may send it.
    assert_eq!(supplier.redeem(&first[0]).await.unwrap().paid_wei, U256::ZERO);
    assert_eq!(supplier.redeem(&first[1]).await.unwrap().paid_wei, joule(20));
    assert_eq!(supplier.joule_balance(other).await.unwrap(), joule(20));
    assert_eq!(supplier.redeemed(utility, 1, other).await.unwrap(), joule(20));

    let state = supplier.escrow(utility, 1).await.unwrap();
    assert_balanced(&state);
    assert_eq!(state.redeemed_wei, joule(45));
    // The default fee of one percent came on top.
    assert_eq!(state.fees_wei, joule(45) / U256::from(100));
    assert_eq!(supplier.escrow(utility, 2).await.unwrap(), EscrowState::default());
    let treasury = grid.contracts.protocol().unwrap().treasury;
    let before = supplier.joule_balance(treasury).await.unwrap();
    supplier.collect_fees().await.unwrap();
    assert_eq!(supplier.joule_balance(treasury).await.unwrap() - before, state.fees_wei);
}

async fn every_size_of_tree_redeems(url: &str) {
    let grid = Grid::new(url).await;
    grid.utility.top_up(1, joule(100)).await.unwrap();
    let anyone = grid.client().await;
    for size in 1..=7_u8 {
        let payees: Vec<_> = (1..=size)
            .map(|n| (Address::repeat_byte(n * 16 + size), U256::from(u64::from(n) * 1_000 + 1)))
            .collect();
        for proof in grid.tick(size.into(), &payees) {
            let paid = anyone.redeem(&proof).await.unwrap();
            assert_eq!(paid.redeemed_wei, proof.cumulative_wei);
        }
    }
    assert_balanced(&anyone.escrow(grid.utility.address(), 1).await.unwrap());
}

async fn a_supplier_can_be_paid_elsewhere(url: &str) {
    let grid = Grid::new(url).await;
    grid.utility.top_up(1, joule(100)).await.unwrap();
    // The supplier has no gas, and needs none: the utility sends it.
    let supplier =
        Settlement::new(url, grid.contracts.chain_id, grid.contracts.escrow, Key::random())
            .unwrap();
    let to = grid.utility.address();
    let proof = grid.tick(1, &[(supplier.address(), joule(5))]).remove(0);
    let deadline = 9_999_999_999;
    let consent = supplier.sign_redeem_to(&proof, to, deadline).unwrap();
    assert!(grid.utility.verify_redeem_to(&proof, to, deadline, &consent));
    assert!(!grid.utility.verify_redeem_to(&proof, to, deadline + 1, &consent));
    let elsewhere = grid.utility.redeem_to(&proof, Address::ZERO, deadline, &consent).await;
    assert!(matches!(elsewhere, Err(ChainError::BadProof)), "{elsewhere:?}");

    let late = supplier.sign_redeem_to(&proof, to, 1).unwrap();
    let error = grid.utility.redeem_to(&proof, to, 1, &late).await.unwrap_err();
    assert!(error.to_string().contains("Expired"), "{error}");

    let before = grid.utility.joule_balance(to).await.unwrap();
    let paid = grid.utility.redeem_to(&proof, to, deadline, &consent).await.unwrap();
    assert_eq!(paid.paid_wei, joule(5));
    assert_eq!(grid.utility.joule_balance(to).await.unwrap() - before, joule(5));
    assert_eq!(grid.utility.joule_balance(supplier.address()).await.unwrap(), U256::ZERO);
    let again = grid.utility.redeem_to(&proof, to, deadline, &consent).await.unwrap();
    assert_eq!(again.paid_wei, U256::ZERO);
}

async fn a_short_escrow_pays_what_it_has(url: &str) {
    let grid = Grid::new(url).await;
    grid.utility.top_up(1, joule(101)).await.unwrap();
    let supplier = grid.client().await;
    let proof = grid.tick(1, &[(supplier.address(), joule(300))]).remove(0);
    let paid = supplier.redeem(&proof).await.unwrap();
    assert_eq!(paid.paid_wei, joule(100));
    assert_eq!(paid.redeemed_wei, joule(100));
    let error = supplier.redeem(&proof).await.unwrap_err();
    assert!(error.to_string().contains("EscrowEmpty"), "{error}");
    grid.utility.top_up(1, joule(500)).await.unwrap();
    assert_eq!(supplier.redeem(&proof).await.unwrap().paid_wei, joule(200));
    assert_balanced(&supplier.escrow(grid.utility.address(), 1).await.unwrap());
}

async fn withdrawals_thaw(url: &str) {
    let grid = Grid::new(url).await;
    let utility = &grid.utility;
    utility.top_up(1, joule(100)).await.unwrap();
    let error = utility.request_withdrawal(1, joule(101)).await.unwrap_err();
    assert!(error.to_string().contains("InsufficientBalance"), "{error}");
    utility.request_withdrawal(1, joule(90)).await.unwrap();
    let state = utility.escrow(utility.address(), 1).await.unwrap();
    assert_eq!((state.balance_wei, state.available_wei), (joule(100), joule(10)));
    assert_eq!(state.withdrawal.unwrap().amount_wei, joule(90));
    let error = utility.withdraw(1).await.unwrap_err();
    assert!(error.to_string().contains("StillThawing"), "{error}");
    // What thaws still pays suppliers.
    let supplier = grid.client().await;
    let proof = grid.tick(1, &[(supplier.address(), joule(50))]).remove(0);
    assert_eq!(supplier.redeem(&proof).await.unwrap().paid_wei, joule(50));

    result(url, "evm_increaseTime", json!([24 * 60 * 60 + 1])).await;
    result(url, "evm_mine", json!([])).await;
    let left = joule(100) - joule(50) - joule(50) / U256::from(100);
    assert_eq!(utility.withdraw(1).await.unwrap(), left);
    let state = utility.escrow(utility.address(), 1).await.unwrap();
    assert_eq!((state.balance_wei, state.withdrawal), (U256::ZERO, None));
    assert_balanced(&state);
    let error = utility.withdraw(1).await.unwrap_err();
    assert!(error.to_string().contains("NoWithdrawal"), "{error}");
}

async fn hashes_agree_with_the_contract(url: &str) {
    let grid = Grid::new(url).await;
    let supplier =
        Settlement::new(url, grid.contracts.chain_id, grid.contracts.escrow, Key::random())
            .unwrap();
    let proof = grid.tick(u64::MAX, &[(supplier.address(), joule(7))]).remove(0);
    let root = contract_root(&proof);
    let digest = PaymentEscrow::rootDigestCall { root: root.clone() };
    assert_eq!(
        eth_call(&grid, digest.abi_encode()).await,
        proof.signed.root.signing_hash(grid.contracts.chain_id, grid.contracts.escrow).to_string(),
    );
    let digest = PaymentEscrow::redeemToDigestCall {
        root,
        supplier: supplier.address(),
        cumulative: proof.cumulative_wei.to(),
        to: dev::key(3).address(),
        deadline: U256::from(77),
    };
    let hash = eth_call(&grid, digest.abi_encode()).await.parse().unwrap();
    let consent = supplier.sign_redeem_to(&proof, dev::key(3).address(), 77).unwrap();
    assert_eq!(consent.recover_address_from_prehash(&hash).unwrap(), supplier.address());
}

async fn mistakes_are_named(url: &str) {
    let grid = Grid::new(url).await;
    let supplier = grid.client().await;
    let good = grid.tick(1, &[(supplier.address(), joule(1)), (Address::ZERO, joule(2))]).remove(0);

    let mut forged = good.clone();
    forged.cumulative_wei = joule(2);
    assert!(matches!(supplier.redeem(&forged).await, Err(ChainError::BadProof)));
    // The contract does not rely on the client's checks.
    let mut call_data = PaymentEscrow::redeemCall {
        root: contract_root(&good),
        signature: Bytes::from(good.signed.signature_bytes()),
        supplier: supplier.address(),
        cumulative: forged.cumulative_wei.to(),
        proof: good.proof.0.clone(),
    };
    let answer = raw_call(&grid, call_data.abi_encode()).await;
    assert!(answer["error"]["data"].as_str().unwrap().starts_with("0x09bde339"), "{answer}");
    call_data.root.tick += 1;
    let answer = raw_call(&grid, call_data.abi_encode()).await;
    assert_eq!(answer["error"]["code"], 3);
    assert!(answer["error"]["message"].as_str().unwrap().contains("revert"), "{answer}");

    let error = supplier.redeem(&good).await.unwrap_err();
    assert!(error.to_string().contains("EscrowEmpty: the utility's escrow is empty"), "{error}");
    let error = supplier.mint(supplier.address(), joule(1)).await.unwrap_err();
    assert!(error.to_string().contains("OwnableUnauthorizedAccount"), "{error}");
    let error = supplier.transfer(Address::repeat_byte(1), joule(1)).await.unwrap_err();
    assert!(error.to_string().contains("ERC20InsufficientBalance"), "{error}");

    let poor = Settlement::new(url, grid.contracts.chain_id, grid.contracts.escrow, Key::random());
    let error = poor.unwrap().collect_fees().await.unwrap_err();
    assert!(matches!(error, ChainError::NoGas(_)), "{error:?}");
    let wrong = Settlement::new(url, 1, grid.contracts.escrow, Key::random()).unwrap();
    let error = wrong.check().await.unwrap_err();
    assert!(matches!(error, ChainError::WrongChain { expected: 1, got: 31337 }), "{error:?}");
    let nowhere =
        Settlement::new(url, grid.contracts.chain_id, Address::repeat_byte(9), Key::random());
    let error = nowhere.unwrap().check().await.unwrap_err();
    assert!(matches!(error, ChainError::NoContract { .. }), "{error:?}");
    let gone = Settlement::new("http://127.0.0.1:1/", 31337, Address::ZERO, Key::random()).unwrap();
    assert!(gone.check().await.unwrap_err().is_unreachable());
    assert!(Settlement::new("ftp://x", 1, Address::ZERO, Key::random()).is_err());
}

async fn many_processes_share_the_gas_station(url: &str) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = url.to_owned();
        // Each call has a client of its own, as each process would.
        tasks.spawn(async move {
            let account = Key::random().address();
            dev::fund(&url, account, joule(1)).await.unwrap();
            account
        });
    }
    for account in tasks.join_all().await {
        let balance = result(url, "eth_getBalance", json!([account, "latest"])).await;
        assert_eq!(balance, json!(joule(1)));
        // Enough already: nothing is sent.
        dev::fund(url, account, joule(1)).await.unwrap();
    }
}

fn contract_root(proof: &PaymentProof) -> PaymentEscrow::PaymentRoot {
    let root = &proof.signed.root;
    PaymentEscrow::PaymentRoot {
        utility: root.utility,
        series: root.series,
        tick: root.tick,
        root: root.root,
        total: root.total,
    }
}

async fn raw_call(grid: &Grid, data: Vec<u8>) -> serde_json::Value {
    let request = json!({"to": grid.contracts.escrow, "data": Bytes::from(data)});
    call(&grid.url, "eth_call", json!([request, "latest"])).await
}

async fn eth_call(grid: &Grid, data: Vec<u8>) -> String {
    raw_call(grid, data).await["result"].as_str().unwrap().to_owned()
}
