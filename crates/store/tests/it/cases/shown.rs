//! What pages show.

use kinesis_protocol::{AppId, Counters, Ending, LeaseId, Replica};
use kinesis_store::{AppState, AttemptEnd, Engine, PartState, Progress, Then};
use sqlx::{ConnectOptions, Connection, PgConnection, sqlite::SqliteConnectOptions};

use crate::{Database, fixture::*};

fn answered(requests: u64) -> Counters {
    Counters { wall_ms: requests, requests, ..Counters::default() }
}

fn end(lease: LeaseId, ending: Ending, then: Then) -> AttemptEnd {
    AttemptEnd { lease, counters: worked(7), ending, then, joule_price: cent() }
}

pub(crate) async fn requests_of_all_leases_are_one_sum(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let mut all = Vec::new();
    for (replica, requests) in [(0, 3), (1, 4), (2, 5)] {
        let lease = lease(&store, &app, replica, 1).await;
        store.record_counters(&[(lease.id(), answered(requests))]).await.unwrap();
        all.push(lease.id());
    }
    let sums = store.app_sums(app.id).await.unwrap();
    assert_eq!((sums.requests, sums.open.len()), (12, 3));
    // A tick, an older report, a repeated one, an ending with more, and a late one after it.
    tick(&store, &[(all[0], answered(10)), (all[1], answered(2))]).await;
    store.record_counters(&[(all[0], answered(10)), (all[2], answered(1))]).await.unwrap();
    let released = Ending::Released;
    store.end_lease(all[1], &answered(6), &released, 9).await.unwrap();
    tick(&store, &[]).await;
    let sums = store.app_sums(app.id).await.unwrap();
    assert_eq!(sums.requests, 10 + 6 + 5);
    let mut open = sums.open;
    open.sort();
    let mut expected = vec![(all[0], 10), (all[2], 5)];
    expected.sort();
    assert_eq!(open, expected);
    tick(&store, &[(all[1], answered(7))]).await;
    // Whoever claims more than there are numbers stops nothing.
    store.record_counters(&[(all[2], answered(u64::MAX))]).await.unwrap();
    store.record_counters(&[(all[0], answered(u64::MAX))]).await.unwrap();
    let most = u64::try_from(i64::MAX).unwrap();
    assert_eq!(store.app_sums(app.id).await.unwrap().requests, most);
    assert!(store.app_sums(AppId::random()).await.is_err());
}

pub(crate) async fn only_the_newest_is_shown(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(deploy(&store, acme, "web", 0).await.version.id);
    }
    let app = store.app_named(acme, "web").await.unwrap().unwrap();
    let newest = store.newest_versions(app.id, 2).await.unwrap();
    let newest: Vec<_> = newest.iter().map(|version| (version.number, version.id)).collect();
    assert_eq!(newest, [(5, ids[4]), (4, ids[3])]);

    // Of a replica's leases: those that served, newest first, then those that still stand by.
    let mut served = Vec::new();
    for who in 1..=3 {
        served.push(lease(&store, &app, 0, who).await.id());
    }
    let mut standing = Vec::new();
    for who in 4..=5 {
        let mut new = new_lease(&store, &app, 0, who).await;
        new.spec.standby = true;
        standing.push(store.insert_lease(&new, 4).await.unwrap().id());
    }
    let gone = Ending::Released;
    store.end_lease(standing[0], &worked(0), &gone, 5).await.unwrap();
    tick(&store, &[]).await;
    let logged = store.logged_leases(app.id, Replica(0)).await.unwrap();
    let logged: Vec<_> = logged.into_iter().map(|(lease, _)| lease).collect();
    assert_eq!(logged, [served[2], served[1], served[0], standing[1]]);
    assert_eq!(store.logged_leases(app.id, Replica(1)).await.unwrap(), []);

    // Apps that are wanted, or changed not long ago.
    let old = deploy(&store, acme, "old", 0).await.app;
    let late = deploy(&store, acme, "late", 0).await.app;
    store.set_app_state(old.id, AppState::Stopped, None, 100).await.unwrap();
    store.set_app_state(late.id, AppState::Stopped, None, 200).await.unwrap();
    let shown = |since_ms, limit| {
        let store = store.clone();
        async move {
            let apps = store.shown_apps(since_ms, limit).await.unwrap();
            apps.into_iter().map(|app| app.name).collect::<Vec<_>>()
        }
    };
    assert_eq!(shown(150, 9).await, ["late", "web"]);
    assert_eq!(shown(100, 9).await, ["late", "old", "web"]);
    assert_eq!(shown(100, 2).await.len(), 2);
}

pub(crate) async fn parts_are_shown_with_their_newest_attempt(db: Database) {
    let store = db.open().await;
    let acme = account(&store).await;
    let job = deploy(&store, acme, "job", 4).await;
    let version = job.version.id;
    let first = lease(&store, &job.app, 0, 1).await;
    store.start_part(version, Replica(0), first.id()).await.unwrap();
    let gone = Ending::NodeFailed { reason: "gone".to_owned() };
    let again = Then::Again { counts: true, not_before_ms: 0 };
    store.end_attempt(&end(first.id(), gone, again), 8).await.unwrap();
    let second = lease(&store, &job.app, 0, 2).await;
    store.start_part(version, Replica(0), second.id()).await.unwrap();
    store.end_attempt(&end(second.id(), completed(), Then::Nothing), 9).await.unwrap();
    let third = lease(&store, &job.app, 2, 3).await;
    store.start_part(version, Replica(2), third.id()).await.unwrap();

    let progress = store.progress(version).await.unwrap();
    assert_eq!(progress, Progress { parts: 4, completed: 1 });
    let parts = store.first_parts(version, 2).await.unwrap();
    assert_eq!(parts.iter().map(|part| part.part.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(parts[0].state, PartState::Completed);
    for (below, endings, expected) in
        [(9, true, vec![second.id(), third.id()]), (1, false, vec![second.id()])]
    {
        let attempts = store.attempts(version, below, endings).await.unwrap();
        assert_eq!(attempts.iter().map(|a| a.lease).collect::<Vec<_>>(), expected);
        assert_eq!(attempts[0].counters.wall_ms, 7);
        assert_eq!(attempts[0].ending.is_some(), endings);
    }
}

/// A database as the first release left it.
pub(crate) async fn an_older_schema_is_brought_up_to_date(db: Database) {
    if !db.shared() {
        return;
    }
    let schema = include_str!("../../../src/migrations/0001.sql");
    let lease = |id: u32, requests: u64| {
        format!(
            "INSERT INTO leases VALUES ('lse_{id:032}', 'app_{:032}', {id}, 1, 'acc_{:032}', \
             'service', 'ver_{:032}', 1, '', '', '', 'crowd', '', '', 0, 0, 'active', \
             '{{\"wall_ms\":3,\"requests\":{requests}}}', 1, 0, 0, 0, 0, 0, 0, 1, 1, NULL, NULL);",
            1, 1, 1
        )
    };
    let script = format!(
        "{schema}
         CREATE TABLE schema_steps (step BIGINT PRIMARY KEY);
         INSERT INTO schema_steps VALUES (1);
         INSERT INTO accounts VALUES ('acc_{id}', 'acme', 1);
         INSERT INTO apps VALUES ('app_{id}', 'acc_{id}', 'web', 'service', 'running', NULL,
             'ver_{id}', 1, 5, 1, 1);
         INSERT INTO apps VALUES ('app_{other}', 'acc_{id}', 'idle', 'service', 'running', NULL,
             'ver_{id}', 1, 0, 1, 1);
         INSERT INTO versions VALUES ('ver_{id}', 'app_{id}', 1, '', '{{}}', 0, 1); {} {}",
        lease(1, 5),
        lease(2, 7),
        id = format_args!("{:032}", 1),
        other = format_args!("{:032}", 2),
    );
    let script = sqlx::AssertSqlSafe(script);
    if let Some(path) = db.url.strip_prefix("sqlite://") {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut conn = options.connect().await.unwrap();
        sqlx::raw_sql(script).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    } else {
        let mut conn = PgConnection::connect(&db.url).await.unwrap();
        sqlx::raw_sql(script).execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }
    let store = db.open().await;
    assert!(matches!(store.engine(), Engine::Sqlite | Engine::Postgres));
    let mut requests = Vec::new();
    for app in store.apps(None).await.unwrap() {
        requests.push((app.name.clone(), store.app_sums(app.id).await.unwrap().requests));
    }
    assert_eq!(requests, [("web".to_owned(), 12), ("idle".to_owned(), 0)]);
}
