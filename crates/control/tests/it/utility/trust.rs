//! What suppliers answer with: stake before there is work, terms signed at the grant, the utility's
//! word while all is well.

use kinesis_chain::{Agreement, Key};
use kinesis_protocol::NanoJoule;

use super::*;

const PLAIN: &str =
    "name = \"web\"\nkind = \"service\"\ncomponent = \"a.wasm\"\n[scale]\nwarm = 0\n";

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
