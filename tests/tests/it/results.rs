//! Signed results before the court: auditors of their own processes run jobs again, for real, and a
//! supplier that signed what did not come out loses its stake.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use kinesis_chain::Key;
use kinesis_protocol::{
    Address, ContentHash, U256,
    result::{Dossier, output_hash},
};
use kinesis_tests::grid::{Grid, Supplier, SupplierConfig, eventually};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::Value;
use tokio::process::Child;

const MANIFEST: &str = r#"name = "postcard"
kind = "job"
component = "render.wasm"

[resources]
cpu_millis = 1000
mem_mib = 64

[job]
args = ["--width", "48", "--height", "27", "--samples", "2"]
seed = 7
"#;

/// A grid with six auditors and a supplier that has stake on loan and has run a job.
struct World {
    grid: Grid,
    folder: tempfile::TempDir,
    supplier: Supplier,
    auditors: Vec<(usize, Child)>,
}

impl World {
    async fn new() -> Self {
        let folder = crate::folder();
        let grid = crate::grid(&folder).await;
        let rpc = grid.endpoints().unwrap().rpc;
        Self::of(folder, grid, &rpc).await
    }

    /// A world whose auditors see the chain at `rpc`.
    async fn of(folder: tempfile::TempDir, grid: Grid, rpc: &str) -> Self {
        let auditors = [3, 5, 6, 7, 8, 9].map(|of| (of, audit(&grid, folder.path(), of, rpc)));
        let supplier = grid.supplier(&SupplierConfig::new("tower", "crowd")).await.unwrap();
        let world = Self { grid, folder, supplier, auditors: auditors.into() };
        let key = world.supplier.data.join("supplier.key").display().to_string();
        world.run(&format!("pool credit {} 150 --as dev:0", world.supplier.address)).await;
        world.run(&format!("pool borrow 150 --as {key}")).await;
        world.grid.account("5.00").await.unwrap();
        world
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("grid")
    }

    async fn try_run(&self, words: &str) -> (i32, String, String) {
        let mut all: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        all.extend(["--data".into(), self.data().display().to_string()]);
        self.grid.try_cli(&all).await.unwrap()
    }

    async fn run(&self, words: &str) -> Value {
        let (code, out, err) = self.try_run(words).await;
        assert_eq!(code, 0, "{words}: {err}{out}");
        serde_json::from_str(&out).unwrap()
    }

    /// Runs the job and fetches what its supplier signed of it.
    async fn signed(&self) -> (PathBuf, Dossier) {
        let job = self.folder.path().join("postcard");
        std::fs::create_dir_all(&job).unwrap();
        std::fs::copy(crate::example("render").join("render.wasm"), job.join("render.wasm"))
            .unwrap();
        std::fs::write(job.join("kinesis.toml"), MANIFEST).unwrap();
        self.grid.cli(&["run".as_ref(), job.join("kinesis.toml").as_os_str()]).await.unwrap();
        let out = self.folder.path().join("dossier");
        let args = ["result", "postcard", "--out", &out.display().to_string()];
        let shown = self.grid.cli(&args).await.unwrap();
        let app = self.grid.app("postcard").await.unwrap();
        assert_eq!(app["job"]["parts"][0]["result"], shown["dossier"]["signed"], "{app}");
        let path = out.join("dossier.json");
        let dossier: Dossier = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(dossier.check(), Ok(()));
        (path, dossier)
    }

    /// Another output of the same job, signed by the same supplier, beside the honest one.
    fn forge(&self, honest: &Path, dossier: &Dossier, name: &str) -> PathBuf {
        let key = Key::load(&self.supplier.data.join("supplier.key")).unwrap();
        let mut dossier = dossier.clone();
        dossier.outputs[0].hash = ContentHash::of(name.as_bytes());
        let signed = &mut dossier.signed;
        signed.result.output = output_hash(&dossier.outputs);
        let hash = signed.result.signing_hash(dossier.chain_id, dossier.audits);
        signed.signature = key.sign_hash(&hash);
        let path = honest.with_file_name(name);
        std::fs::write(&path, serde_json::to_vec(&dossier).unwrap()).unwrap();
        path
    }

    async fn seated(&self) {
        eventually("all auditors have a place", async || {
            let court = self.run("audit court").await;
            Ok((court["seats"].as_u64() >= court["seats_needed"].as_u64()).then_some(()))
        })
        .await
        .unwrap();
    }

    async fn claim(&self, dossier: &Path, more: &str) -> Value {
        self.run(&format!("audit claim {} {more} --as dev:4", dossier.display())).await
    }

    /// Waits until a claim is what `ready` asks for.
    async fn until(&self, id: &Value, what: &str, ready: impl Fn(&Value) -> bool) -> Value {
        let show = format!("audit claims {id}");
        eventually(what, async || {
            let claim = self.run(&show).await;
            Ok(ready(&claim).then_some(claim))
        })
        .await
        .unwrap()
    }

    async fn verdict(&self, id: &Value) -> Value {
        let over = |claim: &Value| !matches!(claim["state"].as_str(), Some("drawing" | "voting"));
        self.until(id, "a verdict", over).await
    }

    async fn stake(&self) -> U256 {
        let stake = self.run(&format!("stake show {}", self.supplier.address)).await;
        stake["active"].as_str().unwrap().parse().unwrap()
    }
}

fn audit(grid: &Grid, folder: &Path, account: usize, rpc: &str) -> Child {
    let args = [
        "auditor".to_owned(),
        "--enrol".to_owned(),
        format!("--as=dev:{account}"),
        format!("--rpc={rpc}"),
        format!("--data={}", folder.join("grid").display()),
        format!("--work={}", folder.join(format!("auditor-{account}")).display()),
        format!("--files={}", folder.display()),
    ];
    grid.background(&format!("auditor-{account}"), &args).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auditors_uphold_what_is_true_and_a_false_result_costs_its_supplier_its_stake() {
    let world = World::new().await;
    let (honest, dossier) = world.signed().await;
    let forged = world.forge(&honest, &dossier, "forged.json");
    let hidden = world.forge(&honest, &dossier, "hidden.json");
    // Anybody can run it, without a chain.
    let work = world.folder.path().join("mine");
    let run = |path: &Path| format!("audit run {} --work {}", path.display(), work.display());
    let again: Vec<String> = run(&honest).split_whitespace().map(str::to_owned).collect();
    let again = world.grid.cli(&again).await.unwrap();
    assert_eq!(again["equal"], true, "{again}");
    let again: Vec<String> = run(&forged).split_whitespace().map(str::to_owned).collect();
    let (code, out, _) = world.grid.try_cli(&again).await.unwrap();
    assert_eq!(code, 3, "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["equal"], false);

    world.seated().await;
    let upheld = world.claim(&honest, "").await;
    let refuted = world.claim(&forged, "").await;
    let nowhere = "--locator file:///nowhere/dossier.json";
    let unavailable = world.claim(&hidden, nowhere).await;
    let (code, _, err) =
        world.try_run(&format!("audit claim {} --as dev:4", forged.display())).await;
    assert_eq!(code, 3, "claimed twice: {err}");

    let verdict = world.verdict(&upheld["id"]).await;
    assert_eq!(verdict["state"], "upheld", "{verdict}");
    let verdict = world.verdict(&unavailable["id"]).await;
    assert_eq!(verdict["state"], "unavailable", "{verdict}");
    let verdict = world.verdict(&refuted["id"]).await;
    assert_eq!(verdict["state"], "refuted", "{verdict}");
    let votes = verdict["panel_votes"].as_array().unwrap();
    let found = votes.iter().filter(|vote| vote["vote"]["revealed"] == true).count();
    assert!(found >= 2, "{verdict}");

    let before = world.stake().await;
    let execute = format!("audit execute {} --as dev:4", refuted["case"]);
    let executed = eventually("the window of the veto", async || {
        let (code, out, err) = world.try_run(&execute).await;
        anyhow::ensure!(code == 0, "{err}{out}");
        Ok(Some(serde_json::from_str::<Value>(&out)?))
    })
    .await
    .unwrap();
    let slashed: U256 = executed["slashed"].as_str().unwrap().parse().unwrap();
    assert!(!slashed.is_zero());
    assert_eq!(world.stake().await + slashed, before);
    // Nobody was slashed for what was true, or could not be looked at.
    for claim in [&upheld, &unavailable] {
        let case = world.run(&format!("audit case {}", claim["case"])).await;
        assert_eq!(case["state"], "withdrawn", "{case}");
    }
    world.grid.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auditor_killed_between_commitment_and_reveal_goes_on_after_its_restart() {
    let mut world = World::new().await;
    let (honest, _) = world.signed().await;
    world.seated().await;
    let claim = world.claim(&honest, "").await;
    let committed = |claim: &Value| {
        let votes = claim["panel_votes"].as_array().map(Vec::as_slice).unwrap_or_default();
        votes
            .iter()
            .find(|vote| vote["vote"]["committed"] == true)
            .map(|vote| vote["auditor"].as_str().unwrap().parse::<Address>().unwrap())
    };
    let shown = world.until(&claim["id"], "a commitment", |claim| committed(claim).is_some()).await;
    let who = committed(&shown).unwrap();
    let at = world
        .auditors
        .iter()
        .position(|(account, _)| kinesis_chain::dev::key(*account).address() == who)
        .unwrap();
    let (account, mut child) = world.auditors.swap_remove(at);
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    child.wait().await.unwrap();
    let shown = world.run(&format!("audit claims {}", claim["id"])).await;
    let vote = |claim: &Value| {
        let votes = claim["panel_votes"].as_array().unwrap().clone();
        let of = |vote: &&Value| vote["auditor"].as_str().unwrap().parse() == Ok(who);
        votes.iter().find(of).unwrap()["vote"].clone()
    };
    assert_eq!(vote(&shown)["revealed"], false, "it died too late: {shown}");

    let rpc = world.grid.endpoints().unwrap().rpc;
    world.auditors.push((account, audit(&world.grid, world.folder.path(), account, &rpc)));
    let verdict = world.verdict(&claim["id"]).await;
    assert_eq!(verdict["state"], "upheld", "{verdict}");
    assert_eq!(vote(&verdict)["revealed"], true, "{verdict}");
    world.grid.stop().await.unwrap();
}

/// Asks the chain at `rpc`, but knows nothing of the event of its first claim, as one that prunes logs.
async fn forget(
    http: reqwest::Client,
    rpc: String,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let asked = request.into_body().collect().await?.to_bytes();
    let question: Value = serde_json::from_slice(&asked)?;
    let topics = question["params"][0]["topics"].to_string();
    if question["method"] == "eth_getLogs" && topics.contains(&format!("0x{:064x}", 1)) {
        let none = serde_json::json!({"jsonrpc": "2.0", "id": question["id"], "result": []});
        return Ok(Response::new(Full::from(none.to_string())));
    }
    let request = http.post(&rpc).header("content-type", "application/json").body(asked);
    Ok(Response::new(Full::from(request.send().await?.bytes().await?)))
}

async fn forgetful(rpc: &str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (rpc, http) = (rpc.to_owned(), reqwest::Client::builder().no_proxy().build().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (rpc, http) = (rpc.clone(), http.clone());
            let service = service_fn(move |request| forget(http.clone(), rpc.clone(), request));
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_auditors_cannot_read_holds_up_no_other() {
    let folder = crate::folder();
    let grid = crate::grid(&folder).await;
    let rpc = forgetful(&grid.endpoints().unwrap().rpc).await;
    let world = World::of(folder, grid, &rpc).await;
    let (honest, dossier) = world.signed().await;
    let forged = world.forge(&honest, &dossier, "forged.json");
    world.seated().await;
    let unread = world.claim(&honest, "").await;
    assert_eq!(unread["id"], 1, "{unread}");
    let read = world.claim(&forged, "").await;
    let verdict = world.verdict(&read["id"]).await;
    assert_eq!(verdict["state"], "refuted", "{verdict}");
    let verdict = world.verdict(&unread["id"]).await;
    assert_eq!(verdict["state"], "undecided", "{verdict}");
    world.grid.stop().await.unwrap();
}
