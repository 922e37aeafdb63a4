//! What stands behind one machine: its supplier's stake, and whether the chain knows the machine as
//! the supplier's. Read often, so it is few calls.

use alloy::primitives::{Address, B256, U256};
use kinesis_protocol::NodeId;

use super::{Protocol, stake::Claim};
use crate::{ChainError, contracts::Registry};

/// The most claims on a node that are looked at. Each costs its claimant the stake of a machine.
const CLAIMANTS_MAX: u64 = 64;

/// What stands behind one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What backs the supplier's promises, its own and lent, in wei of JOULE. What thaws is not in it.
    pub active_wei: U256,
    /// How many open cases hold it.
    pub locks: u64,
    /// The claims on the node, the highest number first. The binding is the first whose node
    /// signature holds; whoever relies on it checks that.
    pub claims: Vec<Claim>,
}

impl Protocol {
    /// What stands behind a machine and its supplier. Claims are read only where `claims` asks.
    ///
    /// # Errors
    /// Where the endpoint fails.
    pub async fn standing(
        &self,
        supplier: Address,
        node: NodeId,
        claims: bool,
    ) -> Result<Standing, ChainError> {
        let at = self.at.registry;
        let bond = self.read(at, &Registry::bondOfCall { operator: supplier }).await?;
        let locks = self.read(at, &Registry::locksCall { operator: supplier }).await?;
        let mut all = Vec::new();
        if claims {
            let own = self.claim(node, supplier).await?;
            if own.claimed_at_s > 0 {
                let call = Registry::claimantsCall {
                    nodeKey: B256::from(node.0),
                    from: U256::ZERO,
                    to: U256::from(CLAIMANTS_MAX),
                };
                for other in self.read(at, &call).await? {
                    if other != supplier {
                        all.push(self.claim(node, other).await?);
                    }
                }
                all.push(own);
                all.sort_by_key(|claim| std::cmp::Reverse(claim.sequence));
            }
        }
        Ok(Standing { active_wei: bond.active, locks: locks.saturating_to(), claims: all })
    }
}
