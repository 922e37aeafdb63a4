//! Who pays for what, and how much before anybody could stop it.

use super::*;

const JOB: &str = "name = \"work\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n";

fn once() -> String {
    format!("{JOB}[job]\nretries = 0\n")
}

async fn bill(utility: &Utility, name: &str) -> Bill {
    utility.control.usage(utility.account, name, None).await.unwrap()
}

/// Waits until every line of a bill has its ending, and no lease is held any more.
pub(super) async fn settled(utility: &Utility, name: &str) -> Bill {
    let deadline = Instant::now() + LONG;
    loop {
        let bill = bill(utility, name).await;
        if bill.lines.iter().all(|line| line.ending.is_some()) {
            return bill;
        }
        assert!(Instant::now() < deadline, "never settled: {bill:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn works(utility: &Utility) -> AppView {
    let at_work = |app: &AppView| {
        app.replicas.first().is_some_and(|l| l.state == "active" && l.counters.wall_ms > 100)
    };
    utility.until("work", "at work", at_work).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_fails_for_good_is_billed_for_its_last_attempt() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(3).await;
    for agent in &agents {
        let after = Duration::from_millis(150);
        agent.behave(|a| a.job = JobScript::Fails { after, reason: "exit 1".into() });
    }
    utility.deploy(&format!("{JOB}[job]\nretries = 2\n")).await;
    let app = utility.until("work", "failed", |app| app.state == AppState::Failed).await;
    assert!(app.reason.unwrap().contains("exit 1"));
    // Shown as over, it is on the bill: nobody has to wait for it.
    let bill = bill(&utility, "work").await;
    assert_eq!(bill.lines.len(), 3, "{bill:#?}");
    let billed: Vec<_> = bill.lines.iter().filter(|l| l.billed_nanousd > NanoUsd::ZERO).collect();
    assert_eq!(billed.len(), 1, "{bill:#?}");
    let last = bill.lines.iter().max_by_key(|line| line.epoch).unwrap();
    assert_eq!(billed[0].lease, last.lease);
    for line in &bill.lines {
        assert_eq!(line.ending.as_deref(), Some("failed: exit 1"));
        assert!(line.counters.wall_ms >= 100);
    }
    // Each was another supplier's.
    let suppliers: std::collections::BTreeSet<_> = bill.lines.iter().map(|l| l.supplier).collect();
    assert_eq!(suppliers.len(), 3);
    let paid = agents.iter().find(|agent| agent.info().supplier == last.supplier).unwrap();
    tokio::time::timeout(LONG, paid.paid(|p| p.cumulative_wei > U256::ZERO)).await.unwrap();
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stopped_job_used_is_billed() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(1).await;
    agents[0].behave(|agent| agent.job = JobScript::Runs);
    utility.deploy(&once()).await;
    works(&utility).await;
    utility.control.stop(utility.account, "work").await.unwrap();
    let first = settled(&utility, "work").await;
    assert_eq!(first.lines[0].ending.as_deref(), Some("released"));
    assert!(first.customer_nanousd > NanoUsd::ZERO && first.suppliers_nanousd > NanoUsd::ZERO);
    let part = utility.app("work").await.job.unwrap().parts.remove(0);
    assert_eq!(
        (part.state.as_str(), part.ending.as_deref()),
        ("stopped", Some("stopped by its owner"))
    );
    // So is what a newer version took the place of.
    utility.deploy(&once()).await;
    works(&utility).await;
    utility.deploy(&format!("{}[env]\nA = \"b\"\n", once())).await;
    let deadline = Instant::now() + LONG;
    while bill(&utility, "work").await.customer_nanousd <= first.customer_nanousd {
        assert!(Instant::now() < deadline, "{:#?}", bill(&utility, "work").await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_node_ended_is_free_however_its_job_ends() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(1).await;
    agents[0].behave(|agent| agent.job = JobScript::Runs);
    utility.deploy(&once()).await;
    let lease = works(&utility).await.replicas[0].lease;
    agents[0].end(lease, Ending::NodeFailed { reason: "its disk is full".into() });
    utility.until("work", "failed", |app| app.state == AppState::Failed).await;
    let bill = bill(&utility, "work").await;
    assert_eq!(bill.lines[0].ending.as_deref(), Some("node failed: its disk is full"));
    assert_eq!(bill.customer_nanousd, NanoUsd::ZERO);
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_stopped_before_its_budget_is_passed_and_billed_for_what_it_did() {
    let utility =
        Utility::start_as(ControlConfig { tick: Duration::from_secs(1), ..config() }).await;
    let agents = utility.suppliers(1).await;
    agents[0].behave(|agent| agent.job = JobScript::Runs);
    let budget = NanoUsd(15_000);
    utility.deploy(&format!("{}[budget]\nusd = \"0.000015\"\n", once())).await;
    let app = utility.until("work", "stopped", |app| app.state == AppState::OverBudget).await;
    assert!(app.reason.unwrap().contains("budget of $0.000015"));
    let bill = settled(&utility, "work").await;
    assert!(bill.customer_nanousd > NanoUsd::ZERO, "{bill:#?}");
    assert!(bill.customer_nanousd <= budget, "{bill:#?}");
    utility.exact().await;
}

/// A node whose traffic is as dear as it may be.
async fn dear(utility: &Utility) -> SimAgent {
    let mut config = SimConfig::new("dear", utility.addr());
    config.info.prices.rx_bytes = AttoUsd(10_000_000_000);
    let agent = SimAgent::start(config).await.unwrap();
    tokio::time::timeout(LONG, agent.welcomed(1)).await.expect("a welcome");
    agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_stopped_while_it_can_still_pay_for_its_traffic() {
    for reports in [true, false] {
        let mut utility = Utility::start().await;
        utility.account = utility.control.create_account("small", None).await.unwrap().account;
        let key = IdempotencyKey::new("first").unwrap();
        let two = NanoUsd(2_000_000_000);
        utility.control.deposit(utility.account, two, &key).await.unwrap();
        let agent = dear(&utility).await;
        let app = utility.deploy(&service("web", "[scale]\nwarm = 0\n")).await;
        utility.get(app.id).await.unwrap();
        let lease = utility.app("web").await.replicas[0].lease;
        if !reports {
            // It keeps what it did to itself, to ask for all of it once the balance is spent.
            agent.set_counters(lease, Some(Counters::default()));
        }
        // 16 MiB at a time: some 20 cents of the two dollars.
        let body = Bytes::from(vec![0_u8; 16 << 20]);
        let deadline = Instant::now() + 2 * LONG;
        loop {
            let route = utility.control.routes().apps.get(&app.id).cloned();
            // What is over has no route once it has ended.
            let Some(route) = route.filter(|route| route.state != AppState::OverBudget) else {
                break;
            };
            let Some(replica) = route.replicas.first() else { continue };
            let request = http::Request::post("/")
                .header("host", "a")
                .body(RequestBody::full(body.clone()))
                .unwrap();
            let _ = replica.client.send(request).await;
            assert!(Instant::now() < deadline, "never stopped: {:?}", utility.app("web").await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let app = utility.app("web").await;
        assert_eq!(app.state, AppState::OverBudget);
        assert!(app.reason.unwrap().contains("balance is used up"));
        agent.set_counters(lease, None);
        settled(&utility, "web").await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        let left = utility.control.account(utility.account).await.unwrap().balance_nanousd;
        assert!(left > NanoUsd::ZERO, "reports {reports}: {left}");
        utility.exact().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_repeated_is_not_refused_for_what_changed_since() {
    let utility = Utility::start().await;
    let request = utility.request(&service("web", "")).await;
    let idempotency = kinesis_store::Idempotency {
        key: IdempotencyKey::new("deploy-1").unwrap(),
        fingerprint: kinesis_protocol::ContentHash([1; 32]),
    };
    let deploy = || utility.control.deploy(utility.account, &request, Some(&idempotency));
    let first = deploy().await.unwrap();
    for name in ["two", "three"] {
        utility.deploy(&service(name, "")).await;
    }
    utility.control.stop(utility.account, "web").await.unwrap();
    utility.deploy(&service("four", "")).await;
    let again = deploy().await.expect("it was done before");
    assert_eq!((again.id, again.version, again.state), (first.id, 1, AppState::Stopped));
}
