//! How transactions are sent: when they are final, how long one waits, what one pays.

use std::time::Duration;

/// When a mined transaction counts as final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// In a block with this many blocks on the chain, itself counted; at least 1.
    Confirmations(u64),
    /// When the chain's own `finalized` block has reached it; on a chain without one, after this
    /// many confirmations.
    Finalized {
        /// Confirmations where the chain has no `finalized` block.
        otherwise: u64,
    },
}

/// How a sender goes about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendPolicy {
    /// When a transaction is final.
    pub finality: Finality,
    /// After how long without being mined the same bytes are sent again.
    pub resend_after: Duration,
    /// After how long without being mined a higher fee is offered at the same nonce.
    pub replace_after: Duration,
    /// The most that is ever offered for a unit of gas, in wei.
    pub fee_per_gas_max: u128,
    /// How long a call waits for what it was asked to wait for.
    pub wait_max: Duration,
}

impl Default for SendPolicy {
    /// Final where the chain says so, a higher fee after 45 s, at most 500 gwei.
    fn default() -> Self {
        Self {
            finality: Finality::Finalized { otherwise: 64 },
            resend_after: Duration::from_secs(15),
            replace_after: Duration::from_secs(45),
            fee_per_gas_max: 500_000_000_000,
            wait_max: Duration::from_secs(90),
        }
    }
}

impl SendPolicy {
    /// The defaults for a chain: a development chain takes nothing back.
    #[must_use]
    pub fn for_chain(chain_id: u64) -> Self {
        if chain_id == crate::dev::CHAIN_ID {
            Self { finality: Finality::Confirmations(1), ..Self::default() }
        } else {
            Self::default()
        }
    }
}

/// How far a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until it is in a block, which may still be taken back; it is followed all the same.
    Mined,
    /// Until it cannot be taken back.
    Final,
}
