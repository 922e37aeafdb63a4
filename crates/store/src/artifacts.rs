//! Components, files and outputs, by content hash: in a directory or an S3 bucket.
//!
//! What is stored under a hash has that hash: it is checked while it streams in, before it becomes
//! visible, and again while it streams out.

use std::{io, path::Path, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use kinesis_protocol::{AccountId, ContentHash};
use object_store::{
    ObjectStore, ObjectStoreExt, WriteMultipart, aws::AmazonS3Builder, local::LocalFileSystem,
    memory::InMemory,
};

use crate::{Store, StoreError, db::args};

/// The largest artifact that is taken.
pub const ARTIFACT_BYTES_MAX: u64 = 4 << 30;

/// What is uploaded in one piece; longer content goes in parts of this length.
const PART_BYTES: usize = 8 << 20;
/// Parts that are under way at once.
const PARTS_AT_ONCE: usize = 4;

/// Why an artifact could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    /// The URL names no store.
    #[error("\"{0}\" is not an artifact store: expected file:///directory or s3://bucket/prefix")]
    Url(String),
    /// The content is not what its name says.
    #[error("the content hashes to {found}, not to {expected}")]
    Hash {
        /// The name it was given.
        expected: ContentHash,
        /// What it hashes to.
        found: ContentHash,
    },
    /// There is too much of it.
    #[error("the artifact is longer than {limit} bytes")]
    TooLong {
        /// The most that is taken.
        limit: u64,
    },
    /// The source of the content failed.
    #[error("the artifact's content broke off")]
    Source(#[source] io::Error),
    /// The store failed.
    #[error("the artifact store failed")]
    Backend(#[source] object_store::Error),
    /// The directory could not be prepared.
    #[error("the artifact directory could not be prepared")]
    Directory(#[source] io::Error),
}

/// Where artifacts are kept. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Artifacts {
    store: Arc<dyn ObjectStore>,
    /// What every path starts with: nothing, or ends in a slash.
    prefix: String,
}

impl From<object_store::Error> for ArtifactsError {
    fn from(error: object_store::Error) -> Self {
        Self::Backend(error)
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Passes content on, and fails at its end where it is not what its name says.
fn checked(
    content: BoxStream<'static, io::Result<Bytes>>,
    hash: ContentHash,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(
        (content, blake3::Hasher::new()),
        move |(mut content, mut hasher)| async move {
            match content.next().await {
                Some(chunk) => {
                    let chunk = chunk?;
                    hasher.update(&chunk);
                    Ok(Some((chunk, (content, hasher))))
                }
                None if hasher.finalize().as_bytes() == &hash.0 => Ok(None),
                None => Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("artifact {} is damaged where it is stored", hash.short()),
                )),
            }
        },
    )
}

impl Artifacts {
    /// Spread over 256 directories.
    fn path(&self, hash: ContentHash) -> object_store::path::Path {
        let name = hash.to_string();
        format!("{}{}/{name}", self.prefix, &name[..2]).into()
    }

    /// Opens `file:///directory` (made where it is missing, mode 0700) or `s3://bucket/prefix`
    /// (credentials and endpoint from the usual `AWS_` environment), or `memory:`, which is gone
    /// with the last clone.
    ///
    /// # Errors
    /// Where the URL names no store, or the directory cannot be made.
    pub async fn open(url: &str) -> Result<Self, ArtifactsError> {
        let unknown = || {
            // A URL may hold a secret: its scheme is enough.
            let scheme = url.split("://").next().unwrap_or_default();
            ArtifactsError::Url(scheme.chars().take(40).collect())
        };
        if url == "memory:" {
            return Ok(Self { store: Arc::new(InMemory::new()), prefix: String::new() });
        }
        if let Some(directory) = url.strip_prefix("file://").filter(|path| !path.is_empty()) {
            let directory = Path::new(directory);
            make_directory(directory).map_err(ArtifactsError::Directory)?;
            let store = LocalFileSystem::new_with_prefix(directory)?.with_fsync(true);
            return Ok(Self { store: Arc::new(store), prefix: String::new() });
        }
        let bucket = url.strip_prefix("s3://").ok_or_else(unknown)?;
        let (bucket, prefix) = bucket.split_once('/').unwrap_or((bucket, ""));
        if bucket.is_empty() {
            return Err(unknown());
        }
        let store = AmazonS3Builder::from_env().with_bucket_name(bucket).build()?;
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { store: Arc::new(store), prefix })
    }

    /// Stores a stream under `hash`, at most `bytes_max` bytes. Returns its length. What is there
    /// already is read to its end all the same, and must hash to the same.
    ///
    /// # Errors
    /// Where the content does not hash to `hash`, is too long or breaks off; nothing is stored then.
    pub async fn put<S>(
        &self,
        hash: ContentHash,
        mut content: S,
        bytes_max: u64,
    ) -> Result<u64, ArtifactsError>
    where
        S: Stream<Item = Result<Bytes, io::Error>> + Send + Unpin,
    {
        let path = self.path(hash);
        let known = self.head(hash).await?.is_some();
        let mut hasher = blake3::Hasher::new();
        let mut bytes = 0_u64;
        let mut held = BytesMut::new();
        let mut upload: Option<WriteMultipart> = None;
        let outcome: Result<(), ArtifactsError> = async {
            while let Some(chunk) = content.next().await {
                let chunk = chunk.map_err(ArtifactsError::Source)?;
                bytes = bytes.saturating_add(chunk.len() as u64);
                if bytes > bytes_max {
                    return Err(ArtifactsError::TooLong { limit: bytes_max });
                }
                hasher.update(&chunk);
                if known {
                    continue;
                }
                if let Some(upload) = &mut upload {
                    upload.wait_for_capacity(PARTS_AT_ONCE).await?;
                    upload.put(chunk);
                    continue;
                }
                held.extend_from_slice(&chunk);
                if held.len() > PART_BYTES {
                    let started = self.store.put_multipart(&path).await?;
                    let mut started = WriteMultipart::new_with_chunk_size(started, PART_BYTES);
                    started.put(held.split().freeze());
                    upload = Some(started);
                }
            }
            let found = ContentHash(*hasher.finalize().as_bytes());
            if found == hash { Ok(()) } else { Err(ArtifactsError::Hash { expected: hash, found }) }
        }
        .await;
        match (outcome, upload) {
            (Err(error), Some(upload)) => {
                // Nothing of it is visible; a failure to clean up is not the caller's problem.
                upload.abort().await.ok();
                Err(error)
            }
            (Err(error), None) => Err(error),
            (Ok(()), Some(upload)) => {
                upload.finish().await?;
                Ok(bytes)
            }
            (Ok(()), None) if known => Ok(bytes),
            (Ok(()), None) => {
                self.store.put(&path, held.freeze().into()).await?;
                Ok(bytes)
            }
        }
    }

    /// Stores bytes at hand. Returns their hash.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn put_bytes(&self, bytes: Bytes) -> Result<ContentHash, ArtifactsError> {
        let hash = ContentHash::of(&bytes);
        if self.head(hash).await?.is_none() {
            self.store.put(&self.path(hash), bytes.into()).await?;
        }
        Ok(hash)
    }

    /// The length of an artifact; `None` where there is none.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn head(&self, hash: ContentHash) -> Result<Option<u64>, ArtifactsError> {
        match self.store.head(&self.path(hash)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The length and the content of an artifact; `None` where there is none. The stream ends in an
    /// error where the content does not hash to `hash`.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn get(
        &self,
        hash: ContentHash,
    ) -> Result<Option<(u64, BoxStream<'static, Result<Bytes, io::Error>>)>, ArtifactsError> {
        let found = match self.store.get(&self.path(hash)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let bytes = found.meta.size;
        let content = found.into_stream().map_err(io::Error::other).boxed();
        Ok(Some((bytes, checked(content, hash).boxed())))
    }
}

impl Store {
    /// Records that an account may use and read an artifact: it uploaded it, or its job left it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn grant_artifact(
        &self,
        account: AccountId,
        hash: ContentHash,
        bytes: u64,
        at_ms: u64,
    ) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        tx.run(
            "INSERT INTO artifacts (account, hash, bytes, created_at_ms) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (account, hash) DO NOTHING",
            args![account.to_string(), hash.to_string(), bytes, at_ms],
        )
        .await?;
        tx.commit().await
    }

    /// The length of an artifact the account may use; `None` where it may not.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn granted_artifact(
        &self,
        account: AccountId,
        hash: ContentHash,
    ) -> Result<Option<u64>, StoreError> {
        let row = self
            .db
            .one(
                "SELECT bytes FROM artifacts WHERE account = $1 AND hash = $2",
                args![account.to_string(), hash.to_string()],
            )
            .await?;
        row.map(|row| row.uint(0)).transpose()
    }

    /// How many bytes of artifacts an account may use, together.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn artifact_bytes(&self, account: AccountId) -> Result<u64, StoreError> {
        let row = self
            .db
            .one(
                "SELECT COALESCE(CAST(SUM(bytes) AS BIGINT), 0) FROM artifacts WHERE account = $1",
                args![account.to_string()],
            )
            .await?;
        row.map_or(Ok(0), |row| row.uint(0))
    }
}
