//! The parameters of a deployment: sane ones for a chain with real money, short ones for a
//! development chain, where a vote or a dispute should end while one looks on.

use alloy::primitives::{Address, B256, U256, keccak256};
use serde::Serialize;

use crate::dev;

/// Ten to the eighteenth: wei in one JOULE.
const JOULE: u64 = 1_000_000_000_000_000_000;
/// What one unit of [`DevDollar`](crate::contracts) is: it has six decimals.
const DEV_DOLLAR: u64 = 1_000_000;
const HOUR_S: u32 = 60 * 60;
const DAY_S: u32 = 24 * HOUR_S;

/// The parameters that are set at deployment. Afterwards a vote can change each of them, within the
/// bounds in the code; nobody else can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeployConfig {
    /// The protocol fee in basis points, at most 1,000.
    pub fee_bp: u16,
    /// How long a utility's withdrawal thaws, in seconds.
    pub withdrawal_delay_s: u32,
    /// What is issued at first, in wei of JOULE.
    pub supply_wei: U256,
    /// How much of the supply may be minted a year, in basis points, at most 1,000.
    pub yearly_emission_bp: u16,
    /// Who receives how much of the first supply, in wei; what is left is the treasury's.
    pub allocations: Vec<(Address, U256)>,
    /// How the DAO decides.
    pub governance: GovernanceConfig,
    /// What stands behind promises.
    pub stake: StakeConfig,
    /// What breaking them costs.
    pub disputes: DisputesConfig,
    /// Who checks results again.
    pub audits: AuditsConfig,
    /// What a utility stakes when it says that a supplier went silent, in wei.
    pub accusation_stake_wei: U256,
    /// How suppliers borrow stake.
    pub pool: PoolConfig,
    /// Where USD becomes JOULE and back.
    pub exchange: ExchangeConfig,
}

/// How the DAO decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GovernanceConfig {
    /// From a proposal to the moment whose balances vote, in seconds.
    pub voting_delay_s: u32,
    /// How long a vote lasts, in seconds.
    pub voting_period_s: u32,
    /// The votes that a proposer needs, in wei of JOULE.
    pub proposal_threshold_wei: U256,
    /// For and abstain together, in percent of the supply.
    pub quorum_percent: u8,
    /// How long what was decided waits where everybody can see it, in seconds.
    pub timelock_delay_s: u32,
    /// Who may stop a dispute beside the DAO; `None`: nobody.
    pub guardian: Option<Address>,
}

/// What stands behind promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StakeConfig {
    /// The stake that each claim on a node occupies, in wei.
    pub node_bond_wei: U256,
    /// The stake that a utility's offer occupies, in wei.
    pub utility_bond_wei: U256,
    /// How long stake thaws, in seconds. Longer than a dispute takes, or stake leaves before it is
    /// lost.
    pub thaw_s: u32,
}

/// What breaking a promise costs; shares in basis points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DisputesConfig {
    /// The share of the stake that two roots for one tick cost.
    pub equivocation_bp: u16,
    /// The share that a total above its cover costs.
    pub overdraft_bp: u16,
    /// The share that a refuted result costs.
    pub refutation_bp: u16,
    /// The most of the stake that a broken lease costs.
    pub breach_bp: u16,
    /// The most of a slash that goes to unpaid suppliers.
    pub compensation_bp: u16,
    /// The challenger's share of a slash.
    pub bounty_bp: u16,
    /// How long the DAO may stop a case, in seconds.
    pub veto_window_s: u32,
    /// The most that one case costs, in wei.
    pub slash_cap_wei: U256,
}

/// Who checks results again: auditors drawn by lot who run a deterministic job once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditsConfig {
    /// How many are drawn.
    pub panel: u8,
    /// How many must have found the same.
    pub quorum: u8,
    /// The hash of the how-manieth block after the claim draws.
    pub draw_blocks: u16,
    /// How long they have to run the job and commit, in seconds.
    pub commit_window_s: u32,
    /// How long they then have to reveal, in seconds.
    pub reveal_window_s: u32,
    /// How long after it was finished a result may be claimed, in seconds.
    pub claim_period_s: u32,
    /// How long after bonding a place may be taken, in seconds.
    pub maturity_s: u32,
    /// What a place costs, in wei.
    pub seat_bond_wei: U256,
    /// What an auditor loses that does not reveal or is against the quorum, in wei.
    pub penalty_wei: U256,
    /// What an auditor gets that is with it, in wei.
    pub fee_wei: U256,
    /// What a challenger stakes, in wei.
    pub claim_stake_wei: U256,
}

/// How suppliers borrow stake; shares in basis points.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolConfig {
    /// How much of the pool may be on loan.
    pub pool_cap_bp: u16,
    /// How much of it to one supplier.
    pub supplier_cap_bp: u16,
    /// What the pool takes of a borrower's earnings.
    pub earnings_bp: u16,
    /// What of them becomes the borrower's own stake.
    pub growth_bp: u16,
    /// How long investors wait for their money, in seconds.
    pub delay_s: u32,
    /// Who gives credit beside the DAO; `None`: nobody.
    pub underwriter: Option<Address>,
    /// Who has invested how much at first, in wei.
    pub deposits: Vec<(Address, U256)>,
}

/// Where USD becomes JOULE and back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExchangeConfig {
    /// The stablecoin; `None`: play money that anyone may mint, for a development chain.
    pub usd: Option<Address>,
    /// The trading fee in basis points, at most 100.
    pub fee_bp: u16,
    /// By how much one block may move the price, in basis points.
    pub move_bp: u16,
    /// The window of the time-weighted price, in seconds.
    pub window_s: u32,
    /// What it opens with, in units of the stablecoin and in wei of JOULE; `None`: a vote opens it.
    /// Only with play money, which can be made.
    pub liquidity: Option<(U256, U256)>,
    /// A market that is there already, in place of an exchange of the protocol's own; `None`: its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uniswap: Option<UniswapConfig>,
}

/// A market on Uniswap v2, or on whatever has its router's interface. The pair of stablecoin and
/// JOULE is made where there is none; what is traded in it comes from whoever puts it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UniswapConfig {
    /// The router.
    pub router: Address,
    /// By how much a trade may differ from the time-weighted price, in basis points, at most 2,000.
    pub slip_bp: u16,
}

impl Default for DeployConfig {
    /// For a chain with real money: a fee of 1 %, a billion JOULE, at most 2 % more a year, votes of
    /// a week with two days' notice before and after. Needs a stablecoin to be named.
    fn default() -> Self {
        Self {
            fee_bp: 100,
            withdrawal_delay_s: DAY_S,
            supply_wei: joule(1_000_000_000),
            yearly_emission_bp: 200,
            allocations: Vec::new(),
            governance: GovernanceConfig {
                voting_delay_s: 2 * DAY_S,
                voting_period_s: 7 * DAY_S,
                proposal_threshold_wei: joule(1_000_000),
                quorum_percent: 4,
                timelock_delay_s: 2 * DAY_S,
                guardian: None,
            },
            stake: StakeConfig {
                node_bond_wei: joule(100),
                utility_bond_wei: joule(10_000),
                thaw_s: 14 * DAY_S,
            },
            disputes: DisputesConfig {
                equivocation_bp: 5_000,
                overdraft_bp: 5_000,
                refutation_bp: 5_000,
                breach_bp: 1_000,
                compensation_bp: 7_000,
                bounty_bp: 1_000,
                veto_window_s: 3 * DAY_S,
                slash_cap_wei: joule(1_000_000),
            },
            audits: AuditsConfig {
                panel: 7,
                quorum: 5,
                draw_blocks: 4,
                commit_window_s: 12 * HOUR_S,
                reveal_window_s: 6 * HOUR_S,
                claim_period_s: 3 * DAY_S,
                maturity_s: DAY_S,
                seat_bond_wei: joule(1_000),
                penalty_wei: joule(20),
                fee_wei: joule(2),
                claim_stake_wei: joule(50),
            },
            accusation_stake_wei: joule(10),
            pool: PoolConfig {
                pool_cap_bp: 8_000,
                supplier_cap_bp: 200,
                earnings_bp: 1_000,
                growth_bp: 1_000,
                delay_s: 21 * DAY_S,
                underwriter: None,
                deposits: Vec::new(),
            },
            exchange: ExchangeConfig {
                usd: None,
                fee_bp: 30,
                move_bp: 300,
                window_s: HOUR_S / 2,
                liquidity: None,
                uniswap: None,
            },
        }
    }
}

impl DeployConfig {
    /// What tells one deployment from another of the same deployer.
    pub(super) fn digest(&self) -> B256 {
        keccak256(serde_json::to_vec(self).expect("parameters are numbers and addresses"))
    }

    /// For a development chain: windows of seconds, a million play dollars in the exchange at $0.01
    /// for a JOULE, an investor in the pool, the deployer as its underwriter and with votes enough to
    /// decide alone, a million JOULE for each account of [`dev`].
    #[must_use]
    pub fn development(deployer: Address) -> Self {
        let config = Self::default();
        let others = (1..dev::ACCOUNTS).map(|index| dev::key(index).address());
        let mut allocations: Vec<_> =
            others.filter(|of| *of != deployer).map(|of| (of, joule(1_000_000))).collect();
        allocations.push((deployer, joule(600_000_000)));
        Self {
            allocations,
            governance: GovernanceConfig {
                voting_delay_s: 1,
                voting_period_s: 15,
                proposal_threshold_wei: joule(1_000),
                timelock_delay_s: 2,
                guardian: Some(deployer),
                ..config.governance
            },
            stake: StakeConfig { utility_bond_wei: joule(1_000), thaw_s: 20, ..config.stake },
            disputes: DisputesConfig { veto_window_s: 5, ..config.disputes },
            audits: AuditsConfig {
                panel: 3,
                quorum: 2,
                draw_blocks: 1,
                commit_window_s: 20,
                reveal_window_s: 10,
                maturity_s: 1,
                ..config.audits
            },
            pool: PoolConfig {
                supplier_cap_bp: 1_000,
                delay_s: 30,
                underwriter: Some(deployer),
                deposits: vec![(dev::key(INVESTOR).address(), joule(1_000_000))],
                ..config.pool
            },
            exchange: ExchangeConfig {
                window_s: 10,
                liquidity: Some((
                    U256::from(1_000_000) * U256::from(DEV_DOLLAR),
                    joule(100_000_000),
                )),
                ..config.exchange
            },
            ..config
        }
    }
}

/// The account of [`dev`] that has invested in the pool of a development chain.
pub const INVESTOR: usize = 9;

fn joule(whole: u64) -> U256 {
    U256::from(whole) * U256::from(JOULE)
}
