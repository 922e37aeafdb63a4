//! A desk that would trade and does not says why, and after a restart still does.

use kinesis_control::desk::Round;
use kinesis_protocol::Address;

use super::{Bench, Mood};

async fn held(bench: &mut Bench) -> String {
    match bench.round().await.unwrap() {
        Round::Held(why) => why,
        other => panic!("it is not held: {other:?}"),
    }
}

fn restart(bench: &mut Bench) {
    bench.desk = Bench::desk(&bench.store, &bench.market);
}

#[tokio::test]
async fn a_market_that_gives_less_than_it_must_is_not_traded_with_again() {
    for mood in [Mood::Liar, Mood::Thief] {
        let mut bench = Bench::new().await;
        bench.market.0.lock().mood = mood;
        let Round::Traded(short) = bench.round().await.unwrap() else {
            panic!("what moved is posted")
        };
        assert_eq!(short.amount_out.unwrap() < short.plan.min_out, mood == Mood::Liar);
        // More is needed than before, so that whoever trusts it trades.
        bench.spare.0 -= 10_000_000_000_000;
        for _ in 0..2 {
            bench.passes(60_000);
            let why = held(&mut bench).await;
            assert!(why.contains("trade 1") && why.contains("not trusted"), "{why}");
            restart(&mut bench);
        }
        // Another market is another one.
        let known = bench.market.0.lock().place.market;
        bench.market.0.lock().place.market = Address::repeat_byte(3);
        assert!(matches!(bench.round().await.unwrap(), Round::Traded(_)));
        bench.market.0.lock().place.market = known;
        assert!(held(&mut bench).await.contains("trade 1"));
    }
}

#[tokio::test]
async fn a_trade_under_way_is_finished_by_its_own_key_on_its_own_market_or_by_nobody() {
    let mut bench = Bench::new().await;
    bench.market.0.lock().mood = Mood::Deaf;
    bench.round().await.unwrap_err();
    let own = bench.market.0.lock().place;
    let other = Address::repeat_byte(9);
    let elsewhere = [
        kinesis_store::TradePlace { sender: other, ..own },
        kinesis_store::TradePlace { market: other, ..own },
        kinesis_store::TradePlace { chain_id: 1, ..own },
    ];
    for place in elsewhere {
        bench.market.0.lock().place = place;
        restart(&mut bench);
        // Long past its deadline it would be refused, and what it moved never posted.
        bench.passes(300_000);
        let why = held(&mut bench).await;
        let market = format!("--exchange {}", own.market);
        assert!(why.contains(&own.sender.to_string()) && why.contains(&market), "{why}");
        assert!(bench.store.open_trade().await.unwrap().is_some());
        assert_eq!(bench.market.0.lock().done.len(), 1, "nothing was sent again");
    }
    bench.market.0.lock().place = own;
    restart(&mut bench);
    assert!(matches!(bench.round().await.unwrap(), Round::Traded(_)));
    bench.finished().await;
}

#[tokio::test]
async fn a_trade_that_is_stuck_past_its_deadline_is_said_to_be() {
    let mut bench = Bench::new().await;
    let mut stuck = async |ms| {
        bench.passes(ms);
        bench.market.0.lock().mood = Mood::Stuck;
        bench.round().await.unwrap()
    };
    assert_eq!(stuck(0).await, Round::Pending(1));
    assert_eq!(stuck(120_000).await, Round::Pending(1));
    let late = stuck(1_000).await;
    assert!(matches!(&late, Round::Held(why) if why.contains("deadline")), "{late:?}");
}
