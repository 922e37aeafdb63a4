//! What nobody may do: report more than was used, take more than there is, promise less than it costs.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inflated_report_is_refused_and_not_paid() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(1).await;
    let app = utility.deploy(&service("web", "[scale]\nwarm = 0\n")).await;
    utility.get(app.id).await.unwrap();
    let lease = utility.app("web").await.replicas[0].lease;
    let mut events = utility.control.subscribe();
    let inflated = Counters { wall_ms: 3_600_000, cpu_ms: 3_600_000, ..Counters::default() };
    agents[0].set_counters(lease, Some(inflated));
    let refused = async {
        loop {
            if let Event::ReportRefused { reason, .. } = &*events.recv().await.unwrap() {
                return reason.clone();
            }
        }
    };
    let reason = tokio::time::timeout(LONG, refused).await.expect("the report is refused");
    assert!(reason.contains("wall_ms is 3600000"), "{reason}");
    // Within the time it was held, but more than the ingress saw: cut.
    let unseen = Counters { wall_ms: 200, requests: 1_000_000, ..Counters::default() };
    agents[0].set_counters(lease, Some(unseen));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let believed = utility.control.believed(app.id);
    assert!(believed.iter().all(|(_, c)| c.requests <= 1 && c.wall_ms <= 200), "{believed:?}");
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_that_no_ingress_saw_is_not_paid() {
    let mut utility = Utility::start().await;
    let agents = utility.suppliers(1).await;
    let much = 1 << 50;
    let forged = Counters {
        wall_ms: 1,
        rx_bytes: much,
        tx_bytes: much,
        requests: much,
        ..Counters::default()
    };
    // A service, once the ingress that saw its traffic is gone.
    let app = utility.deploy(&service("web", "[scale]\nwarm = 0\n")).await;
    utility.get(app.id).await.unwrap();
    utility.until("web", "told of the request", |app| app.requests == 1).await;
    agents[0].set_counters(utility.app("web").await.replicas[0].lease, Some(forged));
    utility.restart().await;
    tokio::time::timeout(LONG, agents[0].welcomed(2)).await.expect("it dials again");
    utility.until("web", "active", |app| app.state == AppState::Running).await;
    // A job, whose traffic no ingress ever sees.
    agents[0].behave(|agent| agent.job = JobScript::Runs);
    utility.deploy("name = \"work\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n").await;
    let active = |app: &AppView| app.replicas.first().is_some_and(|l| l.state == "active");
    let lease = utility.until("work", "at work", active).await.replicas[0].lease;
    agents[0].set_counters(lease, Some(forged));
    agents[0].end(lease, Ending::Completed { outputs: Vec::new(), fuel: None, signed: None });
    utility.until("work", "completed", |app| app.state == AppState::Completed).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    for name in ["web", "work"] {
        let bill = utility.control.usage(utility.account, name, None).await.unwrap();
        assert!(bill.customer_nanousd < NanoUsd(100_000), "{bill:?}");
    }
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_that_no_quote_shows_must_not_be_dear() {
    let utility = Utility::start().await;
    for hidden in ["tx_bytes", "energy_mj"] {
        let mut config = SimConfig::new(hidden, utility.addr());
        let price = match hidden {
            "tx_bytes" => &mut config.info.prices.tx_bytes,
            _ => &mut config.info.prices.energy_mj,
        };
        *price = AttoUsd(1_000_000_000_000);
        let agent = SimAgent::start(config).await.unwrap();
        let deadline = Instant::now() + LONG;
        let reason = loop {
            assert!(agent.welcomes() == 0 && Instant::now() < deadline, "{hidden} is welcome");
            if let Some(reason) = agent.rejected() {
                break reason;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(reason.contains(hidden), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_account_starts_nothing_by_a_rollback() {
    let utility = Utility::start().await;
    let poor = utility.control.create_account("rival", None).await.unwrap().account;
    for manifest in [service("theirs", ""), service("theirs", "[env]\nA = \"b\"\n")] {
        let new = NewVersion {
            account: poor,
            name: "theirs".to_owned(),
            kind: AppKind::Service,
            manifest,
            artifacts: Default::default(),
            parts: 0,
            hosts: vec![],
        };
        utility.store.deploy(&new, None, 1).await.unwrap();
    }
    let refused = utility.control.rollback(poor, "theirs", None).await;
    assert!(matches!(refused, Err(ControlError::Payment(_))), "{refused:?}");
    assert_eq!(utility.control.app(poor, "theirs").await.unwrap().version, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_cannot_be_another_apps_name() {
    let utility = Utility::start().await;
    let manifest = "name = \"web\"\nhosts = [\"shop\"]\nkind = \"service\"\n\
                    component = \"a.wasm\"\n";
    let request = utility.request(manifest).await;
    let refused = utility.control.deploy(utility.account, &request, None).await;
    assert!(matches!(refused, Err(ControlError::Invalid(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_sends_no_more_than_it_may_leave() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(1).await;
    let outputs = (0..2_100_u32).map(|n| (n.to_string(), Bytes::from(n.to_string()))).collect();
    let job = JobScript::Completes { after: Duration::ZERO, outputs };
    agents[0].behave(|agent| agent.job = job);
    let once = "name = \"work\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n[job]\nretries = 0\n";
    utility.deploy(once).await;
    let over = |app: &AppView| matches!(app.state, AppState::Completed | AppState::Failed);
    let app = utility.until("work", "over", over).await;
    assert_eq!(app.state, AppState::Failed, "{app:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_app_that_comes_back_is_counted() {
    let utility = Utility::start().await;
    for name in ["one", "two", "three"] {
        utility.deploy(&service(name, "")).await;
    }
    utility.deploy(&service("three", "[env]\nA = \"b\"\n")).await;
    utility.control.stop(utility.account, "one").await.unwrap();
    utility.deploy(&service("four", "")).await;
    let back = utility.request(&service("one", "")).await;
    let refused = utility.control.deploy(utility.account, &back, None).await;
    assert!(matches!(refused, Err(ControlError::Limit(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_keeps_more_names_than_they_may() {
    let utility = Utility::start().await;
    let name = |n: u32| format!("app-{n}");
    // Three may run at once.
    for n in 0..30 {
        utility.deploy(&service(&name(n), "")).await;
        utility.control.stop(utility.account, &name(n)).await.unwrap();
    }
    let more = utility.request(&service("more", "")).await;
    let deploy = async || utility.control.deploy(utility.account, &more, None).await;
    let refused = deploy().await;
    assert!(matches!(&refused, Err(ControlError::Limit(why)) if why.contains("kinesis delete")));
    utility.deploy(&service(&name(7), "")).await;
    utility.control.delete(utility.account, &name(8)).await.unwrap();
    deploy().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lifelines_of_nobody_are_few() {
    let utility = Utility::start().await;
    let addr = utility.control.lifeline_addr().unwrap();
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(tokio::net::TcpStream::connect(addr).await.unwrap());
    }
    let mut last = held.pop().unwrap();
    let mut byte = [0; 1];
    let closed = tokio::io::AsyncReadExt::read(&mut last, &mut byte);
    let closed = tokio::time::timeout(Duration::from_secs(5), closed).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    // Once they are gone there is room again.
    drop(held);
    let agents = utility.suppliers(1).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    agents[0].kill();
    let gone = async {
        while utility.control.nodes_up() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("its death is noticed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_of_what_is_over_do_not_fill_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        ControlConfig { log_dir: Some(dir.path().to_owned()), log_bytes_max: 200, ..config() };
    let utility = Utility::start_as(config).await;
    let _agents = utility.suppliers(1).await;
    // As an earlier run left them: each 100 bytes, all older than what comes.
    for n in 0..5 {
        std::fs::write(dir.path().join(format!("{n}.log")), [b'x'; 100]).unwrap();
    }
    utility.deploy("name = \"work\"\nkind = \"job\"\ncomponent = \"a.wasm\"\n").await;
    utility.until("work", "completed", |app| app.state == AppState::Completed).await;
    let deadline = Instant::now() + LONG;
    loop {
        let logs: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(Result::unwrap).collect();
        let bytes: u64 = logs.iter().filter_map(|log| Some(log.metadata().ok()?.len())).sum();
        let newest = logs.iter().any(|log| log.file_name().to_string_lossy().starts_with("lse_"));
        if newest && bytes <= 200 {
            break;
        }
        assert!(Instant::now() < deadline, "{logs:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quote_says_where_and_why_not() {
    let utility = Utility::start().await;
    let _agents = utility.suppliers(2).await;
    let fits = utility.request(&service("web", "")).await;
    let quote = utility.control.quote(utility.account, &fits).await.unwrap();
    assert!(quote.placeable && quote.placements.len() == 2 && quote.per_hour_nanousd.0 > 0);
    assert_ne!(quote.placements[0].node, quote.placements[1].node);
    let cannot = utility.request(&service("web", "[preferences]\ntier = \"datacenter\"\n")).await;
    let quote = utility.control.quote(utility.account, &cannot).await.unwrap();
    assert!(!quote.placeable && quote.refusals.len() == 2);
    let advice = quote.advice.unwrap();
    assert!(advice.contains("2 x its tier is crowd, datacenter is wanted"), "{advice}");
    let mut missing = fits.clone();
    missing.artifacts.clear();
    let refused = utility.control.deploy(utility.account, &missing, None).await;
    assert!(matches!(refused, Err(ControlError::Invalid(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_sleeps_when_idle_and_wakes_for_many_at_once() {
    let utility = Utility::start().await;
    let _agents = utility.suppliers(1).await;
    let app = utility.deploy(&service("lazy", "[scale]\nmin = 0\nidle_ms = 1000\n")).await;
    utility.get(app.id).await.unwrap();
    utility.until("lazy", "idle", |app| app.state == AppState::Idle).await;
    utility.until("lazy", "empty", |app| app.replicas.is_empty()).await;
    let many = (0..20).map(|_| utility.get(app.id));
    for answer in futures_util::future::join_all(many).await {
        answer.expect("every one of them waits");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_that_waits_for_the_chain_stops_nobody_else() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(1).await;
    agents[0].behave(|agent| agent.answers_in = Duration::from_millis(20));
    let app = utility.deploy(&service("web", "[scale]\nwarm = 0\n")).await;
    utility.get(app.id).await.unwrap();
    let payment = agents[0].paid(|payment| payment.cumulative_wei > U256::ZERO);
    let payment = tokio::time::timeout(LONG, payment).await.expect("a payment");
    utility.chain.stuck.store(true, std::sync::atomic::Ordering::Relaxed);
    let signature = payment.signed.signature;
    let request = WithdrawRequest { payment, deadline: u64::MAX, signature };
    let (control, supplier) = (utility.control.clone(), agents[0].info().supplier);
    let waiting = tokio::spawn(async move { control.withdraw(supplier, &request).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    let manifest = service("other", "");
    tokio::time::timeout(LONG, utility.deploy(&manifest)).await.expect("a deployment goes on");
    waiting.abort();
}
