//! Where an auditor works: what it fetches, runs and finds, in one directory of one process.

use std::{io, path::PathBuf, time::Duration};

use kinesis_chain::protocol::audits::{AuditClaim, Claimed};
use kinesis_protocol::{
    Address,
    result::{Dossier, DossierError, UNAVAILABLE},
};
use tokio::{sync::OnceCell, time::Instant};

use super::{
    fetch::{FetchError, Fetcher, Files, Place},
    finding::Finding,
    in_full,
    rerun::{NotRun, Outcome, Reruns},
};
use crate::{
    cli::protocol::results::Workplace,
    config,
    error::{Error, Result},
    files::{self, DataLock},
};

/// How long what went wrong is left alone before it is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Where an auditor keeps what it needs.
pub(crate) struct Work {
    dir: PathBuf,
    fetcher: Fetcher,
    reruns: OnceCell<Reruns>,
    /// Sandboxes and findings are one process's.
    _lock: DataLock,
}

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unavailable {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the dossier is of something else: {0}")]
    Dossier(#[from] DossierError),
    #[error(transparent)]
    NotRun(#[from] NotRun),
    #[error("cannot use the working directory")]
    Work(#[source] io::Error),
    #[error("it was not fetched and run within {} s", .0.as_secs())]
    Late(Duration),
}

impl Unavailable {
    /// Whether it may go better the next time: what a stranger's dossier says of itself does not change.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Fetch(FetchError::Http(..) | FetchError::File(..)) | Self::Work(_) => true,
            Self::NotRun(NotRun::Broken(_) | NotRun::Runtime(_) | NotRun::File(_)) => true,
            Self::Fetch(_) | Self::NotRun(_) | Self::Dossier(_) | Self::Late(_) => false,
        }
    }
}

impl Work {
    /// Takes the directory that was named, or `default` below the data directory.
    pub(crate) fn open(at: &Workplace, default: &str, files: Files) -> Result<Self> {
        let dir = match &at.work {
            Some(dir) => dir.clone(),
            None => config::data_dir(None, Some(default))?,
        };
        let lock = DataLock::take(&dir)?;
        let fetcher = Fetcher::new(files, u64::from(at.fetch_mib) << 20);
        let fetcher = fetcher.map_err(Error::role("fetching of dossiers"))?;
        Ok(Self { dir, fetcher, reruns: OnceCell::new(), _lock: lock })
    }

    /// Where findings are kept.
    pub(crate) fn findings(&self) -> PathBuf {
        self.dir.join("findings")
    }

    /// A dossier. What it holds is not checked here.
    pub(crate) async fn dossier(&self, at: &Place) -> Result<Dossier, Unavailable> {
        Ok(self.fetcher.dossier(at).await?)
    }

    /// Where the contents of a job are kept while it is audited: two claims may be about one job, and
    /// what one of them leaves must not be in the other's way.
    fn contents(&self, claim: u64) -> PathBuf {
        self.dir.join(format!("contents-{claim}"))
    }

    /// Runs a dossier's job for a claim; 0 for none.
    pub(crate) async fn rerun(
        &self,
        claim: u64,
        at: &Place,
        dossier: &Dossier,
        within: Duration,
    ) -> Result<Outcome, Unavailable> {
        let contents = self.contents(claim);
        let there = files::private_dir(&contents);
        there.map_err(|e| Unavailable::Work(io::Error::other(e.to_string())))?;
        let run = async {
            self.fetcher.contents(at, &dossier.job, &contents).await?;
            let sandboxes = self.dir.join("sandboxes");
            let open = || Reruns::open(&sandboxes);
            let reruns = self.reruns.get_or_try_init(open).await?;
            Ok(reruns.run(&dossier.job, &contents, within).await?)
        };
        let outcome: Result<Outcome, Unavailable> = run.await;
        // What was fetched of it is there for the next try.
        if !outcome.as_ref().is_err_and(Unavailable::may_pass) {
            let _ = std::fs::remove_dir_all(&contents);
        }
        outcome
    }

    /// Runs the job of a claim. Whatever stands in the dossier, the job is the one that was signed.
    async fn judge(
        &self,
        claim: u64,
        claimed: &Claimed,
        at: &Place,
        within: Duration,
    ) -> Result<Outcome, Unavailable> {
        let dossier = self.fetcher.dossier(at).await?;
        dossier.check_job(claimed.result.job)?;
        self.rerun(claim, at, &dossier, within).await
    }

    /// Finds out what is to be said about a claim within a time. A dossier that cannot be had is
    /// asked for again, until half of the time is over; so is what fails here.
    pub(crate) async fn find(
        &self,
        of: (&AuditClaim, Address),
        claimed: &Claimed,
        at: Option<&Place>,
        within: Duration,
    ) -> Finding {
        let (claim, me) = of;
        let start = Instant::now();
        let found = loop {
            let left = within.saturating_sub(start.elapsed());
            let found = match at.cloned().map_or_else(|| Place::parse(&claimed.locator), Ok) {
                // A server that sends a byte now and then must not use up the time.
                Ok(place) => {
                    match tokio::time::timeout(left, self.judge(claim.id, claimed, &place, left))
                        .await
                    {
                        Ok(found) => found,
                        Err(_) => Err(Unavailable::Late(within)),
                    }
                }
                Err(error) => Err(error.into()),
            };
            match found {
                Err(problem) if problem.may_pass() && start.elapsed() + AGAIN < within / 2 => {
                    tracing::info!(claim = claim.id, problem = in_full(&problem), "tried again");
                    tokio::time::sleep(AGAIN).await;
                }
                found => break found,
            }
        };
        let _ = std::fs::remove_dir_all(self.contents(claim.id));
        let (finding, why) = match &found {
            Ok(outcome) if outcome.finding() == claimed.result.finding() => {
                (outcome.finding(), "what was signed came out again".to_owned())
            }
            Ok(outcome) => {
                let why = match outcome {
                    Outcome::Completed { .. } => "something else came out than was signed".into(),
                    Outcome::Failed { reason } => format!("the job fails: {reason}"),
                };
                (outcome.finding(), why)
            }
            Err(unavailable) => {
                let why = in_full(unavailable);
                (UNAVAILABLE, format!("the job could not be had or run: {why}"))
            }
        };
        Finding::new(claim.id, claim.result, me, finding, why)
    }
}
