//! Terms of leases: signed once and within the owner's limit, their acknowledgements kept, notice
//! given where the utility's word is late.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kinesis_agent::pledge;
use kinesis_chain::{Agreement, ChainConfig, EmbeddedChain, Joules, Key, Protocol, deploy, dev};
use kinesis_protocol::{
    Address, LeaseSpec, LeaseTerms, NanoJoule, Signature, SignedAck, SlaOffer, U256,
    message::{ToAgent, ToUtility},
    sla::{Ack, lease_hash},
};
use tokio_util::sync::CancellationToken;

use crate::utility::{CHAIN, Grid, SOON, grid, grid_with, soon};

const COURT: Address = Address::repeat_byte(0xc0);

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn joule(whole: u64) -> U256 {
    U256::from(whole) * U256::from(10).pow(U256::from(18))
}

/// The lease with terms that this utility signed, changed as the test wants.
fn with_terms(
    grid: &Grid,
    spec: LeaseSpec,
    key: &Key,
    court: Address,
    change: impl FnOnce(&mut LeaseTerms),
) -> LeaseSpec {
    let from = now_s();
    let mut terms = LeaseTerms {
        supplier: grid.agent.supplier(),
        utility: grid.utility.key.address(),
        lease: lease_hash(spec.lease),
        from,
        to: from + 3_600,
        ackInterval: 300,
        penalty: joule(10).to(),
    };
    change(&mut terms);
    let signature = key.sign_hash(&terms.signing_hash(CHAIN, court));
    LeaseSpec { sla: Some(SlaOffer { chain_id: CHAIN, court, terms, signature }), ..spec }
}

fn offered(grid: &Grid, spec: LeaseSpec, change: impl FnOnce(&mut LeaseTerms)) -> LeaseSpec {
    with_terms(grid, spec, &grid.utility.key, COURT, change)
}

/// Asks for a lease and expects it granted; the signature.
async fn granted(grid: &Grid, spec: &LeaseSpec) -> Option<Signature> {
    grid.session.send(ToAgent::Grant { spec: spec.clone() });
    match grid.session.next().await {
        ToUtility::Granted { lease, signature } if lease == spec.lease => signature,
        other => panic!("not granted: {other:?}"),
    }
}

fn ack(spec: &LeaseSpec, up_to: u64, key: &Key) -> SignedAck {
    let offer = spec.sla.unwrap();
    let ack = Ack { terms: offer.digest(), upTo: up_to };
    SignedAck { ack, signature: key.sign_hash(&ack.signing_hash(CHAIN, offer.court)) }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(what, waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terms_are_signed_once_and_kept_with_the_newest_word() {
    let grid = grid_with(|config| config.max_penalty = Some(NanoJoule(25_000_000_000))).await;
    let spec = offered(&grid, grid.house.service(0, 1), |_| {});
    let offer = spec.sla.unwrap();
    let signature = granted(&grid, &spec).await.expect("it signs");
    assert!(offer.is_accepted_by(&signature));
    // What left the node is on its disk.
    let path = pledge::dir(&grid.house.config.data_dir).join(format!("{}.json", spec.lease));
    let kept = Agreement::read(&path).unwrap();
    assert_eq!((kept.offer, kept.supplier_signature), (offer, signature));
    // The same is signed again; other terms of the same lease are not.
    assert_eq!(granted(&grid, &spec).await, Some(signature));
    let dearer = offered(&grid, spec.clone(), |terms| terms.penalty = joule(11).to());
    assert_eq!(granted(&grid, &dearer).await, None);

    let from = offer.terms.from;
    let say = |ack| grid.session.send(ToAgent::Ack { lease: spec.lease, ack });
    say(ack(&spec, from + 5, &grid.utility.key));
    let reads = || Agreement::read(&path).unwrap();
    until("the word is kept", || reads().acked_to_s == from + 5).await;
    // Forged, of other terms, older: none takes its place. The last one shows that all were read.
    say(ack(&spec, from + 100, &Key::random()));
    say(ack(&dearer, from + 100, &grid.utility.key));
    say(ack(&spec, from + 4, &grid.utility.key));
    say(ack(&spec, from + 6, &grid.utility.key));
    until("the next word is kept", || reads().acked_to_s != from + 5).await;
    assert_eq!(reads().acked_to_s, from + 6);
    let shown = || {
        let status = grid.agent.status();
        let lease = status.leases.into_iter().find(|lease| lease.lease == spec.lease);
        lease.and_then(|lease| lease.sla)
    };
    until("the owner sees it", || shown().is_some_and(|sla| sla.acked_to_s == from + 6)).await;
    assert_eq!(shown().unwrap().penalty, Joules(joule(10)));

    // It outlives the process, and what was promised before still counts.
    grid.agent.abort().await;
    drop(grid.session);
    let agent = grid.house.start(&grid.sandboxes).await;
    let session = grid.utility.welcome().await;
    let grid = Grid { agent, session, ..grid };
    let more = offered(&grid, grid.house.service(1, 1), |terms| terms.penalty = joule(16).to());
    let reason = grid.session.refused(&more).await;
    assert!(reason.contains("10 promised") && reason.contains("--max-penalty"), "{reason}");
    let fits = offered(&grid, grid.house.service(2, 1), |terms| terms.penalty = joule(15).to());
    assert!(granted(&grid, &fits).await.is_some());
    // The last word settles it.
    let last = ack(&spec, offer.terms.to, &grid.utility.key);
    grid.session.send(ToAgent::Ack { lease: spec.lease, ack: last });
    until("it is settled", || reads().is_settled()).await;
    assert!(granted(&grid, &offered(&grid, grid.house.service(3, 1), |_| {})).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terms_that_are_not_ours_or_too_dear_are_refused_with_a_reason() {
    let grid = grid_with(|config| config.max_penalty = Some(NanoJoule(10_000_000_000))).await;
    let spec = || grid.house.service(0, 1);
    let refused = async |spec: LeaseSpec, what: &str| {
        let reason = grid.session.refused(&spec).await;
        assert!(reason.contains(what), "{reason}");
    };
    refused(offered(&grid, spec(), |terms| terms.penalty = joule(11).to()), "is above 10").await;
    let stranger = |terms: &mut LeaseTerms| terms.supplier = Address::repeat_byte(1);
    refused(offered(&grid, spec(), stranger), "another supplier").await;
    let elsewhere = |terms: &mut LeaseTerms| terms.utility = Address::repeat_byte(1);
    refused(offered(&grid, spec(), elsewhere), "utility and chain").await;
    let other = |terms: &mut LeaseTerms| terms.lease = lease_hash(grid.house.service(0, 1).lease);
    refused(offered(&grid, spec(), other), "another lease").await;
    refused(offered(&grid, spec(), |terms| terms.from -= 1_000), "clocks").await;
    refused(offered(&grid, spec(), |terms| terms.ackInterval = 4), "interval").await;
    refused(offered(&grid, spec(), |terms| terms.to = u64::MAX), "longer").await;
    let forged = with_terms(&grid, spec(), &Key::random(), COURT, |_| {});
    refused(forged, "signature").await;
    // Nothing of all this is on its disk.
    assert!(!pledge::dir(&grid.house.config.data_dir).exists());
    assert!(granted(&grid, &offered(&grid, spec(), |_| {})).await.is_some());
    // A lease without terms needs no stake.
    grid.session.grant(&grid.house.service(1, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supplier_promises_the_stake_that_it_reads_and_not_what_a_utility_says() {
    // Without a chain nothing is read, whatever the utility says.
    let blind = grid().await;
    blind.session.send(ToAgent::Standing { stake_wei: joule(1_000), withheld: None });
    let reason = blind.session.refused(&offered(&blind, blind.house.service(0, 1), |_| {})).await;
    assert!(reason.contains("--rpc"), "{reason}");

    let dir = tempfile::tempdir().unwrap();
    let chain = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc = format!("http://{}/rpc", listener.local_addr().unwrap());
    let router = chain.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let contracts = deploy(&rpc, &dev::key(0)).await.unwrap();
    let court = contracts.protocol().unwrap().leases;
    let patron = Protocol::new(&rpc, contracts, dev::key(1)).unwrap();
    let named = rpc.clone();
    let grid = grid_with(|config| config.rpc_url = Some(named)).await;
    grid.session.send(ToAgent::Standing { stake_wei: joule(1_000), withheld: None });
    let spec = || with_terms(&grid, grid.house.service(0, 1), &grid.utility.key, court, |_| {});
    // The first time it has read nothing yet, and later what there is.
    let above = |what: &'static str| {
        let (grid, spec) = (&grid, &spec);
        async move {
            while !grid.session.refused(&spec()).await.contains(what) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    soon("it reads that it has nothing", above("is above 0, the stake")).await;
    patron.bond(grid.agent.supplier(), Joules(joule(9))).await.unwrap();
    soon("it reads that it has too little", above("is above 9, the stake")).await;
    patron.bond(grid.agent.supplier(), Joules(joule(1))).await.unwrap();
    let signed = async {
        loop {
            let spec = spec();
            grid.session.send(ToAgent::Grant { spec: spec.clone() });
            match grid.session.next().await {
                ToUtility::Granted { lease, signature } if lease == spec.lease => return signature,
                ToUtility::Refused { .. } => tokio::time::sleep(Duration::from_millis(100)).await,
                other => panic!("neither granted nor refused: {other:?}"),
            }
        }
    };
    assert!(soon("it signs for what it has", signed).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_owner_sees_why_a_utility_gives_no_lease() {
    let grid = grid().await;
    let why = "bond with `kinesis stake bond 100`".to_owned();
    let withheld = Some(why.clone());
    grid.session.send(ToAgent::Standing { stake_wei: joule(3), withheld });
    until("the owner sees it", || {
        let utility = &grid.agent.status().utilities[0];
        utility.withheld.as_ref() == Some(&why) && utility.stake == Some(Joules(joule(3)))
    })
    .await;
    grid.session.send(ToAgent::Standing { stake_wei: joule(103), withheld: None });
    until("it is over", || grid.agent.status().utilities[0].withheld.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notice_is_given_where_the_utilitys_word_is_late_and_when_the_node_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let chain = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc = format!("http://{}/rpc", listener.local_addr().unwrap());
    let router = chain.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let contracts = deploy(&rpc, &dev::key(0)).await.unwrap();
    assert_eq!(contracts.chain_id, CHAIN);
    let court = contracts.protocol().unwrap().leases;
    let looks = Protocol::new(&rpc, contracts, Key::random()).unwrap();
    let named = rpc.clone();
    let grid = grid_with(|config| {
        config.rpc_url = Some(named);
        config.max_penalty = Some(NanoJoule(100_000_000_000));
        config.drain_notice = Duration::from_millis(200);
    })
    .await;
    let late = with_terms(&grid, grid.house.service(0, 1), &grid.utility.key, court, |terms| {
        terms.ackInterval = 8;
    });
    let calm = with_terms(&grid, grid.house.service(1, 1), &grid.utility.key, court, |_| {});
    for spec in [&late, &calm] {
        assert!(granted(&grid, spec).await.is_some());
    }
    // The utility says nothing: before the interval is over the chain knows.
    let digest = late.sla.unwrap().digest();
    let noticed = tokio::time::timeout(SOON, async {
        loop {
            if let Some(at_s) = looks.lease_record(digest).await.unwrap().notice_at_s {
                return at_s;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("notice is given");
    assert!(noticed <= late.sla.unwrap().terms.from + 8, "it came too late to count");
    let other = calm.sla.unwrap().digest();
    assert_eq!(looks.lease_record(other).await.unwrap().notice_at_s, None);
    // It leaves, and the utility does not say that this is well.
    let stop = CancellationToken::new();
    stop.cancel();
    tokio::time::timeout(SOON, grid.agent.run(stop)).await.expect("it leaves");
    assert!(looks.lease_record(other).await.unwrap().notice_at_s.is_some());
    let path = pledge::dir(&grid.house.config.data_dir).join(format!("{}.json", calm.lease));
    assert!(Agreement::read(&path).unwrap().notice_at_s.is_some());
}
