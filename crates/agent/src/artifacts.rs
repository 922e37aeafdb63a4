//! Artifacts by content hash, on disk, shared by all leases.
//!
//! A file is in its place only whole and with the right hash; a file found there by a new process is
//! hashed once before it is used. What a lease uses is pinned; the rest goes, least recently used
//! first, when the cache outgrows its limit.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use kinesis_protocol::{ContentHash, message::StreamOpen};
use kinesis_wire::{Link, WireError};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};

use crate::{AgentError, error::chain_of, files};

const CHUNK_BYTES: usize = 256 << 10;
/// How often an artifact is asked for again when links are lost on the way.
const ATTEMPTS_MAX: usize = 20;

/// The cache.
#[derive(Debug)]
pub(crate) struct Artifacts {
    dir: PathBuf,
    bytes_max: u64,
    entries: Mutex<HashMap<ContentHash, Arc<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    path: PathBuf,
    /// Whether the file was seen whole by this process; held while it is fetched.
    whole: tokio::sync::Mutex<bool>,
}

/// An artifact in use: stays in the cache while this lives.
#[derive(Debug)]
pub(crate) struct Pinned(Arc<Entry>);

impl Pinned {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path.clone()
    }
}

impl Artifacts {
    pub(crate) fn open(dir: PathBuf, bytes_max: u64) -> Result<Self, AgentError> {
        files::make_dir(&dir)?;
        let read = || -> io::Result<()> {
            for entry in fs::read_dir(&dir)? {
                let path = entry?.path();
                // Downloads that a crash cut short.
                if path.extension().is_some_and(|extension| extension == "part") {
                    fs::remove_file(&path)?;
                }
            }
            Ok(())
        };
        read().map_err(AgentError::file("read", &dir))?;
        Ok(Self { dir, bytes_max, entries: Mutex::default() })
    }

    /// How much the cache keeps.
    pub(crate) const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The artifact, from the cache or from the utility. Waits for a link where there is none.
    ///
    /// # Errors
    /// A sentence: the utility has no such artifact, or what it sent is not it.
    pub(crate) async fn get(
        &self,
        mut links: watch::Receiver<Option<Link>>,
        hash: ContentHash,
        bytes: u64,
    ) -> Result<Pinned, String> {
        let pinned = self.pin(hash);
        let mut whole = pinned.0.whole.lock().await;
        if *whole && pinned.0.path.is_file() {
            touch(&pinned.0.path);
            drop(whole);
            return Ok(pinned);
        }
        *whole = hash_file(pinned.0.path.clone(), bytes).await.is_ok_and(|found| found == hash);
        for attempt in 1.. {
            if *whole {
                break;
            }
            let link = match links.wait_for(Option::is_some).await.map(|link| link.clone()) {
                Ok(Some(link)) => link,
                _ => return Err("the agent is stopping".into()),
            };
            match self.fetch(&link, hash, bytes, &pinned.0.path).await {
                Ok(()) => *whole = true,
                Err(FetchError::Final(reason)) => return Err(reason),
                Err(FetchError::Lost(error)) if attempt >= ATTEMPTS_MAX => {
                    return Err(format!("artifact {} cannot be fetched: {error}", hash.short()));
                }
                Err(FetchError::Lost(error)) => {
                    tracing::debug!(error, "an artifact could not be fetched; trying again");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
        drop(whole);
        self.evict();
        Ok(pinned)
    }

    fn pin(&self, hash: ContentHash) -> Pinned {
        let mut entries = self.entries.lock();
        let entry = entries.entry(hash).or_insert_with(|| {
            let path = self.dir.join(hash.to_string());
            Arc::new(Entry { path, whole: tokio::sync::Mutex::new(false) })
        });
        Pinned(entry.clone())
    }

    async fn fetch(
        &self,
        link: &Link,
        hash: ContentHash,
        bytes: u64,
        to: &Path,
    ) -> Result<(), FetchError> {
        let (mut stream, _) = link.open_answered(&StreamOpen::Artifact { hash }).await?;
        let part = self.dir.join(format!("{hash}-{:08x}.part", rand::random::<u32>()));
        let guard = RemoveOnDrop(&part);
        let mut file = tokio::fs::File::create(&part).await?;
        let mut hasher = blake3::Hasher::new();
        let mut left = bytes;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let n = stream.read(&mut chunk).await?;
            if n == 0 {
                break;
            }
            left = left.checked_sub(n as u64).ok_or_else(|| {
                FetchError::Final(format!("artifact {} is longer than was said", hash.short()))
            })?;
            hasher.update(&chunk[..n]);
            file.write_all(&chunk[..n]).await?;
        }
        file.flush().await?;
        drop(file);
        // The reader is done; the end of our side was never more than a formality.
        let _ = stream.shutdown().await;
        if ContentHash(*hasher.finalize().as_bytes()) != hash {
            let reason = format!("what was sent as artifact {} is something else", hash.short());
            return Err(FetchError::Final(reason));
        }
        fs::rename(&part, to)?;
        std::mem::forget(guard);
        Ok(())
    }

    /// Removes what is not in use, oldest first, until the cache fits.
    fn evict(&self) {
        let mut entries = self.entries.lock();
        let Ok(dir) = fs::read_dir(&self.dir) else { return };
        let mut found: Vec<(SystemTime, u64, PathBuf)> = dir
            .flatten()
            .filter_map(|entry| {
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .collect();
        let mut total: u64 = found.iter().map(|(_, len, _)| len).sum();
        found.sort();
        for (_, len, path) in found {
            if total <= self.bytes_max {
                break;
            }
            let hash = path.file_name().and_then(|name| name.to_str()?.parse().ok());
            // Downloads under way have no hash for a name; what is pinned has another owner.
            let Some(hash) = hash else { continue };
            if entries.get(&hash).is_some_and(|entry| Arc::strong_count(entry) > 1) {
                continue;
            }
            entries.remove(&hash);
            if fs::remove_file(&path).is_ok() {
                total -= len;
            }
        }
    }
}

/// Why an artifact did not come.
enum FetchError {
    /// It never will.
    Final(String),
    /// The next link may bring it.
    Lost(String),
}

impl From<WireError> for FetchError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Refused { reason } => {
                Self::Final(format!("the utility has no such artifact: {reason}"))
            }
            other => Self::Lost(chain_of(&other)),
        }
    }
}

impl From<io::Error> for FetchError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull {
            Self::Final("this node's disk is full".into())
        } else {
            Self::Lost(error.to_string())
        }
    }
}

struct RemoveOnDrop<'a>(&'a Path);

impl Drop for RemoveOnDrop<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

/// Notes that the file was used.
fn touch(path: &Path) {
    if let Ok(file) = fs::File::open(path) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// The hash of the file at `path`, which must be `bytes` long.
///
/// # Errors
/// A sentence, where it cannot be read or has another length.
pub(crate) async fn hash_file(path: PathBuf, bytes: u64) -> Result<ContentHash, String> {
    let work = move || {
        let mut file = fs::File::open(&path)?;
        if file.metadata()?.len() != bytes {
            return Err(io::Error::other("it has another length than was said"));
        }
        let mut hasher = blake3::Hasher::new();
        io::copy(&mut file, &mut hasher)?;
        Ok(ContentHash(*hasher.finalize().as_bytes()))
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(hash)) => Ok(hash),
        Ok(Err(error)) => Err(format!("a file cannot be hashed: {error}")),
        Err(error) => Err(format!("a file could not be hashed: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_links() -> watch::Receiver<Option<Link>> {
        watch::Sender::new(None).subscribe()
    }

    #[tokio::test]
    async fn what_is_whole_is_found_and_what_is_damaged_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let content = b"some component";
        let hash = ContentHash::of(content);
        fs::write(dir.path().join(hash.to_string()), content).unwrap();
        fs::write(dir.path().join("x.part"), b"half").unwrap();
        let cache = Artifacts::open(dir.path().to_owned(), 1 << 20).unwrap();
        assert!(!dir.path().join("x.part").exists());
        let found = cache.get(no_links(), hash, content.len() as u64).await.unwrap();
        assert_eq!(fs::read(found.path()).unwrap(), content);
        let other = ContentHash::of(b"another");
        fs::write(dir.path().join(other.to_string()), b"anothes").unwrap();
        let missing = cache.get(no_links(), other, 7).await.unwrap_err();
        assert!(missing.contains("stopping"), "it must be fetched again: {missing}");
    }

    #[tokio::test]
    async fn the_cache_is_bounded_and_spares_what_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Artifacts::open(dir.path().to_owned(), 25).unwrap();
        let mut pins = Vec::new();
        for (i, age) in [(0_u8, 300), (1, 200), (2, 100), (3, 0)] {
            let content = [i; 10];
            let hash = ContentHash::of(&content);
            let path = dir.path().join(hash.to_string());
            fs::write(&path, content).unwrap();
            let used = SystemTime::now() - std::time::Duration::from_secs(age);
            fs::File::open(&path).unwrap().set_modified(used).unwrap();
            if i == 0 {
                pins.push(cache.pin(hash));
            }
        }
        cache.evict();
        let left: Vec<bool> = (0..4_u8)
            .map(|i| dir.path().join(ContentHash::of(&[i; 10]).to_string()).exists())
            .collect();
        assert_eq!(left, [true, false, false, true]);
    }
}
