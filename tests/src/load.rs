//! Customers' requests at a steady rate, whatever the answers take.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Requests sent.
    pub requests: u64,
    /// Requests that were not answered with success.
    pub failed: u64,
    /// The longest time between two successes, in milliseconds.
    pub longest_gap_ms: f64,
    /// The longest that a success took, in milliseconds: what whoever was on the machine that failed
    /// has waited, where others were served meanwhile.
    pub slowest_ms: f64,
    /// What went wrong, and how often.
    pub faults: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Record {
    answered: Vec<Instant>,
    slowest: Duration,
    faults: BTreeMap<String, u64>,
    requests: u64,
}

/// A load that goes on until it is stopped.
#[derive(Debug)]
pub struct Load {
    record: Arc<Mutex<Record>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    /// Sends GET requests for `url`, with `host` as the app's name, `per_second` times a second.
    ///
    /// # Errors
    /// Where no HTTP client can be made.
    pub fn start(url: &str, host: &str, per_second: u32) -> Result<Self> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(512)
            .build()?;
        let (stop, mut stopped) = watch::channel(false);
        let record: Arc<Mutex<Record>> = Arc::default();
        let (url, host) = (url.to_owned(), host.to_owned());
        let to = Arc::clone(&record);
        let task = tokio::spawn(async move {
            let mut each = tokio::time::interval(Duration::from_secs(1) / per_second);
            each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
            let mut asked = JoinSet::new();
            loop {
                tokio::select! {
                    _ = each.tick() => {}
                    _ = stopped.changed() => break,
                }
                while asked.try_join_next().is_some() {}
                to.lock().requests += 1;
                let request = http.get(&url).header("host", &host);
                let to = Arc::clone(&to);
                asked.spawn(async move {
                    let begun = Instant::now();
                    let answer = async {
                        let answer = request.send().await.map_err(|e| format!("{e:?}"))?;
                        let status = answer.status();
                        let body = answer.text().await.map_err(|e| format!("{e:?}"))?;
                        if status.is_success() { Ok(()) } else { Err(format!("{status}: {body}")) }
                    };
                    match answer.await {
                        Ok(()) => {
                            let mut record = to.lock();
                            record.slowest = record.slowest.max(begun.elapsed());
                            record.answered.push(Instant::now());
                        }
                        Err(fault) => *to.lock().faults.entry(fault).or_default() += 1,
                    }
                });
            }
            while asked.join_next().await.is_some() {}
        });
        Ok(Self { record, stop, task })
    }

    /// How many requests were answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.record.lock().answered.len() as u64
    }

    /// Stops sending, waits for the answers that are still due, and counts.
    ///
    /// # Errors
    /// Where the load itself broke.
    pub async fn stop(self) -> Result<Outcome> {
        let _ = self.stop.send(true);
        self.task.await?;
        let mut record = self.record.lock();
        record.answered.sort_unstable();
        let gap = record.answered.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default();
        Ok(Outcome {
            requests: record.requests,
            failed: record.faults.values().sum(),
            longest_gap_ms: gap.as_secs_f64() * 1000.0,
            slowest_ms: record.slowest.as_secs_f64() * 1000.0,
            faults: std::mem::take(&mut record.faults),
        })
    }
}
