//! The parts of the story in which stake answers: suppliers begin on borrowed stake, and a utility
//! that signs two things for one tick is slashed by whoever shows it.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kinesis_chain::{Contracts, Joules, dev};
use kinesis_protocol::{Address, PaymentRoot, PaymentTree, SignedRoot, U256};
use serde::Serialize;
use serde_json::Value;

use super::Say;
use crate::grid::{Grid, Supplier, eventually};

/// What a supplier borrows: more than the stake that one machine asks for.
const LOAN: &str = "150";
/// The stake of the utility that cheats.
const BOND: &str = "1000";
/// The account of the development chain that underwrites the pool.
const UNDERWRITER: &str = "dev:0";
/// The account that cheats.
const CHEAT: usize = 2;
/// The account that shows it.
pub(super) const WITNESS: &str = "dev:4";

/// What stake did in the story, in wei of JOULE.
#[derive(Debug, Clone, Serialize)]
pub struct Trust {
    /// What pools lent to the suppliers, all of which began with nothing of their own.
    pub lent_wei: U256,
    /// What the utility that signed two roots for one tick had at stake.
    pub bonded_wei: U256,
    /// What it lost.
    pub slashed_wei: U256,
    /// How many auditors had a place in the court of results.
    pub auditors: usize,
    /// What they said of a false result: `refuted`.
    pub claim_status: String,
    /// What the supplier that signed it had at stake, all of it lent.
    pub supplier_bonded_wei: U256,
    /// What it lost.
    pub supplier_slashed_wei: U256,
}

/// Everybody borrows the stake that stands for its machine; returns what was lent.
pub(super) async fn borrow(
    grid: &Grid,
    folder: &Path,
    suppliers: &[Supplier],
    say: Say<'_>,
) -> Result<U256> {
    let mut lent = U256::ZERO;
    for supplier in suppliers {
        let data = supplier.data.display();
        let as_supplier = format!("--as {data}/supplier.key");
        cli(grid, folder, &format!("pool credit {} {LOAN} --as {UNDERWRITER}", supplier.address))
            .await?;
        cli(grid, folder, &format!("pool borrow {LOAN} {as_supplier}")).await?;
        cli(grid, folder, &format!("stake claim --agent {data}")).await?;
        let stake = cli(grid, folder, &format!("stake show {}", supplier.address)).await?;
        ensure!(wei(&stake, "own")?.is_zero(), "{} has stake of its own: {stake}", supplier.name);
        lent += wei(&stake, "lent")?;
    }
    say(format!(
        "   none has stake of its own: a pool lent them {} JOULE, which answer for what they do",
        Joules(lent)
    ));
    Ok(lent)
}

/// What suppliers were paid was shared with the pool, and part of it became stake of their own.
pub(super) async fn grown(
    grid: &Grid,
    folder: &Path,
    suppliers: &[Supplier],
    say: Say<'_>,
) -> Result<()> {
    for supplier in suppliers {
        let stake = cli(grid, folder, &format!("stake show {}", supplier.address)).await?;
        let own = wei(&stake, "own")?;
        ensure!(!own.is_zero(), "{} was paid, and its stake did not grow: {stake}", supplier.name);
        say(format!(
            "   {}'s lender has had its share; {} JOULE are {}'s own stake now",
            supplier.name,
            Joules(own),
            supplier.name
        ));
    }
    Ok(())
}

/// A utility signs two roots for one tick. Somebody who holds both shows them to the chain. Returns
/// what it had at stake, and what it lost.
pub(super) async fn equivocate(grid: &Grid, folder: &Path, say: Say<'_>) -> Result<(U256, U256)> {
    let cheat = format!("dev:{CHEAT}");
    cli(grid, folder, &format!("stake bond {BOND} --as {cheat}")).await?;
    let bonded_wei = wei(&cli(grid, folder, &format!("stake show --as {cheat}")).await?, "active")?;
    let mut shown = String::new();
    for (name, owed) in [("one", 7_u64), ("other", 8)] {
        let path = folder.join(format!("root-{name}.json"));
        std::fs::write(&path, serde_json::to_vec(&sign(folder, U256::from(owed))?)?)?;
        shown = format!("{shown} {}", path.display());
    }
    say(format!(
        "   a utility with {} JOULE at stake signed two different roots for one tick",
        Joules(bonded_wei)
    ));
    let case = cli(grid, folder, &format!("audit accuse{shown} --as {WITNESS}")).await?;
    ensure!(case["offence"] == "equivocation", "the case is another: {case}");
    let id = case["id"].as_u64().with_context(|| format!("no number: {case}"))?;
    say(format!("   whoever holds both may show them: case {id}, open to the DAO's veto"));
    let execute = format!("audit execute {id} --as {WITNESS}");
    let executed =
        eventually("the window of the veto", async || cli(grid, folder, &execute).await.map(Some))
            .await?;
    let slashed_wei = wei(&executed, "slashed")?;
    let left = wei(&cli(grid, folder, &format!("stake show --as {cheat}")).await?, "active")?;
    ensure!(left + slashed_wei == bonded_wei, "{left} are left of {bonded_wei}");
    say(format!("   {} JOULE were slashed, {} are left", Joules(slashed_wei), Joules(left)));
    Ok((bonded_wei, slashed_wei))
}

/// A root of the cheat's, signed by hand: its own signer would refuse the second.
fn sign(folder: &Path, owed_wei: U256) -> Result<SignedRoot> {
    let endpoints: Value = serde_json::from_slice(&std::fs::read(folder.join("endpoints.json"))?)?;
    let contracts: Contracts = serde_json::from_value(endpoints["contracts"].clone())?;
    let key = dev::key(CHEAT);
    let tree = PaymentTree::new(vec![(Address::repeat_byte(7), owed_wei)])?;
    let root = PaymentRoot {
        utility: key.address(),
        series: 1,
        tick: 1,
        root: tree.root(),
        total: tree.total_wei(),
    };
    let signature = key.sign_hash(&root.signing_hash(contracts.chain_id, contracts.escrow));
    Ok(SignedRoot { root, signature })
}

pub(super) async fn cli(grid: &Grid, folder: &Path, words: &str) -> Result<Value> {
    let mut all: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    all.extend(["--data".into(), folder.display().to_string()]);
    grid.cli(&all).await
}

pub(super) fn wei(value: &Value, key: &str) -> Result<U256> {
    let text = value[key].as_str().with_context(|| format!("no {key} in {value}"))?;
    Ok(text.parse()?)
}
