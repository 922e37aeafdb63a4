//! What a node has, what a lease is granted, and what a node says of itself.

use std::fmt;

use alloy::primitives::Address;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{id::NodeId, price::Prices};

/// An amount of a machine: what a node offers, or what a lease is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Thousandths of a CPU core.
    pub cpu_millis: u32,
    /// Memory in MiB.
    pub mem_mib: u32,
    /// Scratch disk in MiB.
    pub disk_mib: u32,
    /// Whole GPUs, held exclusively.
    pub gpus: u32,
    /// Memory of those GPUs together, in MiB.
    pub vram_mib: u32,
}

impl Resources {
    /// Whether `wanted` fits into this.
    #[must_use]
    pub const fn fits(&self, wanted: &Self) -> bool {
        self.cpu_millis >= wanted.cpu_millis
            && self.mem_mib >= wanted.mem_mib
            && self.disk_mib >= wanted.disk_mib
            && self.gpus >= wanted.gpus
            && self.vram_mib >= wanted.vram_mib
    }

    /// The first thing of which there is too little, in words; `None` where `wanted` fits.
    #[must_use]
    pub fn shortfall(&self, wanted: &Self) -> Option<String> {
        let lacks = |what: &str, has: u32, wants: u32| {
            (has < wants).then(|| format!("{what}: {wants} wanted, {has} free"))
        };
        lacks("CPU (thousandths of a core)", self.cpu_millis, wanted.cpu_millis)
            .or_else(|| lacks("memory (MiB)", self.mem_mib, wanted.mem_mib))
            .or_else(|| lacks("disk (MiB)", self.disk_mib, wanted.disk_mib))
            .or_else(|| lacks("GPUs", self.gpus, wanted.gpus))
            .or_else(|| lacks("GPU memory (MiB)", self.vram_mib, wanted.vram_mib))
    }

    /// What is left after `taken`, at least nothing.
    #[must_use]
    pub const fn saturating_sub(&self, taken: &Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_sub(taken.cpu_millis),
            mem_mib: self.mem_mib.saturating_sub(taken.mem_mib),
            disk_mib: self.disk_mib.saturating_sub(taken.disk_mib),
            gpus: self.gpus.saturating_sub(taken.gpus),
            vram_mib: self.vram_mib.saturating_sub(taken.vram_mib),
        }
    }

    /// Both together, at most what fits.
    #[must_use]
    pub const fn saturating_add(&self, more: &Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_add(more.cpu_millis),
            mem_mib: self.mem_mib.saturating_add(more.mem_mib),
            disk_mib: self.disk_mib.saturating_add(more.disk_mib),
            gpus: self.gpus.saturating_add(more.gpus),
            vram_mib: self.vram_mib.saturating_add(more.vram_mib),
        }
    }
}

/// What kind of place a machine stands in. Claimed by its owner; priced accordingly.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Somebody's own machine: a gaming PC, a laptop.
    #[default]
    Crowd,
    /// A machine in a data centre, with the power and the network of one.
    Datacenter,
}

impl Tier {
    /// The word used everywhere: `crowd` or `datacenter`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crowd => "crowd",
            Self::Datacenter => "datacenter",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Tier {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "crowd" => Ok(Self::Crowd),
            "datacenter" => Ok(Self::Datacenter),
            other => Err(format!(
                "expected \"crowd\" or \"datacenter\", got \"{}\"",
                other.chars().take(40).collect::<String>()
            )),
        }
    }
}

fn known_tier<'de, D: Deserializer<'de>>(from: D) -> Result<Tier, D::Error> {
    Ok(String::deserialize(from)?.parse().unwrap_or_default())
}

/// What a node measured of itself under the utility's nonce, after the utility checked it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Benchmark {
    /// Rounds of [`crate::benchmark`] a second on one core.
    pub rounds_per_second: u64,
}

/// What a node says of itself when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The node's public key; must be the one its endpoint answers under.
    pub node: NodeId,
    /// A name its owner chose, at most 64 characters.
    pub name: String,
    /// Where its earnings go.
    pub supplier: Address,
    /// What kind of place it stands in. A kind that this version does not know counts as
    /// [`Tier::Crowd`], of which least is expected.
    #[serde(deserialize_with = "known_tier")]
    pub tier: Tier,
    /// A region its owner named, such as `eu-west`; empty for none.
    #[serde(default)]
    pub region: String,
    /// All that its owner offers to the grid.
    pub offered: Resources,
    /// What its owner asks, per unit.
    pub prices: Prices,
    /// Processor, operating system, isolation at hand, GPUs: for people and for filters.
    #[serde(default)]
    pub attributes: std::collections::BTreeMap<String, String>,
}

impl NodeInfo {
    /// The longest name and region, in characters.
    pub const NAME_CHARS_MAX: usize = 64;
    /// The most attributes, and the longest key or value in bytes.
    pub const ATTRIBUTES_MAX: usize = 64;
    /// The longest attribute value, in bytes.
    pub const ATTRIBUTE_BYTES_MAX: usize = 512;

    /// Says what is wrong with an info that came from outside.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn validate(&self) -> Result<(), String> {
        let printable = |s: &str| s.chars().all(|c| !c.is_control());
        for (what, s) in [("name", &self.name), ("region", &self.region)] {
            if s.chars().count() > Self::NAME_CHARS_MAX || !printable(s) {
                return Err(format!("{what} must be at most 64 printable characters"));
            }
        }
        if self.name.is_empty() {
            return Err("name must not be empty".into());
        }
        if self.attributes.len() > Self::ATTRIBUTES_MAX
            || self
                .attributes
                .iter()
                .any(|(k, v)| k.len().max(v.len()) > Self::ATTRIBUTE_BYTES_MAX || !printable(v))
        {
            return Err("at most 64 attributes of at most 512 printable bytes each".into());
        }
        self.prices.validate()
    }
}
