//! Votes, from proposal to execution.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_raises_the_fee() {
    let world = World::new().await;
    let escrow = world.contracts.escrow;
    assert_eq!(world.read(escrow, &PaymentEscrow::feeBpCall {}).await, 100);
    let id = world.enact(&Action::SetFee(120)).await;
    assert_eq!(world.read(escrow, &PaymentEscrow::feeBpCall {}).await, 120);
    let proposal = world.dao().proposal(id).await.unwrap();
    assert_eq!(proposal.effects, ["escrow.setFee(feeBp: 120)"]);
    assert_eq!(proposal.why, "Set the protocol fee to 1.2 %");

    // Whoever has no votes neither proposes nor votes; a vote that is lost changes nothing.
    let (_, stranger) = world.somebody(0).await;
    let tried = stranger.propose(&Action::SetFee(130), None).await.unwrap_err();
    assert!(refused(&tried).starts_with("GovernorInsufficientProposerVotes"), "{tried}");
    let lost = world.dao().propose(&Action::SetFee(1_000), None).await.unwrap();
    world.later(2).await;
    let tried = stranger.vote(lost, Vote::For).await.unwrap_err();
    assert!(tried.to_string().contains("no votes"), "{tried}");
    world.dao().vote(lost, Vote::Against).await.unwrap();
    world.later(20).await;
    assert_eq!(world.dao().proposal(lost).await.unwrap().state, "defeated");
    let tried = world.dao().queue_proposal(lost).await.unwrap_err();
    assert!(refused(&tried).contains("the proposal is defeated"), "{tried}");
    assert_eq!(world.read(escrow, &PaymentEscrow::feeBpCall {}).await, 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_upgrades_a_contract_and_its_state_stays() {
    let world = World::new().await;
    let escrow = world.contracts.escrow;
    let deployer = world.raw(dev::key(0));
    deployer.deposit(deployer.address(), 7, joule(321)).await.unwrap();
    let before = deployer.escrow(deployer.address(), 7).await.unwrap();
    assert_eq!(before.balance_wei, joule(321));

    // The next version, told apart by what is fixed in its code.
    let bonds = Address::repeat_byte(0x77);
    let arguments = (world.contracts.joule, bonds).abi_encode_params();
    let code: Bytes = [PaymentEscrow::BYTECODE.as_ref(), &arguments].concat().into();
    let implementation = FACTORY.create2(B256::ZERO, keccak256(&code));
    let action = Action::Upgrade { contract: Upgradeable::Escrow, implementation };
    let tried = world.dao().propose(&action, None).await.unwrap_err();
    assert!(matches!(tried, ChainError::Senseless(_)), "{tried:?}");
    create(&world, code).await;
    world.enact(&action).await;

    assert_eq!(world.read(escrow, &PaymentEscrow::bondsCall {}).await, bonds);
    assert_eq!(deployer.escrow(deployer.address(), 7).await.unwrap(), before);
    assert_eq!(world.read(escrow, &PaymentEscrow::feeBpCall {}).await, 100);
}

/// Creates a contract through the deterministic deployment proxy.
async fn create(world: &World, code: Bytes) {
    use alloy::{
        consensus::{SignableTransaction as _, TxEip1559, TxEnvelope},
        eips::Encodable2718 as _,
        primitives::TxKind,
    };
    let key = dev::key(5);
    let nonce =
        result(&world.chain.url, "eth_getTransactionCount", json!([key.address(), "latest"]));
    let nonce: String = serde_json::from_value(nonce.await).unwrap();
    let transaction = TxEip1559 {
        chain_id: world.contracts.chain_id,
        nonce: u64::from_str_radix(nonce.trim_start_matches("0x"), 16).unwrap(),
        gas_limit: 20_000_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(FACTORY),
        input: [B256::ZERO.as_slice(), code.as_ref()].concat().into(),
        ..TxEip1559::default()
    };
    let signature = key.sign_hash(&transaction.signature_hash());
    let signed = TxEnvelope::from(transaction.into_signed(signature)).encoded_2718();
    result(&world.chain.url, "eth_sendRawTransaction", json!([Bytes::from(signed)])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_pays_a_grant_as_it_vests() {
    let world = World::new().await;
    let grantee = Address::repeat_byte(0x61);
    let action =
        Action::Grant { to: grantee, amount: amount(1_000), cliff_s: 0, duration_s: 3_600 };
    world.enact(&action).await;
    let dao = world.dao();
    let grants = dao.grants().await.unwrap();
    assert_eq!((grants.len(), grants[0].grantee, grants[0].amount), (1, grantee, amount(1_000)));
    // The half of it, give or take what the vote took.
    world.later(1_800).await;
    let first = dao.release_grant(0).await.unwrap();
    assert!(first > amount(500) && first < amount(550), "{first}");
    assert_eq!(dao.balance(grantee).await.unwrap(), first.0);
    world.later(3_600).await;
    dao.release_grant(0).await.unwrap();
    assert_eq!(dao.balance(grantee).await.unwrap(), joule(1_000));
    // What has been paid is not paid again, and no grant is not one.
    assert_eq!(dao.release_grant(0).await.unwrap(), Joules::default());
    assert!(refused(&dao.release_grant(1).await.unwrap_err()).starts_with("UnknownGrant"));
    let nonsense = Action::Grant { to: grantee, amount: amount(1), cliff_s: 2, duration_s: 1 };
    assert!(matches!(dao.propose(&nonsense, None).await, Err(ChainError::Senseless(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_any_kind_can_be_proposed() {
    let world = World::new().await;
    let at = world.contracts.protocol().unwrap();
    let call = Call::parse(at.exchange, "setFee(uint16)", &["55".to_owned()]).unwrap();
    world.enact(&Action::Call(call)).await;
    assert_eq!(world.read(at.exchange, &Exchange::feeBpCall {}).await, 55);
    for (signature, arguments) in [
        ("setFee(uint16)", vec![]),
        ("setFee(uint16)", vec!["70000".to_owned()]),
        ("setFee(", vec![]),
    ] {
        assert!(Call::parse(at.exchange, signature, &arguments).is_err(), "{signature}");
    }
}
