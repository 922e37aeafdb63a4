//! The court of leases on the embedded chain: an honest supplier answers, a silent one pays once,
//! notice in time is no silence.

use alloy::primitives::{Address, U256};
use kinesis_chain::{
    Agreement, ChainError, Contracts, Joules, Key, Protocol, Settlement, deploy, dev,
    protocol::{leases::notice, stake::claim_digest},
};
use kinesis_protocol::{
    LeaseId, LeaseTerms, NodeId, SignedAck, SlaOffer,
    sla::{Ack, lease_hash},
};
use serde_json::json;

use crate::support::{Chain, embedded, joule, result};

/// A utility and a supplier with stake, on a chain of their own.
struct World {
    chain: Chain,
    contracts: Contracts,
    utility: Key,
    supplier: Key,
}

impl World {
    async fn new() -> Self {
        let chain = embedded().await;
        let contracts = deploy(&chain.url, &dev::key(0)).await.unwrap();
        let world = Self { chain, contracts, utility: Key::random(), supplier: Key::random() };
        let bank = world.acts(&dev::key(0)).settlement();
        for key in [&world.utility, &world.supplier] {
            dev::fund(&world.chain.url, key.address(), joule(1)).await.unwrap();
            bank.transfer(key.address(), joule(500)).await.unwrap();
        }
        let supplier = world.acts(&world.supplier);
        supplier.bond(supplier.address(), Joules(joule(400))).await.unwrap();
        world
    }

    fn acts(&self, key: &Key) -> Protocol {
        Protocol::new(&self.chain.url, self.contracts, key.clone()).unwrap()
    }

    async fn later(&self, seconds: u64) {
        result(&self.chain.url, "evm_increaseTime", json!([seconds])).await;
        result(&self.chain.url, "evm_mine", json!([])).await;
    }

    async fn now_s(&self) -> u64 {
        self.acts(&self.utility).now_s().await.unwrap()
    }

    /// A lease from now on, with a word each 30 seconds, or 100 JOULE.
    async fn agree(&self) -> Agreement {
        let (lease, from) = (LeaseId::random(), self.now_s().await);
        let court = self.contracts.protocol().unwrap().leases;
        let chain_id = self.contracts.chain_id;
        let terms = LeaseTerms {
            supplier: self.supplier.address(),
            utility: self.utility.address(),
            lease: lease_hash(lease),
            from,
            to: from + 3_600,
            ackInterval: 30,
            penalty: joule(100).to(),
        };
        let hash = terms.signing_hash(chain_id, court);
        let offer = SlaOffer { chain_id, court, terms, signature: self.utility.sign_hash(&hash) };
        let signature = self.supplier.sign_hash(&hash);
        Agreement::new(lease, NodeId([1; 32]), "hello", offer, signature)
    }

    fn ack(&self, of: &Agreement, up_to: u64) -> SignedAck {
        let ack = Ack { terms: of.digest(), upTo: up_to };
        let hash = ack.signing_hash(of.offer.chain_id, of.offer.court);
        SignedAck { ack, signature: self.utility.sign_hash(&hash) }
    }

    async fn active(&self) -> U256 {
        let stake = self.acts(&self.supplier).stake(self.supplier.address()).await.unwrap();
        stake.active.0
    }
}

fn refused(error: &ChainError, what: &str) {
    assert!(matches!(error, ChainError::Reverted(why) if why.contains(what)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_honest_supplier_answers_with_what_it_kept() {
    let world = World::new().await;
    let (utility, supplier) = (world.acts(&world.utility), world.acts(&world.supplier));
    let mut kept = world.agree().await;
    let since = kept.offer.terms.from;
    // It served, and was acknowledged up to here.
    world.later(20).await;
    assert_eq!(kept.take(world.ack(&kept, since + 20)), Ok(true));
    world.later(11).await;
    let mut forged = kept.clone();
    forged.supplier_signature = world.utility.sign_hash(&kept.digest());
    refused(&utility.accuse_silence(&forged, since).await.unwrap_err(), "InvalidTermsSignature");
    refused(&supplier.accuse_silence(&kept, since).await.unwrap_err(), "OnlyUtility");
    let case = utility.accuse_silence(&kept, since).await.unwrap();
    assert_eq!(utility.case(case).await.unwrap().offence, "breach");
    let digest = kept.digest();
    assert_eq!(utility.lease_record(digest).await.unwrap().case, Some(case));
    let old = world.ack(&kept, since);
    refused(&supplier.answer_silence(&old).await.unwrap_err(), "AckTooEarly");
    let before = supplier.balance(supplier.address()).await.unwrap();
    let won = supplier.answer_silence(&kept.ack.unwrap()).await.unwrap();
    assert!(!won.0.is_zero(), "the utility's stake is the supplier's");
    let after = supplier.balance(supplier.address()).await.unwrap();
    assert_eq!(after - before, won.0);
    assert_eq!(utility.case(case).await.unwrap().state, "withdrawn");
    assert_eq!(world.active().await, joule(400));
    refused(&utility.accuse_silence(&kept, since).await.unwrap_err(), "BeginsTooEarly");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_supplier_pays_once() {
    let world = World::new().await;
    let utility = world.acts(&world.utility);
    let lease = world.agree().await;
    let since = lease.offer.terms.from;
    refused(&utility.accuse_silence(&lease, since).await.unwrap_err(), "NotSilentYet");
    world.later(31).await;
    let case = utility.accuse_silence(&lease, since).await.unwrap();
    refused(&utility.close_silence(lease.digest()).await.unwrap_err(), "StillOpen");
    world.later(10).await;
    let slashed = utility.execute_case(case).await.unwrap();
    assert!(!slashed.0.is_zero() && slashed.0 <= joule(100), "{slashed}");
    assert_eq!(world.active().await, joule(400) - slashed.0);
    assert!(utility.close_silence(lease.digest()).await.unwrap());
    let record = utility.lease_record(lease.digest()).await.unwrap();
    assert!(record.broken && record.case.is_none());
    world.later(60).await;
    let again = utility.accuse_silence(&lease, since + 31).await.unwrap_err();
    refused(&again, "AlreadyAccused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notice_in_time_needs_nothing_but_the_terms() {
    let world = World::new().await;
    let utility = world.acts(&world.utility);
    let lease = world.agree().await;
    world.later(10).await;
    let at = notice(&world.chain.url, world.supplier.clone(), &lease).await.unwrap();
    assert!(at >= lease.offer.terms.from + 10);
    // Asked again it says the same.
    assert_eq!(notice(&world.chain.url, world.supplier.clone(), &lease).await.unwrap(), at);
    world.later(60).await;
    let since = lease.offer.terms.from;
    refused(&utility.accuse_silence(&lease, since).await.unwrap_err(), "NoticeInTime");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_behind_a_machine_is_read_in_few_calls() {
    let world = World::new().await;
    let supplier = world.acts(&world.supplier);
    let (address, node) = (world.supplier.address(), NodeId([7; 32]));
    let bare = supplier.standing(address, node, true).await.unwrap();
    assert_eq!((bare.active_wei, bare.locks, bare.claims.len()), (joule(400), 0, 0));
    let claim = supplier.request_claim(&world.supplier, node, 600).await.unwrap();
    let registry = world.contracts.protocol().unwrap().registry;
    let digest = claim_digest(
        world.contracts.chain_id,
        registry,
        address,
        node,
        claim.sequence,
        claim.deadline_s,
    );
    assert_eq!(claim.digest, digest);
    supplier.claim_node(&claim, &[9; 64]).await.unwrap();
    let claimed = supplier.standing(address, node, true).await.unwrap();
    assert_eq!(claimed.claims.len(), 1);
    assert_eq!((claimed.claims[0].supplier, claimed.claims[0].node_signature), (address, [9; 64]));
    let other = supplier.standing(Address::repeat_byte(1), node, true).await.unwrap();
    assert_eq!((other.active_wei, other.claims.len()), (U256::ZERO, 0));
    // What thaws backs nothing.
    supplier.thaw(Joules(joule(250))).await.unwrap();
    assert_eq!(supplier.standing(address, node, false).await.unwrap().active_wei, joule(150));
    let _: Settlement = supplier.settlement();
}
