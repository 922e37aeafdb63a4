//! A dossier: all that it takes to run a job again and to compare, in one document. Contents are
//! named by hash; whoever keeps a dossier keeps them beside it, under `artifacts/HASH`.

use serde::{Deserialize, Serialize};

use super::{JobSpec, SignedResult, output_hash};
use crate::{Address, id::ContentHash, lease::GuestFile};

/// The longest dossier that is read.
pub const DOSSIER_BYTES_MAX: usize = 4 << 20;

/// A job, what its supplier signed of it, and where that can be claimed to be false.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dossier {
    /// The form of this document: 1.
    pub version: u32,
    /// The chain whose court judges.
    pub chain_id: u64,
    /// The court of results there.
    pub audits: Address,
    /// What was to be run.
    pub job: JobSpec,
    /// What the supplier says came out.
    pub outputs: Vec<GuestFile>,
    /// What it signed of that.
    pub signed: SignedResult,
}

/// Why a document is no dossier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DossierError {
    /// It is of a later form.
    #[error("the dossier has the form {0}, and this version reads 1")]
    Version(u32),
    /// The job is none that could be run again.
    #[error("the dossier's job cannot be audited: {0}")]
    Job(String),
    /// The supplier signed for another job.
    #[error("the supplier signed the result of another job")]
    OtherJob,
    /// The supplier signed another output.
    #[error("the supplier signed another output")]
    OtherOutput,
    /// The signature does not hold.
    #[error("the supplier's signature does not hold for this chain and court")]
    Signature,
}

impl Dossier {
    /// The only form there is.
    pub const VERSION: u32 = 1;

    /// Whether its parts belong together.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), DossierError> {
        self.check_job(self.signed.result.job)?;
        if output_hash(&self.outputs) != self.signed.result.output {
            return Err(DossierError::OtherOutput);
        }
        if !self.signed.verify(self.chain_id, self.audits) {
            return Err(DossierError::Signature);
        }
        Ok(())
    }

    /// Whether its job is one that can be run again, and the one with this hash.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check_job(&self, hash: alloy::primitives::B256) -> Result<(), DossierError> {
        if self.version != Self::VERSION {
            return Err(DossierError::Version(self.version));
        }
        self.job.validate().map_err(DossierError::Job)?;
        if self.job.hash() != hash {
            return Err(DossierError::OtherJob);
        }
        Ok(())
    }

    /// Where a content lies, relative to the dossier.
    #[must_use]
    pub fn content_path(hash: ContentHash) -> String {
        format!("artifacts/{hash}")
    }
}
