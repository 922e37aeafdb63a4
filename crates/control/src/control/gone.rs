//! Apps that are over: stopped, used up, deleted. The grid knows nothing of them; the store does.

use std::sync::Arc;

use kinesis_protocol::{AccountId, AppId, Manifest, manifest::app_name};
use kinesis_store::{App, AppKind, AppState as StoredState, StoreError};

use super::{Control, NotReady};
use crate::{ControlError, api::AppView};

/// The longest host name there is.
const HOST_BYTES_MAX: usize = 253;

impl Control {
    /// Deletes an app that does not run: its name and its hosts are anybody's, its bill stays.
    /// Deleting what is deleted is no error.
    ///
    /// # Errors
    /// Where the account never had an app of that name, or it runs.
    pub async fn delete(
        self: &Arc<Self>,
        account: AccountId,
        name: &str,
    ) -> Result<AppView, ControlError> {
        let _one = self.deploying.lock().await;
        let app = self.ever_named(account, name).await?;
        let app = match self.store.delete_app(app.id, self.clock.now_ms()).await {
            Err(StoreError::Wanted(name)) => {
                return Err(ControlError::Conflict(format!(
                    "{name} is running: `kinesis stop {name}` first"
                )));
            }
            other => other?,
        };
        // What of it is still on its way to its end answers to no name any more.
        self.with(|grid, now| grid.delete_app(now, app.id));
        self.view_app(app).await
    }

    /// Why nothing answers at a host that has no route: `suffix` is what follows an app's own name.
    /// Asked for whatever strangers call: few at a time, so that they wait for each other and nobody
    /// else waits for the store because of them.
    pub async fn why_nothing_at(&self, host: &str, suffix: &str) -> NotReady {
        if host.len() > HOST_BYTES_MAX {
            return NotReady::Unknown;
        }
        let Ok(_few) = self.asking.acquire().await else { return NotReady::Unknown };
        let own = host.strip_suffix(suffix).filter(|name| app_name(name));
        let found = match own {
            Some(name) => self.store.app_called(name).await,
            None => self.store.app_at(host).await,
        };
        match found {
            Ok(Some(app)) => not_ready(&app),
            _ => NotReady::Unknown,
        }
    }

    /// Why an app that had a route has none.
    pub(super) async fn why_gone(&self, app: AppId) -> NotReady {
        self.store.app(app).await.map_or(NotReady::Unknown, |app| not_ready(&app))
    }

    /// Refuses hosts that are apps' own addresses here: they belong to whoever has the name.
    pub(super) fn check_hosts(&self, manifest: &Manifest) -> Result<(), ControlError> {
        let template = self.url_template.load();
        let own = template.split_once("{app}").map_or("", |(_, rest)| rest);
        let own = own.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase();
        let taken = |host: &&String| {
            host.to_ascii_lowercase().strip_suffix(own.as_str()).is_some_and(app_name)
        };
        match manifest.hosts.iter().find(taken) {
            Some(host) if !own.is_empty() => Err(ControlError::Invalid(format!(
                "hosts: \"{host}\" is the address of the app of that name; a host of your own is a \
                 domain that you point here"
            ))),
            _ => Ok(()),
        }
    }
}

fn not_ready(app: &App) -> NotReady {
    match (app.kind, app.state) {
        (AppKind::Service, StoredState::Stopped) => NotReady::Stopped,
        (AppKind::Service, StoredState::OverBudget) => NotReady::OverBudget,
        (AppKind::Service, StoredState::Running) => {
            NotReady::TimedOut("it was deployed a moment ago".to_owned())
        }
        _ => NotReady::Unknown,
    }
}
