//! What a runtime and its sandboxed child say to each other over the control socket.
//!
//! One message is one packet of JSON, with file descriptors beside it where the variant says so.

use std::collections::BTreeMap;

use kinesis_protocol::{Resources, Workload};
use serde::{Deserialize, Serialize};

/// The largest packet.
pub(crate) const PACKET_BYTES_MAX: usize = 32 << 10;
/// The most characters of a reason.
pub(crate) const REASON_CHARS_MAX: usize = 2_000;

/// How to confine a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Leave root for this user and group first.
    pub(crate) drop_to: Option<(u32, u32)>,
    /// Enter namespaces of its own.
    pub(crate) namespaces: bool,
    /// A user namespace among them.
    pub(crate) user_namespace: bool,
}

/// From the runtime to the child.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ToChild {
    /// It is in its control group: confine yourself.
    Enter(Plan),
    /// Run a lease. With two descriptors: the lease's directory, the listening socket.
    Lease {
        /// Wait for [`ToChild::Go`] before a job begins.
        hold: bool,
    },
    /// Compile. With two descriptors: the component, the file for the code.
    Compile {
        /// For deterministic mode.
        deterministic: bool,
    },
    /// A job may begin.
    Go,
    /// Finish what is in flight, take nothing new, end.
    Drain,
    /// The answer to [`FromChild::Dial`]. With one descriptor where `error` is `None`.
    Dialed {
        /// Of which request.
        id: u64,
        /// Why there is no connection.
        error: Option<String>,
    },
}

/// From the child to the runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum FromChild {
    /// The process that will run the guest.
    Hello {
        /// Its id outside its namespace.
        pid: i32,
    },
    /// It is confined and waits for work.
    Confined {
        /// What confines it, by barrier; what is missing begins with `missing`.
        barriers: BTreeMap<String, String>,
        /// Which compiled code its engine takes.
        engine: String,
    },
    /// The guest is instantiated.
    Ready,
    /// The guest wants a connection.
    Dial {
        /// For the answer.
        id: u64,
        /// `host:port`.
        target: String,
    },
    /// The code is written.
    Compiled,
    /// It is over.
    Ended(Outcome),
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// A job's guest returned success.
    Completed {
        /// Fuel used, in deterministic mode.
        fuel: Option<u64>,
    },
    /// For the author of the guest.
    Failed {
        /// What happened.
        reason: String,
    },
    /// Drained.
    Stopped,
}

impl Outcome {
    pub(crate) fn failed(reason: impl AsRef<str>) -> Self {
        Self::Failed { reason: cut(reason.as_ref(), REASON_CHARS_MAX) }
    }
}

/// `text` without control characters other than line breaks, at most `chars` long.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').take(chars).collect()
}

/// What a child reads about its lease, from `spec.json` in the lease's directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) workload: Workload,
    pub(crate) granted: Resources,
    /// Whether there is anything in `data`.
    pub(crate) data: bool,
}

impl Order {
    pub(crate) const fn deterministic(workload: &Workload) -> bool {
        matches!(workload, Workload::Job(job) if job.seed.is_some())
    }

    /// The most bytes that a job may leave in `/out`.
    pub(crate) fn output_bytes_max(&self) -> u64 {
        let most = kinesis_protocol::lease::OUTPUT_BYTES_MAX;
        match self.granted.disk_mib {
            0 => most,
            mib => most.min(u64::from(mib) << 20),
        }
    }
}
