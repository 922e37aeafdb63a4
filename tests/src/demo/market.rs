//! The part of the story in which the price of a JOULE moves: the same job costs its customer the same
//! dollars before and after, and its supplier gets as many JOULE as they are worth then.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kinesis_chain::{Joules, dev};
use kinesis_protocol::{Counters, JoulePrice, NanoJoule, NanoUsd, Prices, money::NANO};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Say, trust::cli};
use crate::grid::{Grid, eventually};

/// The account of the development chain that buys.
const BUYER: usize = 4;
/// What it buys for at a time: no block may move the price further than 3 %.
const DOLLARS: u32 = 14_000;
/// How often.
const TRADES: u32 = 6;
/// The job, but for its name and where it runs: half a second.
const MANIFEST: &str = r#"kind = "job"
component = "stopwatch.wasm"

[resources]
cpu_millis = 1000
mem_mib = 64

[[part]]
args = ["500"]
"#;

/// What the price's move did to a bill, and what the desk did.
///
/// A job twice does not use the same units twice: a machine that is busy otherwise leaves it less of its
/// processor. So both bills are held against their own units, to the last nano-USD, and what is
/// compared is what the units of the first come to by the second bill.
#[derive(Debug, Clone, Serialize)]
pub struct Market {
    /// What one JOULE cost when the first job was posted.
    pub price_before_nanousd: i64,
    /// What it cost when the second was.
    pub price_after_nanousd: i64,
    /// What the first cost its customer.
    pub customer_before_nanousd: i64,
    /// What the same units cost by the second's bill.
    pub customer_after_nanousd: i64,
    /// What the second cost its customer, for the units that it used.
    pub second_bill_nanousd: i64,
    /// What the first brought its supplier.
    pub supplier_before_nanojoule: i64,
    /// What the same units bring by the second's bill.
    pub supplier_after_nanojoule: i64,
    /// How many trades the utility's desk has made.
    pub desk_trades: usize,
    /// What the desk's conversions brought it, at the price at the end.
    pub desk_result_nanousd: i64,
}

/// What is read of a bill's line.
#[derive(Debug, Deserialize)]
struct Line {
    prices: Prices,
    counters: Counters,
    billed_nanousd: NanoUsd,
    supplier_nanousd: NanoUsd,
    supplier_nanojoule: NanoJoule,
}

/// A job, as it was billed.
struct Billed {
    customer: NanoUsd,
    share: NanoUsd,
    joule: NanoJoule,
    prices: Prices,
    counters: Counters,
    /// What one JOULE must have cost: what the supplier got for its share.
    price: i64,
}

/// Tells this part.
pub(super) async fn moves(
    grid: &Grid,
    folder: &Path,
    jobs: &Path,
    accused: &str,
    say: Say<'_>,
) -> Result<Market> {
    say("6. The price of a JOULE moves, and bills stay in USD".into());
    let tier = eventually("a machine that gets work", async || tier(grid, accused).await).await?;
    let wasm = jobs.join("stopwatch.wasm");
    std::fs::copy(&wasm, folder.join("stopwatch.wasm")).context("copy the stopwatch")?;
    let before = job(grid, folder, "price-before", &tier).await?;
    say(told("before", &before));

    let buyer = dev::key(BUYER).address();
    let budget = DOLLARS * TRADES;
    cli(grid, folder, &format!("exchange play {budget} --to {buyer} --as dev:0")).await?;
    let mut bought = Joules::default();
    for _ in 0..TRADES {
        let buy = format!("exchange buy {DOLLARS} --impact-bp 10000 --as dev:{BUYER}");
        let trade = cli(grid, folder, &buy).await?;
        let received: &Value = &trade["received"]["joule"];
        let wei: Joules = serde_json::from_value(received.clone())
            .with_context(|| format!("no JOULE in {trade}"))?;
        bought.0 += wei.0;
    }
    let moved = eventually("the time-weighted price", async || {
        let desk = grid.get("/v1/desk").await?;
        let price = desk["price"]["price_nanousd"].as_i64().context("no price")?;
        Ok((price >= before.price / 100 * 106).then_some(price))
    })
    .await?;
    say(format!(
        "   somebody bought {} JOULE for {}; the time-weighted price follows: {} for one",
        NanoJoule::from_wei(bought.0).unwrap_or_default(),
        NanoUsd(i64::from(budget) * NANO),
        NanoUsd(moved)
    ));
    let after = job(grid, folder, "price-after", &tier).await?;
    say(told("after", &after));
    let same = after.with_units_of(&before);
    say(format!(
        "   the units of the first, by the second's bill: {} again, and {} JOULE in place of {}",
        same.customer, same.joule, before.joule
    ));

    let desk = grid.get("/v1/desk").await?;
    let trades = desk["trades"].as_array().context("no trades")?;
    for trade in trades.iter().rev().take(3) {
        let amount = |key: &str| trade[key].as_i64().unwrap_or_default();
        say(format!(
            "   desk, trade {}: {} {} JOULE for {} ({})",
            trade["number"],
            trade["side"].as_str().unwrap_or_default(),
            NanoJoule(amount("joule_nanojoule").abs()),
            NanoUsd(amount("usd_nanousd").abs()),
            trade["state"].as_str().unwrap_or_default()
        ));
    }
    let result = desk["result_nanousd"].as_i64().context("no result")?;
    say(format!(
        "   it had bought ahead of the move: so far converting brought it {}",
        NanoUsd(result)
    ));
    Ok(Market {
        price_before_nanousd: before.price,
        price_after_nanousd: after.price,
        customer_before_nanousd: before.customer.0,
        customer_after_nanousd: same.customer.0,
        second_bill_nanousd: after.customer.0,
        supplier_before_nanojoule: before.joule.0,
        supplier_after_nanojoule: same.joule.0,
        desk_trades: trades.iter().filter(|trade| trade["state"] == "done").count(),
        desk_result_nanousd: result,
    })
}

fn told(when: &str, billed: &Billed) -> String {
    format!(
        "   {when:<6} the job worked {} ms, {} ms of CPU: it costs {}, its supplier gets {} JOULE",
        billed.counters.wall_ms, billed.counters.cpu_ms, billed.customer, billed.joule
    )
}

/// What kind of machine takes work now, of all that are not the accused's: both jobs run on the same
/// kind, at the same prices.
async fn tier(grid: &Grid, accused: &str) -> Result<Option<String>> {
    let nodes = grid.get("/v1/nodes").await?;
    let nodes = nodes.as_array().context("no nodes")?;
    let found = nodes.iter().find(|node| {
        let supplier = node["supplier"].as_str().unwrap_or_default();
        node["state"] == "up" && !supplier.eq_ignore_ascii_case(accused)
    });
    Ok(found.and_then(|node| node["tier"].as_str()).map(str::to_owned))
}

/// Runs the job under a name, and reads its bill.
async fn job(grid: &Grid, folder: &Path, name: &str, tier: &str) -> Result<Billed> {
    let manifest = folder.join(format!("{name}.toml"));
    std::fs::write(&manifest, format!("name = \"{name}\"\n{MANIFEST}tier = \"{tier}\"\n"))?;
    grid.cli(&["run".as_ref(), manifest.as_os_str()]).await.context("run the job")?;
    let bill = grid.cli(&["usage", name]).await?;
    let lines: Vec<Line> =
        serde_json::from_value(bill["lines"].clone()).context("read its bill")?;
    let mut billed = lines.iter().filter(|line| line.billed_nanousd > NanoUsd::ZERO);
    let (Some(line), None) = (billed.next(), billed.next()) else {
        anyhow::bail!("{name} has one line that is billed: {lines:?}")
    };
    // Whatever a JOULE costs: units used, times the prices in USD that were agreed on.
    let share = line.prices.cost(&line.counters);
    ensure!(share == line.supplier_nanousd, "{name}: {share} and {}", line.supplier_nanousd);
    ensure!(line.supplier_nanojoule > NanoJoule::ZERO, "{name} brought its supplier nothing");
    let price = i128::from(share.0) * i128::from(NANO) / i128::from(line.supplier_nanojoule.0);
    Ok(Billed {
        customer: line.billed_nanousd,
        share,
        joule: line.supplier_nanojoule,
        prices: line.prices,
        counters: line.counters,
        price: i64::try_from(price)?,
    })
}

/// What is billed for other units by the same bill.
struct Same {
    customer: NanoUsd,
    joule: NanoJoule,
}

impl Billed {
    fn with_units_of(&self, other: &Self) -> Same {
        let share = self.prices.cost(&other.counters);
        // Margin and fee are shares of the supplier's.
        let rest = i128::from(self.customer.0 - self.share.0) * i128::from(share.0);
        let rest = i64::try_from(rest / i128::from(self.share.0.max(1))).unwrap_or(i64::MAX);
        let joule = JoulePrice::new(self.price).map(|price| price.to_joule(share));
        Same { customer: share + NanoUsd(rest), joule: joule.unwrap_or_default() }
    }
}

impl Market {
    /// Checks what this part promises.
    pub(super) fn check(&self) -> Result<()> {
        let (before, after) = (self.price_before_nanousd, self.price_after_nanousd);
        ensure!(after > before / 100 * 105, "the price did not move: {before} and {after}");
        let (first, same) = (self.customer_before_nanousd, self.customer_after_nanousd);
        ensure!(self.second_bill_nanousd > 0, "the second job cost nothing");
        // Two floors, of margin and of fee, are all that may differ, on either bill: those of the
        // second grow with how much smaller it is.
        let floors = 2 + 2 * first / self.second_bill_nanousd;
        ensure!(
            (first - same).abs() <= floors,
            "the same units cost {first} and then {same} nano-USD"
        );
        // As many JOULE as the share is worth then, to half a percent: a small bill has few digits.
        let worth = i128::from(self.supplier_before_nanojoule) * i128::from(before);
        let then = i128::from(self.supplier_after_nanojoule) * i128::from(after);
        ensure!(
            (worth - then).abs() <= worth / 200,
            "the supplier's share was worth {worth} and then {then}"
        );
        ensure!(self.desk_trades > 0, "the desk never traded");
        Ok(())
    }
}
