//! The file of a deployment: what differs from the defaults for a chain with real money, parsed
//! strictly.
//!
//! ```toml
//! fee_bp = 100                     # the protocol fee, at most 1000
//! withdrawal_delay = "1d"          # of a utility's escrow
//! supply = "1000000000"            # the first JOULE; what nobody is given is the treasury's
//! yearly_emission_bp = 200         # at most 1000
//! accusation_stake = "10"          # of a utility that says a supplier went silent
//! [[allocation]]
//! to = "0x…"
//! amount = "1000000"
//! [governance]
//! voting_delay = "2d"
//! voting_period = "7d"
//! proposal_threshold = "1000000"
//! quorum_percent = 4
//! timelock_delay = "2d"
//! guardian = "0x…"                 # may stop a dispute beside the DAO; default: nobody
//! [stake]
//! node_bond = "100"
//! utility_bond = "10000"
//! thaw = "14d"
//! [disputes]
//! equivocation_bp = 5000
//! overdraft_bp = 5000
//! refutation_bp = 5000
//! breach_bp = 1000
//! compensation_bp = 7000           # at most 8000
//! bounty_bp = 1000                 # at most 1500
//! veto_window = "3d"
//! slash_cap = "1000000"
//! [audits]
//! panel = 7
//! quorum = 5
//! draw_blocks = 4
//! commit_window = "12h"
//! reveal_window = "6h"
//! claim_period = "3d"
//! maturity = "1d"
//! seat_bond = "1000"
//! penalty = "20"
//! fee = "2"
//! claim_stake = "50"
//! [pool]
//! pool_cap_bp = 8000
//! supplier_cap_bp = 200
//! earnings_bp = 1000               # at most 5000 with growth_bp
//! growth_bp = 1000
//! delay = "21d"
//! underwriter = "0x…"              # gives credit beside the DAO; default: nobody
//! [exchange]
//! usd = "0x…"                      # the stablecoin: has to be named
//! window = "30m"                   # of the time-weighted price
//! fee_bp = 30                      # at most 100
//! move_bp = 300                    # what one block may move the price by, at most 2000
//! router = "0x…"                   # a Uniswap v2 router instead, with window and slip_bp
//! slip_bp = 300                    # what a trade there may differ by, at most 2000
//! ```

use alloy::primitives::{Address, U256};
use kinesis_protocol::manifest::{
    ManifestError,
    reader::{Reader, Table, Value},
};

use super::{DeployConfig, UniswapConfig};
use crate::Joules;

const DAY_S: u32 = 86_400;
/// The longest of most windows: as in the contracts.
const WINDOW_MAX_S: u32 = 90 * DAY_S;
/// Basis points in the whole.
const WHOLE_BP: u16 = 10_000;
/// The most first holders: they are paid in one transaction.
const ALLOCATIONS_MAX: usize = 100;
/// By how much a trade on another market may differ from its price, unless the file says.
const SLIP_BP: u16 = 300;

impl DeployConfig {
    /// Parses the file of a deployment. What it does not name has the default for a chain with real
    /// money.
    ///
    /// # Errors
    /// Where it is no TOML, a key is unknown, or a value is outside of what the contracts take.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let reader = Reader::new(text)?;
        let mut root = reader.root();
        let mut config = Self::default();
        bp(&mut root, "fee_bp", 0, 1_000, &mut config.fee_bp)?;
        let delay = &mut config.withdrawal_delay_s;
        span(&mut root, "withdrawal_delay", 60, WINDOW_MAX_S, delay)?;
        joule(&mut root, "supply", &mut config.supply_wei)?;
        bp(&mut root, "yearly_emission_bp", 0, 1_000, &mut config.yearly_emission_bp)?;
        joule(&mut root, "accusation_stake", &mut config.accusation_stake_wei)?;
        allocations(&mut root, &mut config)?;
        governance(root.table("governance")?, &mut config)?;
        stake(root.table("stake")?, &mut config)?;
        disputes(root.table("disputes")?, &mut config)?;
        audits(root.table("audits")?, &mut config)?;
        pool(root.table("pool")?, &mut config)?;
        exchange(root.table("exchange")?, &mut config)?;
        root.finish()?;
        Ok(config)
    }
}

fn allocations(root: &mut Table<'_>, config: &mut DeployConfig) -> Result<(), ManifestError> {
    let mut left = config.supply_wei;
    for mut entry in root.tables("allocation", ALLOCATIONS_MAX)? {
        let to = entry.required("to", address)?;
        let amount = entry.required("amount", wei)?;
        left = left.checked_sub(amount).ok_or_else(|| {
            entry.error("amount", "is more than is left of the supply".to_owned())
        })?;
        entry.finish()?;
        config.allocations.push((to, amount));
    }
    Ok(())
}

fn governance(mut table: Table<'_>, config: &mut DeployConfig) -> Result<(), ManifestError> {
    let of = &mut config.governance;
    span(&mut table, "voting_delay", 1, WINDOW_MAX_S, &mut of.voting_delay_s)?;
    span(&mut table, "voting_period", 1, WINDOW_MAX_S, &mut of.voting_period_s)?;
    joule(&mut table, "proposal_threshold", &mut of.proposal_threshold_wei)?;
    of.quorum_percent = table.number("quorum_percent", 1..=100, of.quorum_percent)?;
    span(&mut table, "timelock_delay", 1, WINDOW_MAX_S, &mut of.timelock_delay_s)?;
    of.guardian = table.optional("guardian", address)?;
    table.finish()
}

fn stake(mut table: Table<'_>, config: &mut DeployConfig) -> Result<(), ManifestError> {
    let of = &mut config.stake;
    joule(&mut table, "node_bond", &mut of.node_bond_wei)?;
    joule(&mut table, "utility_bond", &mut of.utility_bond_wei)?;
    span(&mut table, "thaw", 1, WINDOW_MAX_S, &mut of.thaw_s)?;
    table.finish()
}

fn disputes(mut table: Table<'_>, config: &mut DeployConfig) -> Result<(), ManifestError> {
    let of = &mut config.disputes;
    for (key, value) in [
        ("equivocation_bp", &mut of.equivocation_bp),
        ("overdraft_bp", &mut of.overdraft_bp),
        ("refutation_bp", &mut of.refutation_bp),
        ("breach_bp", &mut of.breach_bp),
    ] {
        bp(&mut table, key, 0, WHOLE_BP, value)?;
    }
    bp(&mut table, "compensation_bp", 0, 8_000, &mut of.compensation_bp)?;
    bp(&mut table, "bounty_bp", 0, 1_500, &mut of.bounty_bp)?;
    span(&mut table, "veto_window", 1, 30 * DAY_S, &mut of.veto_window_s)?;
    joule(&mut table, "slash_cap", &mut of.slash_cap_wei)?;
    table.finish()
}

fn audits(mut table: Table<'_>, config: &mut DeployConfig) -> Result<(), ManifestError> {
    let of = &mut config.audits;
    of.panel = table.number("panel", 1..=15, of.panel)?;
    of.quorum = table.number("quorum", 1..=of.panel, of.quorum)?;
    of.draw_blocks = table.number("draw_blocks", 1..=200, of.draw_blocks)?;
    for (key, value) in [
        ("commit_window", &mut of.commit_window_s),
        ("reveal_window", &mut of.reveal_window_s),
        ("claim_period", &mut of.claim_period_s),
        ("maturity", &mut of.maturity_s),
    ] {
        span(&mut table, key, 1, WINDOW_MAX_S, value)?;
    }
    for (key, value) in [
        ("seat_bond", &mut of.seat_bond_wei),
        ("penalty", &mut of.penalty_wei),
        ("fee", &mut of.fee_wei),
        ("claim_stake", &mut of.claim_stake_wei),
    ] {
        joule(&mut table, key, value)?;
    }
    table.finish()
}

fn pool(mut table: Table<'_>, config: &mut DeployConfig) -> Result<(), ManifestError> {
    let of = &mut config.pool;
    bp(&mut table, "pool_cap_bp", 0, WHOLE_BP, &mut of.pool_cap_bp)?;
    bp(&mut table, "supplier_cap_bp", 0, WHOLE_BP, &mut of.supplier_cap_bp)?;
    bp(&mut table, "earnings_bp", 0, 5_000, &mut of.earnings_bp)?;
    let left = 5_000_u16.saturating_sub(of.earnings_bp);
    bp(&mut table, "growth_bp", 0, left, &mut of.growth_bp)?;
    span(&mut table, "delay", 1, WINDOW_MAX_S, &mut of.delay_s)?;
    of.underwriter = table.optional("underwriter", address)?;
    table.finish()
}

fn exchange(mut table: Table<'_>, config: &mut DeployConfig) -> Result<(), ManifestError> {
    let of = &mut config.exchange;
    of.usd = table.optional("usd", address)?;
    span(&mut table, "window", 10, DAY_S, &mut of.window_s)?;
    if let Some(router) = table.optional("router", address)? {
        let slip_bp = table.number("slip_bp", 1..=2_000, SLIP_BP)?;
        of.uniswap = Some(UniswapConfig { router, slip_bp });
        table.refuse(&["fee_bp", "move_bp"], "says nothing where a router trades")?;
    } else {
        table.refuse(&["slip_bp"], "says nothing without a router")?;
        bp(&mut table, "fee_bp", 0, 100, &mut of.fee_bp)?;
        bp(&mut table, "move_bp", 10, 2_000, &mut of.move_bp)?;
    }
    table.finish()
}

fn bp(
    table: &mut Table<'_>,
    key: &'static str,
    least: u16,
    most: u16,
    value: &mut u16,
) -> Result<(), ManifestError> {
    *value = table.number(key, least..=most, *value)?;
    Ok(())
}

fn joule(table: &mut Table<'_>, key: &'static str, value: &mut U256) -> Result<(), ManifestError> {
    if let Some(wei) = table.optional(key, wei)? {
        *value = wei;
    }
    Ok(())
}

fn wei(value: &Value<'_>) -> Result<U256, ManifestError> {
    let what = "JOULE in quotes, below 2^96 wei, such as \"12.5\"";
    // Most contracts keep amounts in 96 bits.
    let read =
        |text: &str| text.parse::<Joules>().ok().filter(|joules| joules.0 >> 96 == U256::ZERO);
    let text = value.text_where(what, |text| read(text).is_some())?;
    Ok(read(&text).unwrap_or_default().0)
}

fn address(value: &Value<'_>) -> Result<Address, ManifestError> {
    let read = |text: &str| text.parse::<Address>().ok().filter(|address| !address.is_zero());
    let what = "an address in quotes, such as \"0x52908400098527886E0F7030069857D2E4169EE7\"";
    let text = value.text_where(what, |text| read(text).is_some())?;
    Ok(read(&text).unwrap_or_default())
}

fn span(
    table: &mut Table<'_>,
    key: &'static str,
    least_s: u32,
    most_s: u32,
    value: &mut u32,
) -> Result<(), ManifestError> {
    let what = format!(
        "a time in quotes such as \"90s\", \"30m\", \"12h\" or \"14d\", from {} to {}",
        crate::amount::span(u64::from(least_s)),
        crate::amount::span(u64::from(most_s))
    );
    let read = |text: &str| seconds(text).filter(|s| (least_s..=most_s).contains(s));
    let text = table.optional(key, |value| value.text_where(&what, |text| read(text).is_some()))?;
    if let Some(seconds) = text.and_then(|text| read(&text)) {
        *value = seconds;
    }
    Ok(())
}

/// A time with its unit, in seconds.
fn seconds(text: &str) -> Option<u32> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => DAY_S,
        _ => return None,
    };
    digits.parse::<u32>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USD: &str = "0x52908400098527886E0F7030069857D2E4169EE7";

    fn wrong(text: &str) -> String {
        DeployConfig::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_named_has_its_default() {
        assert_eq!(DeployConfig::parse("").unwrap(), DeployConfig::default());
        let text = format!(
            "fee_bp = 50\n[governance]\nvoting_period = \"3d\"\n[exchange]\nusd = \"{USD}\"\n\
             [[allocation]]\nto = \"{USD}\"\namount = \"12.5\"\n"
        );
        let config = DeployConfig::parse(&text).unwrap();
        assert_eq!((config.fee_bp, config.governance.voting_period_s), (50, 3 * DAY_S));
        assert_eq!(config.exchange.usd, Some(USD.parse().unwrap()));
        assert_eq!(config.allocations.len(), 1);
        assert_eq!(config.stake, DeployConfig::default().stake);
    }

    #[test]
    fn the_documented_file_is_the_default() {
        let documented: String = include_str!("file.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("//! "))
            .skip_while(|line| !line.contains("```toml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            // Addresses are shown by an ellipsis: nobody is named by default.
            .filter(|line| !line.contains('…') && !line.starts_with("slip_bp"))
            .filter(|line| !line.contains("[[allocation]]") && !line.starts_with("amount"))
            .flat_map(|line| [line, "\n"])
            .collect();
        assert!(documented.contains("claim_stake"), "{documented}");
        assert_eq!(DeployConfig::parse(&documented).unwrap(), DeployConfig::default());
    }

    #[test]
    fn the_files_of_the_guide_are_read() {
        let guide = include_str!("../../../../docs/protocol/deploy.md");
        let files: Vec<_> = guide.split("```toml\n").skip(1).collect();
        assert_eq!(files.len(), 2);
        for file in files {
            let text = file.split("```").next().unwrap();
            let config = DeployConfig::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert!(config.exchange.usd.is_some());
        }
    }

    #[test]
    fn every_misstep_names_line_and_key() {
        for (text, said) in [
            ("\nfee_bpp = 1", "line 2: fee_bpp: unknown key, did you mean \"fee_bp\"?"),
            ("fee_bp = 1001", "line 1: fee_bp: expected an integer from 0 to 1000, got 1001"),
            ("[stake]\nthaw = \"91d\"", "line 2: stake.thaw: expected a time"),
            ("[stake]\nthaw = 14", "line 2: stake.thaw: expected a time"),
            ("[audits]\npanel = 3\nquorum = 4", "line 3: audits.quorum: expected"),
            ("supply = \"1e9\"", "line 1: supply: expected JOULE"),
            ("[exchange]\nusd = \"0x12\"", "line 2: exchange.usd: expected an address"),
            ("[exchange]\nslip_bp = 3", "line 2: exchange.slip_bp: says nothing without"),
            ("[pool]\nearnings_bp = 4500\ngrowth_bp = 600", "line 3: pool.growth_bp: expected"),
            ("fee_bp", "line 1: not TOML"),
        ] {
            let got = wrong(text);
            assert!(got.starts_with(said), "{text}: {got}");
        }
        let twice = format!(
            "supply = \"5\"\n[[allocation]]\nto = \"{USD}\"\namount = \"3\"\n\
             [[allocation]]\nto = \"{USD}\"\namount = \"3\"\n"
        );
        assert!(wrong(&twice).contains("more than is left"), "{}", wrong(&twice));
        let both = format!("[exchange]\nrouter = \"{USD}\"\nfee_bp = 3\n");
        assert!(wrong(&both).starts_with("line 3: exchange.fee_bp"), "{}", wrong(&both));
    }
}
