//! Apps that are deleted, and the names and hosts they had.

use kinesis_protocol::Ending;
use kinesis_store::{AppState, NewVersion, StoreError};

use crate::{Database, fixture::*};

pub(crate) async fn a_deleted_name_is_free_and_its_bill_stays(db: Database) {
    let store = db.open().await;
    let (acme, rival) = (account(&store).await, account(&store).await);
    let app = deploy(&store, acme, "shop", 0).await.app;
    let lease = lease(&store, &app, 0, 1).await;
    tick(&store, &[(lease.id(), worked(9))]).await;
    assert!(matches!(store.delete_app(app.id, 5).await, Err(StoreError::Wanted(_))));
    store.set_app_state(app.id, AppState::Stopped, None, 6).await.unwrap();
    let spent = store.spent(app.id).await.unwrap();
    for at in [7, 8] {
        let deleted = store.delete_app(app.id, at).await.unwrap();
        assert_eq!((deleted.name.as_str(), deleted.state), ("shop", AppState::Deleted));
        assert_eq!(deleted.changed_at_ms, 7, "once");
    }
    assert_eq!(store.app_named(acme, "shop").await.unwrap(), None);
    assert_eq!(store.app_called("shop").await.unwrap(), None);
    assert!(!store.set_app_state(app.id, AppState::Running, None, 9).await.unwrap());
    assert!(store.rollback(app.id, None, 9).await.is_err());
    // What still ran when it was stopped is posted, and all of it stays on its bill.
    store.end_lease(lease.id(), &worked(11), &Ending::Released, 9).await.unwrap();
    tick(&store, &[]).await;
    assert!(store.spent(app.id).await.unwrap() > spent);
    assert_eq!(store.bill(app.id, None, 9).await.unwrap().leases.len(), 1);
    assert_eq!(store.deleted_app(acme, "shop").await.unwrap().unwrap().id, app.id);
    assert_eq!(store.deleted_app(rival, "shop").await.unwrap(), None);

    // Anybody's now, and of any kind.
    let next = deploy(&store, rival, "shop", 2).await.app;
    assert_ne!(next.id, app.id);
    assert_eq!(store.app_called("shop").await.unwrap().unwrap().id, next.id);
    let taken = store.deploy(&new_version(acme, "shop", 0), None, 10).await;
    assert!(matches!(taken, Err(StoreError::NameTaken(_))));
    // Deleted twice, the later one is remembered first.
    store.set_app_state(next.id, AppState::Stopped, None, 11).await.unwrap();
    store.delete_app(next.id, 12).await.unwrap();
    let third = deploy(&store, acme, "shop", 0).await.app;
    store.set_app_state(third.id, AppState::Stopped, None, 13).await.unwrap();
    store.delete_app(third.id, 14).await.unwrap();
    assert_eq!(store.deleted_app(acme, "shop").await.unwrap().unwrap().id, third.id);
    assert_eq!(store.apps(Some(acme)).await.unwrap().len(), 2);
    assert_eq!(store.shown_apps(0, 9).await.unwrap(), []);
    assert_eq!(store.names_of(acme).await.unwrap(), 0);
    deploy(&store, acme, "shop", 0).await;
    assert_eq!((store.names_of(acme).await.unwrap(), store.names_of(rival).await.unwrap()), (1, 0));
    assert_exact(&store).await;
}

pub(crate) async fn a_host_is_one_apps(db: Database) {
    let store = db.open().await;
    let (acme, rival) = (account(&store).await, account(&store).await);
    let at = |account, name: &str, hosts: &[&str]| NewVersion {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..new_version(account, name, 0)
    };
    let mine = at(acme, "shop", &["Shop.example", "www.shop.example", "shop.example"]);
    let shop = store.deploy(&mine, None, 2).await.unwrap().app;
    let theirs = at(rival, "other", &["www.shop.EXAMPLE"]);
    let taken = store.deploy(&theirs, None, 3).await;
    assert!(matches!(&taken, Err(StoreError::HostTaken(host)) if host == "www.shop.example"));
    assert_eq!(store.app_named(rival, "other").await.unwrap(), None, "nothing was deployed");
    assert_eq!(store.app_at("shop.example").await.unwrap().unwrap().id, shop.id);
    assert_eq!(store.app_at("shop").await.unwrap(), None);
    // A version without it lets go of it, and may come back for it while nobody has it.
    store.deploy(&at(acme, "shop", &["shop.example"]), None, 4).await.unwrap();
    assert_eq!(store.app_at("www.shop.example").await.unwrap(), None);
    store.rollback(shop.id, None, 5).await.unwrap();
    assert_eq!(store.app_at("www.shop.example").await.unwrap().unwrap().id, shop.id);
    store.deploy(&at(acme, "shop", &[]), None, 6).await.unwrap();
    let other = store.deploy(&theirs, None, 7).await.unwrap().app;
    store.deploy(&mine, None, 8).await.unwrap_err();
    // Stopped, it keeps its hosts; deleted, it does not.
    store.set_app_state(other.id, AppState::Stopped, None, 9).await.unwrap();
    store.deploy(&mine, None, 10).await.unwrap_err();
    store.delete_app(other.id, 11).await.unwrap();
    store.deploy(&mine, None, 12).await.unwrap();
    assert_eq!(store.app_at("www.shop.example").await.unwrap().unwrap().id, shop.id);
}
