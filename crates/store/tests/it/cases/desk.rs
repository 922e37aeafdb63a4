//! The desk: trades that are planned, sent, and posted once; the price they and the ticks have.

use kinesis_protocol::{Address, JoulePrice, NanoJoule, NanoUsd};
use kinesis_store::{
    BelievedPrice, DeskTrade, NewTrade, Store, StoreError, TradeBegun, TradeMoved, TradePlace,
    TradeSide,
};

use crate::{Database, fixture::*};

const DAY_MS: u64 = 86_400_000;
/// A stablecoin of six decimals.
const UNIT_ATTOUSD: u64 = 1_000_000_000_000;

const PLACE: TradePlace = TradePlace {
    chain_id: 31_337,
    sender: Address::repeat_byte(0xAB),
    market: Address::repeat_byte(0xCD),
};

fn plan(side: TradeSide, dollars: u64) -> NewTrade {
    let worth_nanousd = NanoUsd(i64::try_from(dollars).unwrap() * 1_000_000_000);
    let (usd_units, joule_wei) =
        (u128::from(dollars) * 1_000_000, u128::from(dollars) * 100 * 10_u128.pow(18));
    let (amount_in, min_out) = match side {
        TradeSide::Buy => (usd_units, joule_wei / 100 * 99),
        TradeSide::Sell => (joule_wei, usd_units / 100 * 99),
    };
    NewTrade { side, amount_in, min_out, deadline_s: 60, worth_nanousd, price: cent() }
}

async fn planned(store: &Store, plan: &NewTrade, at_ms: u64) -> DeskTrade {
    match store.begin_trade(plan, &PLACE, NanoUsd(1_000_000_000_000), at_ms).await.unwrap() {
        TradeBegun::Planned(trade) => trade,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_trade_is_posted_once_and_sums_to_zero(db: Database) {
    let store = db.open().await;
    let before = store.totals().await.unwrap();
    let buy = planned(&store, &plan(TradeSide::Buy, 20), 5).await;
    assert_eq!((buy.number, buy.is_open(), buy.amount_out), (1, true, None));
    assert_eq!(buy.place, PLACE);
    assert_eq!(store.last_traded(&PLACE).await.unwrap(), None);
    assert_eq!(store.open_trade().await.unwrap(), Some(buy.clone()));
    // A third of a billionth is left over.
    let moved = TradeMoved {
        usd_units: 20_000_000,
        joule_wei: 1_994_000_000_000_333_333_333,
        unit_attousd: UNIT_ATTOUSD,
    };
    let done = store.finish_trade(1, &moved, "0xabc", 9).await.unwrap();
    assert_eq!(done.purse_nanousd, Some(NanoUsd(-20_000_000_000)));
    assert_eq!(done.purse_nanojoule, Some(NanoJoule(1_994_000_000_000)));
    assert_eq!((done.ended_at_ms, done.amount_out), (Some(9), Some(moved.joule_wei)));
    // Finished again, by whomever, nothing is posted again, nor taken back.
    let other = TradeMoved { usd_units: 1, ..moved };
    assert_eq!(store.finish_trade(1, &other, "0xdef", 10).await.unwrap(), done);
    assert_eq!(store.refuse_trade(1, "late", 11).await.unwrap(), done);
    assert_eq!(store.open_trade().await.unwrap(), None);

    let sell = planned(&store, &plan(TradeSide::Sell, 5), 12).await;
    assert_eq!(sell.number, 2);
    let moved = TradeMoved {
        usd_units: 4_985_000,
        joule_wei: 499_999_999_999_333_333_333,
        unit_attousd: UNIT_ATTOUSD,
    };
    let done = store.finish_trade(2, &moved, "0x1", 13).await.unwrap();
    assert_eq!(done.purse_nanousd, Some(NanoUsd(4_985_000_000)));
    // Floored by itself it would be a billionth more: the .333.. of before is counted.
    assert_eq!(done.purse_nanojoule, Some(NanoJoule(-500_000_000_000 + 1)));

    let refused = planned(&store, &plan(TradeSide::Buy, 1), 14).await;
    let refused = store.refuse_trade(refused.number, "Slippage: 1 < 2", 15).await.unwrap();
    assert_eq!(refused.reason.as_deref(), Some("Slippage: 1 < 2"));
    let late = store.finish_trade(refused.number, &moved, "0x1", 16).await;
    assert!(matches!(late, Err(StoreError::Invalid(_))));
    assert!(matches!(
        store.finish_trade(99, &moved, "0x1", 16).await,
        Err(StoreError::NotFound { .. })
    ));

    // The newest that happened there, whoever sent it.
    let elsewhere = TradePlace { market: Address::repeat_byte(0xCE), ..PLACE };
    let other_key = TradePlace { sender: Address::ZERO, ..PLACE };
    assert_eq!(store.last_traded(&other_key).await.unwrap(), Some(done));
    assert_eq!(store.last_traded(&elsewhere).await.unwrap(), None);

    let books = store.desk_books().await.unwrap();
    assert_eq!(books.purse_nanousd, NanoUsd(-15_015_000_000));
    assert_eq!(books.purse_nanojoule, NanoJoule(1_494_000_000_001));
    let newest: Vec<u64> = store.trades(2).await.unwrap().iter().map(|t| t.number).collect();
    assert_eq!(newest, [3, 2]);
    // What customers paid and where it went has nothing to do with it.
    assert_eq!(store.totals().await.unwrap(), before);
    assert_exact(&store).await;
}

pub(crate) async fn trades_stay_within_a_day_s_bound_one_at_a_time(db: Database) {
    let store = db.open().await;
    let day_max = NanoUsd(50_000_000_000);
    let begin = async |dollars, at_ms| {
        store.begin_trade(&plan(TradeSide::Buy, dollars), &PLACE, day_max, at_ms).await.unwrap()
    };
    let moved = |dollars: u128| TradeMoved {
        usd_units: dollars * 1_000_000,
        joule_wei: dollars * 100 * 10_u128.pow(18),
        unit_attousd: UNIT_ATTOUSD,
    };
    let now = 10 * DAY_MS;
    assert!(matches!(begin(30, now).await, TradeBegun::Planned(_)));
    let TradeBegun::Another(open) = begin(1, now).await else { panic!("two at a time") };
    assert_eq!(open.number, 1);
    store.finish_trade(1, &moved(30), "0x1", now + 1).await.unwrap();
    assert_eq!(begin(21, now + 2).await, TradeBegun::OverDay { spent: NanoUsd(30_000_000_000) });
    // What is refused does not count; what is under way does.
    assert!(matches!(begin(20, now + 3).await, TradeBegun::Planned(_)));
    assert_eq!(store.traded_today(now + 4).await.unwrap(), day_max);
    store.refuse_trade(2, "no", now + 5).await.unwrap();
    assert!(matches!(begin(20, now + 6).await, TradeBegun::Planned(_)));
    store.finish_trade(3, &moved(20), "0x2", now + 7).await.unwrap();
    assert!(matches!(begin(1, now + 8).await, TradeBegun::OverDay { .. }));
    // A day later the first is forgotten.
    assert!(matches!(begin(30, now + DAY_MS).await, TradeBegun::Planned(_)));
    for nonsense in [
        NewTrade { amount_in: 0, ..plan(TradeSide::Buy, 1) },
        NewTrade { min_out: 0, ..plan(TradeSide::Buy, 1) },
        NewTrade { worth_nanousd: NanoUsd(0), ..plan(TradeSide::Buy, 1) },
    ] {
        let refused = store.begin_trade(&nonsense, &PLACE, day_max, now).await;
        assert!(matches!(refused, Err(StoreError::Invalid(_))));
    }
    assert_exact(&store).await;
}

pub(crate) async fn what_is_posted_says_at_which_price(db: Database) {
    let store = db.open().await;
    assert_eq!(store.last_price(SERIES).await.unwrap(), None);
    let dear = JoulePrice::new(20_000_000).unwrap();
    let first = BelievedPrice { price: cent(), at_ms: 5, low: cent(), high: cent(), since_ms: 5 };
    let then = BelievedPrice { price: dear, at_ms: 6, low: cent(), high: dear, since_ms: 4 };
    for (series, believed) in [(SERIES, first), (SERIES, then), (SERIES + 1, first)] {
        store.save_price(series, &believed).await.unwrap();
    }
    assert_eq!(store.last_price(SERIES).await.unwrap(), Some(then));
    let acme = account(&store).await;
    let app = deploy(&store, acme, "web", 0).await.app;
    let one = lease(&store, &app, 0, 1).await;
    tick(&store, &[(one.id(), worked(10))]).await;
    let books = store.desk_books().await.unwrap();
    // What it took is worth what it gave, at the price that it was given at, to the last unit that the
    // division leaves.
    let result = books.result_nanousd(cent());
    assert!(result.0.abs() <= 1, "{books:?} {result}");
    assert!(books.result_nanousd(dear).0 < 0, "it gave JOULE that are dearer now");
    assert_exact(&store).await;
}
