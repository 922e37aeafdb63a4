//! What a utility must not forget: accounts, apps, leases, the ledger, and artifacts.
//!
//! Two engines stand behind one [`Store`]: SQLite, embedded, and PostgreSQL, for several utility
//! instances over one database. Every statement is written in the dialect both speak, and one
//! conformance suite runs on both.
//!
//! Invariants:
//! * Writes of more than one statement are serial on either engine: SQLite by its own lock,
//!   PostgreSQL by one advisory lock. What a transaction read still holds when it commits.
//! * Every ledger transaction sums to zero per currency, and every balance is the sum of its
//!   postings ([`Store::audit`] proves it).
//! * Money follows *cumulative* counters: a posting is the difference between what all the usage so
//!   far costs and what was posted before. Posting twice, or after a crash, posts nothing new.
//! * An epoch and a tick number are handed out once, durably, before anyone acts on them.
//! * Whatever a call returned `Ok` for survives `kill -9`.
//!
//! | module | keeps |
//! | --- | --- |
//! | [`accounts`] | customers, their keys and deposits |
//! | [`apps`] | apps and their versions |
//! | [`leases`] | leases, epochs, counters |
//! | [`jobs`] | the parts of jobs |
//! | [`shown`] | what pages show, at a cost that does not grow |
//! | [`billing`] | usage turned into postings |
//! | [`payments`] | ticks, signed roots, earnings, withdrawals |
//! | [`desk`] | trades with the market |
//! | [`prices`] | what one JOULE costs |
//! | [`intents`] | transactions that are to happen once |
//! | [`chain_events`] | what contracts told |
//! | [`ledger`] | double entry, totals, the audit |
//! | [`nodes`] | nodes that ever joined |
//! | [`events`] | what happened, newest kept |
//! | [`artifacts`] | components, files and outputs by content hash |

/// Stores an enum as one word: `as_str` and `FromStr`, which are each other's inverse.
macro_rules! word {
    ($name:ident, $what:literal, { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $name {
            /// The word it is stored and shown as.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(s: &str) -> Result<Self, String> {
                match s {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!(concat!("no ", $what, " is called \"{}\""), s)),
                }
            }
        }
    };
}

pub mod accounts;
pub mod apps;
pub mod artifacts;
pub mod billing;
pub mod chain_events;
mod db;
pub mod desk;
mod error;
pub mod events;
mod idempotency;
pub mod intents;
pub mod jobs;
pub mod leases;
pub mod ledger;
pub mod nodes;
pub mod payments;
pub mod prices;
mod schema;
pub mod shown;

pub use accounts::{Account, ApiKey, Idempotency, IdempotencyKey};
pub use apps::{App, AppKind, AppState, ArtifactRef, Deployed, NewVersion, Version};
pub use artifacts::{Artifacts, ArtifactsError};
pub use billing::{
    Amounts, AppBill, AttemptEnd, AttemptEnded, LeasePosted, Then, TickPosted, TickPosting,
};
pub use chain_events::{EventFilter, IndexedBlock, NewestEvents, StoredChainEvent};
pub use db::{Engine, Work};
pub use desk::{DeskBooks, DeskTrade, NewTrade, TradeBegun, TradeMoved, TradePlace, TradeSide};
pub use error::StoreError;
pub use events::StoredEvent;
pub use intents::{IntentWrite, StoredIntent};
pub use jobs::{JobPart, PartState};
pub use leases::{Lease, LeaseRole, NewLease, Terms};
pub use ledger::{Audit, LedgerAccount, Totals};
pub use nodes::NodeRecord;
pub use payments::{Earning, Withdrawal};
pub use prices::BelievedPrice;
pub use shown::{AppSums, Attempt, Progress, VersionHead};

/// The database of a utility. Cheap to clone; all clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    db: db::Db,
}

impl Store {
    /// Opens the database at `url` and brings its schema up to date: `sqlite:///path/to/file`
    /// (created where it is missing, mode 0600), `sqlite::memory:` (gone with the last clone), or
    /// `postgres://user@host/database`.
    ///
    /// # Errors
    /// Where the URL names no known engine, the engine cannot be reached, or the schema is newer
    /// than this build.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let db = db::Db::open(url).await?;
        schema::migrate(&db).await?;
        Ok(Self { db })
    }

    /// Which engine stands behind this store.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.db.engine()
    }

    /// What the database was asked so far, by this store and its clones.
    #[must_use]
    pub fn work(&self) -> Work {
        self.db.work()
    }

    /// Closes all connections, after what is in progress.
    pub async fn close(&self) {
        self.db.close().await;
    }
}
