//! Artifacts in a directory and in memory: nothing is visible under a hash it does not have.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt, stream};
use kinesis_protocol::ContentHash;
use kinesis_store::{Artifacts, ArtifactsError};

const LIMIT: u64 = 64 << 20;

fn chunks(bytes: &Bytes, of: usize) -> impl Stream<Item = io::Result<Bytes>> + Unpin + use<> {
    let chunks: Vec<_> = bytes.chunks(of).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    stream::iter(chunks)
}

async fn read(artifacts: &Artifacts, hash: ContentHash) -> Option<io::Result<Bytes>> {
    let (length, content) = artifacts.get(hash).await.unwrap()?;
    let whole = content.try_fold(Vec::new(), |mut whole, chunk| async move {
        whole.extend_from_slice(&chunk);
        Ok(whole)
    });
    let whole = whole.await;
    if let Ok(whole) = &whole {
        assert_eq!(whole.len() as u64, length);
    }
    Some(whole.map(Bytes::from))
}

async fn conforms(artifacts: &Artifacts) {
    // Empty, small, exactly one part, and several parts.
    for length in [0, 5, 8 << 20, (20 << 20) + 7] {
        let content: Bytes = (0_u8..251).cycle().take(length).collect();
        let hash = ContentHash::of(&content);
        assert_eq!(artifacts.head(hash).await.unwrap(), None);
        assert!(read(artifacts, hash).await.is_none());
        for _ in 0..2 {
            let stored = artifacts.put(hash, chunks(&content, 100_000), LIMIT).await.unwrap();
            assert_eq!(stored, content.len() as u64);
        }
        assert_eq!(artifacts.head(hash).await.unwrap(), Some(content.len() as u64));
        assert_eq!(read(artifacts, hash).await.unwrap().unwrap(), content);
        // Who does not have the content cannot say it has.
        let other = artifacts.put(hash, chunks(&Bytes::from_static(b"other"), 9), LIMIT).await;
        assert!(matches!(other, Err(ArtifactsError::Hash { .. })));
    }

    let long = Bytes::from(vec![7; 10 << 20]);
    let hash = ContentHash::of(&long);
    let too_long = artifacts.put(hash, chunks(&long, 1 << 20), (10 << 20) - 1).await;
    assert!(matches!(too_long, Err(ArtifactsError::TooLong { .. })));
    let broken = stream::iter([Ok(long.clone()), Err(io::Error::other("gone"))]);
    let broken = artifacts.put(hash, broken, LIMIT).await;
    assert!(matches!(broken, Err(ArtifactsError::Source(_))));
    let wrong = artifacts.put(ContentHash([1; 32]), chunks(&long, 1 << 20), LIMIT).await;
    assert!(matches!(wrong, Err(ArtifactsError::Hash { .. })));
    assert_eq!(artifacts.head(hash).await.unwrap(), None);
    assert_eq!(artifacts.head(ContentHash([1; 32])).await.unwrap(), None);

    let hash = artifacts.put_bytes(Bytes::from_static(b"output")).await.unwrap();
    assert_eq!(hash, ContentHash::of(b"output"));
    assert_eq!(read(artifacts, hash).await.unwrap().unwrap(), Bytes::from_static(b"output"));
}

#[tokio::test]
async fn memory_conforms() {
    conforms(&Artifacts::open("memory:").await.unwrap()).await;
}

#[tokio::test]
async fn a_directory_conforms_and_damage_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/artifacts");
    let url = format!("file://{}", path.display());
    let artifacts = Artifacts::open(&url).await.unwrap();
    conforms(&artifacts).await;

    let hash = artifacts.put_bytes(Bytes::from_static(b"precious")).await.unwrap();
    let name = hash.to_string();
    std::fs::write(path.join(&name[..2]).join(&name), b"preciouz").unwrap();
    let again = Artifacts::open(&url).await.unwrap();
    let damaged = read(&again, hash).await.unwrap().unwrap_err();
    assert_eq!(damaged.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_url_that_names_no_store_is_refused_without_showing_it() {
    for url in ["", "ftp://user:secret@host", "s3://", "file://"] {
        let error = Artifacts::open(url).await.unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
    let error = kinesis_store::Store::open("mysql://user:secret@host").await.unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}
