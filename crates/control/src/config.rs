//! How a utility is run.

use std::{net::SocketAddr, time::Duration};

use kinesis_protocol::{Address, JoulePrice, NanoJoule};

use crate::{desk::DeskConfig, price::PriceLimits};

/// How a utility is run. Every value has a default that suits one machine.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// What the utility keeps on top of the supplier's share, in ten-thousandths.
    pub margin_bp: u32,
    /// What one JOULE costs; `None`: what the market says.
    pub joule_price: Option<JoulePrice>,
    /// Which of the market's prices are believed.
    pub price: PriceLimits,
    /// How the desk trades, where there is a market.
    pub desk: DeskConfig,
    /// The court of results that deterministic jobs are signed for; `None`: nothing is signed.
    pub audits: Option<Address>,
    /// Where agents hold their lifelines; `None`: none is offered, and a dead agent is noticed by
    /// its silence.
    pub lifeline: Option<SocketAddr>,
    /// What agents are told to dial for their lifeline, where that is not where it is bound.
    pub lifeline_public: Option<String>,
    /// How long a lease goes on without hearing from the utility.
    pub lease_term: Duration,
    /// How long, after a start, leases of an earlier run are left alone for their agents to return.
    pub grace: Duration,
    /// How often usage is posted and the root signed.
    pub tick: Duration,
    /// How long a released lease may finish what is in flight.
    pub drain: Duration,
    /// For how long a balance, and a service's budget, must last for all that draws on it in full
    /// use; with less than half of that left, it is ended.
    pub cover: Duration,
    /// The escrow is topped up when it covers less than this beyond what is owed.
    pub escrow_margin: NanoJoule,
    /// How much is deposited at a time, at most what the desk owns.
    pub escrow_deposit: NanoJoule,
    /// How long a joining node is asked to prove its speed; zero: not at all.
    pub benchmark: Duration,
    /// Where logs of leases that are over are kept; `None`: nowhere.
    pub log_dir: Option<std::path::PathBuf>,
    /// The most bytes of such logs: the oldest are removed.
    pub log_bytes_max: u64,
    /// The most nodes that are served at once.
    pub nodes_max: usize,
    /// The stake that a node's supplier must have on chain, its own and lent, for the node to get
    /// leases. Zero: none is asked for, and nobody looks whose machine it is.
    pub min_stake: NanoJoule,
    /// Where the terms of leases are kept that both sides have signed; `None`: none are signed.
    pub agreements_dir: Option<std::path::PathBuf>,
    /// The most apps of one account that are wanted at once.
    pub apps_max: usize,
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self {
            margin_bp: 1_500,
            joule_price: JoulePrice::new(10_000_000),
            price: PriceLimits::default(),
            desk: DeskConfig::default(),
            audits: None,
            lifeline: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            lifeline_public: None,
            lease_term: Duration::from_secs(60),
            grace: Duration::from_secs(6),
            tick: Duration::from_secs(1),
            drain: Duration::from_secs(5),
            cover: Duration::from_secs(60),
            escrow_margin: NanoJoule(100_000_000_000),
            escrow_deposit: NanoJoule(1_000_000_000_000),
            benchmark: Duration::from_millis(50),
            log_dir: None,
            log_bytes_max: 4 << 30,
            nodes_max: 10_000,
            min_stake: NanoJoule::ZERO,
            agreements_dir: None,
            apps_max: 1_000,
        }
    }
}
