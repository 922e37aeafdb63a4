//! What the customer's commands do.

pub(crate) mod account;
pub(crate) mod deploy;
pub(crate) mod desk;
pub(crate) mod job;
pub(crate) mod key;
pub(crate) mod protocol;
pub(crate) mod result;
pub(crate) mod show;
pub(crate) mod supply;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    bundle::Bundle,
    client::Client,
    error::{Error, Result},
    output::{Progress, bytes},
};

/// How long a utility may be away while something is waited for: a restart takes seconds.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// How often progress is asked for.
const POLL: Duration = Duration::from_millis(200);

/// Sends what the utility does not have yet.
async fn upload(client: &Client, bundle: &Bundle, progress: &mut Progress) -> Result<()> {
    let total = bundle.bytes();
    for (hash, (file, size)) in &bundle.files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if client.has_artifact(*hash).await? {
            progress.tick(format!("{name} is there already"));
            continue;
        }
        progress.step(format!("Sending {name} ({} of {})", bytes(*size), bytes(total)));
        let sent = Arc::new(AtomicU64::new(0));
        let mut put = std::pin::pin!(client.put_artifact(*hash, file, *size, Arc::clone(&sent)));
        loop {
            tokio::select! {
                done = &mut put => break done?,
                () = tokio::time::sleep(POLL) => {
                    let sent = bytes(sent.load(Ordering::Relaxed));
                    progress.tick(format!("Sending {name}: {sent} of {}", bytes(*size)));
                }
            }
        }
    }
    Ok(())
}

/// Asks again and again; a utility that is away for a while is waited for.
#[derive(Debug)]
struct Patience {
    deadline: Option<Instant>,
    limit_s: u64,
    away_since: Option<Instant>,
}

impl Patience {
    fn new(limit_s: Option<u64>) -> Self {
        let deadline = limit_s.and_then(|s| Instant::now().checked_add(Duration::from_secs(s)));
        Self { deadline, limit_s: limit_s.unwrap_or(0), away_since: None }
    }

    /// The answer, or `None` where the utility is away and that is to be borne.
    fn bear<T>(&mut self, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Ok(value) => {
                self.away_since = None;
                Ok(Some(value))
            }
            Err(e @ Error::Unreachable { .. }) => {
                let since = *self.away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > AWAY_MAX { Err(e) } else { Ok(None) }
            }
            // What runs the portal is there before what is behind it.
            Err(Error::Api { status: 502..=504, .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Waits until it is time to ask again.
    async fn pause(&self, what: &str, last: Option<&str>) -> Result<()> {
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Error::Timeout {
                what: what.to_owned(),
                seconds: self.limit_s,
                last: last.map(str::to_owned),
            });
        }
        tokio::time::sleep(POLL).await;
        Ok(())
    }
}
