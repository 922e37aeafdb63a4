//! The one instance that a service keeps, and the queue before it.

use std::{sync::Arc, time::Duration};

use http::Request;
use tokio::sync::{mpsc, oneshot};
use wasmtime::Store;

use super::{
    Answer, Counted, Trouble,
    app::{App, AppPre},
    reply::Running,
};
use crate::runner::{
    guest::{self, Guest, Setup},
    log::Log,
};

/// Requests that wait before the instance, beyond those that wait for their turn.
const QUEUE: usize = 1_024;

struct Asked {
    request: Request<Counted>,
    answer: oneshot::Sender<Answer>,
    trouble: oneshot::Sender<Trouble>,
    running: Running,
}

/// Hands requests to the kept instance.
#[derive(Debug)]
pub(super) struct Kept(mpsc::Sender<Asked>);

impl Kept {
    pub(super) fn start(
        pre: AppPre,
        setup: Arc<Setup>,
        log: Log,
        first: (Store<Guest>, App),
        request_max: Duration,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(work(pre, setup, log, first, request_max, receiver));
        Self(sender)
    }

    /// Waits for the head of the answer.
    pub(super) async fn ask(
        &self,
        request: Request<Counted>,
        running: Running,
    ) -> Result<Answer, Trouble> {
        let (answer, answered) = oneshot::channel();
        let (trouble, troubled) = oneshot::channel();
        let gone = || Trouble::Failed("the instance is gone".into());
        self.0.send(Asked { request, answer, trouble, running }).await.map_err(|_| gone())?;
        tokio::pin!(answered, troubled);
        tokio::select! {
            biased;
            answer = &mut answered => match answer {
                Ok(answer) => Ok(answer),
                Err(_) => Err(troubled.await.unwrap_or_else(|_| gone())),
            },
            // A guest that returns without dropping what it should have answered with.
            trouble = &mut troubled => Err(trouble.unwrap_or_else(|_| gone())),
        }
    }
}

async fn work(
    pre: AppPre,
    setup: Arc<Setup>,
    log: Log,
    first: (Store<Guest>, App),
    request_max: Duration,
    mut queue: mpsc::Receiver<Asked>,
) {
    let mut kept = Some(first);
    while let Some(Asked { request, answer, trouble, running }) = queue.recv().await {
        if answer.is_closed() {
            continue;
        }
        let turn = async {
            if kept.is_none() {
                let mut store = setup.store()?;
                let app = pre.instantiate(&mut store).await?;
                kept = Some((store, app));
            }
            let Some((store, app)) = &mut kept else {
                return Err(wasmtime::format_err!("no instance"));
            };
            app.ask(store, request, answer).await
        };
        let reason = match tokio::time::timeout(request_max, turn).await {
            Ok(Ok(())) => Trouble::Failed("the guest returned without an answer".into()),
            Ok(Err(error)) => {
                log.line(&format!("{error:?}"));
                kept = None;
                Trouble::Failed(guest::reason(&error))
            }
            Err(_) => {
                log.line("the guest took too long and was replaced");
                kept = None;
                Trouble::Late
            }
        };
        let _ = trouble.send(reason);
        drop(running);
    }
}
