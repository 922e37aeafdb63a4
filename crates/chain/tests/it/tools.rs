//! Tools that people point at a chain, unmodified: ethers, viem, hardhat, cast, forge.
//!
//! `cargo xtask test` installs them in `target/tools`, from the lock file in `tests/tools`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use kinesis_chain::dev;
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::support::{embedded, result};

/// How long a tool may take on a busy machine; most of it is their own start.
const TOOL_MAX: Duration = Duration::from_secs(240);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The project's files beside the installed packages, in a folder that goes with the test; `None`,
/// said on standard error, where they are not installed.
fn workspace() -> Option<tempfile::TempDir> {
    let installed = root().join("target/tools");
    if !installed.join("node_modules").is_dir() || !forge().exists() {
        let hint = "the tools are not installed: run `cargo xtask test`";
        assert!(std::env::var_os("KINESIS_REQUIRE_TOOLS").is_none(), "{hint}");
        eprintln!("skipped: {hint}");
        return None;
    }
    let folder = tempfile::Builder::new().prefix("run-").tempdir_in(installed).unwrap();
    copy(&root().join("tests/tools"), folder.path());
    Some(folder)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && name != "node_modules" {
            copy(&path, &to.join(name));
        } else if path.is_file() && !name.to_string_lossy().starts_with("package") {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

fn forge() -> PathBuf {
    root().join("contracts/node_modules/.bin/forge")
}

fn cast() -> PathBuf {
    root().join("target/tools/node_modules/.bin/cast")
}

fn solc() -> PathBuf {
    root().join("contracts/scripts/solc.mjs")
}

/// Accounts 4 and 5 of [`dev`]: well known, and no secrets.
const KEYS: [&str; 2] = [
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
];

/// Runs a tool to its end; what it printed. It must succeed.
async fn run(folder: &Path, url: &str, program: &Path, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(folder)
        .env("KEY", KEYS[0])
        .env("RPC_URL", url)
        .env("ETH_RPC_URL", url)
        .env("SOLC", solc())
        .env("FOUNDRY_SOLC", solc())
        .env("FOUNDRY_DISABLE_NIGHTLY_WARNING", "1")
        .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
        .env("HOME", folder)
        .env("CI", "1")
        .env("NO_COLOR", "1")
        .kill_on_drop(true);
    let output = timeout(TOOL_MAX, command.output()).await.expect("it ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} {args:?}: {}\n{text}\n{errors}", output.status);
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ethers_and_viem_are_content() {
    let Some(folder) = workspace() else { return };
    let chain = embedded().await;
    for name in ["ethers", "viem"] {
        let script = format!("{name}.mjs");
        let said = run(folder.path(), &chain.url, Path::new("node"), &[&script, &chain.url]).await;
        assert!(said.contains(&format!("{name} is content")), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hardhat_project_deploys_and_tests() {
    let Some(folder) = workspace() else { return };
    let chain = embedded().await;
    let project = folder.path().join("hardhat");
    copy(&folder.path().join("contracts"), &project.join("contracts"));
    let hardhat = root().join("target/tools/node_modules/hardhat/internal/cli/bootstrap.js");
    let args = [hardhat.to_str().unwrap(), "test", "test/counter.cjs", "--network", "kinesis"];
    let said = run(&project, &chain.url, Path::new("node"), &args).await;
    assert!(said.contains("3 passing"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forge_creates_and_runs_scripts_and_cast_calls() {
    let Some(folder) = workspace() else { return };
    let chain = embedded().await;
    let url = &chain.url;
    let project = folder.path().join("forge");
    copy(&folder.path().join("contracts"), &project.join("src"));
    let key = KEYS[1];
    let created = run(
        &project,
        url,
        &forge(),
        &[
            "create",
            "src/Counter.sol:Counter",
            "--rpc-url",
            url,
            "--private-key",
            key,
            "--broadcast",
            "--json",
            "--constructor-args",
            "7",
        ],
    )
    .await;
    // After what the compiler says.
    let created = &created[created.find('{').expect("JSON")..];
    let created: Value = serde_json::from_str(created).unwrap();
    let counter = created["deployedTo"].as_str().unwrap();

    let script = ["script", "script/Deploy.s.sol:Deploy", "--rpc-url", url, "--private-key", key];
    let before = result(url, "eth_blockNumber", json!([])).await;
    let said = run(&project, url, &forge(), &[&script[..], &["--broadcast"]].concat()).await;
    assert!(said.contains("ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"), "{said}");
    let after = result(url, "eth_blockNumber", json!([])).await;
    assert_eq!((before, after), (json!("0x1"), json!("0x7")));

    let ask = async |args: &[&str]| run(folder.path(), url, &cast(), args).await.trim().to_owned();
    let sent = ask(&["send", counter, "add(uint256)", "5", "--private-key", key, "--json"]).await;
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!(sent["status"], "0x1");
    let transaction = sent["transactionHash"].as_str().unwrap();
    assert_eq!(ask(&["call", counter, "total()(uint256)"]).await, "12");
    assert_eq!(ask(&["call", counter, "total()(uint256)", "--block", "1"]).await, "7");
    assert_eq!(ask(&["chain-id"]).await, "31337");
    assert_eq!(ask(&["client"]).await, concat!("kinesis/v", env!("CARGO_PKG_VERSION")));
    assert_eq!(ask(&["block", "finalized", "--field", "number"]).await, "8");
    assert_eq!(ask(&["receipt", transaction, "status"]).await, "true");
    assert_eq!(ask(&["storage", counter, "0"]).await, format!("{:#066x}", 12));
    assert_eq!(ask(&["nonce", &dev::key(5).address().to_string()]).await, "8");
    let logs = ask(&["logs", "--from-block", "0", "--address", counter, "--json"]).await;
    let logs: Value = serde_json::from_str(&logs).unwrap();
    assert_eq!(logs.as_array().unwrap().len(), 1);
    assert!(
        ask(&["estimate", counter, "add(uint256)", "1"]).await.parse::<u64>().unwrap() > 21_000
    );
    assert!(ask(&["access-list", counter, "total()"]).await.contains("access list"));
    // Replays the transaction on the state before it.
    assert!(ask(&["run", transaction, "--quick"]).await.contains("successfully executed"));
}
