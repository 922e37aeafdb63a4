//! The part of the story in which a supplier signs what did not come out: auditors drawn by lot run
//! the job again, each on its own, and it loses its stake.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use kinesis_chain::{Joules, Key};
use kinesis_protocol::{
    ContentHash, U256,
    result::{Dossier, output_hash},
};
use tokio::process::Child;

use super::{
    Say,
    trust::{WITNESS, cli, wei},
};
use crate::grid::{Grid, Supplier, eventually};

/// The accounts of the development chain that audit: as many as the court asks for before it hears a
/// claim, a panel and three more.
const AUDITORS: [usize; 6] = [3, 5, 6, 7, 8, 9];
/// A small picture: its bytes matter, not its beauty.
const MANIFEST: &str = r#"name = "postcard"
kind = "job"
component = "render.wasm"

[resources]
cpu_millis = 1000
mem_mib = 64

[job]
args = ["--width", "96", "--height", "54", "--samples", "8"]
wall_ms_max = 60000
seed = 7
"#;

/// Auditors at work. They stop when this is dropped.
#[derive(Debug)]
pub(super) struct Auditors(Vec<Child>);

impl Auditors {
    /// Lets every auditor bond and take a place, while the story goes on.
    pub(super) fn enrol(grid: &Grid, folder: &Path) -> Result<Self> {
        let start = |account: &usize| {
            let work = folder.join(format!("auditor-{account}"));
            let args = [
                "auditor".to_owned(),
                "--enrol".to_owned(),
                format!("--as=dev:{account}"),
                format!("--data={}", folder.display()),
                format!("--work={}", work.display()),
                format!("--files={}", folder.display()),
            ];
            grid.background(&format!("auditor-{account}"), &args)
        };
        Ok(Self(AUDITORS.iter().map(start).collect::<Result<_>>()?))
    }

    /// What they wrote: why a verdict is what it is.
    fn said(&self, grid: &Grid) -> Vec<String> {
        let log = |account| grid.config().data.join(format!("auditor-{account}.log"));
        let read = |account| std::fs::read_to_string(log(account)).unwrap_or_default();
        AUDITORS.into_iter().map(read).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }
}

/// What a supplier said that is not true, before the court.
#[derive(Debug)]
pub(super) struct Claimed {
    id: u64,
    case: u64,
    supplier: String,
    name: String,
}

impl Claimed {
    /// The address of who is accused: it gets no work until the verdict.
    pub(super) fn accused(&self) -> &str {
        &self.supplier
    }
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) status: String,
    pub(super) bonded_wei: U256,
    pub(super) slashed_wei: U256,
}

/// A job whose result is signed; then the same supplier signs another one.
pub(super) async fn cheat(
    grid: &Grid,
    folder: &Path,
    render: &Path,
    suppliers: &[Supplier],
    say: Say<'_>,
) -> Result<Claimed> {
    let honest = run_signed(grid, folder, render).await?;
    let honest_text = honest.display().to_string();
    let work = folder.join("auditing");
    let again = format!("audit run {honest_text} --work {}", work.display());
    let again: Vec<String> = again.split_whitespace().map(str::to_owned).collect();
    let again = grid.cli(&again).await.context("run the job again")?;
    ensure!(again["equal"] == true, "the job is not the same everywhere: {again}");
    say("   a deterministic job: its supplier signs what came out, and anybody gets the same"
        .into());
    let mut dossier: Dossier = serde_json::from_slice(&std::fs::read(&honest)?)?;
    let supplier = dossier.signed.result.supplier.to_string();
    let supplier = suppliers
        .iter()
        .find(|known| known.address.eq_ignore_ascii_case(&supplier))
        .with_context(|| format!("{supplier} is none of ours"))?;
    forge(&mut dossier, &Key::load(&supplier.data.join("supplier.key"))?)?;
    let forged = honest.with_file_name("forged.json");
    std::fs::write(&forged, serde_json::to_vec(&dossier)?)?;
    say(format!("   then {} signs another picture for the same job", supplier.name));
    eventually("places for all auditors", async || {
        let court = cli(grid, folder, "audit court").await?;
        let (seats, needed) = (court["seats"].as_u64(), court["seats_needed"].as_u64());
        Ok((seats >= needed).then_some(()))
    })
    .await?;
    let claim = format!("audit claim {} --as {WITNESS}", forged.display());
    let claim = cli(grid, folder, &claim).await.context("claim that the result is false")?;
    Ok(Claimed {
        id: claim["id"].as_u64().with_context(|| format!("no number: {claim}"))?,
        case: claim["case"].as_u64().with_context(|| format!("no case: {claim}"))?,
        supplier: supplier.address.clone(),
        name: supplier.name.clone(),
    })
}

/// Runs the job and fetches what its supplier signed.
async fn run_signed(grid: &Grid, folder: &Path, render: &Path) -> Result<PathBuf> {
    let job = folder.join("postcard");
    std::fs::create_dir_all(&job)?;
    std::fs::copy(render, job.join("render.wasm")).with_context(|| render.display().to_string())?;
    let manifest = job.join("kinesis.toml");
    std::fs::write(&manifest, MANIFEST)?;
    grid.cli(&["run".as_ref(), manifest.as_os_str()]).await.context("run postcard")?;
    let out = folder.join("dossier");
    let args = ["result".as_ref(), "postcard".as_ref(), "--out".as_ref(), out.as_os_str()];
    grid.cli(&args).await.context("what was signed of postcard")?;
    Ok(out.join("dossier.json"))
}

/// Another output for the same job, signed by hand: the agent signs only what it ran.
fn forge(dossier: &mut Dossier, key: &Key) -> Result<()> {
    let file = dossier.outputs.first_mut().context("the job left nothing")?;
    file.hash = ContentHash::of(b"a picture that was never rendered");
    dossier.signed.result.output = output_hash(&dossier.outputs);
    let hash = dossier.signed.result.signing_hash(dossier.chain_id, dossier.audits);
    dossier.signed.signature = key.sign_hash(&hash);
    Ok(())
}

/// Waits for the verdict, and has it carried out.
pub(super) async fn judged(
    grid: &Grid,
    folder: &Path,
    claimed: Claimed,
    auditors: &Auditors,
    say: Say<'_>,
) -> Result<Verdict> {
    let Claimed { id, case, supplier, name } = claimed;
    let show = format!("audit claims {id}");
    let claim = eventually("the verdict of the auditors", async || {
        let claim = cli(grid, folder, &show).await?;
        let waits = matches!(claim["state"].as_str(), Some("drawing" | "voting"));
        Ok((!waits).then_some(claim))
    })
    .await?;
    let status = claim["state"].as_str().unwrap_or_default().to_owned();
    let votes = claim["panel_votes"].as_array().map_or(0, Vec::len);
    ensure!(
        status == "refuted",
        "the false result was not refuted: {claim}\n{}",
        auditors.said(grid).join("\n")
    );
    say(format!(
        "   of {} auditors {votes} were drawn, ran the job and found that {name} lied: {status}",
        auditors.count()
    ));
    let stake = format!("stake show {supplier}");
    let execute = format!("audit execute {case} --as {WITNESS}");
    let (bonded_wei, executed) = eventually("the window of the veto", async || {
        let bonded_wei = wei(&cli(grid, folder, &stake).await?, "active")?;
        Ok(Some((bonded_wei, cli(grid, folder, &execute).await?)))
    })
    .await?;
    let slashed_wei = wei(&executed, "slashed")?;
    let left = wei(&cli(grid, folder, &stake).await?, "active")?;
    ensure!(left + slashed_wei == bonded_wei, "{left} are left of {bonded_wei}");
    say(format!(
        "   {} of its {} JOULE at stake were slashed",
        Joules(slashed_wei),
        Joules(bonded_wei)
    ));
    Ok(Verdict { status, bonded_wei, slashed_wei })
}
