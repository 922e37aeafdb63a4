//! A journal in a directory, one file for each intent: for a command or an agent, which have no
//! database. Several processes may share it.
//!
//! A file is named by the hash of chain, sender and key, written beside and renamed into place, so
//! that a reader sees all of it or nothing; a lock file makes writers serial.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy::primitives::{Address, keccak256};
use async_trait::async_trait;

use super::{Intent, Journal, JournalError, Recorded, memory::nonce_taken};

/// The longest file that is read: signed bytes and a receipt are a few KiB.
const BYTES_MAX: u64 = 1 << 20;
/// Finished intents that are kept, newest first.
const FINISHED_MAX: usize = 1_000;

/// Intents in a directory of their own.
#[derive(Debug, Clone)]
pub struct FileJournal(Arc<PathBuf>);

impl FileJournal {
    /// A journal in `dir`, which is made (mode 0700) where it is missing.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(JournalError::new)?;
        Ok(Self(Arc::new(dir.to_owned())))
    }

    /// Everything that is kept of the intents whose keys start so, final or not, in order of nonce.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub async fn begun_as(&self, prefix: &str) -> Result<Vec<Intent>, JournalError> {
        let (journal, prefix) = (self.clone(), prefix.to_owned());
        let mut all = blocking(move || journal.all()).await?;
        all.retain(|intent| intent.key.starts_with(&prefix));
        all.sort_by_key(|intent| intent.nonce);
        Ok(all)
    }

    fn path(&self, chain_id: u64, sender: Address, key: &str) -> PathBuf {
        let name = keccak256(format!("{chain_id}:{sender:#x}:{key}"));
        self.0.join(format!("{name:x}.json"))
    }

    /// Holds off other writers until dropped.
    fn lock(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let lock = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = lock.open(self.0.join("lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn read(path: &Path) -> io::Result<Option<Intent>> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text)?;
        let intent = serde_json::from_slice(&text).map_err(|error| {
            let path = path.display();
            io::Error::new(ErrorKind::InvalidData, format!("{path} is damaged: {error}"))
        })?;
        Ok(Some(intent))
    }

    fn write(&self, path: &Path, intent: &Intent) -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = file.open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(intent)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        // The directory entry is what makes it findable after a power cut.
        File::open(self.0.as_path())?.sync_all()
    }

    fn all(&self) -> io::Result<Vec<Intent>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.0.as_path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                all.extend(Self::read(&path)?);
            }
        }
        Ok(all)
    }

    /// Forgets the oldest of too many finished intents.
    fn prune(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.0.as_path())? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == "json") {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(FINISHED_MAX);
        for (_, path) in files.into_iter().take(surplus) {
            if Self::read(&path)?.is_some_and(|intent| !intent.is_open()) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn put(&self, intent: &Intent, new: bool) -> io::Result<Recorded> {
        let _lock = self.lock()?;
        let path = self.path(intent.chain_id, intent.sender, &intent.key);
        let known = Self::read(&path)?;
        match known {
            Some(known) if new => return Ok(Recorded::KeyTaken(Box::new(known))),
            Some(known) if known.revision == intent.revision => {}
            None if new => {}
            _ => return Ok(Recorded::Stale),
        }
        if nonce_taken(&self.all()?, intent) {
            return Ok(Recorded::NonceTaken);
        }
        let revision = intent.revision + u64::from(!new);
        self.write(&path, &Intent { revision, ..intent.clone() })?;
        if new {
            self.prune()?;
        }
        Ok(Recorded::Done)
    }
}

#[async_trait]
impl Journal for FileJournal {
    async fn get(
        &self,
        chain_id: u64,
        sender: Address,
        key: &str,
    ) -> Result<Option<Intent>, JournalError> {
        let path = self.path(chain_id, sender, key);
        blocking(move || Self::read(&path)).await
    }

    async fn insert(&self, intent: &Intent) -> Result<Recorded, JournalError> {
        let (journal, intent) = (self.clone(), intent.clone());
        blocking(move || journal.put(&intent, true)).await
    }

    async fn update(&self, intent: &Intent) -> Result<Recorded, JournalError> {
        let (journal, intent) = (self.clone(), intent.clone());
        blocking(move || journal.put(&intent, false)).await
    }

    async fn remove(&self, chain_id: u64, sender: Address, key: &str) -> Result<(), JournalError> {
        let (journal, path) = (self.clone(), self.path(chain_id, sender, key));
        blocking(move || {
            let _lock = journal.lock()?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        })
        .await
    }

    async fn open(&self, chain_id: u64, sender: Address) -> Result<Vec<Intent>, JournalError> {
        let journal = self.clone();
        let mut all = blocking(move || journal.all()).await?;
        all.retain(|intent| {
            intent.is_open() && intent.chain_id == chain_id && intent.sender == sender
        });
        all.sort_by_key(|intent| intent.nonce);
        Ok(all)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, JournalError> {
    tokio::task::spawn_blocking(work).await.map_err(JournalError::new)?.map_err(JournalError::new)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use alloy::primitives::{B256, Bytes, U256};

    use super::*;
    use crate::journal::Attempt;

    fn intent(key: &str, nonce: u64) -> Intent {
        let attempt = Attempt {
            hash: B256::repeat_byte(1),
            raw: Bytes::from_static(b"signed"),
            gas: 1,
            max_fee_per_gas: u128::MAX,
            priority_fee_per_gas: 0,
        };
        Intent {
            key: key.to_owned(),
            chain_id: 1,
            sender: Address::repeat_byte(1),
            to: Address::repeat_byte(2),
            data: Bytes::from_static(b"call"),
            value: U256::MAX,
            nonce,
            attempts: vec![attempt],
            receipt: None,
            revision: 0,
        }
    }

    #[tokio::test]
    async fn intents_are_kept_once_and_in_private() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("deep/journal");
        let journal = FileJournal::open(&place).unwrap();
        let (one, two) = (intent("one/../\u{0}", 1), intent("two", 2));
        assert_eq!(journal.insert(&one).await.unwrap(), Recorded::Done);
        let taken = Recorded::KeyTaken(Box::new(one.clone()));
        assert_eq!(journal.insert(&one).await.unwrap(), taken);
        assert_eq!(journal.insert(&intent("two", 1)).await.unwrap(), Recorded::NonceTaken);
        assert_eq!(journal.insert(&two).await.unwrap(), Recorded::Done);
        // What another process wrote is seen.
        let other = FileJournal::open(&place).unwrap();
        let sender = one.sender;
        assert_eq!(other.open(1, sender).await.unwrap(), [one.clone(), two.clone()]);
        assert_eq!(other.update(&one).await.unwrap(), Recorded::Done);
        assert_eq!(journal.update(&one).await.unwrap(), Recorded::Stale);
        let known = journal.get(1, sender, &one.key).await.unwrap().unwrap();
        assert_eq!(known.revision, 1);
        other.remove(1, sender, &one.key).await.unwrap();
        other.remove(1, sender, &one.key).await.unwrap();
        assert_eq!(journal.get(1, sender, &one.key).await.unwrap(), None);
        assert_eq!(journal.update(&known).await.unwrap(), Recorded::Stale);
        for entry in fs::read_dir(&place).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o700);
        // A damaged file is an error, not a forgotten transaction.
        let damaged = journal.path(1, sender, "two");
        fs::write(damaged, "{").unwrap();
        assert!(journal.open(1, sender).await.is_err());
    }
}
