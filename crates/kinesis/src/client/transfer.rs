//! Files up and down, never held in memory, checked against their hash.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::StreamExt;
use kinesis_protocol::ContentHash;
use reqwest::{Method, StatusCode, header};
use tokio::{fs, io::AsyncWriteExt};
use tokio_util::io::ReaderStream;

use super::Client;
use crate::error::{Error, Result};

impl Client {
    /// Whether the utility has these bytes already.
    pub(crate) async fn has_artifact(&self, hash: ContentHash) -> Result<bool> {
        let request = self.request(Method::HEAD, &format!("/v1/artifacts/{hash}"));
        match self.send(request).await {
            Ok(_) => Ok(true),
            Err(Error::Api { status, .. }) if status == StatusCode::NOT_FOUND => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Sends a file. `sent` counts the bytes as they go.
    pub(crate) async fn put_artifact(
        &self,
        hash: ContentHash,
        file: &Path,
        bytes: u64,
        sent: Arc<AtomicU64>,
    ) -> Result<()> {
        let open = fs::File::open(file).await;
        let open = open.map_err(Error::io(format!("read {}", file.display())))?;
        let stream = ReaderStream::with_capacity(open, 64 << 10).inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
        let request = self
            .request(Method::PUT, &format!("/v1/artifacts/{hash}"))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, bytes)
            .body(reqwest::Body::wrap_stream(stream));
        self.send(request).await.map(drop)
    }

    /// Fetches bytes into a file that appears only once its hash is right.
    pub(crate) async fn get_artifact(
        &self,
        hash: ContentHash,
        bytes: u64,
        file: &Path,
    ) -> Result<()> {
        let failed = || Error::io(format!("write {}", file.display()));
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).await.map_err(failed())?;
        }
        let mut part = file.as_os_str().to_owned();
        part.push(".part");
        let written = self.download(hash, bytes, Path::new(&part)).await;
        if written.is_err() {
            // What is half there is of no use to anyone.
            let _ = fs::remove_file(&part).await;
            return written;
        }
        fs::rename(&part, file).await.map_err(failed())
    }

    async fn download(&self, hash: ContentHash, bytes: u64, part: &Path) -> Result<()> {
        let failed = || Error::io(format!("write {}", part.display()));
        let request = self.request(Method::GET, &format!("/v1/artifacts/{hash}"));
        let mut response = self.send(request).await?;
        let mut file = fs::File::create(part).await.map_err(failed())?;
        let (mut hasher, mut got) = (blake3::Hasher::new(), 0_u64);
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(e))? {
            got += chunk.len() as u64;
            if got > bytes {
                break;
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(failed())?;
        }
        file.flush().await.map_err(failed())?;
        if got != bytes || *hasher.finalize().as_bytes() != hash.0 {
            return Err(Error::Failed {
                message: format!("what the utility sent for {hash} is something else"),
                hint: Some("try again; if it happens again, tell the utility".into()),
            });
        }
        Ok(())
    }
}
