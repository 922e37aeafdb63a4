//! More under load, less in calm; and whom nothing is placed on for what it says of its speed.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_slow_requests_bring_a_second_replica_and_it_goes_again() {
    let utility = Utility::start().await;
    let agents = utility.suppliers(2).await;
    for agent in &agents {
        agent.behave(|agent| agent.answers_in = Duration::from_secs(1));
    }
    let scale = "[service]\nconcurrency = 1\n[scale]\nmax = 2\nwarm = 0\nidle_ms = 1000\n";
    let app = utility.deploy(&service("web", scale)).await;
    let active = |app: &AppView| -> Vec<u32> {
        app.replicas.iter().filter(|l| l.state == "active").map(|lease| lease.replica).collect()
    };
    utility.until("web", "running", |app| active(app) == [0]).await;
    // One at a time is what one replica is there for.
    utility.get(app.id).await.unwrap();
    assert_eq!(active(&utility.app("web").await), [0]);
    let two_at_a_time = async {
        loop {
            let (one, other) = tokio::join!(utility.get(app.id), utility.get(app.id));
            one.unwrap();
            other.unwrap();
        }
    };
    tokio::select! {
        () = two_at_a_time => {}
        _ = utility.until("web", "two replicas", |app| active(app) == [0, 1]) => {}
    }
    utility.until("web", "one replica again", |app| app.replicas.len() == 1).await;
    assert_eq!(active(&utility.app("web").await), [0]);
    utility.get(app.id).await.unwrap();
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_invents_a_benchmark_gets_no_lease_and_is_told_why() {
    let utility = Utility::start().await;
    let mut config = SimConfig::new("boaster", utility.addr());
    config.behaviour.invents_benchmark = true;
    let boaster = SimAgent::start(config).await.unwrap();
    let deadline = Instant::now() + LONG;
    let said = loop {
        if let Some(reason) = boaster.rejected() {
            break reason;
        }
        assert!(Instant::now() < deadline, "never told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(said.contains("work that was not done"), "{said}");
    utility.deploy(&service("web", "[scale]\nwarm = 0\n")).await;
    let words = ["work that was not done", "it is away"];
    let refused = |app: &AppView| {
        app.reason.as_ref().is_some_and(|reason| words.iter().any(|word| reason.contains(word)))
    };
    utility.until("web", "refused", refused).await;
    // It comes back again and again, and is believed no more for it.
    tokio::time::timeout(LONG, boaster.welcomed(3)).await.expect("it dials again");
    assert!(boaster.leases().is_empty(), "{:?}", boaster.leases());
    let honest = utility.supplier("honest", Tier::Crowd).await;
    let app = utility.until("web", "running", |app| app.state == AppState::Running).await;
    assert!(app.replicas.iter().all(|lease| lease.node == honest.node()));
    let speed = async |id| {
        let nodes = utility.control.nodes().await.unwrap();
        nodes.into_iter().find(|node| node.node == id).unwrap().benchmark
    };
    while speed(honest.node()).await.is_none() {
        assert!(Instant::now() < deadline, "the honest one is believed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(speed(boaster.node()).await, None);
    assert!(boaster.leases().is_empty());
}
