//! What a deployment creates, where it will stand, and what is left to be done once it does.
//!
//! Everything follows from the deployer and the parameters. Every contract belongs to the timelock
//! from its first moment. The timelock itself is made with the deployer as its only proposer and no
//! delay, and its first operation ([`Plan::setup`]) joins the contracts, hands out the first supply,
//! makes the governor the only proposer instead of the deployer, and sets the delay. After it the
//! deployer has no right left that anybody else does not have.

use alloy::{
    primitives::{Address, B256, Bytes, U256, aliases::U48, keccak256},
    sol_types::{SolCall, SolConstructor as _, SolValue as _},
};

use super::{DeployConfig, ProtocolContracts, UniswapConfig};
use crate::{
    contracts::{
        Audits, DevDollar, Disputes, ERC1967Proxy, Exchange, Grants, IAudits, IDisputes,
        IKinesisGovernor, IStakePool, Joule, KinesisGovernor, Leases, PaymentEscrow, Registry,
        StakePool, TimelockController, Treasury, UniswapV2Market,
    },
    embedded::FACTORY,
};

/// What the adapter of a market is called in a plan: before it is made, its pair is.
pub(super) const MARKET: &str = "market";

/// What is created, in order, and what is done afterwards.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) creations: Vec<Creation>,
    pub(super) joule: Address,
    pub(super) escrow: Address,
    pub(super) protocol: ProtocolContracts,
    /// The timelock's first operation.
    pub(super) setup: Operation,
}

/// A contract that the factory makes.
#[derive(Debug)]
pub(super) struct Creation {
    /// What it is called in a plan.
    pub(super) name: &'static str,
    /// Whether it is a proxy, which its contract's state is behind.
    pub(super) proxy: bool,
    salt: B256,
    code: Bytes,
}

impl Creation {
    fn new(name: &'static str, code: &Bytes, arguments: &[u8]) -> Self {
        let code = [code.as_ref(), arguments].concat().into();
        Self { name, proxy: false, salt: B256::ZERO, code }
    }

    /// Where it will stand.
    pub(super) fn address(&self) -> Address {
        FACTORY.create2(self.salt, keccak256(&self.code))
    }

    /// How many bytes its creation takes, arguments included.
    pub(super) fn bytes(&self) -> usize {
        self.code.len()
    }

    /// What the factory is called with.
    pub(super) fn call(&self) -> Bytes {
        [self.salt.as_slice(), self.code.as_ref()].concat().into()
    }
}

/// Calls that the timelock makes together, once.
#[derive(Debug, Default)]
pub(super) struct Operation {
    targets: Vec<Address>,
    calls: Vec<Bytes>,
}

/// Collects what is created.
#[derive(Default)]
struct Creations(Vec<Creation>);

impl Creations {
    /// A contract without a proxy.
    fn add(&mut self, name: &'static str, code: &Bytes, arguments: &[u8]) -> Address {
        self.put(Creation::new(name, code, arguments))
    }

    fn put(&mut self, creation: Creation) -> Address {
        let address = creation.address();
        self.0.push(creation);
        address
    }

    /// A contract behind a proxy that initialises itself in its constructor, so that nobody can get
    /// in between.
    fn proxied<C: SolCall>(
        &mut self,
        name: &'static str,
        code: &Bytes,
        arguments: &[u8],
        initialize: &C,
    ) -> Address {
        let implementation = self.add(name, code, arguments);
        let _data = initialize.abi_encode().into();
        let proxy = ERC1967Proxy::constructorCall { implementation, _data };
        let proxy = Creation::new(name, &ERC1967Proxy::BYTECODE, &proxy.abi_encode());
        self.put(Creation { proxy: true, ..proxy })
    }
}

impl Plan {
    /// Everything follows from the deployer and the parameters.
    pub(super) fn new(deployer: Address, config: &DeployConfig) -> Self {
        let mut creations = Creations::default();
        let all = &mut creations;
        let of_timelock = TimelockController::constructorCall {
            minDelay: U256::ZERO,
            proposers: vec![deployer],
            executors: vec![Address::ZERO],
            admin: Address::ZERO,
        };
        // Another deployment has another timelock, and so another everything: after its first
        // operation a timelock takes no second one from the deployer.
        let salt = config.digest();
        let code = &TimelockController::BYTECODE;
        let timelock = Creation::new("timelock", code, &of_timelock.abi_encode());
        let timelock = all.put(Creation { salt, ..timelock });
        let owner_ = timelock;
        let joule = all.proxied(
            "joule",
            &Joule::BYTECODE,
            &[],
            &Joule::initializeCall {
                owner_,
                supply: config.supply_wei,
                yearlyEmissionBp_: config.yearly_emission_bp,
            },
        );
        let governor = governor(all, joule, timelock, config);
        let treasury =
            all.proxied("treasury", &Treasury::BYTECODE, &[], &Treasury::initializeCall { owner_ });
        let registry = registry(all, joule, timelock, config);
        let escrow = all.proxied(
            "escrow",
            &PaymentEscrow::BYTECODE,
            &(joule, registry).abi_encode_params(),
            &PaymentEscrow::initializeCall {
                owner_,
                treasury_: treasury,
                feeBp_: config.fee_bp,
                withdrawalDelay_: config.withdrawal_delay_s,
            },
        );
        let pool = pool(all, (joule, registry, escrow), timelock, config);
        let disputes = disputes(all, escrow, registry, timelock, config);
        let usd = config.exchange.usd;
        let usd = usd.unwrap_or_else(|| {
            all.add("play dollar", &DevDollar::BYTECODE, &timelock.abi_encode())
        });
        let exchange = exchange(all, (usd, joule), timelock, treasury, config);
        let grants = all.proxied(
            "grants",
            &Grants::BYTECODE,
            &joule.abi_encode(),
            &Grants::initializeCall { owner_ },
        );
        let audits = audits(all, disputes, timelock, config);
        let leases = all.proxied(
            "leases",
            &Leases::BYTECODE,
            &disputes.abi_encode(),
            &Leases::initializeCall {
                owner_,
                accusationStake_: config.accusation_stake_wei.saturating_to(),
            },
        );
        let protocol = ProtocolContracts {
            timelock,
            governor,
            treasury,
            registry,
            pool,
            disputes,
            audits,
            leases,
            usd,
            exchange,
            grants,
        };
        let setup = setup(deployer, joule, &protocol, config);
        Self { creations: creations.0, joule, escrow, protocol, setup }
    }
}

/// Where USD becomes JOULE and back: the protocol's own exchange, or an adapter of a market.
fn exchange(
    all: &mut Creations,
    (usd, joule): (Address, Address),
    timelock: Address,
    treasury: Address,
    config: &DeployConfig,
) -> Address {
    let exchange = &config.exchange;
    if let Some(UniswapConfig { router, slip_bp }) = &exchange.uniswap {
        let market = UniswapV2Market::constructorCall {
            router_: *router,
            usd_: usd,
            joule_: joule,
            window_: exchange.window_s,
            slipBp_: *slip_bp,
        };
        return all.add(MARKET, &UniswapV2Market::BYTECODE, &market.abi_encode());
    }
    let initialize = Exchange::initializeCall {
        owner_: timelock,
        treasury_: treasury,
        feeBp_: exchange.fee_bp,
        moveBp_: exchange.move_bp,
        window_: exchange.window_s,
    };
    all.proxied("exchange", &Exchange::BYTECODE, &(usd, joule).abi_encode_params(), &initialize)
}

fn governor(
    all: &mut Creations,
    joule: Address,
    timelock: Address,
    config: &DeployConfig,
) -> Address {
    let governance = &config.governance;
    let initialize = KinesisGovernor::initializeCall {
        joule,
        timelock_: timelock,
        settings: IKinesisGovernor::Settings {
            votingDelay: U48::from(governance.voting_delay_s),
            votingPeriod: governance.voting_period_s,
            proposalThreshold: governance.proposal_threshold_wei,
            quorumPercent: U256::from(governance.quorum_percent),
        },
    };
    all.proxied("governor", &KinesisGovernor::BYTECODE, &[], &initialize)
}

fn registry(
    all: &mut Creations,
    joule: Address,
    timelock: Address,
    config: &DeployConfig,
) -> Address {
    let stake = &config.stake;
    let initialize = Registry::initializeCall {
        owner_: timelock,
        nodeBond_: stake.node_bond_wei,
        utilityBond_: stake.utility_bond_wei,
        thaw_: stake.thaw_s,
    };
    all.proxied("registry", &Registry::BYTECODE, &joule.abi_encode(), &initialize)
}

fn pool(
    all: &mut Creations,
    of: (Address, Address, Address),
    timelock: Address,
    config: &DeployConfig,
) -> Address {
    let pool = &config.pool;
    let initialize = StakePool::initializeCall {
        owner_: timelock,
        // The owner underwrites in any case, so that naming it adds nobody.
        underwriter_: pool.underwriter.unwrap_or(timelock),
        terms_: IStakePool::Terms {
            poolCapBp: pool.pool_cap_bp,
            supplierCapBp: pool.supplier_cap_bp,
            earningsBp: pool.earnings_bp,
            growthBp: pool.growth_bp,
        },
        delay_: pool.delay_s,
    };
    all.proxied("pool", &StakePool::BYTECODE, &of.abi_encode_params(), &initialize)
}

fn disputes(
    all: &mut Creations,
    escrow: Address,
    registry: Address,
    timelock: Address,
    config: &DeployConfig,
) -> Address {
    let disputes = &config.disputes;
    let initialize = Disputes::initializeCall {
        owner_: timelock,
        guardian_: config.governance.guardian.unwrap_or_default(),
        parameters_: IDisputes::Parameters {
            equivocationBp: disputes.equivocation_bp,
            overdraftBp: disputes.overdraft_bp,
            compensationBp: disputes.compensation_bp,
            bountyBp: disputes.bounty_bp,
            vetoWindow: disputes.veto_window_s,
            slashCap: disputes.slash_cap_wei.saturating_to(),
            refutationBp: disputes.refutation_bp,
            breachBp: disputes.breach_bp,
        },
    };
    all.proxied(
        "disputes",
        &Disputes::BYTECODE,
        &(escrow, registry).abi_encode_params(),
        &initialize,
    )
}

fn audits(
    all: &mut Creations,
    disputes: Address,
    timelock: Address,
    config: &DeployConfig,
) -> Address {
    let audits = &config.audits;
    let initialize = Audits::initializeCall {
        owner_: timelock,
        parameters_: IAudits::Parameters {
            panel: audits.panel,
            quorum: audits.quorum,
            drawBlocks: audits.draw_blocks,
            commitWindow: audits.commit_window_s,
            revealWindow: audits.reveal_window_s,
            claimPeriod: audits.claim_period_s,
            maturity: audits.maturity_s,
            seatBond: audits.seat_bond_wei.saturating_to(),
            penalty: audits.penalty_wei.saturating_to(),
            fee: audits.fee_wei.saturating_to(),
            claimStake: audits.claim_stake_wei.saturating_to(),
        },
    };
    all.proxied("audits", &Audits::BYTECODE, &disputes.abi_encode(), &initialize)
}

/// The timelock's first operation.
fn setup(
    deployer: Address,
    joule: Address,
    at: &ProtocolContracts,
    config: &DeployConfig,
) -> Operation {
    let mut first = Operation::default();
    first.call(at.registry, &Registry::setSlasherCall { slasher_: at.disputes });
    for court in [at.audits, at.leases] {
        first.call(at.disputes, &Disputes::setCourtCall { court, admitted: true });
    }
    let mut left = config.supply_wei;
    let mut spend = |amount: U256| {
        let amount = amount.min(left);
        left -= amount;
        amount
    };
    for (to, amount) in &config.allocations {
        first.call(joule, &Joule::transferCall { to: *to, value: spend(*amount) });
    }
    for (investor, amount) in &config.pool.deposits {
        let assets = spend(*amount);
        first.call(joule, &Joule::approveCall { spender: at.pool, value: assets });
        first.call(at.pool, &StakePool::depositCall { assets, receiver: *investor });
    }
    // Only what is the protocol's own is opened, and only with money that can be made.
    let ours = config.exchange.usd.is_none() && config.exchange.uniswap.is_none();
    if let Some((usd, in_joule)) = config.exchange.liquidity.filter(|_| ours) {
        let in_joule = spend(in_joule);
        first.call(at.usd, &DevDollar::mintCall { to: at.exchange, amount: usd });
        first.call(joule, &Joule::transferCall { to: at.exchange, value: in_joule });
        first.call(at.exchange, &Exchange::addLiquidityCall { usd_: usd, joule_: in_joule });
    }
    if config.exchange.usd.is_none() {
        // Play money: whoever deploys a development chain makes more of it.
        first.call(at.usd, &DevDollar::transferOwnershipCall { newOwner: deployer });
    }
    first.call(joule, &Joule::transferCall { to: at.treasury, value: left });
    // Last, since it takes the deployer's right away.
    for role in [proposer_role(), canceller_role()] {
        let grant = TimelockController::grantRoleCall { role, account: at.governor };
        let revoke = TimelockController::revokeRoleCall { role, account: deployer };
        first.call(at.timelock, &grant);
        first.call(at.timelock, &revoke);
    }
    let delay = U256::from(config.governance.timelock_delay_s);
    first.call(at.timelock, &TimelockController::updateDelayCall { newDelay: delay });
    first
}

impl Operation {
    fn call<C: SolCall>(&mut self, target: Address, call: &C) {
        self.targets.push(target);
        self.calls.push(call.abi_encode().into());
    }

    /// How many calls it makes.
    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    fn values(&self) -> Vec<U256> {
        vec![U256::ZERO; self.targets.len()]
    }

    pub(super) fn schedule(&self) -> TimelockController::scheduleBatchCall {
        TimelockController::scheduleBatchCall {
            targets: self.targets.clone(),
            values: self.values(),
            payloads: self.calls.clone(),
            predecessor: B256::ZERO,
            salt: B256::ZERO,
            delay: U256::ZERO,
        }
    }

    pub(super) fn execute(&self) -> TimelockController::executeBatchCall {
        TimelockController::executeBatchCall {
            targets: self.targets.clone(),
            values: self.values(),
            payloads: self.calls.clone(),
            predecessor: B256::ZERO,
            salt: B256::ZERO,
        }
    }

    /// The name by which the timelock knows the operation.
    pub(super) fn id(&self) -> B256 {
        let named =
            (self.targets.clone(), self.values(), self.calls.clone(), B256::ZERO, B256::ZERO);
        keccak256(named.abi_encode_params())
    }
}

/// Who may put an operation into the timelock.
pub(crate) fn proposer_role() -> B256 {
    keccak256("PROPOSER_ROLE")
}

/// Who may take one out again.
pub(crate) fn canceller_role() -> B256 {
    keccak256("CANCELLER_ROLE")
}
