//! The one seam between the store and its engines: values in, rows out, and serial transactions.
//!
//! Statements are written with `$1`, `$2`, … and use only `BIGINT` and `TEXT`, so that both engines
//! take them unchanged. A transaction that is dropped without [`Tx::commit`] is rolled back.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions, PgPool, Postgres, Row as _, SqliteConnection, SqlitePool, Transaction,
    postgres::{PgPoolOptions, PgRow},
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::StoreError;

/// The advisory lock that makes writers serial on PostgreSQL: "kinesis" in ASCII.
const WRITER_LOCK: i64 = 0x006b_696e_6573_6973;
/// How long a statement waits for another process's write to end.
const BUSY: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: u32 = 8;

/// What a database was asked: for whoever wonders where the time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Reading statements outside transactions.
    pub reads: u64,
    /// Rows they returned.
    pub rows: u64,
}

/// Which database engine stands behind a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Embedded, one file.
    Sqlite,
    /// A server, shared by several instances.
    Postgres,
}

/// A value bound to a statement.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
}

macro_rules! value_from {
    ($($from:ty => |$v:ident| $value:expr),+ $(,)?) => {
        $(impl From<$from> for Value {
            fn from($v: $from) -> Self {
                $value
            }
        })+
    };
}

value_from! {
    i64 => |v| Self::Int(Some(v)),
    u32 => |v| Self::Int(Some(v.into())),
    // Times, ticks and epochs: they count up from small numbers and never get there.
    u64 => |v| Self::Int(Some(i64::try_from(v).unwrap_or(i64::MAX))),
    bool => |v| Self::Int(Some(v.into())),
    Option<u64> => |v| Self::Int(v.map(|v| i64::try_from(v).unwrap_or(i64::MAX))),
    Option<i64> => |v| Self::Int(v),
    &str => |v| Self::Text(Some(v.to_owned())),
    String => |v| Self::Text(Some(v)),
    Option<String> => |v| Self::Text(v),
    Option<&str> => |v| Self::Text(v.map(str::to_owned)),
}

/// The values of a statement: anything that converts to a [`Value`].
macro_rules! args {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::db::Value::from($value)),*]
    };
}
pub(crate) use args;

/// A row of either engine, read by column number.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! column {
    ($name:ident, $type:ty) => {
        pub(crate) fn $name(&self, column: usize) -> Result<$type, StoreError> {
            Ok(match self {
                Self::Sqlite(row) => row.try_get(column)?,
                Self::Postgres(row) => row.try_get(column)?,
            })
        }
    };
}

impl Row {
    column!(int, i64);
    column!(opt_int, Option<i64>);
    column!(text, String);
    column!(opt_text, Option<String>);

    /// A number that is never negative.
    pub(crate) fn uint(&self, column: usize) -> Result<u64, StoreError> {
        u64::try_from(self.int(column)?).map_err(|e| StoreError::corrupt("number", e))
    }

    pub(crate) fn opt_uint(&self, column: usize) -> Result<Option<u64>, StoreError> {
        self.opt_int(column)?
            .map(|v| u64::try_from(v).map_err(|e| StoreError::corrupt("number", e)))
            .transpose()
    }

    pub(crate) fn u32(&self, column: usize) -> Result<u32, StoreError> {
        u32::try_from(self.int(column)?).map_err(|e| StoreError::corrupt("number", e))
    }

    /// An id, an address, a word: anything that parses from its text.
    pub(crate) fn parse<T>(&self, column: usize, what: &'static str) -> Result<T, StoreError>
    where
        T: std::str::FromStr<Err: fmt::Display>,
    {
        self.text(column)?.parse().map_err(|e| StoreError::corrupt(what, e))
    }

    pub(crate) fn json<T>(&self, column: usize, what: &'static str) -> Result<T, StoreError>
    where
        T: serde::de::DeserializeOwned,
    {
        serde_json::from_str(&self.text(column)?).map_err(|e| StoreError::corrupt(what, e))
    }
}

/// The JSON a column keeps. These types have string keys and no failing serializer.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("stored types serialize")
}

/// SQLite's one writing connection.
struct Writer {
    conn: SqliteConnection,
    /// Whether a transaction was begun and neither committed nor rolled back.
    open: bool,
}

impl Writer {
    /// Rolls back what a dropped transaction left.
    async fn settle(&mut self) {
        if self.open {
            // Fails where the transaction never began, or the engine has rolled it back itself.
            sqlx::query("ROLLBACK").execute(&mut self.conn).await.ok();
            self.open = false;
        }
    }
}

#[derive(Clone)]
enum Backend {
    Sqlite {
        writer: Arc<Mutex<Writer>>,
        /// `None` for a database in memory, which has one connection.
        readers: Option<SqlitePool>,
    },
    Postgres(PgPool),
}

/// The connections of a store.
#[derive(Clone)]
pub(crate) struct Db(Backend, Arc<Counted>);

#[derive(Default)]
struct Counted {
    reads: AtomicU64,
    rows: AtomicU64,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Db").field(&self.engine()).finish()
    }
}

macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $args {
            query = match value {
                Value::Int(v) => query.bind(v),
                Value::Text(v) => query.bind(v),
            };
        }
        query
    }};
}

fn prepare_file(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty() && !p.exists()) {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(parent)?;
    }
    // SQLite gives the files beside it the same mode.
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

impl Db {
    fn over(backend: Backend) -> Self {
        Self(backend, Arc::default())
    }

    pub(crate) fn work(&self) -> Work {
        let Counted { reads, rows } = &*self.1;
        Work { reads: reads.load(Ordering::Relaxed), rows: rows.load(Ordering::Relaxed) }
    }

    pub(crate) async fn open(url: &str) -> Result<Self, StoreError> {
        if url == "sqlite::memory:" {
            let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
            let conn = options.connect().await?;
            let writer = Arc::new(Mutex::new(Writer { conn, open: false }));
            return Ok(Self::over(Backend::Sqlite { writer, readers: None }));
        }
        if let Some(path) = url.strip_prefix("sqlite://").filter(|path| !path.is_empty()) {
            return Self::open_file(PathBuf::from(path)).await;
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS_MAX)
                .acquire_timeout(BUSY)
                .connect(url)
                .await?;
            return Ok(Self::over(Backend::Postgres(pool)));
        }
        // A URL may hold a password: its scheme is enough.
        Err(StoreError::Url(url.split("://").next().unwrap_or_default().chars().take(40).collect()))
    }

    async fn open_file(path: PathBuf) -> Result<Self, StoreError> {
        prepare_file(&path).map_err(StoreError::File)?;
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let conn = options.clone().connect().await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(BUSY)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.pragma("query_only", "on"));
        let writer = Arc::new(Mutex::new(Writer { conn, open: false }));
        Ok(Self::over(Backend::Sqlite { writer, readers: Some(readers) }))
    }

    pub(crate) fn engine(&self) -> Engine {
        match &self.0 {
            Backend::Sqlite { .. } => Engine::Sqlite,
            Backend::Postgres(_) => Engine::Postgres,
        }
    }

    pub(crate) async fn close(&self) {
        match &self.0 {
            Backend::Sqlite { writer, readers } => {
                if let Some(readers) = readers {
                    readers.close().await;
                }
                let mut writer = writer.lock().await;
                writer.settle().await;
                // Leaves one file: the log is folded in.
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut writer.conn).await.ok();
            }
            Backend::Postgres(pool) => pool.close().await,
        }
    }

    /// Begins a transaction that no other writes run beside.
    pub(crate) async fn begin(&self) -> Result<Tx, StoreError> {
        match &self.0 {
            Backend::Sqlite { writer, .. } => {
                let mut writer = Arc::clone(writer).lock_owned().await;
                writer.settle().await;
                // Set first: where this future is dropped half-way, the next one rolls back.
                writer.open = true;
                let mut writing = Writing(Some(writer));
                sqlx::query("BEGIN IMMEDIATE").execute(writing.conn()).await?;
                Ok(Tx(Inner::Sqlite(writing)))
            }
            Backend::Postgres(pool) => {
                // Every statement sees what was committed before the lock was given.
                let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
                sqlx::query("SELECT pg_advisory_xact_lock($1)")
                    .bind(WRITER_LOCK)
                    .execute(&mut *tx)
                    .await?;
                Ok(Tx(Inner::Postgres(tx)))
            }
        }
    }

    /// Reads what was committed.
    pub(crate) async fn all(
        &self,
        sql: &'static str,
        args: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = match &self.0 {
            Backend::Sqlite { readers: Some(readers), .. } => {
                sqlite_rows(bound!(sql, args).fetch_all(readers).await)
            }
            Backend::Sqlite { writer, readers: None } => {
                let mut writer = writer.lock().await;
                writer.settle().await;
                sqlite_rows(bound!(sql, args).fetch_all(&mut writer.conn).await)
            }
            Backend::Postgres(pool) => postgres_rows(bound!(sql, args).fetch_all(pool).await),
        }?;
        self.1.reads.fetch_add(1, Ordering::Relaxed);
        self.1.rows.fetch_add(rows.len() as u64, Ordering::Relaxed);
        Ok(rows)
    }

    pub(crate) async fn one(
        &self,
        sql: &'static str,
        args: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }
}

fn sqlite_rows(rows: Result<Vec<SqliteRow>, sqlx::Error>) -> Result<Vec<Row>, StoreError> {
    Ok(rows?.into_iter().map(Row::Sqlite).collect())
}

fn postgres_rows(rows: Result<Vec<PgRow>, sqlx::Error>) -> Result<Vec<Row>, StoreError> {
    Ok(rows?.into_iter().map(Row::Postgres).collect())
}

/// SQLite's writing connection, within a transaction. Dropped without a commit it is rolled back
/// before anyone else gets the connection.
struct Writing(Option<OwnedMutexGuard<Writer>>);

impl Writing {
    fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.0.as_mut().expect("taken at commit and drop only").conn
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(mut writer) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { writer.settle().await });
        }
    }
}

enum Inner {
    Sqlite(Writing),
    Postgres(Transaction<'static, Postgres>),
}

/// A transaction; rolled back unless it is committed.
pub(crate) struct Tx(Inner);

impl Tx {
    /// Runs a statement. Returns how many rows it changed.
    pub(crate) async fn run(
        &mut self,
        sql: &'static str,
        args: Vec<Value>,
    ) -> Result<u64, StoreError> {
        Ok(match &mut self.0 {
            Inner::Sqlite(writer) => {
                bound!(sql, args).execute(writer.conn()).await?.rows_affected()
            }
            Inner::Postgres(tx) => bound!(sql, args).execute(&mut **tx).await?.rows_affected(),
        })
    }

    /// Runs several statements without values.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), StoreError> {
        match &mut self.0 {
            Inner::Sqlite(writer) => {
                sqlx::raw_sql(sql).execute(writer.conn()).await?;
            }
            Inner::Postgres(tx) => {
                sqlx::raw_sql(sql).execute(&mut **tx).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn all(
        &mut self,
        sql: &'static str,
        args: Vec<Value>,
    ) -> Result<Vec<Row>, StoreError> {
        match &mut self.0 {
            Inner::Sqlite(writer) => sqlite_rows(bound!(sql, args).fetch_all(writer.conn()).await),
            Inner::Postgres(tx) => postgres_rows(bound!(sql, args).fetch_all(&mut **tx).await),
        }
    }

    pub(crate) async fn one(
        &mut self,
        sql: &'static str,
        args: Vec<Value>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.all(sql, args).await?.into_iter().next())
    }

    /// Makes it durable.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            Inner::Sqlite(mut writing) => {
                sqlx::query("COMMIT").execute(writing.conn()).await?;
                if let Some(mut writer) = writing.0.take() {
                    writer.open = false;
                }
            }
            Inner::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
