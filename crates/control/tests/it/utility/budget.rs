//! Budgets of services: kept to, and warned of before.

use kinesis_protocol::Prices;

use super::{billing::settled, *};

/// For how long a budget has to last in full use here; half of it is kept in reserve.
const COVER: Duration = Duration::from_secs(8);
/// What a customer pays for a millisecond, margin and fee included.
const MS_NANOUSD: i64 = 1_170;
/// A little more than has to be there for anything to start.
const BUDGET: NanoUsd = NanoUsd(8_100 * MS_NANOUSD);

/// A utility with one node, which asks for its time and for nothing else: in use is in full use.
async fn with_one_node() -> (Utility, SimAgent) {
    let utility = Utility::start_as(ControlConfig { cover: COVER, ..config() }).await;
    let mut config = SimConfig::new("plain", utility.addr());
    config.info.prices = Prices { wall_ms: AttoUsd(1_000_000_000_000), ..Prices::default() };
    config.behaviour.answers_in = Duration::from_millis(200);
    let agent = SimAgent::start(config).await.unwrap();
    tokio::time::timeout(LONG, agent.welcomed(1)).await.expect("a welcome");
    (utility, agent)
}

fn budgeted(budget: NanoUsd, warn_percent: u32) -> String {
    let usd = budget.to_string().replace('$', "");
    let budget = format!("[budget]\nusd = \"{usd}\"\nwarn_percent = {warn_percent}\n");
    service("web", &format!("[scale]\nwarm = 0\n{budget}"))
}

/// Says nothing of what it does for so long, and then all of it at once.
async fn hide(utility: &Utility, agent: &SimAgent, app: AppId, hidden: Duration) {
    let report = agent.leases().into_iter().find(|report| report.key.app == app).unwrap();
    agent.set_counters(report.lease, Some(report.counters));
    tokio::time::sleep(hidden).await;
    agent.set_counters(report.lease, None);
    let least = report.counters.wall_ms + u64::try_from(hidden.as_millis()).unwrap() / 2;
    while utility.control.believed(app).iter().all(|(_, believed)| believed.wall_ms < least) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A tick posts and judges it.
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_stops_a_service_before_it_is_passed() {
    let (utility, agent) = with_one_node().await;
    let app = utility.deploy(&budgeted(BUDGET, 80)).await;
    utility.get(app.id).await.unwrap();
    let asks = async {
        loop {
            if let Err(reason) = utility.get(app.id).await {
                return reason;
            }
        }
    };
    // What is posted at once grows: whoever expects the next to be like the last lets the third one
    // pass the budget.
    let hides = async {
        for percent in [30, 30, 50] {
            hide(&utility, &agent, app.id, COVER * percent / 100).await;
        }
        std::future::pending::<()>().await;
    };
    let stopped = async {
        tokio::select! {
            reason = asks => reason,
            () = hides => unreachable!(),
        }
    };
    let stopped = tokio::time::timeout(2 * LONG, stopped).await.expect("it is stopped");
    assert_eq!(stopped, NotReady::OverBudget);
    let app = utility.app("web").await;
    assert_eq!(app.state, AppState::OverBudget);
    let reason = app.reason.unwrap();
    assert!(reason.contains(&format!("budget of {BUDGET}")), "{reason}");
    let bill = settled(&utility, "web").await;
    assert!(bill.customer_nanousd > NanoUsd::ZERO, "{bill:#?}");
    assert!(bill.customer_nanousd <= BUDGET, "{} of {BUDGET}", bill.customer_nanousd);
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_whose_budget_would_not_last_is_not_placed() {
    let (utility, agent) = with_one_node().await;
    let small = budgeted(NanoUsd(BUDGET.0 / 2), 80);
    let words = "left of its budget does not last";
    let request = utility.request(&small).await;
    let quote = utility.control.quote(utility.account, &request).await.unwrap();
    assert!(!quote.placeable && quote.advice.unwrap().contains(words), "{:?}", quote.refusals);
    utility.deploy(&small).await;
    let said = |app: &AppView| app.reason.as_ref().is_some_and(|reason| reason.contains(words));
    utility.until("web", "told why not", said).await;
    assert!(agent.leases().is_empty());
    let app = utility.deploy(&budgeted(BUDGET, 80)).await;
    utility.get(app.id).await.unwrap();
    utility.until("web", "running", |app| app.reason.is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_warns_before_it_stops() {
    let (utility, _agent) = with_one_node().await;
    let mut events = utility.control.subscribe();
    let budget = NanoUsd(BUDGET.0 * 10);
    let app = utility.deploy(&budgeted(budget, 1)).await;
    utility.get(app.id).await.unwrap();
    assert_eq!(utility.app("web").await.warning, None);
    let asks = async {
        loop {
            utility.get(app.id).await.unwrap();
        }
    };
    let warned = async {
        loop {
            if let Event::Budget { stopped, name, spent_nanousd, budget_nanousd, .. } =
                &*events.recv().await.unwrap()
            {
                return (*stopped, name.clone(), *spent_nanousd, *budget_nanousd);
            }
        }
    };
    let warned = async {
        tokio::select! {
            warned = warned => warned,
            () = asks => unreachable!(),
        }
    };
    let (stopped, name, spent, of) = tokio::time::timeout(LONG, warned).await.expect("a warning");
    assert_eq!((stopped, name.as_str(), of), (false, "web", budget));
    assert!(spent >= NanoUsd(budget.0 / 100) && spent < NanoUsd(budget.0 / 2), "{spent}");
    let app = utility.until("web", "warned of", |app| app.warning.is_some()).await;
    assert_eq!(app.state, AppState::Running);
    assert!(app.warning.unwrap().contains(&format!("of its budget of {budget}")));
    utility.control.stop(utility.account, "web").await.unwrap();
    assert_eq!(utility.app("web").await.warning, None);
    utility.exact().await;
}
