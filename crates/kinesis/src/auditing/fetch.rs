//! Dossiers from elsewhere. A locator is what a stranger wrote on the chain: nothing is believed of
//! what it leads to but what hashes to what was signed, nothing is read without a bound, files only
//! where the auditor allows it, and no server that only the auditor can reach.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use kinesis_protocol::{
    ContentHash,
    result::{DOSSIER_BYTES_MAX, Dossier, JobSpec},
};
use kinesis_runtime::is_public;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// How long a server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// The name of the dossier in its folder.
pub(crate) const DOSSIER: &str = "dossier.json";

/// Why a dossier could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The locator is neither a file's nor a page's.
    #[error("\"{0}\" is no locator: expected file:///… or http(s)://…")]
    Locator(String),
    /// Files are not read, or not there.
    #[error("files are read below {} only", .0.as_ref().map_or_else(
        || "a folder that --files names".to_owned(), |dir| dir.display().to_string()))]
    Outside(Option<PathBuf>),
    /// A file cannot be used.
    #[error("cannot read {}", .0.display())]
    File(PathBuf, #[source] std::io::Error),
    /// The address is one that only the auditor can reach.
    #[error("{0} is not public: --fetch-private has it asked all the same")]
    Private(IpAddr),
    /// A server does not answer as it should.
    #[error("cannot fetch {0}")]
    Http(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// It is longer than it may be.
    #[error("{0} is longer than {1} bytes")]
    Long(String, u64),
    /// It is something else.
    #[error("{0} is not what was signed")]
    Other(String),
    /// The dossier makes no sense.
    #[error("{0} is no dossier")]
    Dossier(String, #[source] serde_json::Error),
}

/// Where something lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// Something that a server has.
    Page(Url),
}

impl Place {
    /// What a locator means.
    pub(crate) fn parse(locator: &str) -> Result<Self, FetchError> {
        let wrong = || FetchError::Locator(crate::output::safe(locator));
        let url = Url::parse(locator).map_err(|_| wrong())?;
        match url.scheme() {
            "file" => url.to_file_path().map(Self::File).map_err(|()| wrong()),
            "http" | "https" if url.has_host() && url.password().is_none() => Ok(Self::Page(url)),
            _ => Err(wrong()),
        }
    }

    /// A path or a locator, as somebody types it.
    pub(crate) fn typed(text: &str) -> Result<Self, FetchError> {
        if text.contains("://") { Self::parse(text) } else { Ok(Self::File(text.into())) }
    }

    /// What lies beside it.
    fn beside(&self, name: &str) -> Result<Self, FetchError> {
        match self {
            Self::File(path) => Ok(Self::File(path.with_file_name("").join(name))),
            Self::Page(url) => match url.join(name) {
                Ok(url) => Ok(Self::Page(url)),
                Err(_) => Err(FetchError::Locator(name.to_owned())),
            },
        }
    }

    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Page(url) => url.to_string(),
        }
    }
}

/// Which files may be read.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    /// Those that whoever typed the command names.
    Any,
    /// Those below this folder; `None`: none.
    Below(Option<PathBuf>),
}

/// Which servers may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// Those that whoever typed the command names, or that somebody allowed by a flag.
    Any,
    /// Those that anybody can reach: what a stranger names leads to nothing inside of a network.
    Public,
}

/// Finds the public addresses of a name, now and at the next look: what was checked is connected to.
#[derive(Debug)]
struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found.filter(|at| is_public(at.ip())).collect();
            if public.is_empty() {
                let name = crate::output::safe(name.as_str());
                return Err(format!(
                    "{name} has no public address: --fetch-private has any of its addresses asked"
                )
                .into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Fetches dossiers and contents.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    http: reqwest::Client,
    files: Files,
    hosts: Hosts,
    /// The most bytes of a job's contents, all together.
    pub(crate) bytes_max: u64,
}

impl Fetcher {
    pub(crate) fn new(files: Files, hosts: Hosts, bytes_max: u64) -> Result<Self, FetchError> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(SILENCE_MAX)
            .read_timeout(SILENCE_MAX)
            // Whom we asked is whom we asked.
            .redirect(reqwest::redirect::Policy::none());
        if hosts == Hosts::Public {
            // A proxy would resolve names by itself, and reach what it can reach.
            http = http.dns_resolver(PublicNames).no_proxy();
        }
        let http = http.build().map_err(|e| FetchError::Http("anything".into(), e.into()))?;
        Ok(Self { http, files, hosts, bytes_max })
    }

    /// A dossier. What it holds is not checked here.
    pub(crate) async fn dossier(&self, at: &Place) -> Result<Dossier, FetchError> {
        let mut bytes = Vec::new();
        let most = u64::try_from(DOSSIER_BYTES_MAX).unwrap_or(u64::MAX);
        self.read(at, most, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })
        .await?;
        serde_json::from_slice(&bytes).map_err(|e| FetchError::Dossier(at.name(), e))
    }

    /// Everything a job needs, into files of `dir` that are named by their hash. What is there
    /// already is not fetched again.
    pub(crate) async fn contents(
        &self,
        dossier: &Place,
        job: &JobSpec,
        dir: &Path,
    ) -> Result<(), FetchError> {
        let sum = job.contents().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(bytes));
        if sum > self.bytes_max {
            return Err(FetchError::Long("what the job needs".into(), self.bytes_max));
        }
        for (hash, bytes) in job.contents() {
            let path = dir.join(hash.to_string());
            if !path.exists() {
                let at = dossier.beside(&Dossier::content_path(hash))?;
                self.content(&at, hash, bytes, &path).await?;
            }
        }
        Ok(())
    }

    async fn content(
        &self,
        at: &Place,
        hash: ContentHash,
        bytes: u64,
        path: &Path,
    ) -> Result<(), FetchError> {
        let part = path.with_extension("part");
        let failed = |e| FetchError::File(part.clone(), e);
        let mut file = std::fs::File::create(&part).map_err(failed)?;
        let (mut hasher, mut got) = (blake3::Hasher::new(), 0_u64);
        let read = self.read(at, bytes, |chunk| {
            got = got.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            hasher.update(chunk);
            file.write_all(chunk)
        });
        let read = read.await.and_then(|()| {
            if got == bytes && *hasher.finalize().as_bytes() == hash.0 {
                Ok(())
            } else {
                Err(FetchError::Other(at.name()))
            }
        });
        if let Err(error) = read {
            let _ = std::fs::remove_file(&part);
            return Err(error);
        }
        std::fs::rename(&part, path).map_err(|e| FetchError::File(path.to_owned(), e))
    }

    /// Reads at most `most` bytes, chunk by chunk; more is an error.
    async fn read(
        &self,
        at: &Place,
        most: u64,
        mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), FetchError> {
        let mut left = most;
        let mut bounded = |chunk: &[u8]| {
            let long = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            left = left.checked_sub(long).ok_or_else(|| FetchError::Long(at.name(), most))?;
            take(chunk).map_err(|e| FetchError::File("what was fetched".into(), e))
        };
        match at {
            Place::File(path) => {
                let mut file = self.open(path)?;
                let mut chunk = vec![0; 64 << 10];
                loop {
                    let got =
                        file.read(&mut chunk).map_err(|e| FetchError::File(path.clone(), e))?;
                    if got == 0 {
                        return Ok(());
                    }
                    bounded(&chunk[..got])?;
                }
            }
            Place::Page(url) => {
                self.check_host(url)?;
                let failed =
                    |e: reqwest::Error| FetchError::Http(at.name(), e.without_url().into());
                let answer = self.http.get(url.clone()).send().await.map_err(failed)?;
                let mut answer = answer.error_for_status().map_err(failed)?;
                while let Some(chunk) = answer.chunk().await.map_err(failed)? {
                    bounded(&chunk)?;
                }
                Ok(())
            }
        }
    }

    /// Refuses an address that only we can reach: addresses are not resolved, and so not checked then.
    fn check_host(&self, url: &Url) -> Result<(), FetchError> {
        // However it was written, here it is in its one form, of version 6 in brackets.
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse() {
            Ok(ip) if self.hosts == Hosts::Public && !is_public(ip) => Err(FetchError::Private(ip)),
            _ => Ok(()),
        }
    }

    /// Opens a plain file that may be read.
    fn open(&self, path: &Path) -> Result<std::fs::File, FetchError> {
        let failed = |e| FetchError::File(path.to_owned(), e);
        if let Files::Below(root) = &self.files {
            let outside = || FetchError::Outside(root.clone());
            let root = root.as_ref().and_then(|root| root.canonicalize().ok());
            // Links are followed first: they may lead out.
            let real = path.canonicalize().map_err(failed)?;
            if !root.is_some_and(|root| real.starts_with(root)) {
                return Err(outside());
            }
        }
        // A pipe or a device would never end.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(std::io::ErrorKind::InvalidInput.into()));
        }
        std::fs::File::open(path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetcher(files: Files) -> Fetcher {
        asking(files, Hosts::Any)
    }

    fn asking(files: Files, hosts: Hosts) -> Fetcher {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Fetcher::new(files, hosts, 1_000).unwrap()
    }

    #[test]
    fn locators_lead_to_files_and_pages_only() {
        let file = Place::parse("file:///a/dossier.json").unwrap();
        assert_eq!(file, Place::File("/a/dossier.json".into()));
        assert_eq!(file.beside("artifacts/x").unwrap(), Place::File("/a/artifacts/x".into()));
        let page = Place::parse("https://example.org/a/dossier.json").unwrap();
        assert_eq!(page.beside("artifacts/x").unwrap().name(), "https://example.org/a/artifacts/x");
        for bad in
            ["", "/a", "ftp://a/b", "http://", "javascript:x", "https://a:b@c/", "file://x/y"]
        {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn files_are_read_where_that_is_allowed_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(&outside, b"secret").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        std::fs::write(inside.join("plain"), b"{}").unwrap();
        let below = fetcher(Files::Below(Some(inside.clone())));
        for path in [&outside, &inside.join("link"), &inside.join("../out")] {
            let got = below.dossier(&Place::File(path.clone())).await;
            assert!(matches!(got, Err(FetchError::Outside(_))), "{got:?}");
        }
        let plain = Place::File(inside.join("plain"));
        assert!(matches!(below.dossier(&plain).await, Err(FetchError::Dossier(..))));
        let none = fetcher(Files::Below(None));
        assert!(matches!(none.dossier(&plain).await, Err(FetchError::Outside(None))));
        let device = Place::File("/dev/zero".into());
        assert!(matches!(fetcher(Files::Any).dossier(&device).await, Err(FetchError::File(..))));
    }

    #[tokio::test]
    async fn what_is_fetched_hashes_to_what_was_signed() {
        let dir = tempfile::tempdir().unwrap();
        let hash = ContentHash::of(b"component");
        std::fs::create_dir(dir.path().join("artifacts")).unwrap();
        let kept = dir.path().join(Dossier::content_path(hash));
        let at =
            Place::File(dir.path().join(DOSSIER)).beside(&Dossier::content_path(hash)).unwrap();
        let into = dir.path().join("into");
        let fetcher = fetcher(Files::Any);
        let cases: [(&[u8], bool); 4] =
            [(b"component", true), (b"componenT", false), (b"component!", false), (b"comp", false)];
        for (bytes, good) in cases {
            std::fs::write(&kept, bytes).unwrap();
            let got = fetcher.content(&at, hash, 9, &into).await;
            assert_eq!(got.is_ok(), good, "{got:?}");
            assert_eq!(into.exists(), good);
            let _ = std::fs::remove_file(&into);
            assert!(!into.with_extension("part").exists());
        }
    }

    /// A server of dossiers: one that is moved, one that never ends; and of a content.
    async fn server(hash: ContentHash) -> SocketAddr {
        use axum::{body::Body, response::Redirect, routing::get};
        let endless = || async {
            let chunks = std::iter::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 64 << 10]));
            Body::from_stream(futures_util::stream::iter(chunks))
        };
        let router = axum::Router::new()
            .route(&format!("/a/{}", Dossier::content_path(hash)), get(|| async { "component" }))
            .route("/moved", get(|| async { Redirect::temporary("/endless") }))
            .route("/endless", get(endless));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        addr
    }

    #[tokio::test]
    async fn pages_are_read_within_bounds_and_lead_nowhere_else() {
        let hash = ContentHash::of(b"component");
        let addr = server(hash).await;
        let page = |path: &str| Place::parse(&format!("http://{addr}{path}")).unwrap();
        let fetcher = fetcher(Files::Below(None));
        let moved = fetcher.dossier(&page("/moved")).await;
        // It would not end, had it been followed.
        assert!(matches!(moved, Err(FetchError::Dossier(..))), "{moved:?}");
        let gone = fetcher.dossier(&page("/nowhere")).await;
        assert!(matches!(gone, Err(FetchError::Http(..))), "{gone:?}");
        let endless = fetcher.dossier(&page("/endless")).await;
        assert!(matches!(endless, Err(FetchError::Long(..))), "{endless:?}");
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("into");
        let at = page("/a/dossier.json").beside(&Dossier::content_path(hash)).unwrap();
        fetcher.content(&at, hash, 9, &into).await.unwrap();
        assert_eq!(std::fs::read(&into).unwrap(), b"component");
    }

    #[tokio::test]
    async fn a_locator_leads_to_nothing_that_only_the_auditor_can_reach() {
        let port = server(ContentHash::of(b"component")).await.port();
        let public = asking(Files::Below(None), Hosts::Public);
        // As an address, in whatever disguise.
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "169.254.169.254",
            "10.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
        ] {
            let page = Place::parse(&format!("http://{host}:{port}/endless")).unwrap();
            let got = public.dossier(&page).await;
            assert!(matches!(got, Err(FetchError::Private(_))), "{host}: {got:?}");
        }
        // As a name; where it is allowed, both are asked.
        let named = Place::parse(&format!("http://localhost:{port}/endless")).unwrap();
        let got = public.dossier(&named).await.unwrap_err();
        assert!(matches!(got, FetchError::Http(..)), "{got:?}");
        assert!(crate::auditing::in_full(&got).contains("no public address"), "{got:?}");
        let any = asking(Files::Below(None), Hosts::Any);
        for page in [named, Place::parse(&format!("http://127.0.0.1:{port}/endless")).unwrap()] {
            let got = any.dossier(&page).await;
            assert!(matches!(got, Err(FetchError::Long(..))), "{got:?}");
        }
    }
}
