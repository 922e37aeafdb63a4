//! Peers: other people's programs, started with a configuration of ours.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

/// A port that was free a moment ago.
///
/// # Errors
/// Where there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A peer's process, which is killed with its children when this is dropped.
#[derive(Debug)]
pub struct Peer(Child);

impl Peer {
    /// Kills it and its children at once, as a machine dies.
    pub fn kill(&mut self) {
        let Some(pid) = self.0.id() else { return };
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        // The parent first, so that it does not replace its children.
        let _ = self.0.start_kill();
        for child in children.unwrap_or_default().split_whitespace() {
            if let Ok(child) = child.parse() {
                let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a program that dies with us and waits until it accepts connections on `port`.
///
/// # Errors
/// Where it is missing or does not listen.
pub async fn serve(command: Command, port: u16) -> Result<Peer> {
    serve_at(command, (Ipv4Addr::LOCALHOST, port).into()).await
}

async fn serve_at(mut command: Command, at: SocketAddr) -> Result<Peer> {
    let name = format!("{:?}", command.as_std().get_program());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("{name}: run `cargo xtask bench`"))?;
    for _ in 0..400 {
        if tokio::net::TcpStream::connect(at).await.is_ok() {
            return Ok(Peer(child));
        }
        ensure!(child.try_wait()?.is_none(), "{name} ended before it listened");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    anyhow::bail!("{name} does not listen on {at}")
}

/// nginx as a proxy in front of `upstream`, or answering by itself where there is none.
///
/// # Errors
/// Where it does not start.
pub async fn nginx(folder: &Path, upstream: Option<u16>) -> Result<(Peer, u16)> {
    let (peer, at) = nginx_on(folder, upstream, Ipv4Addr::LOCALHOST.into(), None).await?;
    Ok((peer, at.port()))
}

/// The same on one address, in a network namespace where one is named.
///
/// # Errors
/// Where it does not start.
pub async fn nginx_on(
    folder: &Path,
    upstream: Option<u16>,
    ip: IpAddr,
    netns: Option<&str>,
) -> Result<(Peer, SocketAddr)> {
    let at = SocketAddr::new(ip, free_port()?);
    let port = at.port();
    let location = upstream.map_or_else(
        || "return 200 'hello';".to_owned(),
        |_| {
            "proxy_pass http://peer; proxy_http_version 1.1; proxy_set_header Connection '';"
                .to_owned()
        },
    );
    let peer = upstream.map_or_else(String::new, |upstream| {
        format!("upstream peer {{ server 127.0.0.1:{upstream}; keepalive 128; }}")
    });
    let config = format!(
        "worker_processes auto; daemon off; pid {0}/nginx-{port}.pid; error_log /dev/null;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000; {peer}\n\
         client_body_temp_path {0}/c; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
         uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
         server {{ listen {at}; location / {{ {location} }} }} }}\n",
        folder.display()
    );
    let path = folder.join(format!("nginx-{port}.conf"));
    std::fs::write(&path, config)?;
    let mut command = match netns {
        None => Command::new("nginx"),
        Some(netns) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", netns, "nginx"]);
            command
        }
    };
    command.arg("-c").arg(&path).arg("-p").arg(folder).args(["-g", "master_process on;"]);
    Ok((serve_at(command, at).await?, at))
}

/// HAProxy with redispatch over hot backends.
///
/// # Errors
/// Where it does not start.
pub async fn haproxy(folder: &Path, backends: &[String]) -> Result<(Peer, u16)> {
    let port = free_port()?;
    let servers: String = backends
        .iter()
        .enumerate()
        .map(|(i, to)| format!("  server s{i} {to} check inter 200ms fall 3 rise 1\n"))
        .collect();
    let config = format!(
        "global\n  maxconn 1000\ndefaults\n  mode http\n  timeout connect 600ms\n  timeout server 600ms\n  \
         timeout client 10s\n  retries 3\n  option redispatch 1\n  retry-on all-retryable-errors\n\
         frontend f\n  bind 127.0.0.1:{port}\n  default_backend b\n\
         backend b\n  balance leastconn\n{servers}"
    );
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, config)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(&path);
    Ok((serve(command, port).await?, port))
}

/// `wrk` against a URL: requests a second.
///
/// # Errors
/// Where it is missing, or any answer was no success.
pub async fn wrk(url: &str, host: &str, connections: u32, seconds: u32) -> Result<f64> {
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s")])
        .args(["-H", &format!("Host: {host}"), url])
        .output()
        .await
        .context("wrk: run `cargo xtask bench`")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(!text.contains("Non-2xx"), "answers without success:\n{text}");
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    rate.and_then(|rate| rate.trim().parse().ok()).with_context(|| format!("wrk said:\n{text}"))
}
