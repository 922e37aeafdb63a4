//! A PostgreSQL server of one's own: fresh data directory, a Unix socket, no TCP, gone with the test.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, postgres::PgConnectOptions};

use crate::Database;

const MISSING: &str = "PostgreSQL's initdb and postgres were not found in /usr/lib/postgresql/*/bin \
     nor in PATH: install them (Debian: apt-get install postgresql)";

pub(crate) struct Server {
    process: Child,
    directory: tempfile::TempDir,
}

/// Where the server's programs are, newest version first.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let newest = versions.into_iter().rev().map(|(_, bin)| bin);
    newest
        .chain(std::env::split_paths(&path))
        .find(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .expect(MISSING)
}

/// The number `id` prints for this account, where there is one.
fn number(flag: &str, account: &str) -> Option<u32> {
    let out = Command::new("id").args([flag, account]).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

/// A command that runs as somebody who is not root (PostgreSQL insists), and dies with this thread.
fn unprivileged(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        let account = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| Some((number("-u", name)?, number("-g", name)?)));
        let (uid, gid) = account.expect("an account called postgres or nobody");
        std::os::unix::fs::chown(directory, Some(uid), Some(gid)).unwrap();
        command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string()]);
        command.args(["--clear-groups", "--inh-caps=-all"]);
    }
    command.arg(program).current_dir(directory).env_remove("PGDATA").stdin(Stdio::null());
    command
}

fn is_root() -> bool {
    let out = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8(out.stdout).unwrap().trim() == "0"
}

impl Server {
    pub(crate) async fn start() -> Self {
        let programs = programs();
        let directory = tempfile::Builder::new().prefix("kinesis-pg").tempdir_in("/tmp").unwrap();
        let data = directory.path().join("data");
        let made = unprivileged(&programs.join("initdb"), directory.path())
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let process = unprivileged(&programs.join("postgres"), directory.path())
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(directory.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, directory };
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = server.options("postgres").connect().await {
            assert!(Instant::now() < deadline, "the server does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        server
    }

    fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new()
            .host(self.directory.path().to_str().unwrap())
            .username("postgres")
            .database(database)
    }

    /// A new, empty database.
    pub(crate) async fn database(&self, name: &str) -> Database {
        let mut conn = self.options("postgres").connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
            .execute(&mut conn)
            .await
            .unwrap();
        conn.close().await.unwrap();
        let host = self.directory.path().display();
        Database {
            url: format!("postgres://postgres@localhost/{name}?host={host}"),
            _directory: None,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An immediate shutdown: the server also frees its shared memory.
        let id = self.process.id().to_string();
        let stopped = Command::new("kill").args(["-QUIT", &id]).status();
        if !stopped.is_ok_and(|status| status.success()) {
            self.process.kill().ok();
        }
        self.process.wait().ok();
    }
}
