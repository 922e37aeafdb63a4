//! Signed results of deterministic jobs: what is asked of suppliers, and what is handed to whoever
//! wants one audited.

use kinesis_protocol::{
    AccountId, Ending, Replica,
    result::{AuditTerms, Dossier, ENGINE, JobSpec, SignedResult},
};

use super::Control;
use crate::{ControlError, grid::Audited};

impl Control {
    /// Has results of deterministic jobs signed, where there is a court for them. Called again as the
    /// price of a JOULE moves.
    pub(super) fn ask_for_results(&self) {
        let audited = self.config.audits.map(|audits| Audited {
            terms: AuditTerms {
                engine: ENGINE.to_owned(),
                chain_id: self.payer.chain_id,
                audits,
                joule_price: self.price(),
            },
            utility: self.payer.utility,
        });
        self.grid.lock().set_audited(audited);
    }

    /// What a supplier signed of one part of a job, with all that it takes to run it again.
    ///
    /// # Errors
    /// Where the account has no such app or part, the part is not completed, or nobody signed it.
    pub async fn dossier(
        &self,
        account: AccountId,
        name: &str,
        part: u32,
    ) -> Result<Dossier, ControlError> {
        let app = self.named(account, name).await?;
        let parts = self.store.job_parts(app.version).await?;
        let Some(found) = parts.iter().find(|found| found.part == Replica(part)) else {
            return Err(ControlError::NotFound {
                what: "part",
                name: part.to_string(),
                next: " of it; `kinesis ps NAME` lists what it has",
            });
        };
        let lease = match found.lease {
            Some(lease) => self.store.lease(lease).await?,
            None => None,
        };
        let unsigned = || {
            ControlError::Conflict(
                "no supplier signed a result of this part: it is not completed, or the job is not \
                 deterministic (it needs `seed` in [job], and no `network`)"
                    .to_owned(),
            )
        };
        let lease = lease.ok_or_else(unsigned)?;
        let Some(Ending::Completed { outputs, signed: Some(signed), .. }) = &lease.ending else {
            return Err(unsigned());
        };
        let (job, terms) =
            JobSpec::of(&lease.spec).zip(lease.spec.audit.as_ref()).ok_or_else(unsigned)?;
        Ok(Dossier {
            version: Dossier::VERSION,
            chain_id: terms.chain_id,
            audits: terms.audits,
            job,
            outputs: outputs.clone(),
            signed: SignedResult::clone(signed),
        })
    }
}
