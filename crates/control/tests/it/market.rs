//! The price and the desk on a real chain, with the real exchange.

mod told;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kinesis_chain::{
    Contracts, Key, Settlement, Until,
    contracts::{Exchange, Joule},
    deploy, dev,
};
use kinesis_control::{
    ChainSettle, Control, ControlConfig, ControlError, Cover, Payer, Redemption, Settle,
    SettleError,
    api::{DeskView, PriceSource},
    desk::{Desk, DeskConfig, Round, Stock},
    market::{Holdings, Market, Order, Reading, TradePlace, TradeSide, Traded},
    price::{PriceBook, PriceLimits},
};
use kinesis_protocol::{
    Address, JoulePrice, NanoJoule, NanoUsd, PaymentRoot, Signature, SignedRoot, U256, money::NANO,
    root::PaymentProof,
};
use kinesis_store::{Artifacts, Store};
use kinesis_wire::{Endpoint, EndpointConfig, NodeSecret};
use serde_json::json;

use crate::chain::{anvil, embedded, joule, rpc};

const LONG: Duration = Duration::from_secs(30);
const SERIES: u64 = 1;

/// Dollars in units of the play stablecoin.
fn dollars(whole: u64) -> U256 {
    U256::from(whole) * U256::from(1_000_000)
}

/// The protocol on a chain, and a utility with some play dollars.
struct Scene {
    _dir: Option<tempfile::TempDir>,
    url: String,
    contracts: Contracts,
    utility: Key,
    store: Store,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = embedded(dir.path()).await;
        Self::on(url, Some(dir)).await
    }

    async fn on(url: String, dir: Option<tempfile::TempDir>) -> Self {
        let contracts = deploy(&url, &dev::key(0)).await.unwrap();
        let store = Store::open("sqlite::memory:").await.unwrap();
        let scene = Self { _dir: dir, url, contracts, utility: Key::random(), store };
        dev::fund(&scene.url, scene.utility.address(), joule(10)).await.unwrap();
        scene.give(scene.utility.address(), 10_000).await;
        scene
    }

    fn at(&self) -> (Address, Address) {
        let at = self.contracts.protocol().unwrap();
        (at.exchange, at.usd)
    }

    fn acts(&self, key: Key) -> Settlement {
        let Contracts { chain_id, escrow, .. } = self.contracts;
        Settlement::new(&self.url, chain_id, escrow, key).unwrap()
    }

    async fn give(&self, to: Address, whole: u64) {
        let bank = self.acts(dev::key(0));
        bank.mint_play(self.at().1, to, dollars(whole)).await.unwrap();
    }

    fn settle(&self) -> ChainSettle {
        let settlement = self.acts(self.utility.clone());
        ChainSettle::new(settlement, SERIES, self.store.clone()).with_market(self.at().0)
    }

    fn market(&self) -> Arc<dyn Market> {
        self.settle().market().unwrap()
    }

    async fn usd_of(&self, who: Address) -> U256 {
        self.acts(dev::key(1)).token_balance(self.at().1, who).await.unwrap()
    }

    async fn joule_of(&self, who: Address) -> U256 {
        self.acts(dev::key(1)).joule_balance(who).await.unwrap()
    }

    /// Somebody buys JOULE for this many dollars, in trades that a block allows.
    async fn push(&self, whole: u64) {
        let (exchange, usd) = self.at();
        let somebody = self.acts(dev::key(2));
        self.give(somebody.address(), whole).await;
        let approve = Joule::approveCall { spender: exchange, value: dollars(whole) };
        let key = kinesis_chain::intent_key("test");
        somebody.submit(&key, usd, &approve, Until::Mined).await.unwrap();
        for _ in 0..whole / 10_000 {
            let buy = Exchange::buyCall {
                usdIn: dollars(10_000),
                minOut: U256::from(1),
                to: somebody.address(),
                deadline: U256::from(u64::MAX),
            };
            let key = kinesis_chain::intent_key("test");
            somebody.submit(&key, exchange, &buy, Until::Mined).await.unwrap();
        }
    }
}

fn believed(reading: Reading) -> JoulePrice {
    let limits = PriceLimits { young: true, ..PriceLimits::default() };
    PriceBook::new(limits, None, None).check(reading, 1).unwrap().price
}

async fn start(settle: Arc<dyn Settle>, store: &Store, config: ControlConfig) -> Arc<Control> {
    try_start(settle, store, config).await.unwrap()
}

async fn try_start(
    settle: Arc<dyn Settle>,
    store: &Store,
    config: ControlConfig,
) -> Result<Arc<Control>, ControlError> {
    let bind = Some("127.0.0.1:0".parse().unwrap());
    let secret = NodeSecret::generate();
    let wire = EndpointConfig { secret, bind, relay: None, listen: true };
    let endpoint = Endpoint::bind(wire).await.unwrap();
    let artifacts = Artifacts::open("memory:").await.unwrap();
    Control::start(config, store.clone(), artifacts, settle, endpoint).await
}

/// A utility that looks often, and follows the market.
fn quick() -> ControlConfig {
    let every = Duration::from_millis(100);
    ControlConfig {
        joule_price: None,
        price: PriceLimits { every, young: true, ..PriceLimits::default() },
        desk: DeskConfig { every, ..DeskConfig::default() },
        tick: Duration::from_millis(100),
        ..ControlConfig::default()
    }
}

async fn until(control: &Control, what: &str, fits: impl Fn(&DeskView) -> bool) -> DeskView {
    let deadline = Instant::now() + LONG;
    loop {
        let desk = control.desk().await.unwrap();
        if fits(&desk) {
            return desk;
        }
        assert!(Instant::now() < deadline, "never {what}: {desk:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_utility_with_dollars_buys_the_joule_it_needs_and_sells_what_it_does_not() {
    let scene = Scene::new().await;
    let own = scene.utility.address();
    let control = start(Arc::new(scene.settle()), &scene.store, quick()).await;
    assert_eq!(control.price().nanousd(), 10_000_000);
    let desk = until(&control, "bought", |desk| {
        desk.trades.first().is_some_and(|trade| trade.state == "done")
    })
    .await;
    assert_eq!((desk.price.source, desk.price.stale), (PriceSource::Market, false));
    let bought = desk.trades[0].joule_nanojoule.unwrap();
    assert_eq!(desk.trades[0].usd_nanousd, Some(NanoUsd(-20 * NANO)));
    assert!(bought > NanoJoule(1_990 * NANO) && bought < NanoJoule(2_000 * NANO), "{bought}");
    assert_eq!(scene.usd_of(own).await, dollars(10_000 - 20));
    // What it bought lies in escrow, ahead of what it will owe.
    let covered = until(&control, "covered", |desk| {
        desk.stock.as_ref().is_some_and(|stock| stock.spare_nanojoule >= NanoJoule(100 * NANO))
    })
    .await;
    assert_eq!(covered.trades.len(), 1, "one batch, whoever the customers are");

    // JOULE that came back, more than it wants to hold.
    let bank = scene.acts(dev::key(0));
    bank.transfer(own, joule(5_000)).await.unwrap();
    let desk = until(&control, "sold", |desk| {
        desk.trades.iter().any(|trade| trade.side == "sell" && trade.state == "done")
    })
    .await;
    let sold = desk.trades.iter().find(|trade| trade.side == "sell").unwrap();
    assert!(sold.usd_nanousd.unwrap() > NanoUsd(49 * NANO), "{sold:?}");
    control.shutdown().await;

    // The books say what the tokens do, to the last billionth.
    let books = scene.store.desk_books().await.unwrap();
    let usd = scene.usd_of(own).await;
    let spent = i128::try_from(u128::try_from(usd).unwrap()).unwrap() - 10_000_000_000;
    assert_eq!(i128::from(books.purse_nanousd.0), spent * 1_000);
    let escrow = scene.acts(scene.utility.clone()).escrow(own, SERIES).await.unwrap();
    let joules = scene.joule_of(own).await + escrow.balance_wei;
    let signed = |wei: U256| i128::try_from(u128::try_from(wei).unwrap()).unwrap();
    let changed = signed(joules) - signed(joule(5_000));
    assert_eq!(i128::from(books.purse_nanojoule.0), changed.div_euclid(i128::from(NANO)));
    let audit = scene.store.audit().await.unwrap();
    assert_eq!(audit.findings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_price_that_is_used_follows_the_market_and_survives_a_restart() {
    let scene = Scene::new().await;
    let control = start(Arc::new(scene.settle()), &scene.store, quick()).await;
    let before = control.price();
    scene.push(50_000).await;
    // A tenth dearer, within the ten seconds of the window.
    let dear = JoulePrice::new(10_900_000).unwrap();
    let desk = until(&control, "dearer", |desk| desk.price.price_nanousd > dear).await;
    assert!(before < dear && desk.price.source == PriceSource::Market);
    control.shutdown().await;
    let kept = scene.store.last_price(SERIES).await.unwrap().unwrap().price;
    assert!(kept > dear);
    // The chain is away: the price is the one that was settled by last, not one from nowhere.
    let contracts = scene.contracts;
    let nowhere = "http://127.0.0.1:9/rpc";
    let gone =
        Settlement::new(nowhere, contracts.chain_id, contracts.escrow, scene.utility.clone());
    let gone = ChainSettle::new(gone.unwrap(), SERIES, scene.store.clone());
    let settle = Offline { fee_bp: 100, real: gone.with_market(scene.at().0) };
    let control = start(Arc::new(settle), &scene.store, quick()).await;
    assert_eq!(control.price(), kept);
    control.shutdown().await;
}

/// A chain that answered once what it takes, and is away.
#[derive(Debug)]
struct Offline {
    fee_bp: u32,
    real: ChainSettle,
}

#[async_trait]
impl Settle for Offline {
    fn payer(&self) -> Payer {
        self.real.payer()
    }
    async fn sign(&self, root: PaymentRoot) -> Result<SignedRoot, SettleError> {
        self.real.sign(root).await
    }
    async fn fee_bp(&self) -> Result<u32, SettleError> {
        Ok(self.fee_bp)
    }
    async fn cover(&self) -> Result<Cover, SettleError> {
        self.real.cover().await
    }
    async fn balance(&self) -> Result<U256, SettleError> {
        self.real.balance().await
    }
    async fn deposit(&self, wei: U256) -> Result<(), SettleError> {
        self.real.deposit(wei).await
    }
    fn market(&self) -> Option<Arc<dyn Market>> {
        self.real.market()
    }
    async fn redeem_to_payer(
        &self,
        key: &str,
        payment: &PaymentProof,
        deadline: u64,
        signature: &Signature,
    ) -> Result<Redemption, SettleError> {
        self.real.redeem_to_payer(key, payment, deadline, signature).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_price_that_is_pushed_and_let_go_within_a_block_is_nobody_s_price() {
    let Some((url, _anvil)) = anvil().await else { return };
    let scene = Scene::on(url, None).await;
    let (exchange, usd) = scene.at();
    let attacker = dev::key(3).address();
    scene.give(attacker, 10_000).await;
    // The window is filled.
    rpc(&scene.url, "evm_increaseTime", json!([60])).await;
    rpc(&scene.url, "evm_mine", json!([])).await;
    let market = scene.market();
    let before = believed(market.price().await.unwrap());
    assert_eq!(before.nanousd(), 10_000_000);

    let somebody = scene.acts(dev::key(3));
    let fresh = || kinesis_chain::intent_key("test");
    for token in [usd, scene.contracts.joule] {
        let approve = Joule::approveCall { spender: exchange, value: U256::MAX };
        somebody.submit(&fresh(), token, &approve, Until::Mined).await.unwrap();
    }
    let out = market.quote(TradeSide::Buy, 10_000_000_000).await.unwrap();
    rpc(&scene.url, "evm_setAutomine", json!([false])).await;
    let (least, deadline) = (U256::from(1), U256::from(u64::MAX));
    let waiting = async |count: &str| {
        let until = Instant::now() + LONG;
        while rpc(&scene.url, "txpool_status", json!([])).await["pending"] != count {
            assert!(Instant::now() < until, "{count} never wait");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let first = {
        let (somebody, key) = (somebody.clone(), fresh());
        let usd_in = dollars(10_000);
        let buy = Exchange::buyCall { usdIn: usd_in, minOut: least, to: attacker, deadline };
        tokio::spawn(async move { somebody.submit(&key, exchange, &buy, Until::Mined).await })
    };
    waiting("0x1").await;
    let second = {
        let (somebody, key) = (somebody.clone(), fresh());
        let joule_in = U256::from(out);
        let sell = Exchange::sellCall { jouleIn: joule_in, minOut: least, to: attacker, deadline };
        tokio::spawn(async move { somebody.submit(&key, exchange, &sell, Until::Mined).await })
    };
    waiting("0x2").await;
    rpc(&scene.url, "evm_mine", json!([])).await;
    rpc(&scene.url, "evm_setAutomine", json!([true])).await;
    let (first, second) = (first.await.unwrap().unwrap(), second.await.unwrap().unwrap());
    assert_eq!(first.block_number, second.block_number, "both are in one block");
    // In between a JOULE was 2 % dearer. All that is left of it is the fee that the attacker paid.
    let after = believed(market.price().await.unwrap());
    let moved = after.nanousd() - before.nanousd();
    assert!(moved.abs() < before.nanousd() / 1_000, "{before:?} {after:?}");
}

/// The real market, and somebody who trades between the desk's look and its trade.
#[derive(Debug)]
struct Sandwiched {
    real: Arc<dyn Market>,
    attacker: Settlement,
    exchange: Address,
    usd: Address,
}

#[async_trait]
impl Market for Sandwiched {
    fn place(&self) -> TradePlace {
        self.real.place()
    }
    async fn price(&self) -> Result<Reading, SettleError> {
        self.real.price().await
    }
    async fn unit_attousd(&self) -> Result<u64, SettleError> {
        self.real.unit_attousd().await
    }
    async fn now_s(&self) -> Result<u64, SettleError> {
        self.real.now_s().await
    }
    async fn holdings(&self) -> Result<Holdings, SettleError> {
        self.real.holdings().await
    }
    async fn quote(&self, side: TradeSide, amount_in: u128) -> Result<u128, SettleError> {
        self.real.quote(side, amount_in).await
    }
    async fn trade(&self, key: &str, order: &Order) -> Result<Traded, SettleError> {
        let approve = Joule::approveCall { spender: self.exchange, value: U256::MAX };
        let fresh = || kinesis_chain::intent_key("front");
        self.attacker.submit(&fresh(), self.usd, &approve, Until::Mined).await.unwrap();
        let front = Exchange::buyCall {
            usdIn: dollars(14_000),
            minOut: U256::from(1),
            to: self.attacker.address(),
            deadline: U256::from(u64::MAX),
        };
        self.attacker.submit(&fresh(), self.exchange, &front, Until::Mined).await.unwrap();
        self.real.trade(key, order).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandwiched_trade_is_refused_by_the_contract_and_costs_nothing() {
    let scene = Scene::new().await;
    let (exchange, usd) = scene.at();
    let attacker = scene.acts(dev::key(3));
    scene.give(attacker.address(), 14_000).await;
    let market: Arc<dyn Market> =
        Arc::new(Sandwiched { real: scene.market(), attacker, exchange, usd });
    let config = DeskConfig { tolerance_bp: 100, ..DeskConfig::default() };
    let mut desk = Desk::new(config, scene.store.clone(), market);
    let stock = Stock { usd: NanoUsd(10_000 * NANO), wallet: NanoJoule(0), spare: NanoJoule(0) };
    let price = JoulePrice::new(10_000_000);
    let Round::Refused(refused) = desk.round(&stock, price, 1_000).await.unwrap() else {
        panic!("it went through")
    };
    assert!(refused.reason.unwrap().contains("Slippage"));
    let own = scene.utility.address();
    assert_eq!(scene.usd_of(own).await, dollars(10_000));
    assert_eq!(scene.joule_of(own).await, U256::ZERO);
    assert_eq!(scene.store.desk_books().await.unwrap(), kinesis_store::DeskBooks::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trade_that_is_mined_and_not_posted_is_posted_once_after_a_restart() {
    let scene = Scene::new().await;
    let stock = Stock { usd: NanoUsd(10_000 * NANO), wallet: NanoJoule(0), spare: NanoJoule(0) };
    let price = JoulePrice::new(10_000_000).unwrap();
    let config = DeskConfig::default();
    // As a desk does until its process ends between chain and ledger.
    let market = scene.market();
    let now_s = market.now_s().await.unwrap();
    let wish = kinesis_control::desk::Wish::Buy(NanoUsd(20 * NANO));
    let plan = kinesis_control::desk::plan(&config, wish, price, 1_000_000_000_000, now_s).unwrap();
    scene.store.begin_trade(&plan, &market.place(), config.day_max, 5).await.unwrap();
    let kinesis_store::NewTrade { side, amount_in, min_out, deadline_s, .. } = plan;
    let order = Order { side, amount_in, min_out, deadline_s };
    let traded = market.trade("desk:1", &order).await.unwrap();
    // Its successor, with a market of its own, asks for the same one.
    let mut desk = Desk::new(config, scene.store.clone(), scene.market());
    let Round::Traded(done) = desk.round(&stock, Some(price), 9_000).await.unwrap() else {
        panic!("it is not found")
    };
    assert_eq!(done.transaction, Some(traded.transaction.to_string()));
    assert_eq!(done.amount_out, Some(traded.joule_wei));
    assert_eq!(scene.usd_of(scene.utility.address()).await, dollars(10_000 - 20));
    assert_eq!(scene.store.trades(9).await.unwrap().len(), 1);
}
