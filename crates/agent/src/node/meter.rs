//! From the sandboxes' meters into the book and the wallet, and only then into reports.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kinesis_protocol::{
    Counters, Ending, LeaseSpec, LeaseState, NanoJoule, NanoUsd, Workload,
    result::{Completed, JobResult, SignedResult},
};

use super::Node;
use crate::{
    book::{Meter, Payer},
    error::chain_of,
    lease::Lease,
};

/// How often counters are sampled and written.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// How often writing an ending is tried before it is reported all the same.
const WRITES_MAX: u32 = 20;

impl Node {
    /// Samples every meter, twice a second. Runs until it is dropped.
    pub(crate) async fn sample_forever(&self) {
        let mut every = tokio::time::interval(SAMPLE_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.sample().await;
        }
    }

    /// Writes what has changed since the last sample, and publishes it once it is written.
    pub(crate) async fn sample(&self) {
        let _accounts = self.accounts.lock().await;
        let (mut leases, mut meters, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for lease in self.leases() {
            let Some(guest) = lease.guest().filter(|_| lease.state() != LeaseState::Ended) else {
                continue;
            };
            let before = lease.meter();
            let counters = before.counters.max(&guest.counters());
            if counters == before.counters {
                continue;
            }
            let (meter, earned) =
                self.account(lease.payer, &lease.spec, false, Meter { counters, ..before });
            sums.extend(earned);
            meters.push((lease.spec.lease, meter));
            leases.push(lease);
        }
        if meters.is_empty() {
            return;
        }
        let book = self.book.clone();
        let to_write = meters.clone();
        let write = tokio::task::spawn_blocking(move || book.meter(&to_write, &sums));
        match write.await {
            Ok(Ok(())) => {
                for (lease, (_, meter)) in leases.iter().zip(meters) {
                    lease.written(meter);
                }
            }
            Ok(Err(error)) => {
                tracing::error!(error = chain_of(&error), "counters could not be written");
            }
            Err(error) => tracing::error!(%error, "the book's writer failed"),
        }
    }

    /// Writes an ending with the last counters, signed where the lease asks for that; returns what was
    /// written. What is reported is what the book holds: a restart resends the same signature.
    pub(crate) async fn settle(&self, lease: &Arc<Lease>, mut ending: Ending) -> (Ending, Meter) {
        let _accounts = self.accounts.lock().await;
        let mut meter = lease.meter();
        if let Some(guest) = lease.guest() {
            meter.counters = meter.counters.max(&guest.counters());
        }
        self.sign(lease, &mut ending, &meter.counters);
        let record = lease.record(Some(ending.clone()));
        let completed = matches!(ending, Ending::Completed { .. });
        let (meter, earned) = self.account(lease.payer, &lease.spec, completed, meter);
        for attempt in 1..=WRITES_MAX {
            let (book, record) = (self.book.clone(), record.clone());
            let write = tokio::task::spawn_blocking(move || book.end(&record, meter, earned));
            match write.await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => {
                    let error = chain_of(&error);
                    tracing::error!(attempt, error, "an ending could not be written");
                }
                Err(error) => tracing::error!(%error, "the book's writer failed"),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        (ending, meter)
    }

    /// Signs what came out of a deterministic job that completed, with the key that is paid for it.
    fn sign(&self, lease: &Lease, ending: &mut Ending, counters: &Counters) {
        let Ending::Completed { outputs, fuel, signed } = ending else { return };
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let result = JobResult::of(&Completed {
            spec: &lease.spec,
            supplier: self.key.address(),
            utility: lease.payer.utility,
            outputs,
            fuel: *fuel,
            counters,
            finished_at_s: since_1970.as_secs(),
        });
        *signed = result.zip(lease.spec.audit.as_ref()).map(|(result, terms)| {
            let hash = result.signing_hash(terms.chain_id, terms.audits);
            Box::new(SignedResult { result, signature: self.key.sign_hash(&hash) })
        });
    }

    /// Counts what `meter` costs beyond what was counted before as earned. A service earns as it goes,
    /// a job when it has `completed`; whether one that failed or was stopped is paid, its utility
    /// knows, and the payment that comes for it is counted then.
    pub(super) fn account(
        &self,
        payer: Payer,
        spec: &LeaseSpec,
        completed: bool,
        meter: Meter,
    ) -> (Meter, Option<(Payer, NanoJoule)>) {
        let cost = match spec.workload {
            Workload::Job(_) if !completed => NanoUsd::ZERO,
            _ => spec.prices.cost(&meter.counters),
        };
        let more = cost - meter.accounted_nanousd;
        if more <= NanoUsd::ZERO {
            return (meter, None);
        }
        let earned = self.wallet.earn(payer, more);
        let meter = Meter { accounted_nanousd: cost, ..meter };
        (meter, earned.map(|sum| (payer, sum)))
    }
}
