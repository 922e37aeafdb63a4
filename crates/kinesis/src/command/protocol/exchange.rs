//! `kinesis exchange`.

use std::io::{self, Write};

use kinesis_chain::{
    Protocol, dev,
    protocol::exchange::{Give, Quote, TradeBounds, price_text, usd_text, usd_units},
};
use kinesis_protocol::U256;

use super::{chain, done, lines, percent};
use crate::{
    cli::protocol::exchange::{Bounds, ExchangeCommand, ExchangePlay, QuoteCommand},
    error::{Error, Result},
    output::Output,
};

pub(crate) async fn run(command: ExchangeCommand, out: Output) -> Result<()> {
    match command {
        ExchangeCommand::Price(args) => price(&args.look().await?, out).await,
        ExchangeCommand::Quote(args) => {
            let (client, give) = match args.command {
                QuoteCommand::Buy(args) => {
                    let client = args.chain.look().await?;
                    let usd = usd(&client, &args.usd).await?;
                    (client, Give::Usd(usd))
                }
                QuoteCommand::Sell(args) => (args.chain.look().await?, Give::Joule(args.amount)),
            };
            let quote = client.quote(give).await.map_err(chain)?;
            let decimals = client.usd_decimals().await.map_err(chain)?;
            out.result(&quote, |w| show_quote(w, &quote, decimals))
        }
        ExchangeCommand::Buy(args) => {
            let client = args.chain.act().await?;
            let usd = usd(&client, &args.usd).await?;
            trade(&client, Give::Usd(usd), &args.bounds, out).await
        }
        ExchangeCommand::Sell(args) => {
            let client = args.chain.act().await?;
            trade(&client, Give::Joule(args.amount), &args.bounds, out).await
        }
        ExchangeCommand::Play(args) => play(&args, out).await,
    }
}

/// What was typed, in the smallest unit of the exchange's stablecoin.
async fn usd(client: &Protocol, text: &str) -> Result<U256> {
    let decimals = client.usd_decimals().await.map_err(chain)?;
    usd_units(text, decimals).filter(|units| !units.is_zero()).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Error::Usage {
            message: format!("expected US dollars such as 12.50, got \"{shown}\""),
            hint: Some(format!("the exchange's stablecoin has {decimals} decimals")),
        }
    })
}

async fn price(client: &Protocol, out: Output) -> Result<()> {
    let market = client.market().await.map_err(chain)?;
    out.result(&market, |w| {
        let weighted = market.price_attousd.map_or_else(
            || "none yet: its window is not filled".to_owned(),
            |price| format!("{} for one JOULE", price_text(U256::from(price))),
        );
        lines(
            w,
            &[
                ("price", weighted),
                ("now", format!("{} for one JOULE", price_text(U256::from(market.spot_attousd)))),
                ("holds", usd_text(market.usd_units, market.usd_decimals)),
                ("and", format!("{} JOULE", market.joule)),
                ("fee", percent(market.fee_bp)),
                ("USD is", market.usd.to_string()),
            ],
        )
    })
}

/// An amount of one side, in words.
fn amount(give: Give, decimals: u8) -> String {
    match give {
        Give::Usd(units) => usd_text(units, decimals),
        Give::Joule(joule) => format!("{joule} JOULE"),
    }
}

fn show_quote(w: &mut dyn Write, quote: &Quote, decimals: u8) -> io::Result<()> {
    let mut rows = vec![
        ("give", amount(quote.give, decimals)),
        ("receive", amount(quote.receive, decimals)),
        ("at", format!("{} for one JOULE", price_text(quote.at_attousd))),
        ("price now", price_text(U256::from(quote.spot_attousd))),
    ];
    if let Some(price) = quote.price_attousd {
        rows.push(("time-weighted", price_text(U256::from(price))));
        rows.push(("worse by", percent(quote.impact_bp)));
    }
    lines(w, &rows)
}

async fn trade(client: &Protocol, give: Give, bounds: &Bounds, out: Output) -> Result<()> {
    let to = bounds.to.unwrap_or_else(|| client.address());
    let bounds = TradeBounds {
        slippage_bp: bounds.slippage_bp,
        impact_bp: bounds.impact_bp,
        valid_s: bounds.valid.0,
    };
    let trade = client.trade(give, bounds, to).await.map_err(chain)?;
    let decimals = client.usd_decimals().await.map_err(chain)?;
    out.result(&trade, |w| {
        let (gave, received) = (amount(trade.gave, decimals), amount(trade.received, decimals));
        writeln!(w, "Gave {gave} for {received}, at {} each", price_text(trade.at_attousd))?;
        let (before, after) = (U256::from(trade.before_attousd), U256::from(trade.after_attousd));
        writeln!(w, "  price before {}, after {}", price_text(before), price_text(after))?;
        writeln!(w, "  transaction {}", trade.transaction)
    })
}

async fn play(args: &ExchangePlay, out: Output) -> Result<()> {
    let client = args.chain.act().await?;
    if client.contracts().chain_id != dev::CHAIN_ID {
        return Err(Error::Usage {
            message: "play dollars are made on development chains only".into(),
            hint: None,
        });
    }
    let units = usd(&client, &args.usd).await?;
    let to = args.to.unwrap_or_else(|| client.address());
    let tx = client.make_play_usd(to, units).await.map_err(chain)?;
    let decimals = client.usd_decimals().await.map_err(chain)?;
    done(out, tx, &format!("Made {} of play money for {to}", usd_text(units, decimals)))
}
