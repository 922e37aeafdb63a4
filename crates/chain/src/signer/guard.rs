//! The second wall against equivocation: which root was signed last in each series.
//!
//! The utility reserves each tick durably before it asks for a signature. A utility that was taken
//! over need not; but this file is the signing process's own. It is written and synced before the
//! signature leaves, so that no crash and no caller gets two roots for one tick.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use alloy::primitives::{Address, B256};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::ChainError;

/// The longest file that is read.
const BYTES_MAX: u64 = 4 << 20;
/// The most series that one process signs for.
const SERIES_MAX: usize = 10_000;

/// What was signed last in a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Last {
    tick: u64,
    hash: B256,
}

/// The newest signed root of every series, on disk.
#[derive(Debug)]
pub struct Guard {
    path: PathBuf,
    signed: Mutex<BTreeMap<String, Last>>,
}

impl Guard {
    /// Reads the file at `path`, where there is one.
    ///
    /// # Errors
    /// Where it cannot be read, or is damaged: then nothing may be signed.
    pub fn open(path: &Path) -> Result<Self, ChainError> {
        let failed = |source| ChainError::File { path: path.to_owned(), source };
        let signed = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(error)),
            Ok(file) => {
                let mut text = Vec::new();
                file.take(BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
                serde_json::from_slice(&text)
                    .map_err(|error| failed(io::Error::new(ErrorKind::InvalidData, error)))?
            }
        };
        Ok(Self { path: path.to_owned(), signed: Mutex::new(signed) })
    }

    /// Notes, durably, that the root with this hash is about to be signed. The newest one may be
    /// signed again. Blocks for a disk sync.
    ///
    /// # Errors
    /// [`ChainError::SignerRefused`] where its tick is older, or was signed with another root.
    pub fn pass(
        &self,
        chain_id: u64,
        escrow: Address,
        series: u64,
        tick: u64,
        hash: B256,
    ) -> Result<(), ChainError> {
        let refuse = |reason: String| Err(ChainError::SignerRefused(reason));
        let key = format!("{chain_id}:{escrow:#x}:{series}");
        let mut signed = self.signed.lock();
        match signed.get(&key) {
            Some(last) if *last == (Last { tick, hash }) => return Ok(()),
            Some(last) if last.tick == tick => {
                return refuse(format!(
                    "tick {tick} of series {series} was signed with another root"
                ));
            }
            Some(last) if last.tick > tick => {
                return refuse(format!("tick {} of series {series} was signed already", last.tick));
            }
            None if signed.len() >= SERIES_MAX => return refuse("too many series".to_owned()),
            _ => {}
        }
        let mut next = signed.clone();
        next.insert(key, Last { tick, hash });
        self.write(&next).map_err(|source| ChainError::File { path: self.path.clone(), source })?;
        *signed = next;
        Ok(())
    }

    fn write(&self, signed: &BTreeMap<String, Last>) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = file.open(&beside)?;
        file.write_all(&serde_json::to_vec(signed)?)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        match self.path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_has_one_root_even_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signed.json");
        let escrow = Address::repeat_byte(1);
        let (one, two) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let guard = Guard::open(&path).unwrap();
        guard.pass(1, escrow, 7, 5, one).unwrap();
        guard.pass(1, escrow, 7, 5, one).unwrap();
        let refused = |guard: &Guard, tick, hash| {
            let error = guard.pass(1, escrow, 7, tick, hash).unwrap_err();
            assert!(matches!(error, ChainError::SignerRefused(_)), "{error:?}");
        };
        refused(&guard, 5, two);
        refused(&guard, 4, one);
        // Another series, chain or contract counts for itself.
        guard.pass(1, escrow, 8, 1, two).unwrap();
        guard.pass(2, escrow, 7, 1, two).unwrap();
        drop(guard);
        let guard = Guard::open(&path).unwrap();
        refused(&guard, 5, two);
        guard.pass(1, escrow, 7, 5, one).unwrap();
        guard.pass(1, escrow, 7, 6, two).unwrap();
        fs::write(&path, "{").unwrap();
        Guard::open(&path).unwrap_err();
    }
}
