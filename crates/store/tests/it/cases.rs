//! The conformance suite: what every engine must do alike.

mod bills;
mod chain;
mod deletion;
mod desk;
mod jobs;
mod payments;
mod shown;

use std::time::Duration;

use kinesis_protocol::{
    AccountId, Benchmark, ContentHash, Counters, Ending, Epoch, JoulePrice, LeaseId, NanoJoule,
    NanoUsd, NodeId, NodeInfo, Prices, Replica, Resources, Tier,
};
use kinesis_store::{
    AppKind, AppState, Engine, LeaseRole, StoreError, StoredEvent, Terms, TickPosting,
};
use sqlx::{Connection, PgConnection, SqliteConnection};

use crate::{Database, fixture::*};
pub(crate) use bills::*;
pub(crate) use chain::*;
pub(crate) use deletion::*;
pub(crate) use desk::*;
pub(crate) use jobs::*;
pub(crate) use payments::*;
pub(crate) use shown::*;

pub(crate) async fn an_account_is_known_by_its_key_only(db: Database) {
    let store = db.open().await;
    let (acme, key) = store.create_account("acme", None, 5).await.unwrap();
    let (rival, other) = store.create_account("rival", None, 6).await.unwrap();
    assert_eq!(store.authenticate(key.reveal()).await.unwrap(), Some(acme.account));
    assert_eq!(store.authenticate(other.reveal()).await.unwrap(), Some(rival.account));
    let forged = format!("kin_{}", "0".repeat(64));
    let cut = &key.reveal()[..60];
    for wrong in ["", "kin_", forged.as_str(), cut, "kin_' OR '1'='1"] {
        assert_eq!(store.authenticate(wrong).await.unwrap(), None, "{wrong}");
    }
    assert_eq!(store.accounts().await.unwrap(), [acme, rival]);
    for bad in ["", "a\nb", &"x".repeat(101)] {
        assert!(store.create_account(bad, None, 7).await.is_err());
    }

    // Repeated, the same account has a new key, and the old one is void.
    let once = idempotency("open-1", "third");
    let (third, first) = store.create_account("third", Some(&once), 8).await.unwrap();
    let (again, second) = store.create_account("third", Some(&once), 9).await.unwrap();
    assert_eq!(again, third);
    assert_eq!(store.authenticate(first.reveal()).await.unwrap(), None);
    assert_eq!(store.authenticate(second.reveal()).await.unwrap(), Some(third.account));
    let other = idempotency("open-1", "fourth");
    let reused = store.create_account("fourth", Some(&other), 9).await;
    assert!(matches!(reused, Err(StoreError::KeyReused)));
    let unknown = store.account(AccountId::random()).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));
}

pub(crate) async fn money_is_deposited_once_for_each_key(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    for _ in 0..3 {
        let after = store.deposit(acme, NanoUsd(25), &key("k1"), 2).await.unwrap();
        assert_eq!(after.balance_nanousd, NanoUsd(25));
    }
    let more = store.deposit(acme, NanoUsd(5), &key("k2"), 3).await.unwrap();
    assert_eq!(more.balance_nanousd, NanoUsd(30));
    let other = store.deposit(acme, NanoUsd(6), &key("k2"), 3).await;
    assert!(matches!(other, Err(StoreError::KeyReused)));
    // Keys are an account's own.
    let rival = account(&store).await;
    store.deposit(rival, NanoUsd(1), &key("k1"), 4).await.unwrap();
    for bad in [0, -5, i64::MAX] {
        assert!(store.deposit(acme, NanoUsd(bad), &key("k3"), 4).await.is_err());
    }
    let nobody = store.deposit(AccountId::random(), NanoUsd(1), &key("k1"), 4).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
    assert_eq!(store.account(acme).await.unwrap().balance_nanousd, NanoUsd(30));
    assert_exact(&store).await;
}

pub(crate) async fn names_belong_to_the_first_account(db: Database) {
    let store = db.open().await;
    let (acme, rival) = (account(&store).await, account(&store).await);
    let app = deploy(&store, acme, "shop", 0).await.app;
    let taken = store.deploy(&new_version(rival, "shop", 0), None, 3).await;
    assert!(matches!(taken, Err(StoreError::NameTaken(_))));
    let job = store.deploy(&new_version(acme, "shop", 2), None, 3).await;
    assert!(matches!(job, Err(StoreError::KindChanged(_))));
    // Stopped, it is still acme's.
    assert!(store.set_app_state(app.id, AppState::Stopped, Some("enough"), 4).await.unwrap());
    assert!(store.deploy(&new_version(rival, "shop", 0), None, 5).await.is_err());
    assert_eq!(store.app_named(acme, "shop").await.unwrap().unwrap().state, AppState::Stopped);
    assert_eq!(store.app_named(rival, "shop").await.unwrap(), None);
    assert_eq!(store.app_named(acme, "' OR 1=1 --").await.unwrap(), None);
    let back = deploy(&store, acme, "shop", 0).await;
    assert_eq!((back.app.id, back.app.state, back.app.reason), (app.id, AppState::Running, None));
}

pub(crate) async fn versions_are_deployed_once_and_rolled_back(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let mut new = new_version(acme, "web", 0);
    let reference = kinesis_store::ArtifactRef { hash: ContentHash([4; 32]), bytes: 12 };
    new.artifacts.insert("web.wasm".to_owned(), reference);
    let once = idempotency("deploy-1", "one");
    let first = store.deploy(&new, Some(&once), 2).await.unwrap();
    let again = store.deploy(&new, Some(&once), 3).await.unwrap();
    assert_eq!(store.deployed(acme, &once).await.unwrap(), Some(first.app.clone()));
    let never = idempotency("deploy-2", "one");
    assert_eq!(store.deployed(acme, &never).await.unwrap(), None);
    assert!(!first.replayed && again.replayed);
    assert_eq!((&again.app, &again.version), (&first.app, &first.version));
    assert_eq!(first.app.kind, AppKind::Service);
    let other = idempotency("deploy-1", "two");
    assert!(matches!(store.deploy(&new, Some(&other), 3).await, Err(StoreError::KeyReused)));

    let early = store.rollback(first.app.id, None, 4).await;
    assert!(matches!(early, Err(StoreError::NoEarlierVersion(_))));
    let second = store.deploy(&new, None, 5).await.unwrap();
    assert_eq!((second.version.number, second.app.version), (2, second.version.id));
    let once = idempotency("back-1", "");
    let back = store.rollback(first.app.id, Some(&once), 6).await.unwrap();
    assert_eq!((back.version, back.version_number), (first.version.id, 1));
    let replayed = store.rollback(first.app.id, Some(&once), 7).await.unwrap();
    assert_eq!(replayed, back);
    // A new version comes after all others, not after the one that is wanted.
    assert_eq!(store.deploy(&new, None, 8).await.unwrap().version.number, 3);

    let versions = store.versions(first.app.id).await.unwrap();
    assert_eq!(versions.iter().map(|v| v.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(versions[0], store.version(first.version.id).await.unwrap());
    assert_eq!(versions[0].artifacts["web.wasm"], reference);
    assert_eq!(store.apps(Some(acme)).await.unwrap(), store.running_apps().await.unwrap());
    assert!(!store.set_app_state(first.app.id, AppState::Running, None, 9).await.unwrap());
    assert!(store.set_app_state(first.app.id, AppState::OverBudget, None, 9).await.unwrap());
    assert_eq!(store.running_apps().await.unwrap(), []);
    assert_eq!(store.apps(None).await.unwrap().len(), 1);
}

pub(crate) async fn epochs_and_ticks_are_handed_out_once(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    for epoch in 1..4 {
        assert_eq!(store.next_epoch(app.id, Replica(0)).await.unwrap(), Epoch(epoch));
        assert_eq!(store.reserve_tick(1).await.unwrap(), epoch);
    }
    assert_eq!(store.next_epoch(app.id, Replica(1)).await.unwrap(), Epoch(1));
    assert_eq!(store.reserve_tick(2).await.unwrap(), 1);
    if db.shared() {
        // Opened again, nothing starts over.
        store.close().await;
        let store = db.open().await;
        assert_eq!(store.next_epoch(app.id, Replica(0)).await.unwrap(), Epoch(4));
        assert_eq!(store.reserve_tick(1).await.unwrap(), 4);
    }
}

pub(crate) async fn leases_are_fenced_and_recorded(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let active = lease(&store, &app, 0, 1).await;
    assert_eq!((active.role, active.activated_at_ms), (LeaseRole::Active, Some(3)));
    assert_eq!((active.account, active.kind), (acme, AppKind::Service));

    let mut new = new_lease(&store, &app, 0, 2).await;
    new.spec.standby = true;
    let standby = store.insert_lease(&new, 4).await.unwrap();
    assert_eq!((standby.role, standby.activated_at_ms), (LeaseRole::Standby, None));
    assert_eq!(store.insert_lease(&new, 9).await.unwrap(), standby);
    // The same epoch for another lease, and one that nobody handed out.
    let mut twin = new.clone();
    twin.spec.lease = LeaseId::random();
    assert!(matches!(store.insert_lease(&twin, 5).await, Err(StoreError::StaleEpoch(_))));
    twin.spec.key.epoch = Epoch(99);
    assert!(matches!(store.insert_lease(&twin, 5).await, Err(StoreError::StaleEpoch(_))));
    let mut dear = new_lease(&store, &app, 0, 2).await;
    dear.terms.fee_bp = u32::MAX;
    assert!(matches!(store.insert_lease(&dear, 5).await, Err(StoreError::Invalid(_))));

    assert!(store.activate_lease(standby.id(), 8).await.unwrap());
    assert!(!store.activate_lease(standby.id(), 9).await.unwrap());
    let unknown = store.activate_lease(LeaseId::random(), 9).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { .. })));

    let ids = |leases: Vec<kinesis_store::Lease>| {
        let mut ids: Vec<_> = leases.iter().map(kinesis_store::Lease::id).collect();
        ids.sort();
        ids
    };
    let unfinished = ids(store.unfinished_leases(SERIES).await.unwrap());
    let mut both = vec![active.id(), standby.id()];
    both.sort();
    assert_eq!(unfinished, both);
    assert_eq!(store.unfinished_leases(SERIES + 1).await.unwrap(), []);

    assert!(store.end_lease(active.id(), &worked(2), &Ending::Fenced, 10).await.unwrap());
    assert!(!store.end_lease(active.id(), &worked(1), &Ending::Released, 11).await.unwrap());
    let ended = store.lease(active.id()).await.unwrap().unwrap();
    assert_eq!((ended.ending, ended.ended_at_ms), (Some(Ending::Fenced), Some(10)));
    assert_eq!(ended.counters, worked(2));
    assert_eq!(ids(store.unfinished_leases(SERIES).await.unwrap()), [standby.id()]);
    assert_eq!(ids(store.leases_of(app.id).await.unwrap()), both);
    assert_eq!(store.lease(LeaseId::random()).await.unwrap(), None);
}

pub(crate) async fn usage_is_posted_exactly_once(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    store.deposit(acme, NanoUsd(1_000_000), &key("k"), 2).await.unwrap();
    let app = deploy(&store, acme, "web", 0).await.app;
    let (one, two) = (lease(&store, &app, 0, 1).await, lease(&store, &app, 1, 2).await);

    // 3 ms: supplier 3,000 + 15 % + 1 %; at a cent a JOULE that is 0.0003 JOULE and 1 %.
    let posted = tick(&store, &[(one.id(), worked(3)), (two.id(), Counters::default())]).await;
    assert_eq!(posted.leases.len(), 1);
    let line = &posted.leases[0];
    assert_eq!((line.lease, line.app, line.account), (one.id(), app.id, acme));
    assert_eq!(line.difference.customer_nanousd(), NanoUsd(3_480));
    assert_eq!(line.difference.supplier_nanojoule, NanoJoule(300_000));
    assert_eq!(line.difference.fee_nanojoule, NanoJoule(3_000));
    assert_eq!(posted.suppliers, [(supplier(1), NanoJoule(300_000))]);
    assert_eq!(posted.accounts, [(acme, NanoUsd(1_000_000 - 3_480))]);
    assert_eq!(posted.apps, [(app.id, NanoUsd(3_480))]);

    // The same again moves nothing; what was recorded beside the tick is found.
    assert_eq!(tick(&store, &[(one.id(), worked(3))]).await.leases, []);
    store.record_counters(&[(two.id(), worked(5)), (LeaseId::random(), worked(9))]).await.unwrap();
    let posted = tick(&store, &[]).await;
    assert_eq!(posted.leases[0].posted.supplier_nanousd, NanoUsd(5_000));
    assert_eq!(store.spent(app.id).await.unwrap(), NanoUsd(8 * 1_160));
    assert_eq!(store.spent_version(app.version).await.unwrap(), NanoUsd(8 * 1_160));

    let earned: Vec<_> = store.earnings_all(SERIES).await.unwrap();
    assert_eq!(earned.len(), 2);
    assert_eq!(earned[1].cumulative_nanojoule, NanoJoule(500_000));
    assert_eq!(store.earned(SERIES, supplier(1)).await.unwrap(), NanoJoule(300_000));
    assert_eq!(store.earned(SERIES, supplier(9)).await.unwrap(), NanoJoule(0));
    assert_exact(&store).await;
}

pub(crate) async fn an_ended_lease_is_posted_to_the_last_millisecond(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let one = lease(&store, &app, 0, 1).await;
    tick(&store, &[(one.id(), worked(3))]).await;
    store.end_lease(one.id(), &worked(4), &Ending::Released, 5).await.unwrap();
    assert_eq!(tick(&store, &[]).await.leases[0].difference.supplier_nanousd, NanoUsd(1_000));
    assert_eq!(tick(&store, &[]).await.leases, []);
    // Its agent was thought lost, and comes back with more: nothing is lost, nothing is twice.
    let posted = tick(&store, &[(one.id(), worked(6))]).await;
    assert_eq!(posted.leases[0].difference.supplier_nanousd, NanoUsd(2_000));
    store.record_counters(&[(one.id(), worked(7))]).await.unwrap();
    assert_eq!(tick(&store, &[]).await.leases[0].posted.supplier_nanousd, NanoUsd(7_000));
    assert_eq!(tick(&store, &[(one.id(), worked(7))]).await.leases, []);
    assert_exact(&store).await;
}

pub(crate) async fn old_counters_and_old_ticks_change_nothing(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let one = lease(&store, &app, 0, 1).await;
    tick(&store, &[(one.id(), worked(10))]).await;
    assert_eq!(tick(&store, &[(one.id(), worked(4))]).await.leases, []);
    assert_eq!(store.lease(one.id()).await.unwrap().unwrap().counters, worked(10));

    let mut posting = TickPosting {
        series: SERIES,
        tick: 2,
        joule_price: cent(),
        leases: vec![(one.id(), worked(11))],
    };
    assert!(store.post_tick(&posting, 9).await.unwrap().already);
    posting.tick = 3;
    let ahead = store.post_tick(&posting, 9).await;
    assert!(matches!(ahead, Err(StoreError::NotReserved { tick: 3, .. })));
    posting.series = 1_000;
    posting.tick = 1;
    assert!(store.post_tick(&posting, 9).await.is_err());
    assert_eq!(store.spent(app.id).await.unwrap(), NanoUsd(11_600));

    // Another series does not post this one's leases.
    posting.tick = store.reserve_tick(1_000).await.unwrap();
    assert_eq!(store.post_tick(&posting, 9).await.unwrap().leases, []);
    assert_eq!(store.spent(app.id).await.unwrap(), NanoUsd(11_600));
    assert_exact(&store).await;
}

pub(crate) async fn terms_hold_for_the_life_of_a_lease(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let one = lease(&store, &app, 0, 1).await;
    let mut new = new_lease(&store, &app, 1, 1).await;
    new.terms = Terms { margin_bp: 0, fee_bp: 0 };
    let free = store.insert_lease(&new, 3).await.unwrap();
    let posted = tick(&store, &[(one.id(), worked(1)), (free.id(), worked(1))]).await;
    let paid: i64 = posted.leases.iter().map(|l| l.difference.customer_nanousd().0).sum();
    assert_eq!(paid, 1_160 + 1_000);

    // A supplier's share converts at the price of its tick; what is left is carried on.
    let dear = JoulePrice::new(3_000_000_000_000).unwrap();
    for wall in 2..5 {
        let posting = TickPosting {
            series: SERIES,
            tick: store.reserve_tick(SERIES).await.unwrap(),
            joule_price: dear,
            leases: vec![(free.id(), worked(wall))],
        };
        store.post_tick(&posting, 5).await.unwrap();
    }
    let free = store.lease(free.id()).await.unwrap().unwrap();
    assert_eq!(free.posted.supplier_nanojoule, NanoJoule(100_000 + 1));
    assert_exact(&store).await;
}

pub(crate) async fn a_dropped_transaction_leaves_nothing(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let one = lease(&store, &app, 0, 1).await;
    for n in 0..30_u64 {
        let patience = Duration::from_micros(n * 40);
        let key = key(&format!("k{n}"));
        tokio::time::timeout(patience, store.deposit(acme, NanoUsd(10), &key, n)).await.ok();
        let tick = store.reserve_tick(SERIES).await.unwrap();
        let leases = vec![(one.id(), worked(n))];
        let posting = TickPosting { series: SERIES, tick, joule_price: cent(), leases };
        tokio::time::timeout(patience, store.post_tick(&posting, n)).await.ok();
    }
    assert_exact(&store).await;
    // Whatever was cut off can be said again.
    for n in 0..30_u64 {
        store.deposit(acme, NanoUsd(10), &key(&format!("k{n}")), n).await.unwrap();
    }
    tick(&store, &[(one.id(), worked(29))]).await;
    let left = store.account(acme).await.unwrap().balance_nanousd;
    assert_eq!(left, NanoUsd(300 - 29 * 1_160));
    assert_exact(&store).await;
}

pub(crate) async fn writers_beside_each_other_stay_exact(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let one = lease(&store, &app, 0, 1).await;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..4_u64 {
        // Another instance, where there can be one.
        let store = if db.shared() { db.open().await } else { store.clone() };
        let (app, one) = (app.id, one.id());
        writers.spawn(async move {
            let mut seen = Vec::new();
            for i in 0..10_u64 {
                store.deposit(acme, NanoUsd(100), &key(&format!("shared-{i}")), 1).await.unwrap();
                let tick = store.reserve_tick(SERIES).await.unwrap();
                let leases = vec![(one, worked(i * 4 + n))];
                let posting = TickPosting { series: SERIES, tick, joule_price: cent(), leases };
                store.post_tick(&posting, 1).await.unwrap();
                seen.push((tick, store.next_epoch(app, Replica(5)).await.unwrap()));
            }
            seen
        });
    }
    let (mut ticks, mut epochs): (Vec<_>, Vec<_>) =
        writers.join_all().await.into_iter().flatten().unzip();
    ticks.sort_unstable();
    epochs.sort_unstable();
    assert_eq!(ticks, (1..=40).collect::<Vec<u64>>());
    assert_eq!(epochs, (1..=40).map(Epoch).collect::<Vec<_>>());
    tick(&store, &[(one.id(), worked(39))]).await;
    let left = store.account(acme).await.unwrap().balance_nanousd;
    assert_eq!(left, NanoUsd(1_000 - 39 * 1_160));
    assert_exact(&store).await;
}

pub(crate) async fn nodes_events_and_grants_are_kept(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let mut info = NodeInfo {
        node: NodeId([3; 32]),
        name: "den".to_owned(),
        supplier: supplier(3),
        tier: Tier::Datacenter,
        region: String::new(),
        offered: Resources { cpu_millis: 8_000, ..Resources::default() },
        prices: Prices::default(),
        attributes: [("gpu".to_owned(), "none; \"quoted\"".to_owned())].into(),
    };
    let fast = Benchmark { rounds_per_second: 12 };
    store.upsert_node(&info, Some(fast), 5).await.unwrap();
    info.name = "Ülm".to_owned();
    store.upsert_node(&info, None, 9).await.unwrap();
    let node = store.node(info.node).await.unwrap().unwrap();
    assert_eq!((&node.info, node.benchmark), (&info, Some(fast)));
    assert_eq!((node.first_at_ms, node.joined_at_ms), (5, 9));
    assert_eq!(store.nodes().await.unwrap(), [node]);
    assert_eq!(store.node(NodeId([4; 32])).await.unwrap(), None);

    // Those that never held a lease are forgotten, the longest gone first; the connected are kept.
    let app = deploy(&store, acme, "web", 0).await.app;
    lease(&store, &app, 0, 3).await;
    for n in 10..20 {
        info.node = NodeId([n; 32]);
        store.upsert_node(&info, None, u64::from(n)).await.unwrap();
    }
    let keep = [NodeId([10; 32])].into();
    let left = async || -> Vec<u8> {
        store.nodes().await.unwrap().iter().map(|node| node.info.node.0[0]).collect()
    };
    assert_eq!(store.prune_nodes(12, 100, &keep).await.unwrap(), 1);
    assert_eq!(left().await, [3, 10, 12, 13, 14, 15, 16, 17, 18, 19]);
    assert_eq!(store.prune_nodes(0, 3, &keep).await.unwrap(), 5);
    assert_eq!(left().await, [3, 10, 17, 18, 19]);

    let event = |at_ms, account| StoredEvent {
        at_ms,
        account,
        kind: "node_lost".to_owned(),
        body: serde_json::json!({"n": at_ms}),
    };
    for (at, whose) in [(1, None), (2, Some(acme)), (3, None)] {
        store.record_event(&event(at, whose)).await.unwrap();
    }
    assert_eq!(store.events(None, 9).await.unwrap(), [event(3, None), event(1, None)]);
    let newest = store.events(Some(acme), 2).await.unwrap();
    assert_eq!(newest, [event(3, None), event(2, Some(acme))]);

    let hash = ContentHash([8; 32]);
    assert_eq!(store.granted_artifact(acme, hash).await.unwrap(), None);
    for _ in 0..2 {
        store.grant_artifact(acme, hash, 5_000_000_000, 5).await.unwrap();
    }
    assert_eq!(store.granted_artifact(acme, hash).await.unwrap(), Some(5_000_000_000));
    assert_eq!(store.artifact_bytes(acme).await.unwrap(), 5_000_000_000);
    let rival = account(&store).await;
    assert_eq!(store.granted_artifact(rival, hash).await.unwrap(), None);
}

pub(crate) async fn a_newer_schema_is_refused(db: Database) {
    let store = db.open().await;
    if !db.shared() {
        return;
    }
    let add = "INSERT INTO schema_steps (step) VALUES (9999)";
    match store.engine() {
        Engine::Sqlite => {
            let mut conn = SqliteConnection::connect(&db.url).await.unwrap();
            sqlx::query(add).execute(&mut conn).await.unwrap();
        }
        Engine::Postgres => {
            let mut conn = PgConnection::connect(&db.url).await.unwrap();
            sqlx::query(add).execute(&mut conn).await.unwrap();
        }
    }
    let refused = kinesis_store::Store::open(&db.url).await.unwrap_err();
    assert!(refused.to_string().contains("newer build"), "{refused}");
}
