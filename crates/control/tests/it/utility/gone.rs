//! Apps that are stopped or deleted: nothing of them is left in memory, and everything in the store.

use super::*;

impl Utility {
    /// Waits until nothing of any app is held in memory.
    async fn forgotten(&self, app: AppId) {
        let deadline = Instant::now() + LONG;
        while !self.control.believed(app).is_empty() || !self.control.routes().apps.is_empty() {
            assert!(Instant::now() < deadline, "{:?}", self.control.routes());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(self.control.routes().hosts.is_empty());
    }

    async fn rival(&self) -> AccountId {
        let rival = self.control.create_account("rival", None).await.unwrap().account;
        let key = IdempotencyKey::new("rival").unwrap();
        self.control.deposit(rival, NanoUsd(10_000_000_000), &key).await.unwrap();
        rival
    }

    async fn deploys_as(
        &self,
        account: AccountId,
        manifest: &str,
    ) -> Result<AppView, ControlError> {
        let request = self.request(manifest).await;
        for artifact in request.artifacts.values() {
            let ArtifactRef { hash, bytes } = *artifact;
            self.store.grant_artifact(account, hash, bytes, 1).await.unwrap();
        }
        self.control.deploy(account, &request, None).await
    }
}

fn at_hosts(name: &str, hosts: &str) -> String {
    format!("name = \"{name}\"\nhosts = [{hosts}]\nkind = \"service\"\ncomponent = \"a.wasm\"\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_app_is_in_the_store_alone_and_comes_back() {
    let mut utility = Utility::start().await;
    let _agents = utility.suppliers(2).await;
    let rival = utility.rival().await;
    let app = utility.deploy(&at_hosts("web", "\"shop.example\"")).await.id;
    assert!(utility.get(app).await.is_ok());
    let control = utility.control.clone();
    let waits = tokio::spawn({
        // Whoever waits for it is told why it does not come.
        let (control, other) = (control.clone(), utility.deploy(&service("lost", "")).await.id);
        control.stop(utility.account, "lost").await.unwrap();
        async move { control.wait_ready(other, Instant::now() + LONG).await.err() }
    });
    assert_eq!(waits.await.unwrap(), Some(NotReady::Stopped));
    control.stop(utility.account, "web").await.unwrap();
    utility.forgotten(app).await;
    for restarted in [false, true] {
        if restarted {
            utility.restart().await;
            assert!(utility.control.routes().apps.is_empty(), "a restart reads what is wanted");
        }
        let at = async |host: &str| utility.control.why_nothing_at(host, ".localhost").await;
        assert_eq!(at("web.localhost").await, NotReady::Stopped);
        assert_eq!(at("shop.example").await, NotReady::Stopped);
        for nobody in ["other.localhost", "shop", "web", "localhost", "", &"x".repeat(300)] {
            assert_eq!(at(nobody).await, NotReady::Unknown, "{nobody}");
        }
        assert_eq!(utility.app("web").await.state, AppState::Stopped);
    }
    // Its name and its host are kept for it.
    let taken = utility.deploys_as(rival, &service("web", "")).await;
    assert!(matches!(taken, Err(ControlError::Conflict(_))), "{taken:?}");
    let taken = utility.deploys_as(rival, &at_hosts("mine", "\"shop.example\"")).await;
    assert!(matches!(taken, Err(ControlError::Conflict(_))), "{taken:?}");
    let back = utility.deploy(&at_hosts("web", "\"shop.example\"")).await;
    assert_eq!((back.id, back.version), (app, 2));
    utility.until("web", "at work again", |app| app.state == AppState::Running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_apps_name_is_anybodys_and_its_bill_its_owners() {
    let utility = Utility::start().await;
    let _agents = utility.suppliers(2).await;
    let rival = utility.rival().await;
    let manifest = at_hosts("web", "\"shop.example\"");
    let app = utility.deploy(&manifest).await.id;
    assert!(utility.get(app).await.is_ok());
    let delete = async || utility.control.delete(utility.account, "web").await;
    let refused = delete().await;
    assert!(matches!(refused, Err(ControlError::Conflict(_))), "it runs: {refused:?}");
    let theirs = utility.control.delete(rival, "web").await;
    assert!(matches!(theirs, Err(ControlError::NotFound { .. })), "{theirs:?}");
    utility.control.stop(utility.account, "web").await.unwrap();
    // What is on its way to its end answers to no name any more: the next may have it at once.
    for _ in 0..2 {
        let deleted = delete().await.unwrap();
        assert_eq!((deleted.state, deleted.url), (AppState::Deleted, None));
    }
    let taken = utility.deploys_as(rival, &manifest).await.unwrap();
    assert_ne!(taken.id, app);
    assert!(utility.get(taken.id).await.is_ok());
    for host in ["web.localhost", "shop.example"] {
        let routes = utility.control.routes();
        assert_eq!(routes.find(host, ".localhost").unwrap().app, taken.id);
    }
    // Its owner has no such app any more, and its bill for ever.
    let stop = utility.control.stop(utility.account, "web").await;
    assert!(matches!(stop, Err(ControlError::NotFound { .. })), "{stop:?}");
    let back = utility.control.rollback(utility.account, "web", None).await;
    assert!(matches!(back, Err(ControlError::NotFound { .. })), "{back:?}");
    assert_eq!(utility.control.apps(utility.account, false).await.unwrap(), []);
    assert_eq!(utility.control.apps(utility.account, true).await.unwrap()[0].id, app);
    let deadline = Instant::now() + LONG;
    loop {
        let bill = utility.control.usage(utility.account, "web", None).await.unwrap();
        let ended = bill.lines.iter().all(|line| line.ending.is_some());
        if bill.app == app && ended && bill.customer_nanousd > NanoUsd::ZERO {
            break;
        }
        assert!(Instant::now() < deadline, "{bill:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    utility.exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_is_not_an_apps_own_address() {
    let utility = Utility::start().await;
    utility.control.set_url_template("http://{app}.Grid.example:8080");
    let refused =
        utility.deploys_as(utility.account, &at_hosts("web", "\"shop.grid.example\"")).await;
    assert!(matches!(refused, Err(ControlError::Invalid(_))), "{refused:?}");
    let own =
        utility.deploys_as(utility.account, &at_hosts("web", "\"a.shop.grid.example\"")).await;
    assert!(own.is_ok(), "{own:?}");
}
