//! Chains to test against, each gone with its test.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use alloy::primitives::{Address, U256};
use kinesis_chain::{ChainConfig, Contracts, EmbeddedChain, Key, Settlement, deploy, dev};
use kinesis_protocol::{PaymentRoot, PaymentTree, SignedRoot, root::PaymentProof};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

/// How long a process of ours may take to come up on a busy machine.
const START_MAX: Duration = Duration::from_secs(30);

/// A running chain.
pub(crate) struct Chain {
    pub(crate) url: String,
    _anvil: Option<Child>,
    _dir: Option<tempfile::TempDir>,
}

/// Serves an embedded chain in this process.
pub(crate) async fn embedded() -> Chain {
    let dir = tempfile::tempdir().unwrap();
    let chain = EmbeddedChain::open(ChainConfig::new(dir.path())).unwrap();
    let address = serve(&chain).await;
    Chain { url: format!("http://{address}/rpc"), _anvil: None, _dir: Some(dir) }
}

/// Serves `chain` on any free port for as long as the runtime lives.
pub(crate) async fn serve(chain: &EmbeddedChain) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = chain.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// The anvil to test against: `KINESIS_ANVIL`, else the one that npm installed for the contracts.
fn anvil_binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("KINESIS_ANVIL") {
        return Some(named.into());
    }
    let binary =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/node_modules/.bin/anvil");
    binary.exists().then_some(binary)
}

/// Starts anvil; `None`, said on standard error, where it is not installed.
pub(crate) async fn anvil() -> Option<Chain> {
    anvil_with(&[]).await
}

/// [`anvil`] with more arguments.
pub(crate) async fn anvil_with(arguments: &[&str]) -> Option<Chain> {
    let Some(binary) = anvil_binary() else {
        let hint = "anvil is not installed: run `npm ci` in contracts/ or set KINESIS_ANVIL";
        assert!(std::env::var_os("KINESIS_REQUIRE_ANVIL").is_none(), "{hint}");
        eprintln!("skipped: {hint}");
        return None;
    };
    let mut command = Command::new(binary);
    command.args(["--port", "0"]).args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = spawn(command);
    let line = wait_for_line(&mut child, "Listening on ").await;
    Some(Chain { url: format!("http://{line}"), _anvil: Some(child), _dir: None })
}

/// Starts a process that dies with this one, however that dies.
pub(crate) fn spawn(mut command: Command) -> Child {
    command.kill_on_drop(true);
    // SAFETY: prctl is async-signal-safe and touches nothing of the parent.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            Ok(())
        });
    }
    command.spawn().unwrap()
}

/// Reads the child's output up to a line that starts so, and gives the rest of that line.
pub(crate) async fn wait_for_line(child: &mut Child, start: &str) -> String {
    let output = child.stdout.take().unwrap();
    let found = tokio::time::timeout(START_MAX, async {
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            // libtest may have written its own words before ours.
            if let Some((_, rest)) = line.split_once(start) {
                let rest = rest.to_owned();
                // Read on, so that the child never blocks on a full pipe.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return rest;
            }
        }
        panic!("the process ended without saying \"{start}\"")
    });
    found.await.expect("the process says that it is up")
}

/// One JSON-RPC call; the whole answer.
pub(crate) async fn call(url: &str, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let (status, answer) = post(url, body.to_string()).await;
    assert_eq!(status, 200);
    serde_json::from_str(&answer).unwrap()
}

/// One JSON-RPC call that must succeed; its result.
pub(crate) async fn result(url: &str, method: &str, params: Value) -> Value {
    let mut answer = call(url, method, params).await;
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].take()
}

/// Posts a body as it is.
pub(crate) async fn post(url: &str, body: impl Into<reqwest::Body>) -> (u16, String) {
    post_as("application/json", url, body).await
}

/// Posts a body as it is, of this type.
pub(crate) async fn post_as(
    kind: &str,
    url: &str,
    body: impl Into<reqwest::Body>,
) -> (u16, String) {
    let request = http().post(url).header("content-type", kind).body(body);
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Posts a body under another name for the same machine; the status.
pub(crate) async fn post_to(host: &str, url: &str, body: impl Into<reqwest::Body>) -> u16 {
    let request = http().post(url).header("content-type", "application/json").header("host", host);
    request.body(body).send().await.unwrap().status().as_u16()
}

fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A number of whole JOULE in wei.
pub(crate) fn joule(whole: u64) -> U256 {
    U256::from(whole) * U256::from(10).pow(U256::from(18))
}

/// Contracts on a chain and a utility with JOULE in hand and gas to spend.
pub(crate) struct Grid {
    pub(crate) url: String,
    pub(crate) contracts: Contracts,
    pub(crate) utility: Settlement,
    pub(crate) key: Key,
}

impl Grid {
    pub(crate) async fn new(url: &str) -> Self {
        let contracts = deploy(url, &dev::key(0)).await.unwrap();
        let key = Key::random();
        let utility = client(url, &contracts, key.clone()).await;
        let grid = Self { url: url.to_owned(), contracts, utility, key };
        let owner =
            Settlement::new(url, contracts.chain_id, contracts.escrow, dev::key(0)).unwrap();
        owner.transfer(grid.utility.address(), joule(1_000)).await.unwrap();
        grid
    }

    /// A client with gas money.
    pub(crate) async fn client(&self) -> Settlement {
        client(&self.url, &self.contracts, Key::random()).await
    }

    /// The utility's proofs for these payees at this tick of series 1.
    pub(crate) fn tick(&self, tick: u64, payees: &[(Address, U256)]) -> Vec<PaymentProof> {
        let tree = PaymentTree::new(payees.to_vec()).unwrap();
        let root = PaymentRoot {
            utility: self.utility.address(),
            series: 1,
            tick,
            root: tree.root(),
            total: tree.total_wei(),
        };
        let hash = root.signing_hash(self.contracts.chain_id, self.contracts.escrow);
        let signed = SignedRoot { signature: self.key.sign_hash(&hash), root };
        let prove = |(supplier, _): &(Address, U256)| {
            let (cumulative_wei, proof) = tree.prove(*supplier).unwrap();
            PaymentProof { signed: signed.clone(), supplier: *supplier, cumulative_wei, proof }
        };
        payees.iter().map(prove).collect()
    }
}

async fn client(url: &str, contracts: &Contracts, key: Key) -> Settlement {
    dev::fund(url, key.address(), joule(1)).await.unwrap();
    Settlement::new(url, contracts.chain_id, contracts.escrow, key).unwrap()
}
