//! The protocol's people at the command line, on a running grid: a supplier on borrowed stake, a vote
//! from proposal to execution, and a utility that signs two things for one tick.

use kinesis_chain::{Contracts, Joules, Key, Settlement, dev};
use kinesis_protocol::{PaymentRoot, PaymentTree, SignedRoot, U256, root::PaymentProof};
use kinesis_tests::grid::{Grid, SupplierConfig, eventually};
use serde_json::{Value, json};

/// A grid and where its people keep things.
struct World {
    grid: Grid,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = crate::folder();
        let grid = crate::grid(&folder).await;
        Self { grid, folder }
    }

    /// The command's words, and where the grid is.
    fn words(&self, words: &str) -> Vec<String> {
        let mut all: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        all.extend(["--data".into(), self.folder.path().join("grid").display().to_string()]);
        all
    }

    async fn run(&self, words: &str) -> Value {
        self.grid.cli(&self.words(words)).await.unwrap()
    }

    /// What a command says that is refused, and its exit code.
    async fn refused(&self, words: &str) -> (i32, Value) {
        let (code, out, err) = self.grid.try_cli(&self.words(words)).await.unwrap();
        assert_ne!(code, 0, "{words}: {out}");
        let line = err.lines().find(|line| line.starts_with('{')).unwrap_or_default();
        (code, serde_json::from_str(line).unwrap_or(Value::Null))
    }

    /// Runs a command again until it is not refused any more: windows end by themselves.
    async fn in_time(&self, words: &str) -> Value {
        eventually(words, async || self.grid.cli(&self.words(words)).await.map(Some)).await.unwrap()
    }

    fn contracts(&self) -> Contracts {
        let path = self.folder.path().join("grid/endpoints.json");
        let written: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        serde_json::from_value(written["contracts"].clone()).unwrap()
    }

    fn settlement(&self, key: Key) -> Settlement {
        let Contracts { chain_id, escrow, .. } = self.contracts();
        let rpc = self.grid.endpoints().unwrap().rpc;
        Settlement::new(&rpc, chain_id, escrow, key).unwrap()
    }

    /// Writes a file for a command to read.
    fn file(&self, name: &str, content: &impl serde::Serialize) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, serde_json::to_vec(content).unwrap()).unwrap();
        path.display().to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_at_the_command_line_raises_the_fee() {
    let world = World::new().await;
    assert_eq!(world.run("gov list").await["proposals"], json!([]));
    let power = world.run("gov power --as dev:0").await;
    assert_eq!(power["holds"], power["votes"]);
    let dry = world.run("gov propose set-fee 120 --dry-run").await;
    assert_eq!(dry["effects"], json!(["escrow.setFee(feeBp: 120)"]));
    let (code, said) = world.refused("gov propose set-fee 120 --as dev:1").await;
    assert_eq!(code, 3);
    assert!(said["error"]["hint"].as_str().unwrap().contains("kinesis gov delegate"), "{said}");

    // Votes that were delegated in this very second count from the next.
    let proposed = world.in_time("gov propose set-fee 120 --why Audits --as dev:0").await;
    let id = proposed["id"].as_str().unwrap().to_owned();
    world.in_time(&format!("gov vote {} for --as dev:0", &id[..20])).await;
    world.in_time("gov queue latest --as dev:0").await;
    world.in_time("gov execute latest --as dev:4").await;
    let shown = world.run(&format!("gov show {id}")).await;
    assert_eq!(
        (shown["state"].as_str(), shown["why"].as_str()),
        (Some("executed"), Some("Audits"))
    );
    assert_eq!(world.settlement(dev::key(0)).fee_bp().await.unwrap(), 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_joins_on_borrowed_stake() {
    let world = World::new().await;
    let supplier = world.grid.supplier(&SupplierConfig::new("den", "crowd")).await.unwrap();
    let (address, data) = (&supplier.address, supplier.data.display().to_string());
    let claim = format!("stake claim --agent {data}");
    let (code, said) = world.refused(&claim).await;
    assert_eq!(code, 3);
    assert!(said["error"]["message"].as_str().unwrap().contains("100 JOULE"), "{said}");

    let borrow = format!("pool borrow 150 --as {data}/supplier.key");
    let (_, said) = world.refused(&borrow).await;
    assert!(said["error"]["hint"].as_str().unwrap().contains("kinesis pool credit"), "{said}");
    world.run(&format!("pool credit {address} 150 --as dev:0")).await;
    world.run(&borrow).await;
    world.run(&claim).await;
    let stake = world.run(&format!("stake show {address}")).await;
    let wei = |whole: u64| json!(Joules(U256::from(whole) * U256::from(10).pow(U256::from(18))));
    assert_eq!((&stake["own"], &stake["lent"]), (&wei(0), &wei(150)));
    let claims = world.run(&format!("stake claims {}", supplier.node)).await;
    assert_eq!(
        claims["bound_to"].as_str().unwrap().to_lowercase(),
        address.to_lowercase(),
        "{claims}"
    );
    let pool = world.run(&format!("pool status {address}")).await;
    assert_eq!(pool["account"]["loan"], wei(150));
    // Honest books, as anybody sees them.
    let portal = world.grid.endpoints().unwrap().portal;
    let books = world.run(&format!("audit books --url {portal}")).await;
    assert_eq!(books["findings"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proofs_in_files_are_redeemed_and_two_roots_are_slashed() {
    let world = World::new().await;
    let key = dev::key(2);
    let utility = world.settlement(key.clone());
    let Contracts { chain_id, escrow, .. } = world.contracts();
    let one = U256::from(10).pow(U256::from(18));
    utility.deposit(utility.address(), 9, one * U256::from(50)).await.unwrap();
    let payee = Key::random().address();
    let sign = |tick, total: U256| {
        let tree = PaymentTree::new(vec![(payee, total)]).unwrap();
        let (cumulative_wei, proof) = tree.prove(payee).unwrap();
        let root = PaymentRoot {
            utility: utility.address(),
            series: 9,
            tick,
            root: tree.root(),
            total: tree.total_wei(),
        };
        let signature = key.sign_hash(&root.signing_hash(chain_id, escrow));
        let signed = SignedRoot { root, signature };
        PaymentProof { signed, supplier: payee, cumulative_wei, proof }
    };
    let proof = sign(1, one * U256::from(7));
    let proofs = world.file("proofs.json", &[&proof]);
    let redeemed = world.run(&format!("redeem {proofs} --as dev:3")).await;
    assert_eq!(redeemed["paid"], json!(Joules(one * U256::from(7))));
    assert_eq!(utility.joule_balance(payee).await.unwrap(), one * U256::from(7));
    let again = world.run(&format!("redeem {proofs} --as dev:3")).await;
    assert_eq!(again["paid"], json!("0"));

    // One tick, two totals: whoever holds both proves it, and the stake answers.
    world.run("stake bond 1000 --as dev:2").await;
    let honest = world.run(&format!("audit roots {proofs}")).await;
    assert_eq!(honest["findings"], json!([]));
    let other = world.file("other.json", &sign(1, one * U256::from(8)).signed);
    let (code, _) = world.refused(&format!("audit roots {proofs} {other}")).await;
    assert_eq!(code, 3);
    let case = world.run(&format!("audit accuse {proofs} {other} --as dev:4")).await;
    assert_eq!((&case["offence"], &case["state"]), (&json!("equivocation"), &json!("open")));
    let slashed = world.in_time("audit execute 1 --as dev:4").await;
    assert_eq!(slashed["slashed"], json!(Joules(one * U256::from(500))));
    let stake = world.run("stake show --as dev:2").await;
    assert_eq!(stake["active"], json!(Joules(one * U256::from(500))));
}
