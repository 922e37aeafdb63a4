//! What the ingress needs of the utility. [`Control`] has it; tests have a smaller one.

use std::{future::Future, sync::Arc, time::Instant};

use kinesis_control::{AppRoute, Control, NotReady, Routes};
use kinesis_protocol::{AppId, LeaseId};
use tokio::sync::watch;

/// What the ingress needs of the utility.
pub trait Backend: Send + Sync + 'static {
    /// The newest routes. Called for every request.
    fn routes(&self) -> Arc<Routes>;

    /// Changes with every change of the routes.
    fn routes_changed(&self) -> watch::Receiver<u64>;

    /// Waits until a service has a usable replica, waking it where it is idle; at once where it has
    /// one.
    fn wait_ready(
        self: &Arc<Self>,
        app: AppId,
        deadline: Instant,
    ) -> impl Future<Output = Result<Arc<AppRoute>, NotReady>> + Send;

    /// Why nothing answers at a host that has no route; `suffix` is what follows an app's own name.
    fn why_nothing_at(&self, host: &str, suffix: &str) -> impl Future<Output = NotReady> + Send;

    /// A stream to this lease failed. Returns at once.
    fn suspect(self: &Arc<Self>, lease: LeaseId);
}

impl Backend for Control {
    fn routes(&self) -> Arc<Routes> {
        Self::routes(self)
    }

    fn routes_changed(&self) -> watch::Receiver<u64> {
        Self::routes_changed(self)
    }

    fn wait_ready(
        self: &Arc<Self>,
        app: AppId,
        deadline: Instant,
    ) -> impl Future<Output = Result<Arc<AppRoute>, NotReady>> + Send {
        Self::wait_ready(self, app, deadline)
    }

    fn why_nothing_at(&self, host: &str, suffix: &str) -> impl Future<Output = NotReady> + Send {
        Self::why_nothing_at(self, host, suffix)
    }

    fn suspect(self: &Arc<Self>, lease: LeaseId) {
        Self::suspect(self, lease);
    }
}
