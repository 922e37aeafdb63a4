//! What answers for a service, with real processes: no work without stake, terms that both sign, an
//! honest supplier that answers an accusation, and a silent one that pays once.

use std::path::{Path, PathBuf};

use kinesis_tests::grid::{Grid, GridConfig, Supplier, SupplierConfig, eventually};
use nix::sys::signal::Signal;
use serde_json::Value;

/// A grid and where its people keep things.
struct World {
    grid: Grid,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(min_stake: &'static str) -> Self {
        let folder = crate::folder();
        let config = GridConfig::new(crate::kinesis(), folder.path().to_owned());
        let grid = Grid::start(GridConfig { min_stake, ..config }).await.unwrap();
        Self { grid, folder }
    }

    fn words(&self, words: &str) -> Vec<String> {
        let mut all: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        all.extend(["--data".into(), self.grid.data().display().to_string()]);
        all
    }

    async fn run(&self, words: &str) -> Value {
        self.grid.cli(&self.words(words)).await.unwrap()
    }

    async fn refused(&self, words: &str) -> String {
        let (code, out, err) = self.grid.try_cli(&self.words(words)).await.unwrap();
        assert_eq!(code, 3, "{words}: {out}{err}");
        err
    }

    /// Runs a command again until it is not refused any more: windows end by themselves.
    async fn in_time(&self, words: &str) -> Value {
        eventually(words, async || self.grid.cli(&self.words(words)).await.map(Some)).await.unwrap()
    }

    async fn borrow(&self, supplier: &Supplier) {
        let data = supplier.data.display();
        let credit = format!("pool credit {} 150 --as dev:0", supplier.address);
        self.run(&credit).await;
        self.run(&format!("pool borrow 150 --as {data}/supplier.key")).await;
        self.run(&format!("stake claim --agent {data}")).await;
    }

    /// Deploys a service that asks its suppliers for terms.
    async fn deploy(&self, sla: &str) {
        let from = crate::example("hello");
        let to = self.folder.path().join("promised");
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(from.join("hello.wasm"), to.join("hello.wasm")).unwrap();
        let text = format!(
            "name = \"promised\"\nkind = \"service\"\ncomponent = \"hello.wasm\"\n[scale]\nwarm = 0\n{sla}"
        );
        let manifest = to.join("kinesis.toml");
        std::fs::write(&manifest, text).unwrap();
        let words = ["deploy".as_ref(), manifest.as_os_str(), "--no-wait".as_ref()];
        self.grid.cli(&words).await.unwrap();
    }
}

/// The one file of a folder.
async fn one_file(folder: PathBuf) -> PathBuf {
    eventually("terms are signed and on disk", async || {
        let Ok(all) = std::fs::read_dir(&folder) else { return Ok(None) };
        let files = all.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let mut files = files.filter(|path| path.extension().is_some_and(|e| e == "json"));
        Ok(files.next())
    })
    .await
    .unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn wei(value: &Value) -> u128 {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_supplier_pays_once_and_an_honest_one_answers() {
    let world = World::new("0").await;
    let grid = &world.grid;
    let den = grid.supplier(&SupplierConfig::new("den", "crowd")).await.unwrap();
    world.borrow(&den).await;
    grid.account("5.00").await.unwrap();
    world.deploy("[sla]\nack_interval_s = 6\npenalty_joule = \"20\"\n").await;
    grid.settled("promised", 1, 0).await.unwrap();
    let kept = one_file(den.data.join("leases")).await;
    let theirs = one_file(grid.data().join("utility/leases")).await;
    assert_eq!(kept.file_name(), theirs.file_name());
    let from = read(&kept)["offer"]["terms"]["from"].as_u64().unwrap();
    eventually("it is acknowledged", async || {
        Ok((read(&kept)["acked_to_s"].as_u64() > Some(from + 7)).then_some(()))
    })
    .await
    .unwrap();

    // A utility that accuses all the same, from the beginning: its own word answers.
    let utility = format!("--as {}", grid.data().join("signer/utility.key").display());
    let supplier = format!("--as {}", den.data.join("supplier.key").display());
    let (kept, theirs) = (kept.display(), theirs.display());
    let unfounded = format!("lease accuse {theirs} --since {from} {utility}");
    let case = world.in_time(&unfounded).await["case"]["id"].as_u64().unwrap();
    let answered = world.run(&format!("lease answer {kept} {supplier}")).await;
    assert!(wei(&answered["stake"]) > 0, "{answered}");
    assert_eq!(world.run(&format!("audit case {case}")).await["state"], "withdrawn");
    let own = world.refused(&format!("lease answer {theirs} {supplier}")).await;
    assert!(own.contains("no acknowledgement"), "{own}");

    // The machine dies. Nobody gives notice, nobody hears it.
    den.signal(Signal::SIGKILL).unwrap();
    let path = PathBuf::from(theirs.to_string());
    eventually("the utility sees it", async || Ok(read(&path)["broken_at_s"].as_u64()))
        .await
        .unwrap();
    let stake = || format!("stake show {}", den.address);
    let before = wei(&world.run(&stake()).await["active"]);
    let case = world.in_time(&format!("lease accuse {theirs} {utility}")).await;
    assert_eq!(case["case"]["offence"], "breach");
    let id = case["case"]["id"].as_u64().unwrap();
    let slashed = wei(&world.in_time(&format!("audit execute {id} --as dev:4")).await["slashed"]);
    assert!(slashed > 0 && slashed <= 20 * 10_u128.pow(18), "{slashed}");
    assert_eq!(wei(&world.run(&stake()).await["active"]), before - slashed);
    assert_eq!(world.run(&format!("lease close {theirs} --as dev:4")).await["broken"], true);
    let shown = world.run(&format!("lease show {theirs}")).await;
    assert_eq!(shown["leases"][0]["record"]["broken"], true);
    let twice = world.refused(&format!("lease accuse {theirs} {utility}")).await;
    assert!(twice.contains("AlreadyAccused"), "{twice}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_comes_with_stake_and_not_before() {
    let world = World::new("100").await;
    let grid = &world.grid;
    let den = grid.supplier(&SupplierConfig::new("den", "crowd")).await.unwrap();
    grid.account("5.00").await.unwrap();
    world.deploy("").await;
    let reason = eventually("it is said why nothing runs", async || {
        let app = grid.app("promised").await?;
        let reason = app["reason"].as_str().unwrap_or_default().to_owned();
        Ok(reason.contains("JOULE of stake").then_some(reason))
    })
    .await
    .unwrap();
    assert!(reason.contains("kinesis stake bond") && reason.contains("pool borrow"), "{reason}");
    let status = ["supply", "status", "--data", &den.data.display().to_string()].map(str::to_owned);
    let said = grid.cli(&status).await.unwrap();
    let withheld = said["utilities"][0]["withheld"].as_str().unwrap();
    assert!(withheld.contains("0 of 100 JOULE"), "{withheld}");
    world.borrow(&den).await;
    grid.settled("promised", 1, 0).await.unwrap();
    assert_eq!(grid.node_state(&den.node).await.as_deref(), Some("up"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_utility_is_found_by_what_it_published_on_chain() {
    let world = World::new("0").await;
    let grid = &world.grid;
    let at = grid.endpoints().unwrap();
    let utility = format!("--as {}", grid.data().join("signer/utility.key").display());
    world.run(&format!("stake bond 1000 --for {} --as dev:1", at.utility)).await;
    let offer = format!("stake offer --endpoint {} {utility}", at.portal);
    world.in_time(&offer).await;
    let listed = world.run("stake offers --limit 5").await;
    assert_eq!(listed["offers"][0]["endpoint"], at.portal.as_str());
    assert_eq!(listed["next"], Value::Null);
    let join = |whom: &str, name: &str| -> Vec<String> {
        let data = world.folder.path().join(name).display().to_string();
        let words = ["supply", "join", "--utility", whom, "--rpc", &at.rpc, "--name", name];
        let mut all: Vec<String> = words.map(str::to_owned).to_vec();
        all.extend(["--data".to_owned(), data]);
        all
    };
    let listed_as = async |name: &str| {
        let nodes = grid.get("/v1/grid").await?;
        let nodes = nodes["nodes"].as_array().cloned().unwrap_or_default();
        Ok::<_, anyhow::Error>(nodes.iter().any(|node| node["name"] == name))
    };
    let _den = grid.background("den", &join(&at.utility, "den")).unwrap();
    eventually("it joins", async || Ok(listed_as("den").await?.then_some(()))).await.unwrap();
    // Somebody else published the same place: whoever wants to supply that one does not supply this.
    world.run("stake bond 1000 --as dev:2").await;
    world.run(&format!("stake offer --endpoint {} --as dev:2", at.portal)).await;
    let other = kinesis_chain::dev::key(2).address().to_string();
    let _cave = grid.background("cave", &join(&other, "cave")).unwrap();
    let status = world.folder.path().join("cave").display().to_string();
    let status = ["supply", "status", "--data", &status].map(str::to_owned);
    let why = eventually("it leaves again", async || {
        let said = grid.cli(&status).await?;
        Ok(said["utilities"][0]["rejected"].as_str().map(str::to_owned))
    })
    .await
    .unwrap();
    assert!(why.contains("was to be supplied"), "{why}");
    assert_eq!(grid.try_cli(&join(&format!("0x{:040x}", 1), "none")).await.unwrap().0, 3);
}
