//! What the owner of a node sees of it.

use std::collections::BTreeMap;

use kinesis_chain::Joules;
use kinesis_protocol::{
    Address, Counters, LeaseId, LeaseKey, LeaseState, NodeId, Prices, Resources, Tier,
};
use serde::{Deserialize, Serialize};

use crate::{node::Node, pledge::PledgeStatus, wallet::Account};

/// A running agent at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's process.
    pub pid: u32,
    /// The node's id.
    pub node: NodeId,
    /// Where its earnings go.
    pub supplier: Address,
    /// The name others see.
    pub name: String,
    /// What kind of place it stands in.
    pub tier: Tier,
    /// What it asks.
    pub prices: Prices,
    /// All that is offered.
    pub offered: Resources,
    /// What of it is free.
    pub free: Resources,
    /// The owner's words, while she has paused the node.
    pub paused: Option<String>,
    /// Whether it is stopping.
    pub leaving: bool,
    /// The utilities it works for.
    pub utilities: Vec<UtilityStatus>,
    /// Every lease it holds.
    pub leases: Vec<LeaseStatus>,
    /// What each payer owes and paid.
    pub accounts: Vec<Account>,
    /// Processor, operating system, isolation, GPUs.
    pub attributes: BTreeMap<String, String>,
}

/// One utility.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtilityStatus {
    /// Its node id.
    pub node: NodeId,
    /// Whether there is a link that it welcomed.
    pub connected: bool,
    /// How long ago it was last heard, in milliseconds.
    pub heard_ms: u64,
    /// Why it last rejected this node, where it did and has not welcomed it since.
    pub rejected: Option<String>,
    /// Why no new lease of it is taken; `None` while they are.
    pub refuses: Option<String>,
    /// Why it gives this node no lease, and what to do; `None` while it does.
    #[serde(default)]
    pub withheld: Option<String>,
    /// What it has read of the supplier's stake on chain; `None` where it has not said.
    #[serde(default)]
    pub stake: Option<Joules>,
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Its id.
    pub lease: LeaseId,
    /// What it is for.
    pub key: LeaseKey,
    /// The app's name.
    pub app_name: String,
    /// Whether it was granted as a standby.
    pub standby: bool,
    /// Where it stands.
    pub state: LeaseState,
    /// What it may use.
    pub granted: Resources,
    /// What it has used, as it is in the book.
    pub counters: Counters,
    /// Requests in flight.
    pub in_flight: u32,
    /// How it ended, once it has, in words.
    pub ending: Option<String>,
    /// What was signed about it; `None`: nothing, or it is settled.
    #[serde(default)]
    pub sla: Option<PledgeStatus>,
}

impl Node {
    /// This node at a glance.
    pub(crate) fn status(&self) -> Status {
        let utilities = self.peers.values().map(|peer| {
            let (withheld, stake) = peer.said();
            UtilityStatus {
                node: peer.node,
                connected: peer.link.borrow().is_some(),
                heard_ms: u64::try_from(peer.heard.lock().elapsed().as_millis())
                    .unwrap_or(u64::MAX),
                rejected: peer.rejected.lock().clone(),
                refuses: self.refusal(peer.node),
                withheld,
                stake,
            }
        });
        let leases = self.leases().into_iter().map(|lease| {
            let report = lease.report();
            LeaseStatus {
                lease: report.lease,
                key: report.key,
                app_name: lease.spec.app_name.clone(),
                standby: lease.spec.standby,
                state: report.state,
                granted: lease.spec.granted,
                counters: report.counters,
                in_flight: report.in_flight,
                ending: report.ending.map(|ending| ending.to_string()),
                sla: self.pledges.status(lease.spec.lease),
            }
        });
        Status {
            pid: std::process::id(),
            node: self.info.node,
            supplier: self.info.supplier,
            name: self.info.name.clone(),
            tier: self.info.tier,
            prices: self.info.prices,
            offered: self.info.offered,
            free: self.free(),
            paused: self.paused(),
            leaving: self.leaving().is_some(),
            utilities: utilities.collect(),
            leases: leases.collect(),
            accounts: self.wallet.accounts(),
            attributes: self.info.attributes.clone(),
        }
    }
}
