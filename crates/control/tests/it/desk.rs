//! The desk against a simulated market: whatever prices, trades, failures and restarts come, what is
//! posted sums to zero and is what moved, no trade happens twice, and every bound holds.

mod held;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use kinesis_control::{
    SettleError,
    desk::{Desk, DeskConfig, Round, Stock},
    market::{Holdings, Market, Order, Reading, TradePlace, TradeSide, Traded},
};
use kinesis_protocol::{Address, B256, JoulePrice, NanoJoule, NanoUsd, U256, money::NANO};
use kinesis_store::Store;
use parking_lot::Mutex;
use proptest::prelude::*;

/// A stablecoin of six decimals.
const UNIT: u64 = 1_000_000_000_000;
const DAY_MS: u64 = 86_400_000;
const START_MS: u64 = 40 * DAY_MS;
const JOULE: u128 = 1_000_000_000_000_000_000;

/// How the market answers the next trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// It is not reached.
    Away,
    /// It happens, and no answer comes.
    Deaf,
    /// It happens, and is not final yet.
    Slow,
    /// Somebody trades just before: there is less than was quoted.
    Sandwich,
    /// It gives less than it had to.
    Liar,
    /// It takes more than it was given.
    Thief,
    /// Nothing is mined.
    Stuck,
}

#[derive(Debug)]
struct Inner {
    usd_reserve: u128,
    joule_reserve: u128,
    usd: u128,
    joule: u128,
    now_s: u64,
    mood: Mood,
    place: TradePlace,
    /// What happened, by key.
    done: HashMap<String, (Order, Traded, u64)>,
}

impl Inner {
    fn out(&self, side: TradeSide, amount: u128) -> u128 {
        let net = amount - (amount * 30).div_ceil(10_000);
        let (of, to) = match side {
            TradeSide::Buy => (self.usd_reserve, self.joule_reserve),
            TradeSide::Sell => (self.joule_reserve, self.usd_reserve),
        };
        let out = U256::from(to) * U256::from(net) / U256::from(of + net);
        u128::try_from(out).unwrap()
    }

    /// What one JOULE costs at this moment, in nano-USD.
    fn spot(&self) -> i64 {
        let atto = U256::from(self.usd_reserve) * U256::from(UNIT) * U256::from(JOULE)
            / U256::from(self.joule_reserve);
        i64::try_from(atto / U256::from(NANO)).unwrap()
    }

    fn take(&mut self, order: &Order, out: u128) {
        let given = order.amount_in;
        match order.side {
            TradeSide::Buy => {
                self.usd_reserve += given;
                self.joule_reserve -= out;
                self.usd = self.usd.checked_sub(given).expect("it is paid with what is there");
                self.joule += out;
            }
            TradeSide::Sell => {
                self.joule_reserve += given;
                self.usd_reserve -= out;
                self.joule = self.joule.checked_sub(given).expect("as above");
                self.usd += out;
            }
        }
    }
}

/// A constant product in memory, with a trading fee of 0.3 %.
#[derive(Debug)]
struct SimulatedMarket(Mutex<Inner>);

impl SimulatedMarket {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            usd_reserve: 1_000_000_000_000,
            joule_reserve: 100_000_000 * JOULE,
            usd: 10_000_000_000,
            joule: 0,
            now_s: START_MS / 1_000,
            mood: Mood::Well,
            place: TradePlace {
                chain_id: 31_337,
                sender: Address::repeat_byte(1),
                market: Address::repeat_byte(2),
            },
            done: HashMap::new(),
        })))
    }
}

fn away() -> SettleError {
    SettleError::Chain("nobody answers".into())
}

#[async_trait]
impl Market for SimulatedMarket {
    fn place(&self) -> TradePlace {
        self.0.lock().place
    }

    async fn price(&self) -> Result<Reading, SettleError> {
        let nanousd = self.0.lock().spot();
        Ok(Reading::Mean(U256::from(nanousd) * U256::from(NANO)))
    }

    async fn unit_attousd(&self) -> Result<u64, SettleError> {
        Ok(UNIT)
    }

    async fn now_s(&self) -> Result<u64, SettleError> {
        Ok(self.0.lock().now_s)
    }

    async fn holdings(&self) -> Result<Holdings, SettleError> {
        let inner = self.0.lock();
        Ok(Holdings { usd_units: inner.usd, joule_wei: inner.joule })
    }

    async fn quote(&self, side: TradeSide, amount_in: u128) -> Result<u128, SettleError> {
        Ok(self.0.lock().out(side, amount_in))
    }

    async fn trade(&self, key: &str, order: &Order) -> Result<Traded, SettleError> {
        let mut inner = self.0.lock();
        let mood = std::mem::replace(&mut inner.mood, Mood::Well);
        if mood == Mood::Away {
            return Err(away());
        }
        if mood == Mood::Stuck {
            return Err(SettleError::Pending("not mined".into()));
        }
        if let Some((known, traded, _)) = inner.done.get(key) {
            assert_eq!(known, order, "a key stands for one order");
            return Ok(*traded);
        }
        if inner.now_s > order.deadline_s {
            return Err(SettleError::Refused("Expired".into()));
        }
        if mood == Mood::Sandwich {
            // Somebody else trades a fiftieth of the reserves just before.
            match order.side {
                TradeSide::Buy => {
                    let out = inner.joule_reserve / 50;
                    inner.joule_reserve -= out;
                    inner.usd_reserve += inner.usd_reserve / 49;
                }
                TradeSide::Sell => {
                    let out = inner.usd_reserve / 50;
                    inner.usd_reserve -= out;
                    inner.joule_reserve += inner.joule_reserve / 49;
                }
            }
        }
        let mut out = inner.out(order.side, order.amount_in);
        if mood == Mood::Liar {
            out = order.min_out / 2;
        } else if out < order.min_out {
            return Err(SettleError::Refused("Slippage".into()));
        }
        inner.take(order, out);
        let given = if mood == Mood::Thief { order.amount_in + 1 } else { order.amount_in };
        let (usd_units, joule_wei) = match order.side {
            TradeSide::Buy => (given, out),
            TradeSide::Sell => (out, given),
        };
        let transaction = B256::from(U256::from(inner.done.len() + 1));
        let traded = Traded { usd_units, joule_wei, transaction };
        let at_s = inner.now_s;
        inner.done.insert(key.to_owned(), (*order, traded, at_s));
        match mood {
            Mood::Deaf => Err(away()),
            Mood::Slow => Err(SettleError::Pending("not final".into())),
            _ => Ok(traded),
        }
    }
}

/// A desk over a store and a market, and what it owes.
struct Bench {
    market: Arc<SimulatedMarket>,
    store: Store,
    desk: Desk,
    spare: NanoJoule,
    /// The time-weighted price, which follows the spot price only when it is told to.
    mean: JoulePrice,
    now_ms: u64,
}

impl Bench {
    async fn new() -> Self {
        let market = SimulatedMarket::new();
        let store = Store::open("sqlite::memory:").await.unwrap();
        let desk = Self::desk(&store, &market);
        let mean = JoulePrice::new(10_000_000).unwrap();
        Self { market, store, desk, spare: NanoJoule::ZERO, mean, now_ms: START_MS }
    }

    fn desk(store: &Store, market: &Arc<SimulatedMarket>) -> Desk {
        let market: Arc<dyn Market> = market.clone();
        Desk::new(DeskConfig::default(), store.clone(), market)
    }

    async fn round(&mut self) -> Result<Round, kinesis_control::ControlError> {
        let (usd, wallet) = self.desk.holdings().await.unwrap();
        let stock = Stock { usd, wallet, spare: self.spare };
        self.desk.round(&stock, Some(self.mean), self.now_ms).await
    }

    fn passes(&mut self, ms: u64) {
        self.now_ms += ms;
        self.market.0.lock().now_s = self.now_ms / 1_000;
    }

    /// What is posted is what moved, in sum and in every trade.
    async fn holds(&self) {
        let config = DeskConfig::default();
        let audit = self.store.audit().await.unwrap();
        assert_eq!(audit.findings, Vec::<String>::new());
        let totals = self.store.totals().await.unwrap();
        assert_eq!((totals.difference_nanousd.0, totals.difference_nanojoule.0), (0, 0));
        let inner = self.market.0.lock();
        // Whatever happened stays within a day's bound, at the price it was planned at.
        let mut happened: Vec<(u64, u128)> =
            inner.done.values().map(|(_, traded, at_s)| (*at_s, traded.usd_units)).collect();
        happened.sort_unstable();
        for (at, _) in &happened {
            let day = happened.iter().filter(|(other, _)| other <= at && other + 86_400 > *at);
            let units: u128 = day.map(|(_, units)| units).sum();
            // A sale may bring a little more than it was planned at.
            let most = u128::from(config.day_max.0.unsigned_abs()) / 1_000 * 11 / 10;
            assert!(units <= most, "{units} in a day");
        }
    }

    /// Everything that is under way is brought to its end.
    async fn finished(&mut self) {
        self.market.0.lock().mood = Mood::Well;
        while self.store.open_trade().await.unwrap().is_some() {
            self.round().await.unwrap();
        }
        let books = self.store.desk_books().await.unwrap();
        let trades = self.store.trades(1_000).await.unwrap();
        let inner = self.market.0.lock();
        let done: Vec<_> = trades.iter().filter(|trade| trade.amount_out.is_some()).collect();
        assert_eq!(done.len(), inner.done.len(), "each that happened is posted, once");
        for trade in done {
            let (order, traded, _) = &inner.done[&format!("desk:{}", trade.number)];
            assert_eq!(order.amount_in, trade.plan.amount_in);
            assert_eq!(trade.transaction, Some(traded.transaction.to_string()));
        }
        let moved = |of: fn(&Traded) -> u128, side: TradeSide| -> u128 {
            let all = inner.done.values().filter(|(order, ..)| order.side == side);
            all.map(|(_, traded, _)| of(traded)).sum()
        };
        let usd = i128::try_from(moved(|t| t.usd_units, TradeSide::Sell)).unwrap()
            - i128::try_from(moved(|t| t.usd_units, TradeSide::Buy)).unwrap();
        let wei = i128::try_from(moved(|t| t.joule_wei, TradeSide::Buy)).unwrap()
            - i128::try_from(moved(|t| t.joule_wei, TradeSide::Sell)).unwrap();
        assert_eq!(i128::from(books.purse_nanousd.0), usd * 1_000);
        // Floored once: the rest is dust, below a billionth of a JOULE.
        assert_eq!(i128::from(books.purse_nanojoule.0), wei.div_euclid(i128::from(NANO)));
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Suppliers earned this, in JOULE.
    Owe(i64),
    /// A supplier took USD: its JOULE came to the wallet.
    Back(i64),
    /// Somebody trades a share of the reserves, in ten-thousandths; positive: the price rises.
    Push(i32),
    /// The time-weighted price follows.
    Follow,
    Pass(u64),
    Look(Mood),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let mood = prop_oneof![
        4 => Just(Mood::Well),
        1 => Just(Mood::Away),
        1 => Just(Mood::Deaf),
        1 => Just(Mood::Slow),
        1 => Just(Mood::Sandwich),
    ];
    prop_oneof![
        2 => (1..5_000_i64).prop_map(Step::Owe),
        2 => (1..8_000_i64).prop_map(Step::Back),
        1 => (-900..900_i32).prop_map(Step::Push),
        1 => Just(Step::Follow),
        1 => prop_oneof![Just(6_000), Just(200_000), Just(DAY_MS / 2)].prop_map(Step::Pass),
        6 => mood.prop_map(Step::Look),
        1 => Just(Step::Restart),
    ]
}

async fn history(steps: Vec<Step>) {
    let mut bench = Bench::new().await;
    for step in steps {
        match step {
            Step::Owe(joule) => bench.spare.0 -= joule * NANO,
            Step::Back(joule) => {
                bench.market.0.lock().joule += u128::from(joule.unsigned_abs()) * JOULE;
            }
            Step::Push(bp) => {
                let mut inner = bench.market.0.lock();
                let share = |of: u128| of / 10_000 * u128::from(bp.unsigned_abs());
                let (usd, joule) = (share(inner.usd_reserve), share(inner.joule_reserve));
                if bp > 0 {
                    inner.usd_reserve += usd;
                    inner.joule_reserve -= joule;
                } else {
                    inner.usd_reserve -= usd;
                    inner.joule_reserve += joule;
                }
            }
            Step::Follow => bench.mean = JoulePrice::new(bench.market.0.lock().spot()).unwrap(),
            Step::Pass(ms) => bench.passes(ms),
            Step::Look(mood) => {
                bench.market.0.lock().mood = mood;
                let free = |bench: &Bench| {
                    let inner = bench.market.0.lock();
                    i64::try_from(inner.joule / u128::from(NANO.unsigned_abs())).unwrap()
                        + bench.spare.0
                };
                let before = free(&bench);
                let fresh = bench.store.open_trade().await.unwrap().is_none();
                let looked = bench.round().await;
                let config = DeskConfig::default();
                if let Ok(Round::Traded(trade)) = &looked {
                    let least = trade.plan.min_out;
                    assert!(trade.amount_out.unwrap() >= least, "{trade:?}");
                    assert!(trade.plan.worth_nanousd <= config.trade_max);
                    let after = free(&bench);
                    match trade.plan.side {
                        // Of one that was found again only the bounds above are known.
                        _ if !fresh => {}
                        // A spot price below the mean brings more than was planned, but no trade of
                        // more than what was missing is sent.
                        TradeSide::Buy => assert!(after >= before),
                        TradeSide::Sell => assert!(after >= config.low.0, "{before} {after}"),
                    }
                }
                bench.market.0.lock().mood = Mood::Well;
            }
            Step::Restart => bench.desk = Bench::desk(&bench.store, &bench.market),
        }
    }
    bench.holds().await;
    bench.finished().await;
    bench.holds().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_the_books_follow_the_tokens(
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(history(steps));
    }
}

#[tokio::test]
async fn it_buys_ahead_and_rests() {
    let mut bench = Bench::new().await;
    let Round::Traded(bought) = bench.round().await.unwrap() else { panic!("it does not buy") };
    assert_eq!(bought.purse_nanousd, Some(NanoUsd(-20 * NANO)));
    assert!(bought.purse_nanojoule.unwrap() > NanoJoule(1_990 * NANO));
    for _ in 0..5 {
        assert_eq!(bench.round().await.unwrap(), Round::Rest);
    }
    // No trade follows a single customer.
    bench.spare = NanoJoule(-1_700 * NANO);
    assert_eq!(bench.round().await.unwrap(), Round::Rest);
    bench.spare = NanoJoule(-1_900 * NANO);
    assert!(matches!(bench.round().await.unwrap(), Round::Traded(_)));
    // What comes back is sold when it is too much.
    bench.market.0.lock().joule += 4_000 * JOULE;
    let Round::Traded(sold) = bench.round().await.unwrap() else { panic!("it does not sell") };
    assert_eq!(sold.plan.side, TradeSide::Sell);
    assert!(sold.purse_nanousd.unwrap() > NanoUsd(39 * NANO));
    assert_eq!(bench.round().await.unwrap(), Round::Rest);
    bench.finished().await;
}

#[tokio::test]
async fn a_trade_whose_answer_is_lost_is_found_again_by_another_desk() {
    let mut bench = Bench::new().await;
    bench.market.0.lock().mood = Mood::Deaf;
    assert!(bench.round().await.is_err());
    assert!(bench.store.open_trade().await.unwrap().is_some());
    bench.desk = Bench::desk(&bench.store, &bench.market);
    // It is long past its deadline, and the price is another: what happened, happened.
    bench.passes(DAY_MS);
    bench.mean = JoulePrice::new(99_000_000).unwrap();
    let Round::Traded(found) = bench.round().await.unwrap() else { panic!("it was lost") };
    assert_eq!((found.number, found.plan.price.nanousd()), (1, 10_000_000));
    bench.finished().await;
}

#[tokio::test]
async fn what_was_never_sent_expires() {
    let mut bench = Bench::new().await;
    bench.market.0.lock().mood = Mood::Away;
    assert!(bench.round().await.is_err());
    bench.passes(300_000);
    let Round::Refused(expired) = bench.round().await.unwrap() else { panic!("it was sent late") };
    assert_eq!(expired.reason.as_deref(), Some("Expired"));
    // After a pause the next one is tried.
    assert_eq!(bench.round().await.unwrap(), Round::Rest);
    bench.passes(6_000);
    assert!(matches!(bench.round().await.unwrap(), Round::Traded(_)));
    bench.finished().await;
}

#[tokio::test]
async fn a_sandwich_makes_the_trade_refuse() {
    let mut bench = Bench::new().await;
    bench.market.0.lock().mood = Mood::Sandwich;
    let Round::Refused(refused) = bench.round().await.unwrap() else { panic!("it went through") };
    assert_eq!(refused.reason.as_deref(), Some("Slippage"));
    assert_eq!(bench.market.0.lock().usd, 10_000_000_000, "nothing was paid");
    // What the quote shows already is not even sent.
    bench.passes(6_000);
    let Round::Held(why) = bench.round().await.unwrap() else { panic!("it was sent") };
    assert!(why.contains("time-weighted"), "{why}");
    assert_eq!(bench.store.trades(9).await.unwrap().len(), 1);
    bench.finished().await;
}

#[tokio::test]
async fn without_a_price_nothing_is_traded() {
    let mut bench = Bench::new().await;
    let stock = Stock { usd: NanoUsd(NANO), wallet: NanoJoule::ZERO, spare: NanoJoule::ZERO };
    let looked = bench.desk.round(&stock, None, START_MS).await.unwrap();
    assert!(matches!(looked, Round::Held(_)), "{looked:?}");
    bench.finished().await;
}

#[tokio::test]
async fn two_desks_over_one_store_trade_one_after_another() {
    let mut bench = Bench::new().await;
    let mut other = Bench::desk(&bench.store, &bench.market);
    bench.market.0.lock().mood = Mood::Slow;
    assert_eq!(bench.round().await.unwrap(), Round::Pending(1));
    // The other finishes what the first began, and does not trade beside it.
    let stock = Stock { usd: NanoUsd(99 * NANO), wallet: NanoJoule::ZERO, spare: NanoJoule::ZERO };
    let Round::Traded(done) = other.round(&stock, Some(bench.mean), START_MS).await.unwrap() else {
        panic!("nobody finishes it")
    };
    assert_eq!(done.number, 1);
    assert_eq!(bench.round().await.unwrap(), Round::Rest);
    bench.finished().await;
}
