//! What customers, operators and suppliers ask for.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use kinesis_protocol::{
    AccountId, AppId, Ending, LeaseId, Manifest, NanoUsd, Replica, VersionId, manifest::Kind,
};
use kinesis_store::{
    App, AppKind, AppState as StoredState, ArtifactRef as StoredArtifact, Idempotency,
    IdempotencyKey, NewVersion, PartState, StoreError,
};

use super::{Control, restore};
use crate::{
    ControlError,
    api::{AccountView, AppView, ArtifactRef, Bill, DeployRequest, NewAccount, OutputView, Quote},
    grid::{AppSpec, Stop},
};

const APPS_NEXT: &str = "; `kinesis ps` lists yours";
/// How many names an account may have for each app that may run: those of stopped apps are theirs,
/// too, until they are deleted.
const NAMES_PER_APP: u64 = 10;

impl Control {
    /// Opens an account. Repeated with the same idempotency key it returns the same account with a
    /// new API key, which replaces the one that was evidently lost.
    ///
    /// # Errors
    /// Where the name is not 1 to 100 printable characters.
    pub async fn create_account(
        &self,
        name: &str,
        idempotency: Option<&Idempotency>,
    ) -> Result<NewAccount, ControlError> {
        let now = self.clock.now_ms();
        let (account, key) = self.store.create_account(name, idempotency, now).await?;
        Ok(NewAccount { account: account.account, api_key: key.reveal().to_owned() })
    }

    /// Whose API key this is.
    ///
    /// # Errors
    /// [`ControlError::Unauthorised`].
    pub async fn authenticate(&self, api_key: &str) -> Result<AccountId, ControlError> {
        self.store.authenticate(api_key).await?.ok_or(ControlError::Unauthorised)
    }

    /// An account and its money.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn account(&self, account: AccountId) -> Result<AccountView, ControlError> {
        Ok(view(self.store.account(account).await?))
    }

    /// All accounts, oldest first: for the operator.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn accounts(&self) -> Result<Vec<AccountView>, ControlError> {
        Ok(self.store.accounts().await?.into_iter().map(view).collect())
    }

    /// Pays money into an account, once for each key.
    ///
    /// # Errors
    /// Where the account is unknown or the amount is not positive.
    pub async fn deposit(
        &self,
        account: AccountId,
        usd: NanoUsd,
        key: &IdempotencyKey,
    ) -> Result<AccountView, ControlError> {
        let account = self.store.deposit(account, usd, key, self.clock.now_ms()).await?;
        self.grid.lock().set_balance(account.account, account.balance_nanousd);
        Ok(view(account))
    }

    /// Where an app would run, at what price, how soon, or why not. Changes nothing.
    ///
    /// # Errors
    /// Where the manifest is wrong or names a file that `artifacts` lacks.
    pub async fn quote(
        &self,
        account: AccountId,
        request: &DeployRequest,
    ) -> Result<Quote, ControlError> {
        let manifest = manifest_of(request)?;
        let spec = AppSpec {
            id: AppId::random(),
            account,
            version: VersionId::random(),
            version_number: 1,
            manifest: Arc::new(manifest),
            artifacts: Arc::new(request.artifacts.clone()),
        };
        // What takes its time takes it without the grid.
        let fleet = self.grid.lock().snapshot(self.clock.now_ms(), account);
        Ok(fleet.quote(&spec))
    }

    /// Deploys an app, or a new version of one, once for each idempotency key.
    ///
    /// # Errors
    /// Where the manifest is wrong, an artifact was not uploaded, or the account has no money.
    pub async fn deploy(
        self: &Arc<Self>,
        account: AccountId,
        request: &DeployRequest,
        idempotency: Option<&Idempotency>,
    ) -> Result<AppView, ControlError> {
        let manifest = manifest_of(request)?;
        if let Some(idempotency) = idempotency
            && let Some(app) = self.store.deployed(account, idempotency).await?
        {
            // What is there by now is no reason to refuse what was done.
            let _one = self.deploying.lock().await;
            self.want(&app).await?;
            return self.view_app(app).await;
        }
        if let Kind::Service(service) = &manifest.kind
            && service.sla.is_some()
            && !self.can_agree()
        {
            return Err(ControlError::Invalid(
                "this utility knows no court of leases, so nobody can sign an [sla]: leave it out"
                    .to_owned(),
            ));
        }
        self.check_hosts(&manifest)?;
        self.check_price()?;
        self.check_artifacts(account, &manifest, request).await?;
        self.check_balance(account).await?;
        let _one = self.deploying.lock().await;
        let known = self.store.app_named(account, &manifest.name).await?;
        let wanted = {
            let grid = self.grid.lock();
            let mine = |app: &&crate::grid::App| app.spec.account == account && app.stop.is_none();
            grid.apps().values().filter(mine).count()
        };
        let counted = known.as_ref().is_some_and(|app| app.state == StoredState::Running);
        if !counted && wanted >= self.config.apps_max {
            return Err(ControlError::Limit(format!(
                "an account has at most {} apps at once: stop one first",
                self.config.apps_max
            )));
        }
        let apps_max = u64::try_from(self.config.apps_max).unwrap_or(u64::MAX);
        let names_max = apps_max.saturating_mul(NAMES_PER_APP);
        if known.is_none() && self.store.names_of(account).await? >= names_max {
            return Err(ControlError::Limit(format!(
                "an account has at most {names_max} names: delete an app that you need no more, \
                 with `kinesis delete NAME`"
            )));
        }
        let (kind, parts) = match &manifest.kind {
            Kind::Service(_) => (AppKind::Service, 0),
            Kind::Job(job) => (AppKind::Job, u32::try_from(job.parts.len()).unwrap_or(u32::MAX)),
        };
        let new = NewVersion {
            hosts: manifest.hosts.clone(),
            account,
            name: manifest.name.clone(),
            kind,
            manifest: request.manifest.clone(),
            artifacts: request
                .artifacts
                .iter()
                .map(|(path, artifact)| {
                    (path.clone(), StoredArtifact { hash: artifact.hash, bytes: artifact.bytes })
                })
                .collect(),
            parts,
        };
        let now = self.clock.now_ms();
        let deployed = match self.store.deploy(&new, idempotency, now).await {
            Err(StoreError::NameTaken(name)) => {
                return Err(ControlError::Conflict(format!(
                    "the name \"{name}\" is another account's: choose another"
                )));
            }
            Err(problem @ (StoreError::KindChanged(_) | StoreError::HostTaken(_))) => {
                return Err(ControlError::Conflict(problem.to_string()));
            }
            other => other?,
        };
        self.want(&deployed.app).await?;
        self.view_app(deployed.app).await
    }

    /// Nothing starts on an empty account.
    async fn check_balance(&self, account: AccountId) -> Result<(), ControlError> {
        let balance = self.store.account(account).await?.balance_nanousd;
        self.grid.lock().set_balance(account, balance);
        if balance <= NanoUsd::ZERO {
            return Err(ControlError::Payment(format!(
                "the account's balance is {balance}: pay in before deploying"
            )));
        }
        Ok(())
    }

    /// Has the grid want what the store says is wanted.
    async fn want(self: &Arc<Self>, app: &App) -> Result<(), ControlError> {
        if app.state != StoredState::Running {
            return Ok(());
        }
        let has = {
            let grid = self.grid.lock();
            grid.apps()
                .get(&app.id)
                .is_some_and(|held| held.spec.version == app.version && held.stop.is_none())
        };
        if has {
            return Ok(());
        }
        let version = self.store.version(app.version).await?;
        let spec = restore::spec(app.account, &version)?;
        let held = self.grid.lock().leases().keys().copied().collect();
        let parts = match app.kind {
            AppKind::Job => self.restore_parts(&spec, &held).await?,
            AppKind::Service => Vec::new(),
        };
        self.look_at_spending(&spec).await?;
        self.with(|grid, now| grid.set_app(now, spec, parts));
        Ok(())
    }

    async fn check_artifacts(
        &self,
        account: AccountId,
        manifest: &Manifest,
        request: &DeployRequest,
    ) -> Result<(), ControlError> {
        for path in paths(manifest) {
            let Some(ArtifactRef { hash, bytes }) = request.artifacts.get(path) else {
                return Err(ControlError::Invalid(format!("artifacts lacks \"{path}\"")));
            };
            match self.store.granted_artifact(account, *hash).await? {
                Some(stored) if stored == *bytes => {}
                Some(stored) => {
                    return Err(ControlError::Invalid(format!(
                        "\"{path}\" is {stored} bytes long, not {bytes}"
                    )));
                }
                None => {
                    return Err(ControlError::Invalid(format!(
                        "\"{path}\" was not uploaded: PUT /v1/artifacts/{hash} first"
                    )));
                }
            }
        }
        Ok(())
    }

    /// An account's app. What was deleted is not found, except by [`Self::ever_named`].
    pub(super) async fn named(&self, account: AccountId, name: &str) -> Result<App, ControlError> {
        self.store.app_named(account, name).await?.ok_or_else(|| ControlError::NotFound {
            what: "app",
            name: name.chars().take(64).collect(),
            next: APPS_NEXT,
        })
    }

    /// An account's app; where it has none of that name, the one that it deleted last.
    pub(super) async fn ever_named(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<App, ControlError> {
        match self.named(account, name).await {
            Err(unknown @ ControlError::NotFound { .. }) => {
                self.store.deleted_app(account, name).await?.ok_or(unknown)
            }
            found => found,
        }
    }

    /// An account's apps, newest first; with `deleted`, those it deleted as well.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn apps(
        &self,
        account: AccountId,
        deleted: bool,
    ) -> Result<Vec<AppView>, ControlError> {
        let mut views = Vec::new();
        for app in self.store.apps(Some(account)).await?.into_iter().rev() {
            if deleted || app.state != StoredState::Deleted {
                views.push(self.view_app(app).await?);
            }
        }
        Ok(views)
    }

    /// One app, or what is left of it once it is deleted.
    ///
    /// # Errors
    /// Where the account has none of that name.
    pub async fn app(&self, account: AccountId, name: &str) -> Result<AppView, ControlError> {
        self.view_app(self.ever_named(account, name).await?).await
    }

    /// Stops an app: its leases are released; its name, its hosts and its bill stay. Stopping a stopped
    /// app is no error.
    ///
    /// # Errors
    /// Where the account has none of that name.
    pub async fn stop(
        self: &Arc<Self>,
        account: AccountId,
        name: &str,
    ) -> Result<AppView, ControlError> {
        let _one = self.deploying.lock().await;
        let app = self.named(account, name).await?;
        if app.state == StoredState::Running {
            let stopped = StoredState::Stopped;
            self.store.set_app_state(app.id, stopped, None, self.clock.now_ms()).await?;
        }
        self.with(|grid, now| grid.stop_app(now, app.id, Stop::Owner));
        self.view_app(self.store.app(app.id).await?).await
    }

    /// Goes back to the version before the one that is wanted.
    ///
    /// # Errors
    /// Where there is none before it, the app is a job, or the account has no money.
    pub async fn rollback(
        self: &Arc<Self>,
        account: AccountId,
        name: &str,
        idempotency: Option<&Idempotency>,
    ) -> Result<AppView, ControlError> {
        let _one = self.deploying.lock().await;
        let app = self.named(account, name).await?;
        self.check_balance(account).await?;
        let now = self.clock.now_ms();
        let app = match self.store.rollback(app.id, idempotency, now).await {
            Err(StoreError::NoEarlierVersion(_)) => {
                return Err(ControlError::Conflict(format!("{name} has no earlier version")));
            }
            Err(problem @ (StoreError::HostTaken(_) | StoreError::Invalid(_))) => {
                return Err(ControlError::Conflict(problem.to_string()));
            }
            other => other?,
        };
        self.want(&app).await?;
        self.view_app(app).await
    }

    /// An app's bill: what it came to, and the newest lines before `before`; `None`: of all.
    ///
    /// # Errors
    /// Where the account never had an app of that name.
    pub async fn usage(
        &self,
        account: AccountId,
        name: &str,
        before: Option<LeaseId>,
    ) -> Result<Bill, ControlError> {
        let app = self.ever_named(account, name).await?;
        self.bill(&app, before).await
    }

    /// A replica's log: its newest lease's, from its first byte; with `follow`, until the lease ends.
    ///
    /// # Errors
    /// Where there is no such app or replica, or its node cannot be reached.
    pub async fn logs(
        &self,
        account: AccountId,
        name: &str,
        replica: u32,
        follow: bool,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, ControlError> {
        let app = self.named(account, name).await?;
        let leases = self.store.logged_leases(app.id, Replica(replica)).await?;
        if leases.is_empty() {
            return Err(ControlError::NotFound {
                what: "replica",
                name: replica.to_string(),
                next: " of it; `kinesis ps NAME` lists what it has",
            });
        }
        // What serves or worked last, before what only stands by.
        for (lease, node) in leases {
            if let Some(log) = self.open_log(lease, node, follow).await {
                return Ok(log);
            }
        }
        Err(ControlError::Unavailable(
            "no node that has this log can be reached now; try again in a moment".into(),
        ))
    }

    /// What a job's completed parts left.
    ///
    /// # Errors
    /// Where the account has no app of that name.
    pub async fn outputs(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<Vec<OutputView>, ControlError> {
        let app = self.named(account, name).await?;
        let parts = self.store.job_parts(app.version).await?;
        let completed: HashSet<Replica> = parts
            .iter()
            .filter(|part| part.state == PartState::Completed)
            .map(|part| part.part)
            .collect();
        let mut views = Vec::new();
        for attempt in self.store.attempts(app.version, u32::MAX, true).await? {
            let Some(Ending::Completed { outputs, .. }) = attempt.ending else { continue };
            if completed.contains(&attempt.part) {
                views.extend(outputs.into_iter().map(|file| OutputView {
                    part: attempt.part.0,
                    path: file.path,
                    hash: file.hash,
                    bytes: file.bytes,
                }));
            }
        }
        Ok(views)
    }
}

fn view(account: kinesis_store::Account) -> AccountView {
    AccountView {
        account: account.account,
        name: account.name,
        balance_nanousd: account.balance_nanousd,
    }
}

/// Every artifact a manifest names.
fn paths(manifest: &Manifest) -> impl Iterator<Item = &str> {
    std::iter::once(manifest.component.as_str()).chain(manifest.files.values().map(String::as_str))
}

fn manifest_of(request: &DeployRequest) -> Result<Manifest, ControlError> {
    if request.manifest.len() > kinesis_protocol::manifest::MANIFEST_BYTES_MAX {
        return Err(ControlError::Limit("a manifest is at most 64 KiB long".into()));
    }
    let manifest = Manifest::parse(&request.manifest)?;
    if let Some(path) = paths(&manifest).find(|path| !request.artifacts.contains_key(*path)) {
        return Err(ControlError::Invalid(format!("artifacts lacks \"{path}\"")));
    }
    if let Some(host) = manifest.hosts.iter().find(|host| !host.contains('.')) {
        // It would stand where an app of that name is looked for.
        return Err(ControlError::Invalid(format!(
            "hosts: \"{host}\" may be another app's name; a host of your own has a dot in it"
        )));
    }
    // What the manifest does not name is not kept.
    if request.artifacts.len() > manifest.files.len() + 1 {
        return Err(ControlError::Invalid("artifacts has more than the manifest names".into()));
    }
    Ok(manifest)
}
