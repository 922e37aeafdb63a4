//! The newest picture of the grid, drawn once for all who watch.
//!
//! While somebody watches it is drawn every half second, and at once when something happens that
//! people look for: a node is lost, a standby takes over. While nobody does, nothing is drawn.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kinesis_control::{Control, ControlError, api::Event};
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use crate::page::{self, Happening, Picture};

/// How often it is drawn.
const EVERY: Duration = Duration::from_millis(500);
/// The least time between two pictures, however much happens.
const SPACING: Duration = Duration::from_millis(100);
/// How many of the things that happened are shown.
const HAPPENINGS_MAX: usize = 25;

type Happenings = Arc<Mutex<VecDeque<Happening>>>;

/// The newest picture; dropping it ends the drawing.
#[derive(Debug)]
pub(crate) struct Live {
    newest: watch::Sender<Option<Arc<str>>>,
    happened: Happenings,
    _drawing: DropGuard,
}

impl Live {
    /// Starts to watch.
    pub(crate) fn start(control: Arc<Control>) -> Self {
        let stop = CancellationToken::new();
        let (newest, happened) = (watch::Sender::new(None), Happenings::default());
        let drawing = draw(control, newest.clone(), Arc::clone(&happened));
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = drawing => {}
                () = stopped.cancelled() => {}
            }
        });
        Self { newest, happened, _drawing: stop.drop_guard() }
    }

    /// Pictures from now on, as HTML of the page's sections.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.newest.subscribe()
    }

    /// The picture of this moment.
    pub(crate) async fn picture(&self, control: &Control) -> Result<Picture, ControlError> {
        picture(control, &self.happened).await
    }
}

async fn picture(control: &Control, happened: &Happenings) -> Result<Picture, ControlError> {
    let grid = control.grid().await?;
    // A panic while it was held cannot leave it in pieces.
    let happened = happened.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Picture { grid, happened: happened.iter().cloned().collect() })
}

async fn draw(
    control: Arc<Control>,
    newest: watch::Sender<Option<Arc<str>>>,
    happened: Happenings,
) {
    let mut events = control.subscribe();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drawn = Instant::now();
    loop {
        tokio::select! {
            _ = every.tick() => {}
            event = events.recv() => match event {
                Ok(event) if worth_telling(&event) => remember(&happened, &event),
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
        }
        if newest.receiver_count() == 0 {
            continue;
        }
        tokio::time::sleep_until(drawn + SPACING).await;
        drawn = Instant::now();
        match picture(&control, &happened).await {
            Ok(picture) => {
                let html: Arc<str> = page::sections(&picture).into_string().into();
                newest.send_if_modified(|shown| {
                    let changed = shown.as_deref() != Some(&*html);
                    *shown = Some(html);
                    changed
                });
            }
            Err(error) => warn!(?error, "the page could not be drawn"),
        }
    }
}

/// What people look for; not the seconds that pass.
fn worth_telling(event: &Event) -> bool {
    matches!(
        event,
        Event::NodeJoined { .. }
            | Event::NodeLost { .. }
            | Event::TakeOver { .. }
            | Event::App { .. }
    )
}

fn remember(happened: &Happenings, event: &Event) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    let mut happened = happened.lock().unwrap_or_else(PoisonError::into_inner);
    happened.push_front(Happening { at_ms, event: event.clone() });
    happened.truncate(HAPPENINGS_MAX);
}
