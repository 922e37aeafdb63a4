//! What agent and utility say to each other.
//!
//! An agent dials its utility, opens one bidirectional stream and says [`ToUtility::Hello`]; from
//! then on both send frames on that stream. Every other stream of the connection starts with one
//! [`StreamOpen`] frame. A frame is a `u32` big-endian length and that many bytes of JSON, at most
//! [`FRAME_BYTES_MAX`].
//!
//! JSON, because it evolves: a field that is new has a default, a field or a message that is unknown
//! is passed over. That is how a newer utility serves an older agent and the reverse; the tests hold
//! the bytes of the previous version.

use alloy::primitives::U256;
use serde::{Deserialize, Serialize};

use crate::{
    id::{ContentHash, Epoch, LeaseId},
    lease::{LeaseReport, LeaseSpec},
    money::JoulePrice,
    resources::{NodeInfo, Resources},
    root::{PaymentProof, Signature},
    sla::SignedAck,
};

/// The version this build speaks.
pub const VERSION: u32 = 2;
/// The oldest version this build serves.
pub const VERSION_MIN: u32 = 1;
/// The longest frame that is read.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// How often an agent sends [`ToUtility::Heartbeat`].
pub const HEARTBEAT_MS: u64 = 200;
/// After how long without a frame the other end counts as silent.
pub const SILENCE_MS: u64 = 600;

/// From agent to utility.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "sent rarely, and never stored in bulk")]
pub enum ToUtility {
    /// The first frame of a connection.
    Hello {
        /// The newest version the agent speaks.
        version: u32,
        /// The oldest version it speaks.
        #[serde(default = "one")]
        version_min: u32,
        /// What it says of itself.
        info: NodeInfo,
        /// Every lease it still holds, and every ending that was not acknowledged.
        #[serde(default)]
        leases: Vec<LeaseReport>,
    },
    /// The answer to [`ToAgent::Challenge`].
    Benchmark {
        /// The nonce that was asked.
        nonce: [u8; 32],
        /// The work done.
        result: crate::benchmark::Answer,
    },
    /// Sent every [`HEARTBEAT_MS`], and at once when a lease changes its state.
    Heartbeat {
        /// Grows by one each time.
        seq: u64,
        /// What is still free.
        free: Resources,
        /// Why no new lease is taken; `None` while they are.
        #[serde(default)]
        paused: Option<String>,
        /// Every lease it still holds, and every ending that was not acknowledged.
        #[serde(default)]
        leases: Vec<LeaseReport>,
    },
    /// The lease was granted and is starting.
    Granted {
        /// Which lease.
        lease: LeaseId,
        /// The supplier's signature over the terms that came with it; `None` where there were none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<Signature>,
    },
    /// The lease was refused; nothing was started.
    Refused {
        /// Which lease.
        lease: LeaseId,
        /// Why, in words.
        reason: String,
    },
    /// The node leaves in an orderly way: place everything elsewhere.
    Leaving {
        /// How long it goes on serving, in milliseconds.
        notice_ms: u64,
    },
    /// A message of a newer version.
    #[serde(other)]
    Unknown,
}

/// From utility to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "sent rarely, and never stored in bulk")]
pub enum ToAgent {
    /// The answer to a hello that was accepted.
    Welcome {
        /// The version both will speak.
        version: u32,
        /// The utility's address on chain: who signs the roots.
        utility: alloy::primitives::Address,
        /// Its payment series.
        series: u64,
        /// The chain's id.
        chain_id: u64,
        /// The escrow contract.
        escrow: alloy::primitives::Address,
        /// What one JOULE costs now.
        joule_price: JoulePrice,
        /// Where to hold a plain TCP connection open (`ip:port`), so that the death of this agent's
        /// process is known at once. `None` where the utility offers none.
        #[serde(default)]
        lifeline: Option<String>,
        /// What to send first on that connection: 32 bytes of hex.
        #[serde(default)]
        lifeline_token: Option<String>,
    },
    /// The answer to a hello that was not accepted. The utility closes the connection.
    Rejected {
        /// Why, in words.
        reason: String,
    },
    /// Prove your speed with this nonce.
    Challenge {
        /// 32 random bytes.
        nonce: [u8; 32],
        /// How many milliseconds the work should take.
        work_ms: u64,
    },
    /// Run this.
    Grant {
        /// What to run.
        spec: LeaseSpec,
    },
    /// Thaw this standby: it serves from now on.
    Activate {
        /// Which lease.
        lease: LeaseId,
    },
    /// Finish what is in flight, then end. Ends at once after `notice_ms`.
    Release {
        /// Which lease.
        lease: LeaseId,
        /// How long it may finish, in milliseconds.
        notice_ms: u64,
    },
    /// The counters and the ending of this lease are recorded: it may be forgotten.
    Recorded {
        /// Which lease.
        lease: LeaseId,
    },
    /// The tick's payment. Sent when the supplier's amount changed.
    Payment {
        /// What can be redeemed.
        payment: PaymentProof,
        /// What one JOULE costs now.
        joule_price: JoulePrice,
    },
    /// All is well with this lease, in the utility's hand: to be kept in place of the one before.
    Ack {
        /// Which lease.
        lease: LeaseId,
        /// What was signed.
        ack: SignedAck,
    },
    /// What the utility has read of the supplier's stake on chain. Sent when it changed.
    Standing {
        /// What backs the supplier's promises, in wei of JOULE.
        #[serde(default)]
        stake_wei: U256,
        /// Why this node gets no new lease, and what to do; `None`: it gets them.
        #[serde(default)]
        withheld: Option<String>,
    },
    /// Sent every [`HEARTBEAT_MS`] while there is nothing else: the utility is here.
    Alive {
        /// The newest heartbeat it has read.
        seq: u64,
    },
    /// A message of a newer version.
    #[serde(other)]
    Unknown,
}

/// The first frame of every stream but the control stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamOpen {
    /// Utility to agent: HTTP/1.1 follows, in both directions, to this lease, until either closes.
    /// The agent answers with one [`StreamAnswer`] frame before any HTTP.
    Http {
        /// Which lease.
        lease: LeaseId,
        /// Its epoch: refused where it is not the agent's newest of that replica.
        epoch: Epoch,
    },
    /// Utility to agent: the lease's log from this byte on. The agent sends the bytes, follows the
    /// log while the lease lives, and ends the stream after it.
    Logs {
        /// Which lease.
        lease: LeaseId,
        /// The first byte wanted.
        offset: u64,
    },
    /// Agent to utility: send me this artifact. The utility answers [`StreamAnswer`], then bytes.
    Artifact {
        /// Which artifact.
        hash: ContentHash,
    },
    /// Agent to utility: here is an output of a lease, `bytes` bytes follow. The utility answers
    /// [`StreamAnswer`] when it is stored.
    Output {
        /// Which lease.
        lease: LeaseId,
        /// The content's hash.
        hash: ContentHash,
        /// Its length.
        bytes: u64,
    },
    /// A stream of a newer version.
    #[serde(other)]
    Unknown,
}

/// The answer to a [`StreamOpen`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum StreamAnswer {
    /// Go on.
    Ready {
        /// How many bytes follow, where that is known.
        #[serde(default)]
        bytes: Option<u64>,
    },
    /// The stream ends here.
    Refused {
        /// Why, in words.
        reason: String,
    },
}

const fn one() -> u32 {
    1
}

/// The version both ends speak, given the range of each; `None` where there is none.
#[must_use]
pub fn common_version(theirs: u32, theirs_min: u32) -> Option<u32> {
    let newest = theirs.min(VERSION);
    (newest >= theirs_min.max(VERSION_MIN)).then_some(newest)
}

/// Reads one frame's bytes.
///
/// # Errors
/// Where the bytes are not a message, with serde's line and column.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// A frame's bytes, without its length.
///
/// # Panics
/// Never: these messages have string keys and no failing serializer.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("messages serialize")
}

#[cfg(test)]
mod tests;
