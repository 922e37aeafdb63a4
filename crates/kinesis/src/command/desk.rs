//! `kinesis desk`: the price of a JOULE, where it comes from, and how the utility converts.

use std::io::{self, Write};

use kinesis_control::api::{DeskView, PriceSource, TradeView};
use kinesis_protocol::NanoUsd;

use crate::{
    client::Client,
    error::Result,
    output::{Output, safe, table, write_table},
};

pub(crate) async fn run(url: Option<String>, out: Output) -> Result<()> {
    let desk: DeskView = Client::public(url)?.get("/v1/desk").await?;
    out.result(&desk, |w| page(w, &desk))
}

fn page(w: &mut dyn Write, desk: &DeskView) -> io::Result<()> {
    let price = &desk.price;
    let from = match (price.source, price.age_ms) {
        (PriceSource::Fixed, _) => "fixed by the utility".to_owned(),
        (PriceSource::Market, Some(age)) => format!("the market's, {} s old", age / 1_000),
        (PriceSource::Market, None) => "the market's".to_owned(),
    };
    writeln!(w, "1 JOULE   {} ({from})", NanoUsd(price.price_nanousd.nanousd()))?;
    if price.stale {
        writeln!(w, "          too old: nothing new is taken until the market answers")?;
    }
    if let Some(problem) = &price.problem {
        writeln!(w, "          {}", safe(problem))?;
    }
    match &desk.stock {
        None => writeln!(w, "stock     unknown: there is no market, or it was not looked at yet")?,
        Some(stock) => {
            writeln!(w, "USD       {} of stablecoin", stock.usd_nanousd)?;
            writeln!(
                w,
                "JOULE     {} in the wallet, {} in escrow beyond what is owed",
                stock.wallet_nanojoule, stock.spare_nanojoule
            )?;
            writeln!(
                w,
                "          buys below {}, up to {}; sells above {}",
                stock.low_nanojoule, stock.high_nanojoule, stock.sell_above_nanojoule
            )?;
            writeln!(w, "today     {} of {}", stock.day_nanousd, stock.day_max_nanousd)?;
            if let Some(held) = &stock.held {
                writeln!(w, "held      {}", safe(held))?;
            }
        }
    }
    writeln!(w, "position  {} JOULE", desk.position_nanojoule)?;
    writeln!(w, "result    {} at this price", desk.result_nanousd)?;
    if desk.trades.is_empty() {
        return writeln!(w, "\nno trade yet");
    }
    writeln!(w)?;
    let mut t =
        table(["trade", "side", "state", ">USD", ">JOULE", ">price then", "what came of it"]);
    for trade in &desk.trades {
        t.add_row([
            trade.number.to_string(),
            safe(&trade.side),
            safe(&trade.state),
            trade.usd_nanousd.map(|usd| usd.to_string()).unwrap_or_default(),
            trade.joule_nanojoule.map(|joule| joule.to_string()).unwrap_or_default(),
            NanoUsd(trade.price_nanousd.nanousd()).to_string(),
            came_of(trade),
        ]);
    }
    write_table(w, &t)
}

fn came_of(trade: &TradeView) -> String {
    let hash = trade.transaction.map(|hash| format!("{hash:#x}"));
    trade.reason.as_deref().map(safe).or(hash).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use kinesis_control::api::{PriceView, StockView};
    use kinesis_protocol::{B256, JoulePrice, NanoJoule};

    use super::*;

    #[test]
    fn a_desk_is_shown() {
        let price = JoulePrice::new(11_500_000).unwrap();
        let trade = |number, state: &str| TradeView {
            number,
            side: "buy".into(),
            state: state.into(),
            usd_nanousd: Some(NanoUsd(-20_000_000_000)),
            joule_nanojoule: Some(NanoJoule(1_994_000_000_000)),
            price_nanousd: price,
            planned_at_ms: 5,
            transaction: Some(B256::repeat_byte(7)),
            reason: None,
        };
        let refused = TradeView {
            usd_nanousd: None,
            joule_nanojoule: None,
            transaction: None,
            reason: Some("Slippage: it gives less".into()),
            ..trade(2, "refused")
        };
        let mut desk = DeskView {
            price: PriceView {
                price_nanousd: price,
                source: PriceSource::Market,
                age_ms: Some(1_900),
                stale: false,
                problem: None,
            },
            stock: Some(StockView {
                usd_nanousd: NanoUsd(9_980_000_000_000),
                wallet_nanojoule: NanoJoule(994_000_000_000),
                spare_nanojoule: NanoJoule(999_990_000_000),
                low_nanojoule: NanoJoule(200_000_000_000),
                high_nanojoule: NanoJoule(2_000_000_000_000),
                sell_above_nanojoule: NanoJoule(4_000_000_000_000),
                day_nanousd: NanoUsd(20_000_000_000),
                day_max_nanousd: NanoUsd(1_000_000_000_000),
                held: Some("the market offers 1.00 JOULE".into()),
                at_ms: 9,
            }),
            result_nanousd: NanoUsd(-60_000_000),
            position_nanojoule: NanoJoule(1_993_990_000_000),
            trades: vec![refused, trade(1, "done")],
        };
        let shown = |desk: &DeskView| {
            let mut text = Vec::new();
            page(&mut text, desk).unwrap();
            String::from_utf8(text).unwrap()
        };
        insta::assert_snapshot!("desk", shown(&desk));
        desk.price.source = PriceSource::Fixed;
        desk.stock = None;
        desk.trades.clear();
        let bare = shown(&desk);
        assert!(bare.contains("fixed") && bare.contains("no trade yet"), "{bare}");
    }
}
