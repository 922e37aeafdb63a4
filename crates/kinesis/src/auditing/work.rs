//! Where an auditor works: what it fetches, runs and finds, in one directory of one process.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use kinesis_chain::protocol::audits::{AuditClaim, Claimed};
use kinesis_protocol::{
    Address,
    result::{Dossier, DossierError, UNAVAILABLE},
};
use tokio::{sync::OnceCell, time::Instant};

use super::{
    fetch::{FetchError, Fetcher, Files, Hosts, Place},
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

/// How long what went wrong is left alone at least before it is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is tried at most.
const TRIES: u32 = 100;

/// What contents of a job lie in; a claim's number follows.
const CONTENTS: &str = "contents-";

/// What an auditor lets a stranger's dossier have of its machine.
#[derive(Debug)]
pub(crate) struct Allowed {
    /// Which files it may lead to.
    pub(crate) files: Files,
    /// Which servers it may lead to.
    pub(crate) hosts: Hosts,
    /// How many jobs may run at once.
    pub(crate) jobs: u32,
}

impl Allowed {
    /// For a dossier that whoever typed the command names.
    pub(crate) const TYPED: Self = Self { files: Files::Any, hosts: Hosts::Any, jobs: 1 };
}

/// Where an auditor keeps what it needs.
pub(crate) struct Work {
    dir: PathBuf,
    jobs: u32,
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
    pub(crate) fn open(at: &Workplace, default: &str, allowed: Allowed) -> Result<Self> {
        let dir = match &at.work {
            Some(dir) => dir.clone(),
            None => config::data_dir(None, Some(default))?,
        };
        let lock = DataLock::take(&dir)?;
        let Allowed { files, hosts, jobs } = allowed;
        let fetcher = Fetcher::new(files, hosts, u64::from(at.fetch_mib) << 20);
        let fetcher = fetcher.map_err(Error::role("fetching of dossiers"))?;
        sweep(&dir).map_err(Error::io(format!("clear {}", dir.display())))?;
        Ok(Self { dir, jobs, fetcher, reruns: OnceCell::new(), _lock: lock })
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
        self.dir.join(format!("{CONTENTS}{claim}"))
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
            let open = || Reruns::open(&sandboxes, self.jobs);
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
    /// asked for again until the time is over; so is what fails here.
    pub(crate) async fn find(
        &self,
        of: (&AuditClaim, Address),
        claimed: &Claimed,
        at: Option<&Place>,
        within: Duration,
    ) -> Finding {
        let (claim, me) = of;
        let start = Instant::now();
        // Within a long time no server is asked all the time.
        let again = AGAIN.max(within / TRIES);
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
                Err(problem) if problem.may_pass() && start.elapsed() + again < within => {
                    tracing::info!(claim = claim.id, problem = in_full(&problem), "tried again");
                    tokio::time::sleep(again).await;
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

/// Removes contents of claims that a process left which was killed: the claim may be over by now, and
/// then nobody would come back for them. The directory's lock is held.
fn sweep(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let claim = name.to_str().and_then(|name| name.strip_prefix(CONTENTS));
        if claim.is_some_and(|claim| claim.parse::<u64>().is_ok()) && entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kinesis_protocol::result::JobResult;

    use super::*;

    #[test]
    fn what_a_killed_process_left_of_claims_is_removed_and_nothing_else() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let at = Workplace { work: Some(dir.path().to_owned()), fetch_mib: 1 };
        for left in ["contents-7", "contents-70", "contents-mine", "findings"] {
            std::fs::create_dir(dir.path().join(left)).unwrap();
            std::fs::write(dir.path().join(left).join("some"), b"bytes").unwrap();
        }
        std::fs::write(dir.path().join("contents-8"), b"a file").unwrap();
        let _work = Work::open(&at, "unused", Allowed::TYPED).unwrap();
        for gone in ["contents-7", "contents-70"] {
            assert!(!dir.path().join(gone).exists(), "{gone}");
        }
        for kept in ["contents-mine/some", "findings/some", "contents-8"] {
            assert!(dir.path().join(kept).exists(), "{kept}");
        }
    }

    /// What fails at first and goes well later is found, however late in its time.
    #[tokio::test]
    async fn what_cannot_be_had_is_asked_for_until_the_time_is_over() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let at = Workplace { work: Some(dir.path().join("work")), fetch_mib: 1 };
        let work = Work::open(&at, "unused", Allowed::TYPED).unwrap();
        let path = dir.path().join("dossier.json");
        let claim = crate::auditing::some_claim(7, "voting");
        let result = JobResult {
            supplier: Address::ZERO,
            utility: Address::ZERO,
            lease: claim.result,
            job: claim.result,
            output: claim.result,
            fuel: 0,
            finishedAt: 0,
            price: Default::default(),
        };
        let claimed = Claimed { result, locator: "file:///unused".into() };
        let (within, place) = (AGAIN * 4, Place::File(path.clone()));
        let late = async {
            // Past the half of it.
            tokio::time::sleep(AGAIN * 5 / 2).await;
            std::fs::write(&path, b"no dossier").unwrap();
        };
        let finding = work.find((&claim, Address::ZERO), &claimed, Some(&place), within);
        let (found, ()) = tokio::join!(finding, late);
        assert!(found.is_unavailable());
        // It was looked at when it was there.
        assert!(found.why.contains("is no dossier"), "{}", found.why);
    }
}
