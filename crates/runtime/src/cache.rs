//! Compiled code, by the hash of its component: compiled once, mapped read-only by every lease.
//!
//! Machine code is trusted as it is loaded, so only this process writes to the cache's directory,
//! a file appears there complete or not at all, and its name says for which engine it was compiled.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use kinesis_protocol::ContentHash;
use parking_lot::Mutex;

use crate::RuntimeError;

/// The directory of compiled code.
#[derive(Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    bytes_max: u64,
    /// One turn for each key, so that code is compiled once however many ask for it.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Cache {
    pub(crate) fn open(dir: PathBuf, bytes_max: u64) -> Result<Self, RuntimeError> {
        crate::host::make_private_dir(&dir)?;
        // What was being written when an earlier process died.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.path().extension().is_none_or(|extension| extension != "code") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self { dir, bytes_max, turns: Mutex::default() })
    }

    /// The name of the code of a component under an engine.
    pub(crate) fn key(component: &ContentHash, engine: &str, deterministic: bool) -> String {
        let engine: String = engine.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
        format!("{component}-{engine}{}", if deterministic { "-d" } else { "" })
    }

    /// Where the code of `key` lies, if it does.
    pub(crate) fn get(&self, key: &str) -> Option<PathBuf> {
        let path = self.dir.join(format!("{key}.code"));
        let file = File::open(&path).ok()?;
        // For the order of eviction.
        let _ = file.set_modified(SystemTime::now());
        Some(path)
    }

    /// The turn to compile `key`.
    pub(crate) async fn turn(&self, key: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key.to_owned()).or_default())
        };
        turn.lock_owned().await
    }

    /// A file to compile `key` into.
    pub(crate) fn begin(&self, key: &str) -> Result<(PathBuf, File), RuntimeError> {
        let path = self.dir.join(format!("{key}.new"));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(RuntimeError::file("create", &path))?;
        Ok((path, file))
    }

    /// Takes a finished file into the cache; makes room for it.
    pub(crate) fn finish(
        &self,
        key: &str,
        new: &Path,
        file: &File,
    ) -> Result<PathBuf, RuntimeError> {
        let path = self.dir.join(format!("{key}.code"));
        file.sync_all().map_err(RuntimeError::file("write", new))?;
        fs::rename(new, &path).map_err(RuntimeError::file("rename", new))?;
        self.evict(&path);
        Ok(path)
    }

    /// Forgets code that turned out not to load.
    pub(crate) fn remove(&self, key: &str) {
        let _ = fs::remove_file(self.dir.join(format!("{key}.code")));
    }

    /// Leases hold links of their own, so that nothing is taken from under them.
    fn evict(&self, keep: &Path) {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(&self.dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let meta = entry.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), entry.path()))
            })
            .collect();
        files.sort();
        let mut sum: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if sum <= self.bytes_max {
                return;
            }
            if path != keep && fs::remove_file(&path).is_ok() {
                sum = sum.saturating_sub(bytes);
            }
        }
    }
}

/// A link to `from`, or a copy where a link cannot be made.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_oldest_code_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 250).unwrap();
        for key in ["a", "b", "c"] {
            let (path, mut file) = cache.begin(key).unwrap();
            assert!(cache.get(key).is_none(), "half-written code must not be found");
            file.write_all(&[0; 100]).unwrap();
            cache.finish(key, &path, &file).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        assert!(cache.get("a").is_none());
        assert!(cache.get("b").is_some() && cache.get("c").is_some());
    }

    #[test]
    fn what_was_half_written_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().join("cache"), 250).unwrap();
        let (path, _file) = cache.begin("a").unwrap();
        drop(cache);
        Cache::open(dir.path().join("cache"), 250).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_hostile_engine_name_stays_inside() {
        let key = Cache::key(&ContentHash([1; 32]), "../../etc", false);
        assert!(!key.contains('/') && !key.contains('.'), "{key}");
    }
}
