//! What stands behind each node: the stake of its supplier, and whether the chain knows the machine
//! as the supplier's.
//!
//! Read by a task of its own, a bounded number at a time, and kept: neither hellos nor heartbeats wait
//! for the chain. What was read is at most [`READ_EVERY`] old while the chain keeps up; what is older
//! than [`STALE_AFTER`] is worth nothing where stake is asked for. A node that has too little is listed
//! and told why, and gets no new lease until it has enough, without joining again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use kinesis_chain::Joules;
use kinesis_protocol::{Address, NanoJoule, NodeId, U256, message::ToAgent};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::Control;
use crate::settle::Standing;

/// How often it is looked for nodes whose stake should be read.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How old the reading of a node becomes that has enough.
const READ_EVERY: Duration = Duration::from_secs(5);
/// The same of one that has too little, and waits.
const READ_WAITING: Duration = Duration::from_secs(1);
/// The same where no stake is asked for: it is only passed on.
const READ_IDLE: Duration = Duration::from_secs(30);
/// After how long a reading that cannot be renewed counts as none.
const STALE_AFTER: Duration = Duration::from_secs(60);
/// The most readings in a round, and at once.
const READINGS_MAX: usize = 256;
const AT_ONCE: usize = 8;
/// How long one reading may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of the nodes that are connected.
#[derive(Debug, Default)]
pub(super) struct Standings {
    known: Mutex<HashMap<NodeId, Known>>,
    /// Somebody waits for a reading.
    look: Notify,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// The connection that was told last.
    session: u64,
    supplier: Address,
    read: Option<(Instant, Standing)>,
    /// When it was tried last, in vain or not.
    tried: Option<Instant>,
    /// What the grid and the node were told.
    told: Option<(U256, Option<String>)>,
}

impl Known {
    /// Whether it is time to read it.
    fn is_due(&self, now: Instant, asked_for: bool) -> bool {
        let Some(tried) = self.tried else { return true };
        let waits = self.told.as_ref().is_none_or(|(_, withheld)| withheld.is_some());
        let every = match (asked_for, waits) {
            (false, _) => READ_IDLE,
            (true, true) => READ_WAITING,
            (true, false) => READ_EVERY,
        };
        now.saturating_duration_since(tried) >= every
    }
}

/// Why a node gets no new lease; `None`: it gets them.
fn verdict(
    min: NanoJoule,
    supplier: Address,
    read: Option<(Duration, &Standing)>,
) -> Option<String> {
    if min <= NanoJoule::ZERO {
        return None;
    }
    let Some((age, standing)) = read else {
        return Some("its stake is being read from the chain".to_owned());
    };
    if age > STALE_AFTER {
        return Some(format!(
            "the chain has not said for {} s what stake backs it: this passes by itself",
            age.as_secs()
        ));
    }
    let wanted = min.to_wei();
    if let Some(missing) = wanted.checked_sub(standing.active_wei).filter(|wei| !wei.is_zero()) {
        let (has, missing) = (Joules(standing.active_wei), Joules(missing));
        return Some(format!(
            "{has} of {} JOULE of stake back it: bond with `kinesis stake bond {missing} --for \
             {supplier}`, or borrow: `kinesis pool borrow {missing}`",
            Joules(wanted)
        ));
    }
    if standing.locks > 0 {
        return Some("an open case holds its stake: `kinesis audit cases` shows it".to_owned());
    }
    if !standing.bound {
        return Some(
            "the chain does not know this machine as its supplier's: run `kinesis stake claim` on it"
                .to_owned(),
        );
    }
    None
}

impl Control {
    /// A node says hello: from now on it is read, and until then judged by what is known.
    pub(super) fn stand(&self, node: NodeId, session: u64, supplier: Address) -> Option<String> {
        let mut all = self.standings.known.lock();
        let known = all.entry(node).or_default();
        if known.supplier != supplier {
            *known = Known { supplier, ..Known::default() };
        }
        // It is told again over the new connection.
        (known.session, known.told, known.tried) = (session, None, None);
        let read = known.read.as_ref().map(|(at, standing)| (at.elapsed(), standing));
        let withheld = verdict(self.config.min_stake, supplier, read);
        drop(all);
        self.standings.look.notify_one();
        withheld
    }

    /// A connection of a node has ended.
    pub(super) fn stand_down(&self, node: NodeId, session: u64) {
        let mut all = self.standings.known.lock();
        if all.get(&node).is_some_and(|known| known.session == session) {
            all.remove(&node);
        }
    }

    /// Reads and judges, again and again. Runs until the utility stops.
    pub(super) async fn keep_standings(self: Arc<Self>) {
        loop {
            let read = self.read_standings();
            tokio::select! {
                () = read => {}
                () = self.stopping.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.standings.look.notified() => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }

    async fn read_standings(self: &Arc<Self>) {
        let asked_for = self.config.min_stake > NanoJoule::ZERO;
        let due = {
            let (all, now) = (self.standings.known.lock(), Instant::now());
            let mut due: Vec<_> = all
                .iter()
                .filter(|(_, known)| known.is_due(now, asked_for))
                .map(|(node, known)| (known.tried, *node, known.supplier))
                .collect();
            // Who was never read comes first, then whoever waits longest.
            due.sort_unstable_by_key(|(tried, node, _)| (*tried, *node));
            due.truncate(READINGS_MAX);
            due
        };
        stream::iter(due)
            .for_each_concurrent(AT_ONCE, async |(_, node, supplier)| {
                let reading = self.settle.standing(supplier, node, asked_for);
                let read = tokio::time::timeout(READ_TIMEOUT, reading).await;
                let read = match read {
                    Ok(Ok(Some(standing))) => Some(standing),
                    Ok(Ok(None)) if !asked_for => None,
                    Ok(Ok(None)) => {
                        warn!("stake is asked for, and no registry is known");
                        None
                    }
                    Ok(Err(problem)) => {
                        warn!(node = node.short(), error = ?problem, "stake could not be read");
                        None
                    }
                    Err(_) => {
                        warn!(node = node.short(), "stake could not be read in time");
                        None
                    }
                };
                self.judge_standing(node, supplier, read);
            })
            .await;
    }

    /// Tells the grid and the node what follows from a reading, where that is new.
    fn judge_standing(self: &Arc<Self>, node: NodeId, supplier: Address, read: Option<Standing>) {
        let now = Instant::now();
        let session = self.sessions.lock().get(&node).map(|session| session.number);
        let mut all = self.standings.known.lock();
        let Some(known) = all.get_mut(&node).filter(|known| known.supplier == supplier) else {
            return;
        };
        known.tried = Some(now);
        if let Some(standing) = read {
            known.read = Some((now, standing));
        }
        let read = known.read.as_ref().map(|(at, standing)| (now - *at, standing));
        let stake_wei = read.map_or(U256::ZERO, |(_, standing)| standing.active_wei);
        let withheld = verdict(self.config.min_stake, supplier, read);
        let news = (stake_wei, withheld);
        if known.told.as_ref() == Some(&news) {
            return;
        }
        if session != Some(known.session) {
            // It has said hello and cannot be told yet: that is done at the next look.
            known.tried = None;
            return;
        }
        let nothing_known = known.told.is_none() && known.read.is_none() && news.1.is_none();
        known.told = Some(news.clone());
        drop(all);
        if nothing_known {
            return;
        }
        let (stake_wei, withheld) = news;
        match &withheld {
            Some(reason) => info!(node = node.short(), reason, "a node gets no new lease"),
            None => info!(node = node.short(), stake = %Joules(stake_wei), "a node is backed"),
        }
        self.with(|grid, now| grid.node_standing(now, node, withheld.clone()));
        self.send(node, ToAgent::Standing { stake_wei, withheld });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joule(n: u64) -> U256 {
        U256::from(n) * U256::from(10).pow(U256::from(18))
    }

    #[test]
    fn every_reason_says_what_to_do() {
        let supplier = Address::repeat_byte(7);
        let min = NanoJoule(100_000_000_000);
        let good = Standing { active_wei: joule(100), locks: 0, bound: true };
        let fresh = |standing: &Standing| verdict(min, supplier, Some((Duration::ZERO, standing)));
        assert_eq!(fresh(&good), None);
        let says = |said: Option<String>, what: &str| {
            let said = said.expect("a reason");
            assert!(said.contains(what) && said.chars().count() <= 200, "{said}");
        };
        let poor = Standing { active_wei: joule(30), ..good.clone() };
        says(fresh(&poor), "30 of 100 JOULE");
        says(fresh(&poor), "kinesis pool borrow 70");
        says(fresh(&Standing { locks: 1, ..good.clone() }), "kinesis audit cases");
        says(fresh(&Standing { bound: false, ..good.clone() }), "kinesis stake claim");
        says(verdict(min, supplier, None), "being read");
        says(verdict(min, supplier, Some((Duration::from_secs(61), &good))), "61 s");
        // Where none is asked for, nobody looks.
        assert_eq!(verdict(NanoJoule::ZERO, supplier, None), None);
    }

    #[test]
    fn who_waits_is_read_more_often() {
        let now = Instant::now();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));
        let known = |seconds, withheld: Option<&str>| Known {
            tried: ago(seconds),
            told: Some((U256::ZERO, withheld.map(str::to_owned))),
            ..Known::default()
        };
        assert!(Known::default().is_due(now, true));
        assert!(known(2, Some("too little")).is_due(now, true));
        assert!(!known(2, None).is_due(now, true));
        assert!(known(6, None).is_due(now, true));
        assert!(!known(6, None).is_due(now, false));
    }
}
