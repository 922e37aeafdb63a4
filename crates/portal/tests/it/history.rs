//! What a long life of an app costs those who look at it: nothing.

use std::collections::BTreeMap;

use kinesis_protocol::{
    ContentHash, Counters, Ending, LeaseId, LeaseSpec, NodeId, Prices, Replica, Resources, Tier,
    Workload,
    lease::{Instance, LeaseKey, Program, ServiceWorkload},
};
use kinesis_store::{App, AppKind, AppState, NewLease, NewVersion, Store, Terms, Work};

use crate::fixture::*;

/// How many versions and leases the app had; `KINESIS_HISTORY` sets another number.
fn history() -> u64 {
    std::env::var("KINESIS_HISTORY").map_or(400, |text| text.parse().unwrap())
}

async fn lease(store: &Store, app: &App) -> NewLease {
    let replica = Replica(0);
    let epoch = store.next_epoch(app.id, replica).await.unwrap();
    let program = Program {
        component: ContentHash([1; 32]),
        component_bytes: 3,
        env: BTreeMap::new(),
        files: vec![],
        network: vec![],
    };
    NewLease {
        spec: LeaseSpec {
            lease: LeaseId::random(),
            key: LeaseKey { app: app.id, replica, epoch },
            app_name: app.name.clone(),
            standby: false,
            workload: Workload::Service(ServiceWorkload {
                program,
                instance: Instance::Fresh,
                concurrency: 8,
                request_ms_max: 1_000,
            }),
            granted: Resources::default(),
            prices: Prices::default(),
            term_ms: 60_000,
            sla: None,
            audit: None,
        },
        version: app.version,
        // Not the utility's own: its ticks have nothing to do with it.
        series: 99,
        node: NodeId([7; 32]),
        node_name: "den".to_owned(),
        supplier: kinesis_protocol::Address::repeat_byte(7),
        tier: Tier::Crowd,
        terms: Terms { margin_bp: 0, fee_bp: 0 },
    }
}

/// What was read since `before`.
fn since(store: &Store, before: Work) -> Work {
    let now = store.work();
    Work { reads: now.reads - before.reads, rows: now.rows - before.rows }
}

#[tokio::test]
async fn a_long_history_costs_a_picture_nothing() {
    let utility = Utility::start().await;
    let acme = utility.customer("acme").await;
    let store = &utility.store;
    let account = store.accounts().await.unwrap()[0].account;
    let new = NewVersion {
        account,
        name: "web".to_owned(),
        kind: AppKind::Service,
        manifest: service("web"),
        artifacts: BTreeMap::new(),
        parts: 0,
        hosts: vec![],
    };
    let history = history();
    let (mut app, mut requests) = (None, 0);
    for at in 0..history {
        let deployed = store.deploy(&new, None, at).await.unwrap().app;
        let lease = store.insert_lease(&lease(store, &deployed).await, at).await.unwrap();
        let counters = Counters { wall_ms: at, requests: at, ..Counters::default() };
        store.end_lease(lease.id(), &counters, &Ending::Released, at).await.unwrap();
        requests += at;
        app = Some(deployed.id);
    }
    let app = app.unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let now = u64::try_from(now).unwrap();
    store.set_app_state(app, AppState::Stopped, Some("enough"), now).await.unwrap();
    // The rest of its bill is posted, as the next tick of its series would.
    let tick = store.reserve_tick(99).await.unwrap();
    let posting = kinesis_store::TickPosting {
        series: 99,
        tick,
        joule_price: kinesis_protocol::JoulePrice::new(10_000_000).unwrap(),
        leases: vec![],
    };
    store.post_tick(&posting, now).await.unwrap();

    // The measure sees it where all of it is read, as it once was for every picture.
    let before = store.work();
    store.versions(app).await.unwrap();
    store.leases_of(app).await.unwrap();
    let whole = since(store, before);
    assert!(whole.rows >= 2 * history, "{whole:?}");

    // A bill is a page of it, with the sums of all.
    for path in ["/v1/apps/web", "/v1/apps", "/v1/grid", "/", "/v1/apps/web/usage"] {
        let before = store.work();
        let answer = acme.get(path).await;
        let read = since(store, before);
        eprintln!("{path}: {read:?}; all of its history: {whole:?}");
        assert!(answer.status.is_success() && answer.text().contains("web"), "{path}");
        // The utility's own work goes on beside it.
        let most = if path.ends_with("usage") { 600 } else { 100 };
        assert!(read.rows < most && read.reads < 100, "{path}: {read:?}");
    }
    let seen = acme.get("/v1/apps/web").await.with(200);
    assert_eq!(seen["requests"], requests);
    let versions = seen["versions"].as_array().unwrap();
    assert_eq!((versions.len(), &versions[19]["version"]), (20, &history.into()));
}
