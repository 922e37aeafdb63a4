//! What suppliers answer with: stake before there is work, terms signed at the grant, the utility's
//! word while all is well.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use kinesis_chain::{Agreement, Key};
use kinesis_protocol::{B256, LeaseId, NanoJoule};

use super::*;

const PLAIN: &str =
    "name = \"web\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n[scale]\nwarm = 0\n";

/// What the utility's signer does not sign.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Terms of which it can sign no acknowledgement now.
    unsigned: Mutex<HashSet<B256>>,
    /// Whether it refuses to sign terms, and how often it was asked.
    refuses: AtomicBool,
    asked: AtomicUsize,
}

impl Signs {
    pub(super) fn terms(&self) -> Result<(), SettleError> {
        self.asked.fetch_add(1, Relaxed);
        match self.refuses.load(Relaxed) {
            true => Err(SettleError::SignerRefused("the terms are for another court".into())),
            false => Ok(()),
        }
    }

    pub(super) fn ack(&self, ack: &Ack) -> Result<(), SettleError> {
        match self.unsigned.lock().contains(&ack.terms) {
            true => Err(SettleError::Sign("the signer is away".into())),
            false => Ok(()),
        }
    }
}

fn joule(whole: u64) -> U256 {
    U256::from(whole) * U256::from(10).pow(U256::from(18))
}

fn promised(interval_s: u32) -> String {
    format!("{PLAIN}[sla]\nack_interval_s = {interval_s}\npenalty_joule = \"5\"\n")
}

impl Utility {
    fn stands(&self, supplier: Address, whole: u64, bound: bool, locks: u64) {
        let standing = Standing { active_wei: joule(whole), locks, bound };
        self.chain.standings.lock().insert(supplier, standing);
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

/// Waits until the agent was told of a reason that contains this.
async fn told(agent: &SimAgent, what: &str) -> String {
    let says = |_, why: Option<&str>| why.is_some_and(|why| why.contains(what));
    soon(what, agent.standing(says)).await.1.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_stake_there_is_no_work_and_with_it_there_is_without_joining_again() {
    let min_stake = NanoJoule(100_000_000_000);
    let utility = Utility::start_as(ControlConfig { min_stake, ..config() }).await;
    let agent = utility.supplier("newcomer", Tier::Crowd).await;
    let supplier = agent.info().supplier;
    let why = told(&agent, "0 of 100 JOULE").await;
    assert!(why.contains("kinesis stake bond 100") && why.contains("kinesis pool borrow"), "{why}");
    let node = || async {
        let nodes = utility.control.nodes().await.unwrap();
        nodes.into_iter().find(|node| node.node == agent.node()).unwrap()
    };
    let listed = node().await;
    assert_eq!((listed.state.as_str(), listed.withheld), ("withheld", Some(why)));
    utility.deploy(PLAIN).await;
    let waits = |app: &AppView| app.reason.as_ref().is_some_and(|r| r.contains("JOULE of stake"));
    utility.until("web", "it waits for stake", waits).await;
    assert!(agent.leases().is_empty());

    // Stake alone is not enough: somebody else's machine could say that it is this supplier's.
    utility.stands(supplier, 150, false, 0);
    told(&agent, "kinesis stake claim").await;
    utility.stands(supplier, 150, true, 0);
    soon("it is told", agent.standing(|stake, why| stake == joule(150) && why.is_none())).await;
    let serves = |app: &AppView| app.state == AppState::Running;
    utility.until("web", "it gets work", serves).await;
    assert_eq!(agent.welcomes(), 1, "it did not join again");
    assert_eq!(node().await.state, "up");

    // A slash below what is asked for: what it has goes on, nothing new comes.
    utility.stands(supplier, 99, true, 0);
    told(&agent, "99 of 100 JOULE").await;
    utility.deploy(&PLAIN.replace("web", "other")).await;
    utility.until("other", "it waits for stake", waits).await;
    assert_eq!(agent.leases().len(), 1);
    assert_eq!(utility.app("web").await.state, AppState::Running);
    // An open case holds stake, too.
    utility.stands(supplier, 150, true, 1);
    told(&agent, "open case").await;
    utility.stands(supplier, 150, true, 0);
    utility.until("other", "it gets work again", serves).await;
}

/// A utility that keeps what is signed in a folder.
async fn with_terms(dir: &tempfile::TempDir) -> Utility {
    let agreements_dir = Some(dir.path().join("leases"));
    Utility::start_as(ControlConfig { agreements_dir, ..config() }).await
}

async fn signer(utility: &Utility, name: &str, key: Option<Key>) -> SimAgent {
    let agent = SimAgent::start(SimConfig { key, ..SimConfig::new(name, utility.addr()) }).await;
    let agent = agent.unwrap();
    soon("a welcome", agent.welcomed(1)).await;
    agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sign_at_the_grant_and_the_word_advances_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let utility = with_terms(&dir).await;
    let key = Key::random();
    let agent = signer(&utility, "den", Some(key.clone())).await;
    utility.deploy(&promised(6)).await;
    let first = soon("a word", agent.acknowledged(|acks| !acks.is_empty())).await;
    let (lease, first) = first.into_iter().next().unwrap();
    let path = dir.path().join(format!("leases/{lease}.json"));
    // The utility holds what both signed, and how far it gave its word.
    let kept = Agreement::read(&path).unwrap();
    let terms = kept.offer.terms;
    assert_eq!((terms.supplier, terms.utility), (key.address(), utility.control.payer().utility));
    assert_eq!((terms.ackInterval, terms.penalty.to::<U256>()), (6, joule(5)));
    assert!(first.is_of(terms.utility, 31337, COURT) && first.ack.terms == kept.digest());
    assert!(first.ack.upTo > terms.from && kept.acked_to_s >= first.ack.upTo);
    let further = |acks: &std::collections::BTreeMap<_, SignedAck>| {
        acks.get(&lease).is_some_and(|ack| ack.ack.upTo > first.ack.upTo)
    };
    let later = soon("a later word", agent.acknowledged(further)).await[&lease];
    assert!(later.ack.upTo < terms.to);
    // The file is written before the word leaves.
    assert!(Agreement::read(&path).unwrap().acked_to_s >= later.ack.upTo);
    // What is not wanted any more is acknowledged to its end.
    utility.control.stop(utility.account, "web").await.unwrap();
    let ended = |acks: &std::collections::BTreeMap<_, SignedAck>| acks[&lease].ack.upTo == terms.to;
    soon("the last word", agent.acknowledged(ended)).await;
    assert!(Agreement::read(&path).unwrap().is_settled());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_sign_does_not_serve_and_who_falls_silent_hears_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let utility = with_terms(&dir).await;
    // It grants and signs nothing, as an agent of an earlier version would.
    let older = signer(&utility, "older", None).await;
    utility.deploy(&promised(5)).await;
    let unsigned =
        |app: &AppView| app.reason.as_ref().is_some_and(|why| why.contains("did not sign"));
    utility.until("web", "it is refused", unsigned).await;
    let agent = signer(&utility, "den", Some(Key::random())).await;
    let acks = soon("a word", agent.acknowledged(|acks| !acks.is_empty())).await;
    let (lease, _) = acks.into_iter().next().unwrap();
    assert!(older.leases().iter().all(|lease| lease.ending.is_some()), "nothing is left there");

    agent.silence(true);
    let path = dir.path().join(format!("leases/{lease}.json"));
    let broken = async {
        while Agreement::read(&path).unwrap().broken_at_s.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("it is seen to be broken", broken).await;
    let acked_to_s = Agreement::read(&path).unwrap().acked_to_s;
    // It comes back: too late for a word that would undo what can be shown.
    agent.silence(false);
    soon("it is back", agent.welcomed(2)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(Agreement::read(&path).unwrap().acked_to_s, acked_to_s);
}

/// The file of a lease, as the utility has it.
fn kept(dir: &tempfile::TempDir, lease: LeaseId) -> Agreement {
    Agreement::read(&dir.path().join(format!("leases/{lease}.json"))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_fails_breaks_nobody_and_keeps_back_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let utility = with_terms(&dir).await;
    let agent = signer(&utility, "den", Some(Key::random())).await;
    utility.deploy(&promised(5)).await;
    utility.deploy(&promised(5).replace("web", "other")).await;
    let acks = soon("two words", agent.acknowledged(|acks| acks.len() == 2)).await;
    let leases: Vec<LeaseId> = acks.into_keys().collect();
    // Each in turn, so that whichever comes first in a round keeps back the other, if any does.
    for (without, with) in [(leases[0], leases[1]), (leases[1], leases[0])] {
        let digest = kept(&dir, without).digest();
        utility.chain.signs.unsigned.lock().insert(digest);
        let until = kept(&dir, with).acked_to_s + 8;
        let further = |acks: &std::collections::BTreeMap<LeaseId, SignedAck>| {
            acks.get(&with).is_some_and(|ack| ack.ack.upTo > until)
        };
        soon("the other hears on", agent.acknowledged(further)).await;
        for lease in &leases {
            assert_eq!(kept(&dir, *lease).broken_at_s, None, "it was there all the time");
        }
        utility.chain.signs.unsigned.lock().clear();
        let again = |acks: &std::collections::BTreeMap<LeaseId, SignedAck>| {
            acks.get(&without).is_some_and(|ack| ack.ack.upTo >= until)
        };
        soon("it hears again", agent.acknowledged(again)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_word_comes_though_its_signature_failed_at_first() {
    let dir = tempfile::tempdir().unwrap();
    let utility = with_terms(&dir).await;
    let agent = signer(&utility, "den", Some(Key::random())).await;
    utility.deploy(&promised(6)).await;
    let acks = soon("a word", agent.acknowledged(|acks| !acks.is_empty())).await;
    let lease = acks.into_keys().next().unwrap();
    let (digest, to) = (kept(&dir, lease).digest(), kept(&dir, lease).offer.terms.to);
    utility.chain.signs.unsigned.lock().insert(digest);
    utility.control.stop(utility.account, "web").await.unwrap();
    let settled = async {
        while !kept(&dir, lease).is_settled() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon("it is settled on disk", settled).await;
    // Rounds pass in which it cannot be signed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    utility.chain.signs.unsigned.lock().clear();
    let last = |acks: &std::collections::BTreeMap<LeaseId, SignedAck>| {
        acks.get(&lease).is_some_and(|ack| ack.ack.upTo == to)
    };
    soon("the last word", agent.acknowledged(last)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_that_refuses_terms_ends_the_lease_and_its_customer_reads_why() {
    let dir = tempfile::tempdir().unwrap();
    let utility = with_terms(&dir).await;
    let agent = signer(&utility, "den", Some(Key::random())).await;
    utility.chain.signs.refuses.store(true, Relaxed);
    utility.deploy(&promised(60)).await;
    let says = |app: &AppView| {
        app.reason.as_ref().is_some_and(|why| why.contains("the signer refuses: the terms are"))
    };
    let app = utility.until("web", "it says why", says).await;
    assert_eq!((app.state, agent.leases().len()), (AppState::Pending, 0));
    let asked = utility.chain.signs.asked.load(Relaxed);
    assert!(asked <= 2, "a refusal is an answer: it was asked {asked} times");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(utility.chain.signs.asked.load(Relaxed) <= asked + 1, "it is asked for ever");
    // What needs no terms is served meanwhile, and terms once they are signed.
    utility.deploy(&PLAIN.replace("web", "other")).await;
    utility.until("other", "it serves", |app| app.state == AppState::Running).await;
    utility.chain.signs.refuses.store(false, Relaxed);
    utility.until("web", "it serves", |app| app.state == AppState::Running).await;
}
