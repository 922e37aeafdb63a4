//! Running a deterministic job again, to say what comes out of it.
//!
//! | module | is |
//! | --- | --- |
//! | [`fetch`] | a dossier and its contents, from a file or over HTTP, bounded and checked |
//! | [`rerun`] | the job in a sandbox of this machine |
//! | [`work`] | all of it in one directory, within a time |
//! | [`finding`] | what was found, with its salt, kept before anything is committed |

pub(crate) mod fetch;
pub(crate) mod finding;
pub(crate) mod rerun;
pub(crate) mod work;

/// An error with what caused it, in one line.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    crate::output::safe(&text)
}

/// A claim in a state, for tests.
#[cfg(test)]
pub(crate) fn some_claim(id: u64, state: &str) -> kinesis_chain::protocol::audits::AuditClaim {
    use kinesis_protocol::{Address, B256};
    kinesis_chain::protocol::audits::AuditClaim {
        id,
        state: state.to_owned(),
        supplier: Address::ZERO,
        utility: Address::ZERO,
        challenger: Address::ZERO,
        result: B256::ZERO,
        finding: B256::ZERO,
        block: 1,
        draw_block: 1,
        commit_ends_s: 0,
        reveal_ends_s: 0,
        panel: 3,
        quorum: 2,
        revealed: 0,
        case: 1,
    }
}
