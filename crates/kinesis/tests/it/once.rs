//! What a command pays it pays once: killed at any point between the first question to the chain and
//! the last word to its user, and typed again.

use std::{
    path::Path,
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use kinesis_chain::{
    ChainConfig, Contracts, EmbeddedChain, Intent, Joules, Protocol, deploy, dev,
    protocol::stake::Stake,
};
use kinesis_protocol::U256;
use serde_json::Value;
use tokio::{net::TcpListener, sync::Notify};

use crate::{kinesis, run, seen};

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(30);
/// Who acts.
const ACTING: &str = "dev:3";

/// When a proxy lets a question, and all that follow, wait for ever.
#[derive(Debug, Clone, Copy)]
struct Hold {
    method: &'static str,
    nth: usize,
    /// Whether the chain hears it all the same.
    heard: bool,
}

struct Proxy {
    chain: String,
    hold: Hold,
    seen: AtomicUsize,
    held: Notify,
    http: reqwest::Client,
}

async fn forward(State(proxy): State<Arc<Proxy>>, body: Bytes) -> Vec<u8> {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let hold = proxy.hold;
    let count = match asked["method"] == hold.method {
        true => proxy.seen.fetch_add(1, Ordering::SeqCst) + 1,
        false => proxy.seen.load(Ordering::SeqCst),
    };
    let is_it = asked["method"] == hold.method && count == hold.nth;
    let ask = async {
        let request = proxy.http.post(&proxy.chain).header("content-type", "application/json");
        request.body(body.clone()).send().await.unwrap().bytes().await.unwrap().to_vec()
    };
    if count < hold.nth {
        return ask.await;
    }
    if is_it {
        if hold.heard {
            ask.await;
        }
        proxy.held.notify_one();
    }
    std::future::pending().await
}

async fn proxy(chain: &str, hold: Hold) -> (String, Arc<Proxy>) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let (seen, held) = (AtomicUsize::new(0), Notify::new());
    let proxy = Arc::new(Proxy { chain: chain.to_owned(), hold, seen, held, http });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/", post(forward)).with_state(Arc::clone(&proxy));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, proxy)
}

/// A chain with the protocol, and a home with a profile.
struct World {
    home: tempfile::TempDir,
    url: String,
    contracts: Contracts,
    _chain: EmbeddedChain,
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let home = tempfile::tempdir().unwrap();
        let chain = EmbeddedChain::open(ChainConfig::new(home.path().join("chain"))).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/rpc", listener.local_addr().unwrap());
        let router = chain.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let contracts = deploy(&url, &dev::key(0)).await.unwrap();
        Self { home, url, contracts, _chain: chain }
    }

    async fn stake(&self) -> Stake {
        let client = Protocol::new(&self.url, self.contracts, dev::key(3)).unwrap();
        client.stake(client.address()).await.unwrap()
    }

    /// Runs a command to its end.
    async fn run(&self, words: &str) -> Output {
        let (home, url) = (self.home.path().to_owned(), self.url.clone());
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let ended = tokio::task::spawn_blocking(move || {
            let mut args: Vec<&str> = words.iter().map(String::as_str).collect();
            args.extend(["--as", ACTING, "--rpc", &url]);
            run(&home, &args)
        });
        ended.await.unwrap()
    }

    /// Runs a command until the proxy holds it, and kills it then.
    async fn killed(&self, words: &str, hold: Hold) {
        let (url, proxy) = proxy(&self.url, hold).await;
        let mut command = kinesis(self.home.path());
        command.args(words.split(' ')).args(["--as", ACTING, "--rpc", &url]);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let held = tokio::time::timeout(LONG, proxy.held.notified()).await;
        child.kill().unwrap();
        child.wait().unwrap();
        held.unwrap_or_else(|_| panic!("{hold:?} was never reached"));
    }
}

fn joule(whole: u64) -> Joules {
    Joules(U256::from(whole) * U256::from(10).pow(U256::from(18)))
}

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_killed_and_typed_again_pays_once() {
    let world = World::new().await;
    let send = "eth_sendRawTransaction";
    let mut bonded = 0;
    for hold in [
        // Nothing was sent yet.
        Hold { method: "eth_estimateGas", nth: 1, heard: true },
        // The approval: recorded and not sent, then sent without an answer.
        Hold { method: send, nth: 1, heard: false },
        Hold { method: send, nth: 1, heard: true },
        // The bond itself.
        Hold { method: send, nth: 2, heard: false },
        Hold { method: send, nth: 2, heard: true },
        Hold { method: "eth_getTransactionReceipt", nth: 2, heard: true },
    ] {
        // The allowance of the round before must not stand in for this one's.
        let amount = 100 + bonded;
        let words = format!("stake bond {amount}");
        world.killed(&words, hold).await;
        let output = world.run(&words).await;
        assert!(output.status.success(), "{hold:?}: {}", seen(world.home.path(), &output));
        bonded += amount;
        assert_eq!(world.stake().await.own, joule(bonded), "{hold:?}");
        let told = String::from_utf8_lossy(&output.stderr).contains(&words);
        assert_eq!(told, hold.method != "eth_estimateGas", "{}", seen(world.home.path(), &output));
    }
    // Once it was said how it ended, the same words mean another bond.
    let again = world.run("stake bond 1").await;
    assert!(again.status.success());
    world.run("stake bond 1").await;
    assert_eq!(world.stake().await.own, joule(bonded + 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_command_first_says_what_became_of_the_one_before() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let lost = Hold { method: "eth_sendRawTransaction", nth: 2, heard: false };
    world.killed("stake bond 30", lost).await;
    assert_eq!(world.stake().await.own, joule(0));
    let output = world.run("stake thaw 0 --json").await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = told.lines().find(|line| line.contains("interrupted")).unwrap_or_default();
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["interrupted"]["command"], "stake bond 30", "{told}");
    let sent = value["interrupted"]["transactions"].as_array().unwrap();
    assert_eq!(sent.len(), 2, "the approval and the bond: {told}");
    assert!(sent.iter().all(|one| one["state"] == "done"), "{told}");
    assert_eq!(world.stake().await.own, joule(30));
    // It was said: nothing is open any more.
    let next = world.run("stake thaw 0 --json").await;
    assert!(!String::from_utf8_lossy(&next.stderr).contains("interrupted"));

    // Whatever is kept is the owner's alone.
    let folders = files(&world.home.path().join("transactions"));
    assert_eq!(folders.len(), 1, "one for each account and chain: {folders:?}");
    for path in files(&folders[0]) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exchange_and_an_escrow_at_the_command_line() {
    let world = World::new().await;
    let json = |output: &Output| -> Value { serde_json::from_slice(&output.stdout).unwrap() };
    let price = json(&world.run("exchange price --json").await);
    assert_eq!(price["spot_attousd"], 10_000_000_000_000_000_u64);
    // Nobody but the deployer makes play money.
    let refused = world.run("exchange play 1000").await;
    assert_eq!(refused.status.code(), Some(3), "{}", seen(world.home.path(), &refused));
    let deployer = Protocol::new(&world.url, world.contracts, dev::key(0)).unwrap();
    let me = dev::key(3).address();
    deployer.make_play_usd(me, U256::from(1_000_000_000)).await.unwrap();
    let quote = json(&world.run("exchange quote buy 250.00 --json").await);
    let bought = json(&world.run("exchange buy 250.00 --json").await);
    assert_eq!(bought["received"], quote["receive"], "{bought}");
    assert!(bought["after_attousd"].as_u64() > bought["before_attousd"].as_u64(), "{bought}");
    assert_eq!(deployer.usd_balance(me).await.unwrap(), U256::from(750_000_000));
    let wrong = world.run("exchange buy 1.2345678").await;
    assert_eq!(wrong.status.code(), Some(2));
    let text = seen(world.home.path(), &world.run("exchange sell 1000").await);
    assert!(text.contains("Gave 1000 JOULE for $9.9") && text.contains("price before"), "{text}");

    world.run("escrow deposit 40 --series 2").await;
    let asked = json(&world.run("escrow withdraw 15 --series 2 --json").await);
    assert!(asked["thawed_at_s"].as_u64().unwrap() > 0);
    let shown = json(&world.run("escrow show --series 2 --json").await);
    assert_eq!(shown["cover"], serde_json::json!(joule(25)), "{shown}");
    let early = world.run("escrow claim --series 2").await;
    assert_eq!(early.status.code(), Some(3), "{}", seen(world.home.path(), &early));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_that_is_killed_half_way_is_finished_and_verified() {
    let world = World::new().await;
    let home = world.home.path().to_owned();
    // Parameters of its own are a deployment of its own.
    std::fs::write(home.join("deploy.toml"), "fee_bp = 77\n[stake]\nthaw = \"1d\"\n").unwrap();
    let planned = world.run("protocol deploy --config deploy.toml --dry-run --json").await;
    let planned: Value = serde_json::from_slice(&planned.stdout).unwrap();
    let steps = planned["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["done"] == false), "{planned}");
    assert!(planned["cost_wei"].as_str().unwrap().parse::<u128>().unwrap() > 0, "{planned}");
    let asked = world.run("protocol deploy --config deploy.toml").await;
    assert_eq!(asked.status.code(), Some(2), "{}", seen(&home, &asked));
    assert!(seen(&home, &asked).contains("--yes"), "{}", seen(&home, &asked));
    assert!(!home.join("contracts.json").exists());

    let words = "protocol deploy --config deploy.toml --yes";
    let cut = Hold { method: "eth_sendRawTransaction", nth: 4, heard: true };
    world.killed(words, cut).await;
    let done = world.run(&format!("{words} --json")).await;
    assert!(done.status.success(), "{}", seen(&home, &done));
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(done["contracts"], planned["contracts"]);
    let checks = done["checks"].as_array().unwrap();
    assert!(checks.iter().all(|check| check["holds"] == true), "{done}");
    // Anybody checks it by the file that was written; another's parameters do not hold.
    let verified = world.run("protocol verify --contracts contracts.json").await;
    assert!(verified.status.success(), "{}", seen(&home, &verified));
    std::fs::write(home.join("other.toml"), "fee_bp = 78\n[stake]\nthaw = \"1d\"\n").unwrap();
    let other = world.run("protocol verify --contracts contracts.json --config other.toml").await;
    assert_eq!(other.status.code(), Some(3));
    assert!(seen(&home, &other).contains("WRONG"), "{}", seen(&home, &other));
    std::fs::write(home.join("bad.toml"), "fee_bp = 77\n[stake]\nthaww = \"1d\"\n").unwrap();
    let bad = world.run("protocol deploy --config bad.toml --dry-run").await;
    assert_eq!(bad.status.code(), Some(2));
    assert!(seen(&home, &bad).contains("line 3: stake.thaww"), "{}", seen(&home, &bad));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_that_is_killed_while_it_bonds_bonds_once() {
    let world = World::new().await;
    let client = Protocol::new(&world.url, world.contracts, dev::key(3)).unwrap();
    let court = client.audit_court().await.unwrap();
    let bond = async || client.auditor(client.address()).await.unwrap().bond;
    let words = format!("auditor --enrol --work {}", world.home.path().join("work").display());
    // The bond is written down, and nobody knows whether it was sent.
    let lost = Hold { method: "eth_sendRawTransaction", nth: 2, heard: false };
    world.killed(&words, lost).await;
    assert_eq!(bond().await, joule(0));
    let enrolled = || -> Vec<Intent> {
        let folders = files(&world.home.path().join("transactions"));
        let all = folders.iter().flat_map(|folder| files(folder));
        let read =
            |path: std::path::PathBuf| serde_json::from_slice(&std::fs::read(path).ok()?).ok();
        let all = all.filter_map(read);
        all.filter(|intent: &Intent| intent.key.starts_with("enrol:")).collect()
    };
    let written = enrolled();
    assert_eq!(written.len(), 2, "the approval and the bond: {written:?}");

    let mut command = kinesis(world.home.path());
    command.args(words.split(' ')).args(["--as", ACTING, "--rpc", &world.url]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let told = tokio::time::timeout(LONG, async {
        while enrolled().iter().any(Intent::is_open) || bond().await < court.seat_bond {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let told = told.await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(told.is_ok(), "it did not go on: {:?}", enrolled());
    // What was written down is what happened.
    assert_eq!(bond().await, court.seat_bond);
    assert_eq!(enrolled().len(), written.len());
}
