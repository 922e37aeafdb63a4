//! Wishes, plans and settings.

use proptest::prelude::*;

use super::*;

/// A stablecoin of six decimals.
const UNIT: u64 = 1_000_000_000_000;

fn cent() -> JoulePrice {
    JoulePrice::new(10_000_000).unwrap()
}

fn joule(whole: i64) -> NanoJoule {
    NanoJoule(whole * NANO)
}

fn usd(whole: i64) -> NanoUsd {
    NanoUsd(whole * NANO)
}

fn at(wallet: i64, spare: i64) -> Stock {
    Stock { wallet: joule(wallet), spare: joule(spare), usd: usd(10_000) }
}

#[test]
fn it_buys_below_the_low_mark_and_sells_above_the_high_one() {
    let config = DeskConfig::default();
    let wanted = |stock| wish(&config, &stock, usd(1_000), cent());
    assert_eq!(wanted(at(100, 100)), Ok(None));
    assert_eq!(wanted(at(99, 100)), Ok(Some(Wish::Buy(NanoUsd(18_010_000_000)))));
    assert_eq!(wanted(at(0, -5_000)), Ok(Some(Wish::Buy(usd(70)))));
    assert_eq!(wanted(at(0, -50_000)), Ok(Some(Wish::Buy(config.trade_max))));
    assert_eq!(wanted(at(3_000, 1_000)), Ok(None));
    assert_eq!(wanted(at(3_001, 1_000)), Ok(Some(Wish::Sell(joule(2_001)))));
    // What lies in escrow cannot be sold.
    assert_eq!(wanted(at(500, 9_000)), Ok(Some(Wish::Sell(joule(500)))));
    assert_eq!(wanted(at(0, 9_000)), Ok(None));
    assert_eq!(wanted(at(90_000, 0)), Ok(Some(Wish::Sell(joule(10_000)))));
}

#[test]
fn what_it_may_not_it_says() {
    let config = DeskConfig::default();
    let poor = Stock { usd: NanoUsd(1), ..at(0, 0) };
    assert!(wish(&config, &poor, usd(9), cent()).unwrap_err().contains("stablecoin"));
    for busy in [at(0, 0), at(9_000, 0)] {
        assert!(wish(&config, &busy, NanoUsd(5), cent()).unwrap_err().contains("day"));
    }
}

#[test]
fn a_plan_accepts_no_less_than_the_price_allows() {
    let config = DeskConfig::default();
    let buy = plan(&config, Wish::Buy(usd(20)), cent(), UNIT, 5).unwrap();
    assert_eq!((buy.amount_in, buy.min_out), (20_000_000, 1_980 * 10_u128.pow(18)));
    assert_eq!((buy.deadline_s, buy.worth_nanousd), (125, usd(20)));
    let sell = plan(&config, Wish::Sell(joule(500)), cent(), UNIT, 0).unwrap();
    assert_eq!((sell.amount_in, sell.min_out), (500 * 10_u128.pow(18), 4_950_000));
    assert_eq!(plan(&config, Wish::Buy(NanoUsd(999)), cent(), UNIT, 0), None, "not one unit");
    assert_eq!(plan(&config, Wish::Buy(usd(1)), cent(), 0, 0), None);
}

#[test]
fn strange_settings_are_refused() {
    let good = DeskConfig::default();
    good.validate().unwrap();
    for bad in [
        DeskConfig { low: NanoJoule(-1), ..good.clone() },
        DeskConfig { high: good.low, ..good.clone() },
        DeskConfig { sell_above: good.high, ..good.clone() },
        DeskConfig { trade_min: NanoUsd(0), ..good.clone() },
        DeskConfig { trade_max: NanoUsd(1), ..good.clone() },
        DeskConfig { day_max: NanoUsd(1), ..good.clone() },
        DeskConfig { tolerance_bp: 10_000, ..good },
    ] {
        bad.validate().unwrap_err();
    }
}

proptest! {
    #[test]
    fn a_wish_stays_within_every_bound(
        wallet in 0..10_i64.pow(16),
        spare in -10_i64.pow(16)..10_i64.pow(16),
        has in 0..10_i64.pow(15),
        left in 0..10_i64.pow(14),
        price in 1_000..10_i64.pow(12),
        unit in prop_oneof![Just(1_u64), Just(UNIT), Just(10_u64.pow(18))],
    ) {
        let config = DeskConfig::default();
        let price = JoulePrice::new(price).unwrap();
        let day_left = NanoUsd(left);
        let at =
            Stock { wallet: NanoJoule(wallet), spare: NanoJoule(spare), usd: NanoUsd(has) };
        let Ok(Some(wish)) = wish(&config, &at, day_left, price) else { return Ok(()) };
        match wish {
            Wish::Buy(usd) => {
                prop_assert!(at.free() < config.low);
                prop_assert!(usd <= config.trade_max && usd <= at.usd && usd <= day_left);
            }
            Wish::Sell(joule) => {
                prop_assert!(at.free() > config.sell_above && joule <= at.wallet);
                prop_assert!(at.free() - joule >= config.high);
                prop_assert!(price.to_usd(joule) <= config.trade_max.min(day_left));
            }
        }
        if let Some(plan) = plan(&config, wish, price, unit, 7) {
            prop_assert!(plan.worth_nanousd <= config.trade_max);
            // What is accepted is worth what is given, less the tolerance.
            let nano = U256::from(10_u64.pow(9));
            let atto = |units: u128| U256::from(units) * U256::from(unit);
            let worth = |wei: u128| U256::from(wei) * U256::from(price.nanousd()) / nano;
            let (given, taken) = match plan.side {
                TradeSide::Buy => (atto(plan.amount_in), worth(plan.min_out)),
                TradeSide::Sell => (worth(plan.amount_in), atto(plan.min_out)),
            };
            let least = given * U256::from(99) / U256::from(100);
            // To a unit of rounding.
            prop_assert!(taken + U256::from(unit) + nano >= least, "{:?}", plan);
        }
    }
}
