//! Acknowledgements that wait to be stored: of each lease the one that came last, however many come, so
//! that none is lost that nothing follows. A utility's words only go forward, over one stream at a time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kinesis_protocol::{LeaseId, SignedAck};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{error::chain_of, node::Node};

/// The pause before what could not be stored is stored again.
const AGAIN: Duration = Duration::from_secs(1);

/// What waits, from one utility. At most one of each lease that is held.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    last: Mutex<BTreeMap<LeaseId, SignedAck>>,
    more: Notify,
}

impl Acks {
    /// Has an acknowledgement stored, in place of one that waits.
    pub(crate) fn push(&self, lease: LeaseId, ack: SignedAck) {
        self.last.lock().insert(lease, ack);
        self.more.notify_one();
    }

    /// Has one stored that could not be, unless another came meanwhile.
    fn again(&self, lease: LeaseId, ack: SignedAck) {
        self.last.lock().entry(lease).or_insert(ack);
    }

    /// Checks and stores what comes, one after another; what cannot be stored waits. Runs until it is
    /// dropped.
    pub(crate) async fn store(&self, node: &Arc<Node>) {
        loop {
            let next = self.last.lock().pop_first();
            let Some((lease, ack)) = next else {
                self.more.notified().await;
                continue;
            };
            let pledges = node.pledges.clone();
            match tokio::task::spawn_blocking(move || pledges.take(lease, ack)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(error = chain_of(&error), "an acknowledgement is not stored");
                    self.again(lease, ack);
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => tracing::error!(%error, "checking an acknowledgement failed"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kinesis_chain::Key;
    use kinesis_protocol::{B256, sla::Ack};

    use super::*;

    #[test]
    fn the_last_of_each_lease_waits_however_many_come() {
        let (acks, key) = (Acks::default(), Key::random());
        let say = |up_to| {
            let signature = key.sign_hash(&B256::ZERO);
            SignedAck { ack: Ack { terms: B256::ZERO, upTo: up_to }, signature }
        };
        let (one, other) = (LeaseId::random(), LeaseId::random());
        for up_to in 0..5_000 {
            acks.push(one, say(up_to));
        }
        acks.again(one, say(7));
        acks.again(other, say(8));
        let waiting: Vec<_> =
            acks.last.lock().iter().map(|(lease, ack)| (*lease, ack.ack.upTo)).collect();
        let mut wanted = vec![(one, 4_999), (other, 8)];
        wanted.sort_unstable();
        assert_eq!(waiting, wanted);
    }
}
