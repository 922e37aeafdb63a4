//! What can go wrong in the database.

use kinesis_protocol::{AppId, LeaseId};

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no engine.
    #[error(
        "\"{0}\" is not a database URL: expected sqlite:///path/to/file or postgres://user@host/database"
    )]
    Url(String),
    /// The engine failed, or cannot be reached.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// The file of the database could not be prepared.
    #[error("the database file could not be prepared")]
    File(#[source] std::io::Error),
    /// The database was written by a newer build.
    #[error("the database has schema {found}, this build knows up to {known}: run a newer build")]
    SchemaNewer {
        /// The schema found.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// Something stored cannot be read back.
    #[error("the database holds a {what} that cannot be read: {detail}")]
    Corrupt {
        /// What kind of thing.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no such thing.
    #[error("no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its id or name.
        id: String,
    },
    /// The name belongs to another account.
    #[error("the name \"{0}\" is taken by another account")]
    NameTaken(String),
    /// A host of the manifest belongs to another app.
    #[error("the host \"{0}\" is another app's: delete that, or deploy it without the host")]
    HostTaken(String),
    /// An app that is wanted is to be deleted.
    #[error("app \"{0}\" is running: stop it before it is deleted")]
    Wanted(String),
    /// An app is deployed again as another kind.
    #[error("app \"{0}\" is of another kind: a service stays a service, a job stays a job")]
    KindChanged(String),
    /// There is no version to go back to.
    #[error("app {0} has no earlier version")]
    NoEarlierVersion(AppId),
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used before, for a different request")]
    KeyReused,
    /// An idempotency key is malformed.
    #[error("an idempotency key is 1 to 128 visible ASCII characters")]
    KeyMalformed,
    /// A value is out of bounds.
    #[error("{0}")]
    Invalid(String),
    /// A lease was inserted with an epoch that is not the newest, or twice.
    #[error("lease {0} does not hold the newest epoch of its replica")]
    StaleEpoch(LeaseId),
    /// A tick was signed with different content before.
    #[error("tick {tick} of series {series} was signed before, with another root")]
    Equivocation {
        /// The series.
        series: u64,
        /// The tick.
        tick: u64,
    },
    /// A tick was never reserved.
    #[error("tick {tick} of series {series} was not reserved")]
    NotReserved {
        /// The series.
        series: u64,
        /// The tick.
        tick: u64,
    },
    /// An amount does not fit into 64 bits.
    #[error("an amount does not fit: ledger amounts stay below 9.2 billion units")]
    Overflow,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl StoreError {
    pub(crate) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    pub(crate) fn corrupt(what: &'static str, detail: impl ToString) -> Self {
        Self::Corrupt { what, detail: detail.to_string() }
    }
}
