//! What guests reach: real servers that speak TLS, in a network of the test's own whose only machine
//! has a public address and a name.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kinesis_protocol::{Workload, lease::Instance};
use kinesis_runtime::{RunnerCommand, Sandbox};
use nix::{mount::MsFlags, sched::CloneFlags};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, SupportedProtocolVersion, pki_types::PrivateKeyDer, version::TLS12};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::*;

/// Globally reachable, and nobody's: the addresses of AS112, which answers for private ones.
const PUBLIC: &str = "192.175.48.6";
const PRIVATE: &str = "10.1.2.3";
const NAME: &str = "server.example";

/// Runs a test in a network and with a list of names of its own.
fn elsewhere<F: Future>(test: impl FnOnce() -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not checked: a network of one's own needs root");
        return;
    }
    let there = std::thread::spawn(move || {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let names = tempfile::NamedTempFile::new().unwrap();
        let text = format!("{PUBLIC} {NAME}\n{PRIVATE} private.example\n");
        std::fs::write(names.path(), text).unwrap();
        let (from, to) = (Some(names.path()), "/etc/hosts");
        nix::mount::mount(from, to, none, MsFlags::MS_BIND, none).unwrap();
        for args in [
            "link set lo up".to_owned(),
            format!("addr add {PUBLIC}/32 dev lo"),
            format!("addr add {PRIVATE}/32 dev lo"),
        ] {
            let done = Command::new("ip").args(args.split(' ')).status().expect("ip (iproute2)");
            assert!(done.success(), "ip {args}");
        }
        // Threads that it starts are where this one is.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    });
    there.join().unwrap();
}

/// A certificate authority, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// TLS for a server of this name.
    fn tls(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        self.tls_of(rustls::DEFAULT_VERSIONS, name, change)
    }

    fn tls_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(versions).unwrap();
        config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap()
    }
}

/// A server that says how it was asked.
async fn server(ip: &str, tls: Option<ServerConfig>) -> SocketAddr {
    let ip: IpAddr = ip.parse().unwrap();
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Some(acceptor) = acceptor else {
                    return answer(stream, "no TLS".to_owned()).await;
                };
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let (_, session) = stream.get_ref();
                let version = session.protocol_version().unwrap();
                let said = format!("{version:?} for {:?}", session.server_name());
                answer(stream, said).await;
            });
        }
    });
    addr
}

async fn answer<S>(stream: S, how: String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        let text = format!("{} {host:?} over {how}", request.uri());
        async move { Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(text)))) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// A guest that may reach these, and trusts the certificates in this file.
async fn guest(grid: &Grid, allowed: &[String]) -> Sandbox {
    let mut spec = service("probe", Instance::Fresh);
    match &mut spec.workload {
        Workload::Service(service) => service.program.network = allowed.to_vec(),
        _ => unreachable!("it is a service"),
    }
    let sandbox = grid.start(spec).await;
    within(sandbox.ready()).await.unwrap();
    sandbox
}

async fn fetch(sandbox: &Sandbox, url: &str) -> (u16, String) {
    ask(sandbox, &format!("/fetch?url={url}")).await
}

fn trusting(file: &Path) -> RunnerCommand {
    RunnerCommand { args: vec!["--trust".into(), file.into()], ..runner() }
}

#[test]
fn tls_is_spoken_with_whom_the_manifest_names_and_the_authorities_vouch_for() {
    elsewhere(|| async {
        let (ours, strangers) = (Authority::new(), Authority::new());
        let trusted = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(trusted.path(), &ours.pem).unwrap();

        let good = server(PUBLIC, Some(ours.tls(NAME, |_| {}))).await.port();
        let other_name = server(PUBLIC, Some(ours.tls("other.example", |_| {}))).await.port();
        let unknown = server(PUBLIC, Some(strangers.tls(NAME, |_| {}))).await.port();
        let expired = ours.tls(NAME, |params| {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        });
        let expired = server(PUBLIC, Some(expired)).await.port();
        let by_address = server(PUBLIC, Some(ours.tls(PUBLIC, |_| {}))).await.port();
        let plain = server(PUBLIC, None).await.port();
        let unnamed = server(PUBLIC, None).await.port();
        let private = server(PRIVATE, Some(ours.tls("private.example", |_| {}))).await.port();
        let mut allowed: Vec<String> = [good, other_name, unknown, expired, plain]
            .iter()
            .map(|port| format!("{NAME}:{port}"))
            .collect();
        allowed.push(format!("{PUBLIC}:{by_address}"));
        allowed.push(format!("private.example:{private}"));
        allowed.push(format!("{PRIVATE}:{private}"));

        let grid = Grid::open_with(trusting(trusted.path())).await;
        let sandbox = guest(&grid, &allowed).await;
        for _ in 0..2 {
            let (status, said) = fetch(&sandbox, &format!("https://{NAME}:{good}/path")).await;
            assert_eq!(status, 200, "{said}");
            let host = format!("/path Some(\"{NAME}:{good}\")");
            assert_eq!(said, format!("{host} over TLSv1_3 for Some(\"{NAME}\")"));
        }
        let (status, said) = fetch(&sandbox, &format!("https://{PUBLIC}:{by_address}/")).await;
        assert_eq!((status, said.ends_with("over TLSv1_3 for None")), (200, true), "{said}");
        let (status, said) = fetch(&sandbox, &format!("http://{NAME}:{plain}/")).await;
        assert_eq!((status, said.ends_with("over no TLS")), (200, true), "{said}");

        for (url, why) in [
            (format!("https://{NAME}:{other_name}/"), "Tls"),
            (format!("https://{NAME}:{unknown}/"), "Tls"),
            (format!("https://{NAME}:{expired}/"), "Tls"),
            // A server without TLS is no server with it.
            (format!("https://{NAME}:{plain}/"), "Tls"),
            (format!("https://{NAME}:{unnamed}/"), "Denied"),
            (format!("http://{PUBLIC}:{good}/"), "Denied"),
            (format!("https://private.example:{private}/"), ""),
            (format!("https://{PRIVATE}:{private}/"), ""),
        ] {
            let (status, said) = fetch(&sandbox, &url).await;
            assert_eq!(status, 502, "{url}: {said}");
            assert!(said.contains(why), "{url}: {said}");
        }

        // Nobody vouches for it where the authority is not known.
        let grid = Grid::open().await;
        let sandbox = guest(&grid, &allowed).await;
        let (status, said) = fetch(&sandbox, &format!("https://{NAME}:{good}/")).await;
        assert_eq!(status, 502, "{said}");
    });
}

#[test]
fn servers_of_yesterday_are_spoken_to() {
    elsewhere(|| async {
        let ours = Authority::new();
        let trusted = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(trusted.path(), &ours.pem).unwrap();
        let tls = ours.tls_of(&[&TLS12], NAME, |_| {});
        let port = server(PUBLIC, Some(tls)).await.port();
        let grid = Grid::open_with(trusting(trusted.path())).await;
        let sandbox = guest(&grid, &[format!("{NAME}:{port}")]).await;
        let (status, said) = fetch(&sandbox, &format!("https://{NAME}:{port}/")).await;
        assert_eq!((status, said.contains("TLSv1_2")), (200, true), "{said}");
    });
}
