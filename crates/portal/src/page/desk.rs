//! What a JOULE costs, and how the utility's desk converts.

use kinesis_control::api::{DeskView, PriceSource, TradeView};
use kinesis_protocol::{NanoJoule, NanoUsd};
use maud::{Markup, html};

/// Where the price comes from, in a few words.
pub(super) fn source(desk: &DeskView) -> String {
    match (desk.price.source, desk.price.age_ms) {
        (PriceSource::Fixed, _) => "fixed".to_owned(),
        (PriceSource::Market, Some(age_ms)) => format!("market, {} s ago", age_ms / 1_000),
        (PriceSource::Market, None) => "market".to_owned(),
    }
}

/// The desk in one block; nothing where there is no market.
pub(super) fn block(desk: Option<&DeskView>) -> Markup {
    let Some((desk, stock)) = desk.and_then(|desk| Some((desk, desk.stock.as_ref()?))) else {
        return html! {};
    };
    let joule = NanoJoule(stock.wallet_nanojoule.0.saturating_add(stock.spare_nanojoule.0));
    html! {
        section #desk data-live data-price=(desk.price.price_nanousd.nanousd())
            data-trades=(desk.trades.first().map_or(0, |trade| trade.number)) {
            div.root-head {
                h2 { "Desk" }
                @if desk.price.stale {
                    span.badge data-tone="bad" { "price too old" }
                } @else if stock.held.is_some() {
                    span.badge data-tone="busy" { "waits" }
                } @else {
                    span.badge data-tone="good" { "USD to JOULE" }
                }
            }
            dl {
                div { dt { "Stablecoin" } dd.number { (stock.usd_nanousd) } }
                div { dt { "JOULE in hand" } dd.number { (joule) } }
                div { dt { "Result" } dd.number { (desk.result_nanousd) } }
                @if let Some(trade) = desk.trades.first() {
                    div { dt { "Last trade" } dd.number { (words(trade)) } }
                }
            }
            @if let Some(why) = desk.price.problem.as_ref().or(stock.held.as_ref()) {
                p.empty { (why) }
            }
        }
    }
}

fn words(trade: &TradeView) -> String {
    let size = |nano: i64| i64::try_from(nano.unsigned_abs()).unwrap_or(i64::MAX);
    match (trade.usd_nanousd, trade.joule_nanojoule) {
        (Some(NanoUsd(usd)), Some(NanoJoule(joule))) => {
            let (usd, joule) = (NanoUsd(size(usd)), NanoJoule(size(joule)));
            match trade.side.as_str() {
                "buy" => format!("{joule} JOULE for {usd}"),
                _ => format!("{usd} for {joule} JOULE"),
            }
        }
        _ => format!("number {} is {}", trade.number, trade.state),
    }
}
