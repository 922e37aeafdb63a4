//! `evm_snapshot` and `evm_revert`: test suites go back to where they began.
//!
//! A snapshot is a savepoint of the database, so that all of it goes back at once. It keeps the
//! pages of that time from being used again, and so there are few, and not for long; they are gone
//! with the process.

use redb::{Database, Savepoint};

use super::state::{View, failed};
use crate::ChainError;

/// The most snapshots at once; a further one replaces the oldest.
const SNAPSHOTS_MAX: usize = 64;
/// After how many blocks a snapshot is dropped.
const BLOCKS_MAX: u64 = 50_000;

/// The snapshots that can be gone back to, the oldest first.
#[derive(Default)]
pub(super) struct Snapshots {
    taken: Vec<Taken>,
    last: u64,
}

struct Taken {
    id: u64,
    head: u64,
    savepoint: Savepoint,
}

impl Snapshots {
    /// Takes one; its id.
    pub(super) fn take(&mut self, database: &Database) -> Result<u64, ChainError> {
        if self.taken.len() >= SNAPSHOTS_MAX {
            self.taken.remove(0);
        }
        let head = View::open(database)?.head()?.header.number;
        let write = database.begin_write().map_err(failed)?;
        let savepoint = write.ephemeral_savepoint().map_err(failed)?;
        write.abort().map_err(failed)?;
        self.last += 1;
        self.taken.push(Taken { id: self.last, head, savepoint });
        Ok(self.last)
    }

    /// Goes back to a snapshot, which ends it and all later ones. Whether there was one.
    pub(super) fn restore(&mut self, database: &Database, id: u64) -> Result<bool, ChainError> {
        let Some(index) = self.taken.iter().position(|taken| taken.id == id) else {
            return Ok(false);
        };
        let mut write = database.begin_write().map_err(failed)?;
        write.restore_savepoint(&self.taken[index].savepoint).map_err(failed)?;
        write.commit().map_err(failed)?;
        self.taken.truncate(index);
        Ok(true)
    }

    /// Drops what nobody will want back any more.
    pub(super) fn forget_before(&mut self, head: u64) {
        self.taken.retain(|taken| head.saturating_sub(taken.head) < BLOCKS_MAX);
    }
}
