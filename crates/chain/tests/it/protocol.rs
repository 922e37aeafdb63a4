//! The protocol from deployment to verdict, on the embedded chain: who owns what, votes from proposal
//! to execution ([`votes`]), suppliers on borrowed stake, and slashes.

mod votes;

use std::collections::BTreeSet;

use alloy::{
    primitives::{Address, B256, Bytes, U256, address, keccak256},
    sol_types::{SolCall, SolValue as _},
};
use kinesis_chain::{
    ChainError, Contracts, DeployConfig, Joules, Key, Protocol, Settlement, Until,
    contracts::{
        Disputes, Exchange, Joule, KinesisGovernor, PaymentEscrow, Registry, TimelockController,
    },
    deploy,
    deploy::INVESTOR,
    dev, intent_key,
    protocol::{
        governance::{Action, Call, Upgradeable, Vote},
        stake::{Offer, claim_digest},
    },
};
use kinesis_protocol::{NodeId, PaymentRoot, SignedRoot};
use serde_json::json;

use crate::support::{Chain, Grid, embedded, joule, result};

const FACTORY: Address = address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// The protocol on a chain of its own.
struct World {
    chain: Chain,
    contracts: Contracts,
}

impl World {
    async fn new() -> Self {
        let chain = embedded().await;
        let contracts = deploy(&chain.url, &dev::key(0)).await.unwrap();
        let world = Self { chain, contracts };
        // What was delegated in this second counts from the next one on.
        world.later(2).await;
        world
    }

    fn acts(&self, key: Key) -> Protocol {
        Protocol::new(&self.chain.url, self.contracts, key).unwrap()
    }

    fn dao(&self) -> Protocol {
        self.acts(dev::key(0))
    }

    /// Somebody with gas and this much JOULE.
    async fn somebody(&self, has: u64) -> (Key, Protocol) {
        let key = Key::random();
        dev::fund(&self.chain.url, key.address(), joule(1)).await.unwrap();
        if has > 0 {
            self.raw(dev::key(0)).transfer(key.address(), joule(has)).await.unwrap();
        }
        (key.clone(), self.acts(key))
    }

    /// Reads and sends anything.
    fn raw(&self, key: Key) -> Settlement {
        let Contracts { chain_id, escrow, .. } = self.contracts;
        Settlement::new(&self.chain.url, chain_id, escrow, key).unwrap()
    }

    async fn read<C: SolCall>(&self, at: Address, call: &C) -> C::Return {
        self.raw(dev::key(0)).read(at, call).await.unwrap()
    }

    async fn later(&self, seconds: u64) {
        result(&self.chain.url, "evm_increaseTime", json!([seconds])).await;
        result(&self.chain.url, "evm_mine", json!([])).await;
    }

    /// From proposal to execution, by one voter.
    async fn enact(&self, action: &Action) -> U256 {
        let dao = self.dao();
        let id = dao.propose(action, None).await.unwrap();
        assert_eq!(dao.proposal(id).await.unwrap().state, "pending");
        self.later(2).await;
        assert_eq!(dao.proposal(id).await.unwrap().state, "active");
        dao.vote(id, Vote::For).await.unwrap();
        // Nothing is carried out before its vote is over, or before the timelock's delay.
        assert!(dao.queue_proposal(id).await.is_err());
        self.later(20).await;
        assert_eq!(dao.proposal(id).await.unwrap().state, "succeeded");
        dao.queue_proposal(id).await.unwrap();
        self.later(5).await;
        dao.execute_proposal(id).await.unwrap();
        assert_eq!(dao.proposal(id).await.unwrap().state, "executed");
        id
    }

    /// A root with no tree behind it, signed by `key`.
    fn signed(&self, key: &Key, tick: u64, root: B256, total: U256) -> SignedRoot {
        let root = PaymentRoot { utility: key.address(), series: 1, tick, root, total };
        let hash = root.signing_hash(self.contracts.chain_id, self.contracts.escrow);
        SignedRoot { root, signature: key.sign_hash(&hash) }
    }
}

fn amount(whole: u64) -> Joules {
    Joules(joule(whole))
}

fn refused(error: &ChainError) -> String {
    match error {
        ChainError::Reverted(why) => why.clone(),
        other => panic!("not a refusal: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_deployment_nobody_but_the_dao_has_a_right() {
    let world = World::new().await;
    let at = world.contracts.protocol().unwrap();
    // Whoever owns one of our proxies has these functions.
    for proxy in Upgradeable::ALL {
        if proxy == Upgradeable::Governor {
            continue;
        }
        let address = proxy.address(&world.contracts).unwrap();
        let owner = world.read(address, &Joule::ownerCall {}).await;
        let next = world.read(address, &Joule::pendingOwnerCall {}).await;
        assert_eq!((owner, next), (at.timelock, Address::ZERO), "{}", proxy.name());
    }
    let executor = world.read(at.governor, &KinesisGovernor::timelockCall {}).await;
    assert_eq!(executor, at.timelock);
    // Every role that was ever granted and not taken away again: nothing is forgotten.
    let logs = result(
        &world.chain.url,
        "eth_getLogs",
        json!([{"fromBlock": "0x0", "address": at.timelock}]),
    )
    .await;
    let topic = |name: &str| keccak256(name).to_string();
    let mut roles = BTreeSet::new();
    for log in logs.as_array().unwrap() {
        let topics: Vec<B256> = serde_json::from_value(log["topics"].clone()).unwrap();
        let held = |topics: &[B256]| (topics[1], Address::from_word(topics[2]));
        if topics[0].to_string() == topic("RoleGranted(bytes32,address,address)") {
            roles.insert(held(&topics));
        } else if topics[0].to_string() == topic("RoleRevoked(bytes32,address,address)") {
            roles.remove(&held(&topics));
        }
    }
    let expected = BTreeSet::from([
        (B256::ZERO, at.timelock),
        (keccak256("PROPOSER_ROLE"), at.governor),
        (keccak256("CANCELLER_ROLE"), at.governor),
        // Anyone may execute what was decided.
        (keccak256("EXECUTOR_ROLE"), Address::ZERO),
    ]);
    assert_eq!(roles, expected);
    let delay = world.read(at.timelock, &TimelockController::getMinDelayCall {}).await;
    let config = DeployConfig::development(dev::key(0).address());
    assert_eq!(delay, U256::from(config.governance.timelock_delay_s));
    assert_eq!(world.read(at.registry, &Registry::slasherCall {}).await, at.disputes);
    for court in [at.audits, at.leases] {
        assert!(world.read(at.disputes, &Disputes::isCourtCall { court }).await);
    }
    // Nothing is left where only the DAO could have put it.
    assert_eq!(world.dao().balance(at.timelock).await.unwrap(), U256::ZERO);
    assert_eq!(Contracts::development(dev::key(0).address()), world.contracts);

    // The deployer tries what it could do before.
    let deployer = world.raw(dev::key(0));
    let fee = PaymentEscrow::setFeeCall { feeBp_: 1 };
    let tried = deployer
        .submit(&intent_key("t"), world.contracts.escrow, &fee, Until::Mined)
        .await
        .unwrap_err();
    assert!(refused(&tried).starts_with("OwnableUnauthorizedAccount"), "{tried}");
    let schedule = TimelockController::scheduleCall {
        target: world.contracts.escrow,
        value: U256::ZERO,
        data: fee.abi_encode().into(),
        predecessor: B256::ZERO,
        salt: B256::ZERO,
        delay: delay + U256::ONE,
    };
    let tried =
        deployer.submit(&intent_key("t"), at.timelock, &schedule, Until::Mined).await.unwrap_err();
    assert!(refused(&tried).starts_with("AccessControlUnauthorizedAccount"), "{tried}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supplier_starts_with_nothing_and_earns_its_own_stake() {
    let world = World::new().await;
    let grid = Grid::new(&world.chain.url).await;
    let (key, supplier) = world.somebody(0).await;
    let node = NodeId([0x4e; 32]);
    let claim = supplier.request_claim(&key, node, 600).await.unwrap();
    let tried = supplier.claim_node(&claim, &[1; 64]).await.unwrap_err();
    assert!(refused(&tried).starts_with("BondRequired: "), "{tried}");
    let tried = supplier.borrow(amount(200), 2_000).await.unwrap_err();
    assert!(refused(&tried).starts_with("AboveCredit: "), "{tried}");

    // The underwriter gives credit; the supplier agrees to the price, and to no more than that.
    world.dao().set_credit(supplier.address(), amount(200)).await.unwrap();
    let tried = supplier.borrow(amount(200), 1_999).await.unwrap_err();
    assert!(matches!(tried, ChainError::Senseless(_)), "{tried:?}");
    supplier.borrow(amount(200), 2_000).await.unwrap();
    let stake = supplier.stake(supplier.address()).await.unwrap();
    assert_eq!((stake.active, stake.own, stake.lent), (amount(200), amount(0), amount(200)));
    supplier.claim_node(&claim, &[1; 64]).await.unwrap();
    let stake = supplier.stake(supplier.address()).await.unwrap();
    assert_eq!(stake.required, amount(100));
    assert_eq!(stake.nodes.len(), 1);
    assert_eq!(stake.nodes[0].digest, claim.digest);
    assert_eq!(supplier.claims_on(node).await.unwrap(), stake.nodes);

    // Of what it redeems, a tenth is the pool's and a tenth becomes its own stake.
    grid.utility.top_up(1, joule(500)).await.unwrap();
    let proof = grid.tick(1, &[(supplier.address(), joule(100))]).remove(0);
    let before = supplier.pool(supplier.address()).await.unwrap();
    grid.utility.redeem(&proof).await.unwrap();
    assert_eq!(supplier.balance(supplier.address()).await.unwrap(), joule(80));
    let stake = supplier.stake(supplier.address()).await.unwrap();
    assert_eq!((stake.active, stake.own), (amount(210), amount(10)));
    supplier.pool_settle().await.unwrap();
    let after = supplier.pool(supplier.address()).await.unwrap();
    assert_eq!(after.assets.0 - before.assets.0, joule(10));
    assert_eq!(after.cash.0 - before.cash.0, joule(10));
    assert_eq!(after.account.loan, amount(200));

    // Paid back, the loan thaws, and is the pool's again.
    supplier.release_node(node).await.unwrap();
    supplier.repay(supplier.address(), amount(200)).await.unwrap();
    assert_eq!(supplier.reclaim(supplier.address()).await.unwrap(), amount(0));
    world.later(60).await;
    assert_eq!(supplier.reclaim(supplier.address()).await.unwrap(), amount(200));
    let stake = supplier.stake(supplier.address()).await.unwrap();
    assert_eq!((stake.active, stake.own, stake.lender), (amount(10), amount(10), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slash_takes_own_stake_before_the_loan() {
    let world = World::new().await;
    let (key, accused) = world.somebody(1_000).await;
    let (_, challenger) = world.somebody(0).await;
    let investor = dev::key(INVESTOR).address();
    world.dao().set_credit(accused.address(), amount(100)).await.unwrap();
    accused.bond(accused.address(), amount(50)).await.unwrap();
    accused.borrow(amount(100), 2_000).await.unwrap();
    let worth = accused.pool(investor).await.unwrap().account.worth;

    let one = world.signed(&key, 9, B256::repeat_byte(1), joule(1));
    let two = world.signed(&key, 9, B256::repeat_byte(2), joule(1));
    let tried = challenger.accuse_equivocation(&one, &one).await.unwrap_err();
    assert!(refused(&tried).starts_with("SameRoot"), "{tried}");
    let case = challenger.accuse_equivocation(&one, &two).await.unwrap();
    assert_eq!(challenger.case(case).await.unwrap().state, "open");
    let tried = challenger.accuse_equivocation(&one, &two).await.unwrap_err();
    assert!(refused(&tried).starts_with("AlreadyAccused"), "{tried}");
    // While the case is open nothing leaves, and nobody executes it before its time.
    assert_eq!(accused.stake(accused.address()).await.unwrap().locks, 1);
    let tried = challenger.execute_case(case).await.unwrap_err();
    assert!(refused(&tried).starts_with("WindowOpen: "), "{tried}");

    world.later(10).await;
    // The half of everything that is there: all that is the accused's own, and then the loan.
    assert_eq!(challenger.execute_case(case).await.unwrap(), amount(75));
    let stake = accused.stake(accused.address()).await.unwrap();
    assert_eq!((stake.own, stake.lent, stake.locks), (amount(0), amount(75), 0));
    // The loss is the investors' at once, and the bounty is a share of the accused's own part.
    let left = accused.pool(investor).await.unwrap().account.worth;
    assert!(left < worth && worth.0 - left.0 >= joule(25), "{worth} {left}");
    let bounty = challenger.balance(challenger.address()).await.unwrap();
    assert_eq!(bounty, joule(5));
    let cases = challenger.cases(10).await.unwrap();
    assert_eq!((cases.len(), cases[0].state.as_str()), (1, "executed"));
    assert_eq!(cases[0].offence, "equivocation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overdraft_is_found_from_outside_and_slashed_for_who_is_unpaid() {
    let world = World::new().await;
    let grid = Grid::new(&world.chain.url).await;
    let utility = grid.utility.address();
    let (_, auditor) = world.somebody(0).await;
    grid.utility.top_up(1, joule(100)).await.unwrap();
    world.dao().bond(utility, amount(1_000)).await.unwrap();
    let supplier = Address::repeat_byte(0x5a);
    let good = grid.tick(1, &[(supplier, joule(90))]).remove(0);
    let (books, found) = auditor.books(&good.signed).await.unwrap();
    assert_eq!((books.cover, books.signed), (amount(100), amount(90)));
    assert_eq!(found, []);
    let tried = auditor.accuse_overdraft(&good.signed).await.unwrap_err();
    assert!(refused(&tried).starts_with("Covered: "), "{tried}");

    let bad = grid.tick(2, &[(supplier, joule(150))]).remove(0);
    let (_, found) = auditor.books(&bad.signed).await.unwrap();
    assert!(found[0].is_offence(), "{found:?}");
    let case = auditor.accuse_overdraft(&bad.signed).await.unwrap();
    // The guardian may stop a case, and others may not.
    assert!(refused(&auditor.veto_case(case).await.unwrap_err()).starts_with("OnlyGuardian"));
    world.later(10).await;
    assert_eq!(auditor.execute_case(case).await.unwrap(), amount(500));
    let paid = auditor.compensate(case, &bad).await.unwrap();
    // The escrow paid what it could, the court what was missing.
    let has = auditor.balance(supplier).await.unwrap();
    assert!(paid.0 > joule(50) && has <= joule(150) && has > joule(149), "{paid} {has}");
    assert_eq!(auditor.balance(auditor.address()).await.unwrap(), joule(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_veto_ends_a_case() {
    let world = World::new().await;
    let (key, accused) = world.somebody(100).await;
    accused.bond(accused.address(), amount(100)).await.unwrap();
    let one = world.signed(&key, 1, B256::repeat_byte(1), joule(1));
    let two = world.signed(&key, 1, B256::repeat_byte(2), joule(1));
    let case = accused.accuse_equivocation(&one, &two).await.unwrap();
    world.dao().veto_case(case).await.unwrap();
    assert_eq!(accused.case(case).await.unwrap().state, "vetoed");
    world.later(10).await;
    let tried = accused.execute_case(case).await.unwrap_err();
    assert!(refused(&tried).contains("the case is vetoed"), "{tried}");
    assert_eq!(accused.stake(accused.address()).await.unwrap().active, amount(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stake_thaws_before_it_leaves() {
    let world = World::new().await;
    let (_, operator) = world.somebody(100).await;
    operator.bond(operator.address(), amount(60)).await.unwrap();
    assert!(
        refused(&operator.unbond(operator.address()).await.unwrap_err()).starts_with("NoUnbonding")
    );
    operator.thaw(amount(25)).await.unwrap();
    let tried = operator.unbond(operator.address()).await.unwrap_err();
    assert!(refused(&tried).starts_with("StillThawing: "), "{tried}");
    world.later(30).await;
    assert_eq!(operator.unbond(operator.address()).await.unwrap(), amount(25));
    assert_eq!(operator.balance(operator.address()).await.unwrap(), joule(65));
    assert_eq!(operator.stake(operator.address()).await.unwrap().active, amount(35));
    let tried = operator.bond(operator.address(), amount(66)).await.unwrap_err();
    assert!(refused(&tried).ends_with("has 65 JOULE and needs 66"), "{tried}");
    let tried = operator.thaw(amount(36)).await.unwrap_err();
    assert!(refused(&tried).starts_with("InsufficientBond: 35 JOULE"), "{tried}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn utilities_are_found_by_their_offers() {
    let world = World::new().await;
    let (_, utility) = world.somebody(1_000).await;
    let offer = Offer {
        utility: utility.address(),
        endpoint: "https://power.example".into(),
        margin_bp: 1_500,
        availability_bp: 9_990,
        failover_ms: 1_000,
        credit_bp: 1_000,
    };
    let tried = utility.publish_offer(&offer).await.unwrap_err();
    assert!(refused(&tried).starts_with("BondRequired: "), "{tried}");
    utility.bond(utility.address(), amount(1_000)).await.unwrap();
    utility.publish_offer(&offer).await.unwrap();
    assert_eq!(utility.offers().await.unwrap(), [offer]);
    utility.retire_offer().await.unwrap();
    assert_eq!(utility.offers().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn investors_leave_through_the_queue() {
    let world = World::new().await;
    let (_, investor) = world.somebody(1_000).await;
    investor.pool_deposit(amount(400)).await.unwrap();
    assert!(matches!(investor.pool_leave(Some(amount(500))).await, Err(ChainError::Senseless(_))));
    let (place, _) = investor.pool_leave(Some(amount(100))).await.unwrap();
    assert_eq!(place, 0);
    assert_eq!(investor.pool_settle().await.unwrap(), amount(0));
    assert_eq!(investor.pool(investor.address()).await.unwrap().queue.len(), 1);
    world.later(60).await;
    let paid = investor.pool_settle().await.unwrap();
    // Shares are rounded against whoever leaves, by less than a billionth.
    assert!(paid <= amount(100) && paid.0 > joule(100) - U256::from(1_000_000_000), "{paid}");
    assert_eq!(investor.balance(investor.address()).await.unwrap(), joule(600) + paid.0);
    investor.pool_leave(None).await.unwrap();
    assert_eq!(investor.pool(investor.address()).await.unwrap().account.shares, U256::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_exchange_has_a_price_once_its_window_is_filled() {
    let world = World::new().await;
    let dao = world.dao();
    world.later(20).await;
    let market = dao.market().await.unwrap();
    // A cent for a JOULE, in atto-USD.
    assert_eq!(market.price_attousd, Some(10_000_000_000_000_000));
    assert_eq!(market.spot_attousd, 10_000_000_000_000_000);
    assert_eq!(market.joule, amount(100_000_000));
    let bought = dao.quote_buy(U256::from(1_000_000)).await.unwrap();
    assert!(bought < amount(100) && bought > amount(99), "{bought}");
    let sold = dao.quote_sell(amount(100)).await.unwrap();
    assert!(sold < U256::from(1_000_000) && sold > U256::from(990_000), "{sold}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_are_signed_as_the_registry_reads_them() {
    let world = World::new().await;
    let at = world.contracts.protocol().unwrap();
    let (supplier, node) = (Address::repeat_byte(3), NodeId([9; 32]));
    let call = Registry::claimDigestCall {
        supplier,
        nodeKey: B256::from(node.0),
        sequence: 5,
        deadline: 77,
    };
    let ours = claim_digest(world.contracts.chain_id, at.registry, supplier, node, 5, 77);
    assert_eq!(world.read(at.registry, &call).await, ours);
}
