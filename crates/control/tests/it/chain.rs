//! Control against a real chain: withdrawals that a crash cuts in two, events that are read into the
//! store, blocks that are taken back.

mod proxy;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use kinesis_chain::{
    ChainConfig, Contracts, EmbeddedChain, EventReader, Key, MemoryJournal, SendPolicy, Settlement,
    deploy, dev,
};
use kinesis_control::{
    ChainSettle, Control, ControlConfig, ControlError, Indexer, Settle as _, api::WithdrawRequest,
    indexer::Step,
};
use kinesis_protocol::{
    Address, AttoUsd, ContentHash, Counters, LeaseId, LeaseSpec, NanoJoule, NanoUsd, NodeId,
    PaymentRoot, PaymentTree, Prices, Replica, Resources, SignedRoot, Tier, U256, Workload,
    lease::{Instance, LeaseKey, Program, ServiceWorkload},
    root::PaymentProof,
};
use kinesis_store::{
    AppKind, Artifacts, EventFilter, NewLease, NewVersion, Store, StoredChainEvent, Terms,
    TickPosting,
};
use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};

use proxy::{Hold, proxy};

const PLACE: &str = "KINESIS_TEST_WITHDRAW_DIR";
const LONG: Duration = Duration::from_secs(30);
const SERIES: u64 = 1;

pub(crate) fn joule(whole: u64) -> U256 {
    U256::from(whole) * U256::from(10).pow(U256::from(18))
}

pub(crate) async fn embedded(dir: &Path) -> String {
    let chain = EmbeddedChain::open(ChainConfig::new(dir)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc", listener.local_addr().unwrap());
    let router = chain.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// A utility with JOULE in escrow, and a supplier that it owes 20 of them.
struct Scene {
    dir: tempfile::TempDir,
    url: String,
    contracts: Contracts,
    supplier: Key,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = embedded(&dir.path().join("chain")).await;
        let contracts = deploy(&url, &dev::key(0)).await.unwrap();
        let scene = Self { dir, url, contracts, supplier: Key::random() };
        let utility = scene.settlement(&scene.url);
        dev::fund(&scene.url, utility.address(), joule(1)).await.unwrap();
        let bank = Settlement::new(&scene.url, contracts.chain_id, contracts.escrow, dev::key(0));
        bank.unwrap().transfer(utility.address(), joule(10_000)).await.unwrap();
        utility.top_up(SERIES, joule(5_000)).await.unwrap();
        scene.earn(&scene.store().await).await;
        let request = serde_json::to_vec(&scene.request()).unwrap();
        std::fs::write(scene.path("request.json"), request).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn store(&self) -> Store {
        open(self.dir.path()).await
    }

    fn settlement(&self, url: &str) -> Settlement {
        let key = Key::load_or_create(&self.path("utility.key")).unwrap();
        Settlement::new(url, self.contracts.chain_id, self.contracts.escrow, key).unwrap()
    }

    /// A lease of the supplier worked 20 JOULE's worth.
    async fn earn(&self, store: &Store) {
        let payer = store.create_account("customer", None, 1).await.unwrap().0.account;
        let new = NewVersion {
            account: payer,
            name: "web".into(),
            kind: AppKind::Service,
            manifest: "name = \"web\"".into(),
            artifacts: BTreeMap::new(),
            parts: 0,
            hosts: vec![],
        };
        let app = store.deploy(&new, None, 2).await.unwrap().app;
        let epoch = store.next_epoch(app.id, Replica(0)).await.unwrap();
        let program = Program {
            component: ContentHash([1; 32]),
            component_bytes: 3,
            env: BTreeMap::new(),
            files: vec![],
            network: vec![],
        };
        let workload = Workload::Service(ServiceWorkload {
            program,
            instance: Instance::Fresh,
            concurrency: 8,
            request_ms_max: 1_000,
        });
        let lease = NewLease {
            spec: LeaseSpec {
                lease: LeaseId::random(),
                key: LeaseKey { app: app.id, replica: Replica(0), epoch },
                app_name: app.name.clone(),
                standby: false,
                workload,
                granted: Resources { cpu_millis: 500, mem_mib: 64, ..Resources::default() },
                // A second is worth a tenth of a JOULE, at a cent for one.
                prices: Prices { wall_ms: AttoUsd(1_000_000_000_000), ..Prices::default() },
                term_ms: 60_000,
                sla: None,
                audit: None,
            },
            version: app.version,
            series: SERIES,
            node: NodeId([9; 32]),
            node_name: "den".into(),
            supplier: self.supplier.address(),
            tier: Tier::Crowd,
            terms: Terms { margin_bp: 1_500, fee_bp: 100 },
        };
        let lease = store.insert_lease(&lease, 3).await.unwrap();
        let posting = TickPosting {
            series: SERIES,
            tick: store.reserve_tick(SERIES).await.unwrap(),
            joule_price: kinesis_protocol::JoulePrice::new(10_000_000).unwrap(),
            leases: vec![(lease.id(), Counters { wall_ms: 200_000, ..Counters::default() })],
        };
        store.post_tick(&posting, 4).await.unwrap();
        let earned = store.earned(SERIES, self.supplier.address()).await.unwrap();
        assert_eq!(earned, NanoJoule(20_000_000_000));
    }

    fn request(&self) -> WithdrawRequest {
        let utility = Key::load_or_create(&self.path("utility.key")).unwrap();
        let supplier = self.supplier.address();
        let tree = PaymentTree::new(vec![(supplier, joule(20))]).unwrap();
        let root = PaymentRoot {
            utility: utility.address(),
            series: SERIES,
            tick: 1,
            root: tree.root(),
            total: tree.total_wei(),
        };
        let (chain, escrow) = (self.contracts.chain_id, self.contracts.escrow);
        let signed =
            SignedRoot { signature: utility.sign_hash(&root.signing_hash(chain, escrow)), root };
        let (cumulative_wei, proof) = tree.prove(supplier).unwrap();
        let payment = PaymentProof { signed, supplier, cumulative_wei, proof };
        let deadline = 9_999_999_999;
        let own = Settlement::new(&self.url, chain, escrow, self.supplier.clone()).unwrap();
        let signature = own.sign_redeem_to(&payment, utility.address(), deadline).unwrap();
        WithdrawRequest { payment, deadline, signature }
    }

    async fn control(&self) -> (Arc<Control>, Store) {
        control(self.dir.path(), &self.settlement(&self.url)).await
    }

    /// What the utility's desk holds, and what was posted for the supplier.
    async fn settled(&self) -> (U256, Vec<(Option<NanoJoule>, Option<NanoUsd>)>) {
        let utility = self.settlement(&self.url);
        let holds = utility.joule_balance(utility.address()).await.unwrap();
        let store = self.store().await;
        let audit = store.audit().await.unwrap();
        assert_eq!(audit.findings, Vec::<String>::new());
        let all = store.withdrawals(SERIES, self.supplier.address()).await.unwrap();
        store.close().await;
        (holds, all.iter().map(|w| (w.redeemed_nanojoule, w.paid_nanousd)).collect())
    }

    /// 20 JOULE came to the desk, once, and 20 cents went to the supplier, once.
    async fn paid_once(&self) {
        let paid = (Some(NanoJoule(20_000_000_000)), Some(NanoUsd(200_000_000)));
        assert_eq!(self.settled().await, (joule(5_020), vec![paid]));
    }
}

async fn open(dir: &Path) -> Store {
    Store::open(&format!("sqlite://{}", dir.join("ledger.sqlite").display())).await.unwrap()
}

/// A control over the store in `dir`, which settles through `settlement`.
async fn control(dir: &Path, settlement: &Settlement) -> (Arc<Control>, Store) {
    let store = open(dir).await;
    let settle = ChainSettle::new(settlement.clone(), SERIES, store.clone());
    let bind = Some("127.0.0.1:0".parse().unwrap());
    let secret = NodeSecret::generate();
    let wire = EndpointConfig { secret, bind, relay: None, listen: true };
    let endpoint = Endpoint::bind(wire).await.unwrap();
    let artifacts = Artifacts::open("memory:").await.unwrap();
    // The escrow is full: nothing but the withdrawal is sent.
    let config = ControlConfig {
        escrow_margin: NanoJoule(1),
        tick: Duration::from_secs(3_600),
        ..ControlConfig::default()
    };
    let settle = Arc::new(settle);
    let started = Control::start(config, store.clone(), artifacts, settle, endpoint).await;
    (started.unwrap(), store)
}

/// Not a test of its own: the process that the others kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(dir) = std::env::var_os(PLACE) else { return };
    let dir = Path::new(&dir);
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let (url, contracts): (String, Contracts) =
        serde_json::from_slice(&read("victim.json")).unwrap();
    let request: WithdrawRequest = serde_json::from_slice(&read("request.json")).unwrap();
    let key = Key::load(&dir.join("utility.key")).unwrap();
    let settlement = Settlement::new(&url, contracts.chain_id, contracts.escrow, key).unwrap();
    let (control, _store) = control(dir, &settlement).await;
    println!("\nWORKING");
    control.withdraw(request.payment.supplier, &request).await.unwrap();
    println!("\nPAID");
    std::future::pending::<()>().await;
}

fn spawn(dir: &Path) -> Child {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "chain::victim", "--nocapture"])
        .env(PLACE, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

async fn says(child: &mut Child, word: &str) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let heard = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains(word) {
                return;
            }
        }
        panic!("it ended without saying {word}");
    };
    tokio::time::timeout(LONG, heard).await.unwrap_or_else(|_| panic!("it never said {word}"));
}

async fn killed_at(hold: Option<Hold>) {
    let scene = Scene::new().await;
    let at = hold.unwrap_or(Hold { method: "none", heard: true });
    let (url, proxy) = proxy(&scene.url, at).await;
    let told = serde_json::to_vec(&(url, scene.contracts)).unwrap();
    std::fs::write(scene.path("victim.json"), told).unwrap();
    let mut child = spawn(scene.dir.path());
    if hold.is_some() {
        says(&mut child, "WORKING").await;
        let held = tokio::time::timeout(LONG, proxy.held.notified()).await;
        assert!(held.is_ok(), "{hold:?} was never reached");
    } else {
        says(&mut child, "PAID").await;
    }
    child.kill().await.unwrap();
    child.wait().await.unwrap();

    let (control, _store) = scene.control().await;
    let request = scene.request();
    let supplier = scene.supplier.address();
    let first = control.withdraw(supplier, &request).await.unwrap();
    assert_eq!(first.redeemed_nanojoule, NanoJoule(20_000_000_000), "{hold:?}");
    // Asked for once more, it is the same one.
    let again = control.withdraw(supplier, &request).await.unwrap();
    assert_eq!(again.transaction, first.transaction);
    assert_eq!(again.paid_nanousd, first.paid_nanousd);
    control.shutdown().await;
    scene.paid_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_killed_before_it_is_sent_is_paid_once() {
    killed_at(Some(Hold { method: "eth_estimateGas", heard: true })).await;
    killed_at(Some(Hold { method: "eth_sendRawTransaction", heard: false })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_killed_between_chain_and_ledger_is_paid_once() {
    killed_at(Some(Hold { method: "eth_sendRawTransaction", heard: true })).await;
    killed_at(Some(Hold { method: "eth_getTransactionReceipt", heard: true })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_killed_after_it_was_posted_is_paid_once() {
    killed_at(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redemption_that_is_final_and_not_posted_is_posted() {
    let scene = Scene::new().await;
    let request = scene.request();
    let supplier = scene.supplier.address();
    let store = scene.store().await;
    let amount = NanoJoule(20_000_000_000);
    store.begin_withdrawal(SERIES, supplier, amount, 5).await.unwrap();
    let settle = ChainSettle::new(scene.settlement(&scene.url), SERIES, store.clone());
    let key = format!("withdrawal:{SERIES}:{supplier:#x}:{}", amount.0);
    let (deadline, signature) = (request.deadline, &request.signature);
    settle.redeem_to_payer(&key, &request.payment, deadline, signature).await.unwrap();
    store.close().await;
    // Here the process ended. Its successor finds the redemption final, and posts it.
    let (control, _store) = scene.control().await;
    control.withdraw(supplier, &request).await.unwrap();
    control.shutdown().await;
    scene.paid_once().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_redeemed_to_the_desk_is_paid_by_its_event() {
    let scene = Scene::new().await;
    let request = scene.request();
    let supplier = scene.supplier.address();
    // The consent lies open once it is seen: anybody may send it, to the same effect.
    let (chain, escrow) = (scene.contracts.chain_id, scene.contracts.escrow);
    let anybody = Settlement::new(&scene.url, chain, escrow, dev::key(3)).unwrap();
    let to = request.payment.signed.root.utility;
    let sent = anybody.redeem_to(&request.payment, to, request.deadline, &request.signature).await;
    assert_eq!(sent.unwrap().paid_wei, joule(20));
    let (control, store) = scene.control().await;
    let unread = control.withdraw(supplier, &request).await;
    assert!(matches!(unread, Err(ControlError::Conflict(_))), "{unread:?}");
    let settle = ChainSettle::new(scene.settlement(&scene.url), SERIES, store);
    caught_up(&mut settle.indexer(&scene.url, 0).unwrap()).await;
    control.withdraw(supplier, &request).await.unwrap();
    control.withdraw(supplier, &request).await.unwrap();
    control.shutdown().await;
    scene.paid_once().await;
}

pub(crate) async fn caught_up(indexer: &mut Indexer) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..100 {
        steps.push(indexer.step().await.unwrap());
        if matches!(steps.last(), Some(Step::CaughtUp(_))) {
            return steps;
        }
    }
    panic!("it never catches up: {steps:?}");
}

/// The anvil that npm installed for the contracts; `None`, said on standard error, where it is not.
pub(crate) async fn anvil() -> Option<(String, Child)> {
    let named = std::env::var_os("KINESIS_ANVIL").map(PathBuf::from);
    let binary = named.unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/node_modules/.bin/anvil")
    });
    if !binary.exists() {
        let hint = "anvil is not installed: run `npm ci` in contracts/ or set KINESIS_ANVIL";
        assert!(std::env::var_os("KINESIS_REQUIRE_ANVIL").is_none(), "{hint}");
        eprintln!("skipped: {hint}");
        return None;
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(binary).args(["--port", "0"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let up = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, at)) = line.split_once("Listening on ") {
                return format!("http://{at}");
            }
        }
        panic!("anvil ended");
    };
    let url = tokio::time::timeout(LONG, up).await.unwrap();
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Some((url, child))
}

pub(crate) async fn rpc(url: &str, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer: Value = http.post(url).json(&body).send().await.unwrap().json().await.unwrap();
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_follow_the_chain_forward_and_back() {
    let Some((url, _anvil)) = anvil().await else { return };
    let contracts = deploy(&url, &dev::key(0)).await.unwrap();
    let store = Store::open("sqlite::memory:").await.unwrap();
    let journal = Arc::new(MemoryJournal::default());
    let (chain, escrow) = (contracts.chain_id, contracts.escrow);
    let owner = Settlement::new(&url, chain, escrow, dev::key(0)).unwrap().with_journal(journal);
    let owner = owner.with_policy(SendPolicy {
        finality: kinesis_chain::Finality::Confirmations(10),
        resend_after: Duration::ZERO,
        ..SendPolicy::for_chain(chain)
    });
    let indexer = || {
        let reader = EventReader::new(&url, chain).unwrap();
        Indexer::new(reader, store.clone(), "test", vec![escrow], 0)
    };
    let deposits = async |store: &Store| -> Vec<StoredChainEvent> {
        let name = Some("Deposited".to_owned());
        let filter = EventFilter { name, limit: 100, ..EventFilter::default() };
        store.chain_events(chain, "test", &filter).await.unwrap()
    };
    let own = owner.address();
    let mut first = indexer();
    caught_up(&mut first).await;
    owner.deposit(own, 1, joule(5)).await.unwrap().unwrap();
    caught_up(&mut first).await;
    let before = deposits(&store).await;
    assert_eq!(before.len(), 1);
    let values: Value = serde_json::from_str(&before[0].body).unwrap();
    assert_eq!(values["amount"], joule(5).to_string());
    assert_eq!(values["utility"], format!("{own:#x}"));
    // A second reader of the same, and one after a restart, add nothing.
    caught_up(&mut indexer()).await;
    assert_eq!(deposits(&store).await, before);

    // The block is taken back, and others come in its place.
    rpc(&url, "anvil_reorg", json!([1, []])).await;
    let steps = caught_up(&mut first).await;
    assert!(steps.iter().any(|step| matches!(step, Step::TookBack(Some(_)))), "{steps:?}");
    assert_eq!(deposits(&store).await, []);
    // It is mined again, once, and read again, once.
    let deadline = tokio::time::Instant::now() + LONG;
    while owner.escrow(own, 1).await.unwrap().deposited_wei.is_zero() {
        assert!(tokio::time::Instant::now() < deadline, "it is never mined again");
        owner.settle().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    caught_up(&mut first).await;
    let after = deposits(&store).await;
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].transaction, before[0].transaction);
    assert_ne!(after[0].block_hash, before[0].block_hash);
    assert_eq!(owner.escrow(own, 1).await.unwrap().deposited_wei, joule(5));

    // Deeper than anything that was read before: all of it is read anew.
    rpc(&url, "anvil_mine", json!(["0x3"])).await;
    caught_up(&mut first).await;
    let other = Address::repeat_byte(1);
    let wrong = kinesis_store::IndexedBlock { number: 1_000_000, hash: Default::default() };
    store.unindex(chain, "test", None).await.unwrap();
    store.index(chain, "test", None, wrong, &[]).await.unwrap();
    let steps = caught_up(&mut first).await;
    assert_eq!(steps[0], Step::TookBack(None));
    assert_eq!(deposits(&store).await.len(), 1);
    let nobody = EventFilter { address: Some(other), limit: 9, ..EventFilter::default() };
    assert!(store.chain_events(chain, "test", &nobody).await.unwrap().is_empty());
}
