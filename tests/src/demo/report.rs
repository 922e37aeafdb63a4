//! What the demo found, for people and for machines.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use kinesis_protocol::{NanoJoule, NanoUsd};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Market, Trust};

/// How long the story may take.
const ELAPSED_MAX: Duration = Duration::from_secs(60);

/// Everything the demo found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The service under fire.
    pub service: Service,
    /// The metered job.
    pub job: Job,
    /// Who paid whom.
    pub money: Money,
    /// What happened on chain.
    pub chain: Chain,
    /// What the price of a JOULE did.
    pub market: Market,
    /// What stake did.
    pub trust: Trust,
    /// The same work elsewhere.
    pub savings: Savings,
    /// How long the story took.
    pub elapsed_ms: u64,
}

/// The service under fire.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    /// Requests sent while its machine was killed.
    pub requests: u64,
    /// Idempotent requests that failed.
    pub failed_idempotent: u64,
    /// The longest time without a success.
    pub longest_gap_ms: f64,
    /// The node that took over.
    pub took_over_by: String,
    /// The node where a new standby was warmed.
    pub new_standby: String,
}

/// The metered job.
#[derive(Debug, Clone, Serialize)]
pub struct Job {
    /// Its parts.
    pub parts: Vec<Part>,
}

/// One part of the job.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// Where it ran.
    pub tier: String,
    /// How long the guest's own clock says it worked.
    pub guest_ms: f64,
    /// How long the bill says it worked.
    pub billed_ms: u64,
    /// What the customer pays for it.
    pub billed_nanousd: i64,
    /// What its supplier gets.
    pub supplier_nanojoule: i64,
    /// Its energy.
    pub energy_mj: u64,
    /// `measured` or `estimated`.
    pub energy_source: String,
}

impl Part {
    /// Reads the parts out of what `kinesis run --json` prints.
    pub(super) fn read_all(run: &Value) -> Result<Vec<Self>> {
        let parts = run["parts"].as_array().with_context(|| format!("no parts in {run}"))?;
        parts.iter().map(Self::read).collect()
    }

    fn read(part: &Value) -> Result<Self> {
        let log = part["log"].as_str().context("no log")?;
        let text = |key: &str| part[key].as_str().unwrap_or_default().to_owned();
        Ok(Self {
            tier: text("tier"),
            guest_ms: crate::guest_ms(log)?,
            billed_ms: part["billed_ms"].as_u64().context("billed_ms")?,
            billed_nanousd: part["billed_nanousd"].as_i64().context("billed_nanousd")?,
            supplier_nanojoule: part["supplier_nanojoule"].as_i64().context("nanojoule")?,
            energy_mj: part["energy_mj"].as_u64().context("energy_mj")?,
            energy_source: text("energy_source"),
        })
    }
}

/// Who paid whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Money {
    /// What customers paid.
    pub customer_nanousd: i64,
    /// What suppliers earned, in USD.
    pub suppliers_nanousd: i64,
    /// What the utility keeps.
    pub margin_nanousd: i64,
    /// What the protocol gets.
    pub fee_nanousd: i64,
    /// What suppliers earned, in JOULE.
    pub suppliers_nanojoule: i64,
    /// What the protocol gets, in JOULE.
    pub fee_nanojoule: i64,
    /// What the utility's desk paid for both, in JOULE.
    pub desk_nanojoule: i64,
    /// What the lines of all bills add up to: what customers paid.
    pub billed_nanousd: i64,
    /// Customers less all others, USD and JOULE each; both must be 0, and so is their sum.
    pub difference: i64,
}

impl Money {
    /// Reads the totals of `/v1/grid`, and adds up the bills beside them.
    pub(super) fn read(totals: &Value, bills: &[Value]) -> Result<Self> {
        let of = |key: &str| totals[key].as_i64().with_context(|| format!("{key} in {totals}"));
        let mut billed_nanousd = 0;
        for line in lines(bills) {
            billed_nanousd +=
                line["billed_nanousd"].as_i64().context("billed_nanousd of a line")?;
        }
        let mut money = Self {
            customer_nanousd: of("customer_nanousd")?,
            suppliers_nanousd: of("suppliers_nanousd")?,
            margin_nanousd: of("margin_nanousd")?,
            fee_nanousd: of("fee_nanousd")?,
            suppliers_nanojoule: of("suppliers_nanojoule")?,
            fee_nanojoule: of("fee_nanojoule")?,
            desk_nanojoule: of("desk_nanojoule")?,
            billed_nanousd,
            difference: 0,
        };
        money.difference = money.difference_usd().abs() + money.difference_joule().abs();
        Ok(money)
    }

    const fn difference_usd(&self) -> i64 {
        self.customer_nanousd - self.suppliers_nanousd - self.margin_nanousd - self.fee_nanousd
    }

    const fn difference_joule(&self) -> i64 {
        self.desk_nanojoule - self.suppliers_nanojoule - self.fee_nanojoule
    }
}

/// All lines of all bills.
fn lines(bills: &[Value]) -> impl Iterator<Item = &Value> {
    bills.iter().flat_map(|bill| bill["lines"].as_array().into_iter().flatten())
}

/// What happened on chain.
#[derive(Debug, Clone, Serialize)]
pub struct Chain {
    /// What all suppliers that live had ever earned, second by second while customers asked.
    pub earned_nanojoule: Vec<i64>,
    /// What one supplier redeemed.
    pub redeemed_nanojoule: i64,
    /// Whether it did so while the utility was stopped.
    pub redeemed_while_utility_down: bool,
    /// What the other withdrew in USD.
    pub withdrawn_nanousd: i64,
}

/// The same work elsewhere.
#[derive(Debug, Clone, Serialize)]
pub struct Savings {
    /// What we compare with.
    pub reference: String,
    /// What it would have cost there.
    pub reference_nanousd: i64,
    /// How much less it cost here, in percent.
    pub percent: f64,
}

/// The price file.
#[derive(Debug, Deserialize)]
struct PriceFile {
    instance: Vec<Instance>,
}

/// One instance's list price.
#[derive(Debug, Deserialize)]
struct Instance {
    name: String,
    cpu_millis: i128,
    mem_mib: i128,
    nanousd_per_hour: i128,
    as_of: String,
}

impl Savings {
    /// The same milliseconds on the same share of the instance, at its list price: the share is that
    /// of its CPU or of its memory, whichever is larger. What the instance costs while it waits is
    /// not counted, so this is the least one could pay there.
    pub(super) fn compute(prices: &Path, bills: &[Value], paid_nanousd: i64) -> Result<Self> {
        let file = std::fs::read_to_string(prices).with_context(|| prices.display().to_string())?;
        let file: PriceFile = toml::from_str(&file)?;
        let instance = file.instance.first().context("the price file names no instance")?;
        let mut nanousd = 0_i128;
        for line in lines(bills) {
            let of = |value: &Value| value.as_i64().map(i128::from);
            let wall_ms = of(&line["counters"]["wall_ms"]).context("wall_ms in the bill")?;
            let cpu = of(&line["granted"]["cpu_millis"]).context("cpu_millis in the bill")?;
            let mem = of(&line["granted"]["mem_mib"]).context("mem_mib in the bill")?;
            let by_cpu = wall_ms * cpu * instance.nanousd_per_hour / instance.cpu_millis;
            let by_mem = wall_ms * mem * instance.nanousd_per_hour / instance.mem_mib;
            nanousd += by_cpu.max(by_mem) / 3_600_000;
        }
        ensure!(nanousd > 0, "no bill has any work on it");
        let reference_nanousd = i64::try_from(nanousd)?;
        #[expect(clippy::cast_precision_loss, reason = "a percentage to show")]
        let percent = 100.0 * (1.0 - paid_nanousd as f64 / reference_nanousd as f64);
        let reference = format!("{} on demand, list price of {}", instance.name, instance.as_of);
        Ok(Self { reference, reference_nanousd, percent })
    }
}

impl Report {
    /// The closing table, a line each.
    pub(super) fn closing(&self) -> Vec<String> {
        let money = &self.money;
        let row = |what: &str, usd: i64, joule: Option<i64>| {
            let joule = joule.map_or_else(String::new, |j| NanoJoule(j).to_string());
            format!("   {what:<22}{:>18}{joule:>18}", NanoUsd(usd).to_string())
        };
        vec![
            format!("   {:<22}{:>18}{:>18}", "", "USD", "JOULE"),
            row("customer paid", money.customer_nanousd, Some(money.desk_nanojoule)),
            row("suppliers", money.suppliers_nanousd, Some(money.suppliers_nanojoule)),
            row("utility's margin", money.margin_nanousd, None),
            row("protocol fee", money.fee_nanousd, Some(money.fee_nanojoule)),
            format!(
                "   {:<22}{:>18}{:>18}",
                "difference",
                money.difference_usd(),
                money.difference_joule()
            ),
            format!(
                "   the same milliseconds on {}: {}; here {:.0} % less",
                self.savings.reference,
                NanoUsd(self.savings.reference_nanousd),
                self.savings.percent
            ),
        ]
    }

    /// What is said where the story took longer than promised: no failure, since machines differ.
    #[must_use]
    pub fn slow(&self) -> Option<String> {
        let took = Duration::from_millis(self.elapsed_ms);
        (took > ELAPSED_MAX).then(|| {
            format!(
                "That is more than the {} s that are promised: the machine is slow, or was busy.",
                ELAPSED_MAX.as_secs()
            )
        })
    }

    /// Checks what the demo promises.
    ///
    /// # Errors
    /// The first promise that was not kept.
    pub fn check(&self) -> Result<()> {
        let service = &self.service;
        ensure!(service.failed_idempotent == 0, "{} requests failed", service.failed_idempotent);
        let (money, earned) = (&self.money, &self.chain.earned_nanojoule);
        ensure!(money.difference == 0, "the books do not close: {money:?}");
        ensure!(
            money.billed_nanousd == money.customer_nanousd && money.billed_nanousd > 0,
            "the lines of all bills are not what customers paid: {money:?}"
        );
        ensure!(earned.is_sorted() && earned.first() < earned.last(), "nobody earned: {earned:?}");
        ensure!(self.chain.redeemed_while_utility_down, "nothing was redeemed");
        ensure!(self.chain.withdrawn_nanousd > 0, "nothing was withdrawn");
        ensure!(!self.trust.slashed_wei.is_zero(), "the cheat kept its stake");
        let trust = &self.trust;
        ensure!(trust.claim_status == "refuted", "a false result is {}", trust.claim_status);
        ensure!(!trust.supplier_slashed_wei.is_zero(), "the lying supplier kept its stake");
        ensure!(
            trust.supplier_slashed_wei <= trust.supplier_bonded_wei,
            "more was slashed than was at stake"
        );
        ensure!(self.job.parts.len() == 2, "{} parts of two", self.job.parts.len());
        for part in &self.job.parts {
            ensure!(
                ["measured", "estimated"].contains(&part.energy_source.as_str()),
                "energy is neither measured nor estimated: {part:?}"
            );
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let error_ms = part.billed_ms as f64 - part.guest_ms;
            ensure!(
                error_ms.abs() <= 2.0,
                "billed {} ms, the guest saw {} ms",
                part.billed_ms,
                part.guest_ms
            );
        }
        self.market.check()?;
        Ok(())
    }
}
