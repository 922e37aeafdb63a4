//! What the owner of a machine decides: name, prices, how much is offered, how much trust.
//!
//! A configuration is checked once, by [`AgentConfig::validate`], which [`crate::Agent::start`]
//! calls. Every `Option` says what `None` means.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use kinesis_chain::Key;
use kinesis_protocol::{Address, NanoJoule, NanoUsd, NodeInfo, Prices, Resources, Tier};
use kinesis_runtime::{IsolationPolicy, RunnerCommand};
use kinesis_wire::UtilityAddr;

use crate::AgentError;

/// The most utilities one agent serves.
pub const UTILITIES_MAX: usize = 8;

/// All that an agent needs to know.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The agent's only state: keys, the book of leases, payments, artifacts, sandboxes.
    pub data_dir: PathBuf,
    /// Whom to work for: at least one, at most [`UTILITIES_MAX`]. They share the machine.
    pub utilities: Vec<UtilityAddr>,
    /// The name others see, at most 64 characters.
    pub name: String,
    /// What kind of place the machine stands in.
    pub tier: Tier,
    /// A region such as `eu-west`; empty for none.
    pub region: String,
    /// What use of the machine costs.
    pub prices: Prices,
    /// How much of the machine is offered.
    pub offered: OfferedLimits,
    /// The chain's JSON-RPC, of the owner's own choice, to check that payments are covered.
    /// `None`: signatures alone are trusted, up to `exposure_max`.
    pub rpc_url: Option<String>,
    /// Whether the utility named that chain's endpoint, and not the owner: what it says of the stake then
    /// bounds no penalty but on a development chain.
    pub rpc_is_told: bool,
    /// Unpaid work up to this value is taken on trust; past it no new lease is granted.
    pub exposure_max: NanoUsd,
    /// The supplier's key, where somebody has opened it already. `None`: the plain file
    /// `supplier.key` in the data directory, made where there is none.
    pub key: Option<Key>,
    /// Whom the utility has to prove to be on chain: the address that signs its roots. `None`: whoever
    /// answers is believed to be whom it says.
    pub expects: Option<Address>,
    /// The most that silence may cost, over all leases together; past it no terms are signed.
    /// `None`: what the supplier has at stake, as the chain at `rpc_url` has it; nothing without one.
    pub max_penalty: Option<NanoJoule>,
    /// Rated power of one core, for the energy line where nothing measures it.
    pub watts_per_core: u32,
    /// The local address the wires use. `None`: any free port on all interfaces.
    pub bind: Option<SocketAddr>,
    /// The program, and its first arguments, that is started as a sandbox: usually this very
    /// binary and `runner`.
    pub runner: RunnerCommand,
    /// What to do on a machine that lacks a barrier between a sandbox and itself.
    pub isolation: IsolationPolicy,
    /// How long a node that is asked to stop goes on serving what it has.
    pub drain_notice: Duration,
    /// The most bytes of artifacts kept for later leases.
    pub cache_bytes_max: u64,
}

/// How much of a machine its owner offers. `None` in a field: what the hardware has, less what the
/// owner needs ([`crate::hardware`] says how much that is).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OfferedLimits {
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Memory in MiB.
    pub mem_mib: Option<u32>,
    /// Scratch disk in MiB.
    pub disk_mib: Option<u32>,
    /// Whole GPUs.
    pub gpus: Option<u32>,
}

impl OfferedLimits {
    /// The owner's numbers where there are some, else those of the hardware.
    #[must_use]
    pub fn applied_to(&self, found: Resources) -> Resources {
        let gpus = self.gpus.unwrap_or(found.gpus);
        let vram_each = found.vram_mib.checked_div(found.gpus).unwrap_or(0);
        Resources {
            cpu_millis: self.cpu_millis.unwrap_or(found.cpu_millis),
            mem_mib: self.mem_mib.unwrap_or(found.mem_mib),
            disk_mib: self.disk_mib.unwrap_or(found.disk_mib),
            gpus,
            vram_mib: vram_each.saturating_mul(gpus),
        }
    }
}

impl AgentConfig {
    /// A configuration with everything but the four decisions nobody can take for the owner.
    #[must_use]
    pub fn new(
        data_dir: PathBuf,
        utility: UtilityAddr,
        name: String,
        runner: RunnerCommand,
    ) -> Self {
        Self {
            data_dir,
            utilities: vec![utility],
            name,
            tier: Tier::Crowd,
            region: String::new(),
            prices: Self::default_prices(),
            offered: OfferedLimits::default(),
            rpc_url: None,
            rpc_is_told: false,
            exposure_max: NanoUsd(100_000_000),
            key: None,
            expects: None,
            max_penalty: None,
            watts_per_core: 8,
            bind: None,
            runner,
            isolation: IsolationPolicy::default(),
            drain_notice: Duration::from_secs(30),
            cache_bytes_max: 10 << 30,
        }
    }

    /// Prices a supplier starts with: a core for some 1.4 cents an hour, a GiB of memory for 0.2.
    #[must_use]
    pub fn default_prices() -> Prices {
        use kinesis_protocol::AttoUsd;
        Prices {
            wall_ms: AttoUsd(1_000_000_000),
            cpu_ms: AttoUsd(3_000_000_000),
            mem_mib_ms: AttoUsd(500_000),
            requests: AttoUsd(10_000_000_000),
            ..Prices::default()
        }
    }

    /// Says which setting is out of bounds.
    ///
    /// # Errors
    /// [`AgentError::Config`] with the setting and what is wrong with it.
    pub fn validate(&self) -> Result<(), AgentError> {
        let fail = |field, reason: String| Err(AgentError::Config { field, reason });
        if self.utilities.is_empty() || self.utilities.len() > UTILITIES_MAX {
            return fail("utility", format!("name at least 1 and at most {UTILITIES_MAX}"));
        }
        let mut nodes: Vec<_> = self.utilities.iter().map(|utility| utility.node).collect();
        nodes.sort_unstable();
        if nodes.windows(2).any(|two| two[0] == two[1]) {
            return fail("utility", "the same utility is named twice".into());
        }
        let printable = |s: &str| s.chars().all(|c| !c.is_control());
        if self.name.is_empty()
            || self.name.chars().count() > NodeInfo::NAME_CHARS_MAX
            || !printable(&self.name)
        {
            return fail("name", "1 to 64 printable characters".into());
        }
        if self.region.chars().count() > NodeInfo::NAME_CHARS_MAX || !printable(&self.region) {
            return fail("region", "at most 64 printable characters".into());
        }
        if let Err(reason) = self.prices.validate() {
            return fail("price", reason);
        }
        if self.exposure_max < NanoUsd::ZERO {
            return fail("exposure", "must not be negative".into());
        }
        if self.max_penalty.is_some_and(|most| most < NanoJoule::ZERO) {
            return fail("max-penalty", "must not be negative".into());
        }
        if u64::from(self.watts_per_core) > kinesis_protocol::usage::WATTS_PER_CORE_MAX {
            let most = kinesis_protocol::usage::WATTS_PER_CORE_MAX;
            return fail("watts-per-core", format!("at most {most}"));
        }
        if self.drain_notice > Duration::from_secs(3600) {
            return fail("drain-notice", "at most an hour".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owners_numbers_win_and_gpu_memory_follows_the_gpus() {
        let found =
            Resources { cpu_millis: 4000, mem_mib: 8000, disk_mib: 9, gpus: 2, vram_mib: 160 };
        let limits =
            OfferedLimits { cpu_millis: Some(500), gpus: Some(1), ..OfferedLimits::default() };
        let offered = limits.applied_to(found);
        assert_eq!((offered.cpu_millis, offered.mem_mib), (500, 8000));
        assert_eq!((offered.gpus, offered.vram_mib), (1, 80));
        assert_eq!(OfferedLimits::default().applied_to(Resources::default()).vram_mib, 0);
    }

    #[test]
    fn default_prices_are_believable() {
        assert_eq!(AgentConfig::default_prices().validate(), Ok(()));
    }
}
