//! Signed results: asked for where a job is deterministic, and taken only where they hold.

use kinesis_protocol::{
    Address, Ending, LeaseReport, NodeId, Resources, Workload,
    result::{AuditTerms, Completed, ResultError, is_deterministic},
};

use super::{Grid, Lease};

/// How results of deterministic jobs are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audited {
    /// What leases from now on say about it.
    pub terms: AuditTerms,
    /// Who orders: our address on chain.
    pub utility: Address,
}

impl Grid {
    /// From now on the results of deterministic jobs are to be signed like this; `None`: they are
    /// not. Leases that were placed before keep what they were placed with.
    pub fn set_audited(&mut self, audited: Option<Audited>) {
        self.audited = audited;
    }

    /// What a new lease says about its result.
    pub(super) fn audit_terms(
        &self,
        workload: &Workload,
        granted: &Resources,
    ) -> Option<AuditTerms> {
        let audited = self.audited.as_ref()?;
        is_deterministic(workload, granted).then(|| audited.terms.clone())
    }

    /// How a lease ended. A result that its supplier does not answer for as agreed is none: the
    /// attempt failed, and its part is tried elsewhere.
    pub(super) fn ending(&mut self, now_ms: u64, node: NodeId, report: &LeaseReport) -> Ending {
        let ending = report.ending.clone().unwrap_or(Ending::Unknown);
        let checked = match self.leases.get(&report.lease) {
            Some(lease) => self.checked(now_ms, lease, &ending, report),
            None => Ok(()),
        };
        let Err(problem) = checked else { return ending };
        let reason = format!("its result was not taken: {problem}");
        if problem != ResultError::Missing {
            self.refuse(node, report, reason.clone());
        }
        Ending::NodeFailed { reason }
    }

    fn checked(
        &self,
        now_ms: u64,
        lease: &Lease,
        ending: &Ending,
        report: &LeaseReport,
    ) -> Result<(), ResultError> {
        let Ending::Completed { outputs, fuel, signed } = ending else { return Ok(()) };
        let Some(audited) = self.audited.as_ref().filter(|_| lease.spec.audit.is_some()) else {
            return Ok(());
        };
        let done = Completed {
            spec: &lease.spec,
            supplier: lease.info.supplier,
            utility: audited.utility,
            outputs,
            fuel: *fuel,
            counters: &lease.counters,
            finished_at_s: now_ms / 1_000,
        };
        let signed = signed.as_ref().ok_or(ResultError::Missing)?;
        signed.check(&done, lease.placed_at_ms / 1_000, &report.counters)
    }
}
