//! The agent's book: leases, their counters, their endings, the newest epochs and what was earned,
//! in one redb file.
//!
//! Invariants:
//! - What a heartbeat reports was committed, synced, before the heartbeat was sent.
//! - Counters and what they earned are written in one transaction: a crash between them cannot
//!   happen.
//! - A lease leaves the book only after the utility said that its ending is recorded.
//!
//! Every call blocks for a disk sync at most; callers on the async runtime go through
//! `spawn_blocking`.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use kinesis_protocol::{
    Address, AppId, Counters, Ending, Epoch, LeaseId, LeaseSpec, NanoJoule, NanoUsd, NodeId,
    Replica,
};
use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};

use crate::AgentError;

const LEASES: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("leases");
const METERS: TableDefinition<'_, [u8; 16], &[u8]> = TableDefinition::new("meters");
const EPOCHS: TableDefinition<'_, ReplicaKey, NewestLease> = TableDefinition::new("newest");
const EARNED: TableDefinition<'_, ([u8; 20], u64), i64> = TableDefinition::new("earned");
const SETTINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("settings");

/// A utility, its app and the replica.
type ReplicaKey = ([u8; 32], [u8; 16], u32);
/// The newest epoch, and the lease that has it.
type NewestLease = (u64, [u8; 16]);

/// The most replicas of one utility whose newest epoch is remembered; those of its oldest apps are
/// forgotten first, since ids sort by the time they were made.
pub(crate) const EPOCHS_MAX: usize = 20_000;

/// A replica, as a utility names it: what one utility says of an app binds no other.
pub(crate) type Named = (NodeId, AppId, Replica);

/// The first and the last name that a utility can give.
pub(crate) fn names_of(utility: NodeId) -> std::ops::RangeInclusive<Named> {
    let app = |byte| AppId::from_bytes([byte; 16]);
    (utility, app(0), Replica(0))..=(utility, app(u8::MAX), Replica(u32::MAX))
}

/// Who pays: a utility's series on chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Payer {
    /// The utility's address.
    pub utility: Address,
    /// Its payment series.
    pub series: u64,
}

/// A lease as the book holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeaseRecord {
    /// The node id of the utility that asked.
    pub utility: NodeId,
    /// Who pays for it.
    pub payer: Payer,
    /// What was granted.
    pub spec: LeaseSpec,
    /// How it ended, once it has.
    #[serde(default)]
    pub ending: Option<Ending>,
}

/// What a lease has used, and what of that has been counted as earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Meter {
    /// Everything it used.
    pub counters: Counters,
    /// The part of its cost that is in the payer's earned sum.
    pub accounted_nanousd: NanoUsd,
}

/// Everything that was in the book when it was opened.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub leases: HashMap<LeaseId, (LeaseRecord, Meter)>,
    pub epochs: BTreeMap<Named, (Epoch, LeaseId)>,
    pub earned: HashMap<Payer, NanoJoule>,
}

/// The book.
#[derive(Debug)]
pub(crate) struct Book {
    db: Database,
}

impl Book {
    /// Opens the book at `path`, makes one where there is none.
    ///
    /// # Errors
    /// [`AgentError::Busy`] where another process has it open; [`AgentError::Book`] otherwise.
    pub(crate) fn open(path: &Path) -> Result<Self, AgentError> {
        let db = Database::builder().set_cache_size(4 << 20).create(path).map_err(|error| {
            if matches!(error, redb::DatabaseError::DatabaseAlreadyOpen) {
                let dir = path.parent().unwrap_or(path).to_owned();
                AgentError::Busy { path: dir }
            } else {
                error.into()
            }
        })?;
        let book = Self { db };
        let tx = book.db.begin_write()?;
        tx.open_table(LEASES)?;
        tx.open_table(METERS)?;
        tx.open_table(EPOCHS)?;
        tx.open_table(EARNED)?;
        tx.open_table(SETTINGS)?;
        tx.commit()?;
        Ok(book)
    }

    /// Reads everything.
    pub(crate) fn contents(&self) -> Result<Contents, AgentError> {
        let tx = self.db.begin_read()?;
        let mut all = Contents::default();
        let meters = tx.open_table(METERS)?;
        for entry in tx.open_table(LEASES)?.iter()? {
            let (id, record) = entry?;
            let id = id.value();
            let record = serde_json::from_slice(record.value()).map_err(AgentError::Record)?;
            let meter = match meters.get(id)? {
                None => Meter::default(),
                Some(meter) => serde_json::from_slice(meter.value()).map_err(AgentError::Record)?,
            };
            all.leases.insert(LeaseId::from_bytes(id), (record, meter));
        }
        for entry in tx.open_table(EPOCHS)?.iter()? {
            let (key, value) = entry?;
            let ((utility, app, replica), (epoch, lease)) = (key.value(), value.value());
            all.epochs.insert(
                (NodeId(utility), AppId::from_bytes(app), Replica(replica)),
                (Epoch(epoch), LeaseId::from_bytes(lease)),
            );
        }
        for entry in tx.open_table(EARNED)?.iter()? {
            let (key, value) = entry?;
            let (utility, series) = key.value();
            all.earned.insert(
                Payer { utility: Address::from(utility), series },
                NanoJoule(value.value()),
            );
        }
        Ok(all)
    }

    /// Writes a lease that is about to be granted, and its epoch as the replica's newest; that of
    /// `forgotten` makes room for it.
    pub(crate) fn grant(
        &self,
        record: &LeaseRecord,
        forgotten: Option<Named>,
    ) -> Result<(), AgentError> {
        let id = *record.spec.lease.as_bytes();
        let key = record.spec.key;
        let json = serde_json::to_vec(record).map_err(AgentError::Record)?;
        let tx = self.db.begin_write()?;
        {
            tx.open_table(LEASES)?.insert(id, json.as_slice())?;
            let mut epochs = tx.open_table(EPOCHS)?;
            let raw = |(utility, app, replica): Named| (utility.0, *app.as_bytes(), replica.0);
            epochs.insert(raw((record.utility, key.app, key.replica)), (key.epoch.0, id))?;
            if let Some(forgotten) = forgotten {
                epochs.remove(raw(forgotten))?;
            }
        }
        tx.commit()?;
        Ok(())
    }

    /// Writes counters, and what their payers owe for them in all.
    pub(crate) fn meter(
        &self,
        meters: &[(LeaseId, Meter)],
        earned: &[(Payer, NanoJoule)],
    ) -> Result<(), AgentError> {
        let tx = self.db.begin_write()?;
        Self::write_meters(&tx, meters, earned)?;
        tx.commit()?;
        Ok(())
    }

    /// Writes how a lease ended, with its last counters.
    pub(crate) fn end(
        &self,
        record: &LeaseRecord,
        meter: Meter,
        earned: Option<(Payer, NanoJoule)>,
    ) -> Result<(), AgentError> {
        let id = record.spec.lease;
        let json = serde_json::to_vec(record).map_err(AgentError::Record)?;
        let tx = self.db.begin_write()?;
        tx.open_table(LEASES)?.insert(*id.as_bytes(), json.as_slice())?;
        Self::write_meters(&tx, &[(id, meter)], earned.as_slice())?;
        tx.commit()?;
        Ok(())
    }

    /// Forgets a lease whose ending is recorded.
    pub(crate) fn forget(&self, lease: LeaseId) -> Result<(), AgentError> {
        let tx = self.db.begin_write()?;
        tx.open_table(LEASES)?.remove(*lease.as_bytes())?;
        tx.open_table(METERS)?.remove(*lease.as_bytes())?;
        tx.commit()?;
        Ok(())
    }

    /// A setting that outlives the process, such as that the owner paused the node.
    pub(crate) fn setting(&self, name: &str) -> Result<Option<String>, AgentError> {
        let tx = self.db.begin_read()?;
        let value = tx.open_table(SETTINGS)?.get(name)?.map(|value| value.value().to_owned());
        Ok(value)
    }

    /// Writes a setting; `None` removes it.
    pub(crate) fn set(&self, name: &str, value: Option<&str>) -> Result<(), AgentError> {
        let tx = self.db.begin_write()?;
        {
            let mut settings = tx.open_table(SETTINGS)?;
            match value {
                Some(value) => settings.insert(name, value)?,
                None => settings.remove(name)?,
            };
        }
        tx.commit()?;
        Ok(())
    }

    fn write_meters(
        tx: &redb::WriteTransaction,
        meters: &[(LeaseId, Meter)],
        earned: &[(Payer, NanoJoule)],
    ) -> Result<(), AgentError> {
        let mut table = tx.open_table(METERS)?;
        for (lease, meter) in meters {
            let json = serde_json::to_vec(meter).map_err(AgentError::Record)?;
            table.insert(*lease.as_bytes(), json.as_slice())?;
        }
        let mut table = tx.open_table(EARNED)?;
        for (payer, sum) in earned {
            table.insert((payer.utility.into_array(), payer.series), sum.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinesis_protocol::{
        ContentHash, LeaseKey, Prices, Resources, Workload,
        lease::{JobWorkload, Program},
    };

    pub(crate) fn record(epoch: u64) -> LeaseRecord {
        let program = Program {
            component: ContentHash([1; 32]),
            component_bytes: 1,
            env: [].into(),
            files: vec![],
            network: vec![],
        };
        LeaseRecord {
            utility: NodeId([1; 32]),
            payer: Payer { utility: Address::repeat_byte(1), series: 7 },
            spec: LeaseSpec {
                lease: LeaseId::random(),
                key: LeaseKey {
                    app: AppId::from_bytes([1; 16]),
                    replica: Replica(0),
                    epoch: Epoch(epoch),
                },
                app_name: "render".into(),
                standby: false,
                workload: Workload::Job(JobWorkload {
                    program,
                    args: vec![],
                    wall_ms_max: 1,
                    seed: None,
                }),
                granted: Resources::default(),
                prices: Prices::default(),
                term_ms: 1000,
                audit: None,
                sla: None,
            },
            ending: None,
        }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("book.redb");
        let (first, mut second) = (record(1), record(2));
        let counters = Counters { wall_ms: 5, ..Counters::default() };
        let meter = Meter { counters, accounted_nanousd: NanoUsd(3) };
        {
            let book = Book::open(&path).unwrap();
            assert!(matches!(Book::open(&path), Err(AgentError::Busy { .. })));
            book.grant(&first, None).unwrap();
            book.grant(&second, None).unwrap();
            book.meter(&[(first.spec.lease, meter)], &[(first.payer, NanoJoule(9))]).unwrap();
            second.ending = Some(Ending::Released);
            book.end(&second, meter, Some((second.payer, NanoJoule(11)))).unwrap();
            book.set("paused", Some("lunch")).unwrap();
        }
        let book = Book::open(&path).unwrap();
        let all = book.contents().unwrap();
        assert_eq!(all.leases[&first.spec.lease], (first.clone(), meter));
        assert_eq!(all.leases[&second.spec.lease], (second.clone(), meter));
        let newest = all.epochs[&(first.utility, first.spec.key.app, Replica(0))];
        assert_eq!(newest, (Epoch(2), second.spec.lease));
        assert_eq!(all.earned[&first.payer], NanoJoule(11));
        assert_eq!(book.setting("paused").unwrap().as_deref(), Some("lunch"));
        book.forget(first.spec.lease).unwrap();
        book.set("paused", None).unwrap();
        assert_eq!(book.contents().unwrap().leases.len(), 1);
        assert_eq!(book.setting("paused").unwrap(), None);
    }
}
